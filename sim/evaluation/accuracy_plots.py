"""Figures of a comparison: predicted against oracle scales, by depth, and accuracy against cost."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from golden.common.formats import LAMBDA
from golden.network.shape import BLOCK_SITES, HEAD_SITE, MERGE_SITE, POOL_SITE

from ..cli import whole_file
from .comparison import ORACLE, Row
from .evaluation import Answers
from .preparation import FP32

DPI = 150
POINTS = 150
"""Images of a site that are drawn."""

_COLOURS = dict(zip(BLOCK_SITES, ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9",
                                  "#222222"), strict=True))  # Okabe and Ito
_MARKERS = dict(zip(BLOCK_SITES, "os^vDPX", strict=True))
_GREY = "#777777"
_LINE = 11  # height of a label, in points


def write(rows: Sequence[Row], answers: Sequence[Answers], site_names: Sequence[str],
          folder: Path) -> list[Path]:
    """Write the figures as PNG files; return which.

    For each method with predicted scales, if the oracle is among the methods,
    ``scales_BITS_METHOD.png`` and ``depth_BITS_METHOD.png``; and ``accuracy_cost.png``.
    """
    by_name = {(one.prepared.method, one.prepared.bits): one for one in answers}
    made = {}
    for row in rows:
        if row.sites and row.cost is not None and row.cost.parameters:
            name = f"{row.bits}_{row.method}.png"
            made[f"scales_{name}"] = scales(row, by_name[row.method, row.bits],
                                            by_name[ORACLE, row.bits], site_names)
            if any("." in site.name for site in row.sites):
                made[f"depth_{name}"] = depth(row)
    made["accuracy_cost.png"] = cost(rows)
    for name, figure in made.items():
        with whole_file(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)
    return [folder / name for name in made]


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def _split(name: str) -> tuple[int | None, str]:
    """Return block and kind of a site; the head has no block."""
    block, _, kind = name.rpartition(".")
    return (int(block) if block else None), kind


def scales(row: Row, mine: Answers, oracle: Answers, site_names: Sequence[str]) -> Figure:
    """Draw predicted against oracle scales, a panel for each kind of site."""
    names = {site.name for site in row.sites}
    chosen = {}
    for index, name in enumerate(site_names):
        if name in names:
            chosen.setdefault(_split(name)[1], []).append((_split(name)[0], index))
    kinds = (*BLOCK_SITES, MERGE_SITE, POOL_SITE, HEAD_SITE)
    chosen = {kind: chosen[kind] for kind in kinds if kind in chosen}
    images = np.linspace(0, len(mine.top) - 1, min(POINTS, len(mine.top))).round().astype(int)
    columns = min(4, len(chosen))
    lines = -(-len(chosen) // columns)
    figure = Figure(figsize=(max(2.6 * columns + 1.4, 5.5), 2.6 * lines + 1.1),
                    layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    last = max(_split(name)[0] or 0 for name in site_names)
    dots = None
    for axes, (kind, sites) in zip(grid.flat, chosen.items(), strict=False):
        which = [index for _, index in sites]
        x, y = (one.scales[images][:, which] / LAMBDA.one for one in (oracle, mine))
        colour = [last if block is None else block for block, _ in sites] * len(images)
        ends = min(x.min(), y.min()), max(x.max(), y.max())
        axes.plot(ends, ends, color=_GREY, linewidth=1)
        dots = axes.scatter(x.ravel(), y.ravel(), c=colour, s=6, alpha=0.6, linewidths=0,
                            cmap="viridis", vmin=0, vmax=max(last, 1))
        axes.set_aspect("equal", adjustable="datalim")
        for axis in axes.xaxis, axes.yaxis:
            axis.set_major_locator(MaxNLocator(4))
        axes.set_title(kind, fontsize=11)
        _clean(axes)
    for axes in grid.flat[len(chosen):]:
        axes.set_visible(False)
    bar = figure.colorbar(dots, ax=grid, label="block", shrink=0.9, pad=0.02)
    bar.solids.set_alpha(1)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(f"{row.title}, {row.bits}: scales of {len(images)} images", fontsize=12)
    figure.supxlabel("log2 of the oracle's scale", fontsize=11)
    figure.supylabel("log2 of the predicted scale", fontsize=11)
    return figure


def depth(row: Row) -> Figure:
    """Draw the share of variance explained by block, a line for each kind of site."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    lowest, shown = 0.0, set()
    for kind in BLOCK_SITES:
        known = [(_split(site.name)[0], site.r_squared) for site in row.sites
                 if _split(site.name)[1] == kind and site.r_squared is not None]
        if known:
            blocks, shares = zip(*known, strict=True)
            lowest = min(lowest, *shares)
            shown.update(blocks)
            axes.plot(blocks, shares, label=kind, color=_COLOURS[kind], marker=_MARKERS[kind],
                      markersize=6, linewidth=1.6)
    axes.axhline(0, color=_GREY, linewidth=1)
    axes.set_ylim(max(lowest - 0.05, -1.05), 1.0)
    axes.set_xlim(min(shown, default=0) - 0.5, max(shown, default=0) + 0.5)
    axes.xaxis.set_ticks(range(min(shown, default=0), max(shown, default=0) + 1))
    axes.set_xlabel("block", fontsize=11)
    axes.set_ylabel("share of the oracle's variance explained (R²)", fontsize=11)
    axes.set_title(f"{row.title}, {row.bits}", fontsize=12)
    _clean(axes)
    figure.legend(loc="outside right center", frameon=False, title="site")
    return figure


def cost(rows: Sequence[Row]) -> Figure:
    """Draw accuracy against the cycles that the scales add, a panel for each precision."""
    labelled = any(row.top1 is not None for row in rows)
    groups = {}
    for row in rows:
        if row.cost is not None and row.cost.cycles is not None and row.bits != FP32:
            groups.setdefault(row.bits, []).append(row)
    count = max(1, len(groups))
    figure = Figure(figsize=(5.2 * count + 0.4, 4.8), layout="constrained")
    grid = figure.subplots(1, count, squeeze=False)[0]
    reference = next((row.top1 for row in rows if row.bits == FP32), None)
    for axes, (bits, members) in zip(grid, groups.items(), strict=False):
        _cost_panel(axes, members, reference if labelled else 100.0, labelled)
        axes.set_title(bits, fontsize=12)
    figure.supxlabel("cycles that choosing scales adds to a frame (8x16 multipliers)", fontsize=11)
    figure.supylabel("top-1, %" if labelled else "agreement with fp32, %", fontsize=11)
    return figure


def _cost_panel(axes: Axes, rows: Sequence[Row], reference: float | None, labelled: bool) -> None:
    x = [row.cost.cycles for row in rows]
    y = [row.top1 if labelled else row.agreement for row in rows]
    first = min((cycles for cycles in x if cycles), default=10)
    start = 10.0 ** np.floor(np.log10(first))
    axes.set_xscale("symlog", linthresh=start, linscale=0.6)
    axes.set_xlim(-0.3 * start, 12 * max([*x, start]))
    if reference is not None:
        axes.axhline(reference, color=_GREY, linewidth=1, linestyle="--")
        axes.annotate("fp32", (1, reference), (-2, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=9, color=_GREY)
    axes.scatter(x, y, s=32, color=_COLOURS["qkv"], zorder=3)
    low, high = min(y), max([*y, *([] if reference is None else [reference])])
    room = max(high - low, 1.0)
    axes.set_ylim(low - 0.12 * room, high + 0.12 * room)
    _clean(axes)
    axes.xaxis.set_ticks([0, *(10.0**power for power in range(
        round(np.log10(start)), int(np.log10(max([*x, start]))) + 2))])
    axes.xaxis.set_minor_locator(MaxNLocator(1))
    for cycles in sorted(set(x)):
        _labels(axes, sorted((value, row.method) for row, at, value in zip(rows, x, y, strict=True)
                             if at == cycles), cycles)


def _labels(axes: Axes, points: list[tuple[float, str]], x: float) -> None:
    """Label points of the same cost to their right, from the lowest up, none over another."""
    low, high = axes.get_ylim()
    unit = (high - low) / (axes.get_window_extent().height * 72 / axes.figure.dpi)  # of a point
    places = [value for value, _ in points]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + _LINE * unit)
    middle = sum(places) / len(places) - sum(value for value, _ in points) / len(points)
    for (value, name), place in zip(points, places, strict=True):
        axes.annotate(name, (x, value), (9, (place - middle - value) / unit),
                      textcoords="offset points", va="center", fontsize=9,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
                      arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.6,
                                  "shrinkA": 1, "shrinkB": 3})
