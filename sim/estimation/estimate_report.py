"""How an estimate is shown: tables, JSON, CSV."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from golden.common.formats import Mode

from ..cli import printable
from ..common.tables import pairs_of, show, table_of
from . import scalesim
from .costs import Estimate, Layer
from .energy import CLOCK_TREE, DRAM_RANGE, LEAKAGE, Chip, measured_factors
from .workload import AV, HEAD, PATCH, SCORES, SOFTMAX, Workload

EPILOGUE = "epilogue"
"""Where element operations are done, in the cycles of the products."""

_LONG = 22  # of the name of a layer in a table
_PART_OF_MODULE = {SCORES: "scores", AV: "x V", SOFTMAX: "softmax"}


def compact(value: float) -> str:
    """Return a count in four significant digits at most: ``261.4M``."""
    for suffix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{suffix}"
    return str(round(value))


def _shape(layer) -> str:
    return "x".join(map(str, layer.shape))


def percent(share: float) -> str:
    """Return a share in percent, small ones with more digits."""
    return f"{100 * share:.3f} %" if share < 0.01 else f"{100 * share:.1f} %"


def millijoules(picojoules: float) -> str:
    """Return an energy in mJ, without the unit."""
    value = picojoules / 1e9
    return f"{value:.3f}" if value < 100 else f"{value:.0f}"


def print_report(result: Estimate, console: Console, *, every_layer: bool = False,
                 reason: str = ""):
    """Print tables, totals and assumptions; `reason` is why the mapping is generic."""
    options, config = result.options, result.config
    console.print(Text.assemble(
        (printable(result.workload.model), "bold green"),
        f" on {config.rows}x{config.cols} multipliers, {options.bits.value}, "
        f"{options.clock_mhz:g} MHz, {options.tech}, {options.scales} scales"))
    console.print()
    layers = result.layers if every_layer else result.groups
    show(console, _products(result, layers, every_layer, console.width))
    console.print()
    show(console, _others(result, layers, every_layer, console.width))
    console.print()
    show(console, _totals(result, console.width))
    console.print(energy_parts(result))
    print_chip(result, result.energy_table.dram_byte, console)
    console.print()
    if reason:
        console.print(Text(printable(f"Not compiled: {reason}."), style="dim"))
    for line in assumptions(result):
        console.print(Text(printable(line), style="dim"))


def _products(result, layers, every_layer, width) -> Table:
    layers = [layer for layer in layers if layer.kind == "product"]
    rows = [[label, _shape(layer), str(layer.count), compact(layer.macs), compact(layer.cycles),
             f"{100 * result.layer_utilisation(layer):.0f}%", *_costs(layer)]
            for layer, label in zip(layers, _labels(layers, every_layer), strict=True)]
    columns = ["layer" if every_layer else "operation", "MxKxN", "x", "MACs", "cycles", "util",
               "SRAM", "DRAM", "mJ"]
    return table_of("Matrix products", columns, rows, width, [[2], [1], [6], [7], [3], [8]])


def _others(result, layers, every_layer, width) -> Table:
    layers = [layer for layer in layers if layer.kind != "product"]
    layers = layers if every_layer else _by_role(layers)
    rows = [[label, compact(layer.elements), compact(layer.busy), compact(layer.cycles),
             *_costs(layer)]
            for layer, label in zip(layers, _labels(layers, every_layer), strict=True)]
    rows += [[kind, compact(elements), EPILOGUE, "0", "", "", ""]
             for kind, elements in result.pointwise.items()]
    return table_of("Beside the products", ["operation", "elements", "cycles", "exposed", "SRAM",
                                            "DRAM", "mJ"], rows, width, [[4], [5], [1], [6]])


def _costs(layer) -> list[str]:
    return [compact(layer.traffic.sram), compact(layer.traffic.dram),
            millijoules(layer.energy.total)]


def _labels(layers: list[Layer], every_layer: bool) -> list[str]:
    """Return what layers are called: their roles, or their names.

    Where a name is long, ``layers.0.blocks.1.attn`` becomes ``0.1.attn`` in all of them.
    """
    if not every_layer:
        return [layer.role for layer in layers]
    labels = [f"{layer.name} {_PART_OF_MODULE[layer.role]}" if layer.role in _PART_OF_MODULE
              else layer.name for layer in layers]
    if max(map(len, labels), default=0) > _LONG:
        labels = [re.sub(r"[^.\s]+\.(?=\d+\.)", "", label) for label in labels]
    return labels


def _by_role(layers: Iterable[Layer]) -> list[Layer]:
    """Add up layers by role alone."""
    roles: dict[str, Layer] = {}
    for layer in layers:
        roles[layer.role] = roles[layer.role] + layer if layer.role in roles else layer
    return list(roles.values())


def _totals(result, width) -> Table:
    energy = result.energy
    return pairs_of([
        ("MACs", f"{result.macs:,}", "cycles", f"{result.cycles:,}"),
        ("frames/s", f"{result.fps:,.2f}", "energy/image", f"{energy.total / 1e9:.3f} mJ"),
        ("array busy", percent(result.utilisation), "efficiency",
         f"{result.tops_per_watt:.2f} TOPS/W"),
        ("range + scale unit", f"{percent(result.scale_cycles_share)} of cycles", "",
         f"{percent(result.scale_energy_share)} of energy"),
        ("waiting for DRAM", f"{percent(result.stall / result.cycles)} of cycles",
         "DRAM traffic", f"{result.traffic.dram / 1e6:,.2f} MB"),
        ("non-GEMM elements", f"{result.elements:,}", "activations",
         f"{result.peak_bytes / 1024:,.0f} of {result.config.sram_kib:,} KiB"),
    ], width)


def energy_parts(result: Estimate) -> str:
    """Return where the energy goes, in one line."""
    names = {"mac": "MAC", "sram": "SRAM", "dram": "DRAM", "vector": "vector",
             "scale": "range + scale"}
    return "energy: " + ", ".join(
        f"{name} {100 * getattr(result.energy, field) / result.energy.total:.1f} %"
        for field, name in names.items())


def print_chip(result, dram_byte: float, console: Console) -> None:
    """Print the energy with measured activity, and what a chip takes around it, two lines.

    `result` is an estimate of either kind, `dram_byte` what a byte of external memory takes.
    """
    on_chip = _on_chip(result, dram_byte)
    chip = Chip.around(on_chip)
    console.print(f"with measured activity: {millijoules(result.measured_energy.total)} mJ, "
                  f"{millijoules(on_chip)} of it on chip", soft_wrap=True)
    console.print(f"clock tree {_range(chip.clock)} mJ, leakage {_range(chip.leakage)}: "
                  f"{_range(chip.total)} on chip", soft_wrap=True)


def _on_chip(result, dram_byte: float) -> float:
    """Return the energy with measured activity without that of external memory, in pJ."""
    return result.measured_energy.total - result.traffic.dram * dram_byte


def _range(ends: tuple[float, float]) -> str:
    return " to ".join(map(millijoules, ends))


def chip_dict(result, dram_byte: float) -> dict:
    """Return what :func:`print_chip` prints, and where it comes from, as JSON values."""
    on_chip = _on_chip(result, dram_byte)
    return {
        "energy_mj": result.measured_energy.total / 1e9,
        "energy_pj": asdict(result.measured_energy),
        "on_chip_mj": on_chip / 1e9,
        **{f"{name}_mj": [picojoules / 1e9 for picojoules in ends]
           for name, ends in asdict(Chip.around(on_chip)).items()},
        "factors": measured_factors(),
        "clock_tree": [asdict(constant) for constant in CLOCK_TREE],
        "leakage": [asdict(constant) for constant in LEAKAGE],
    }


CHIP_NOTE = "Measured activity: arithmetic as active as on images (docs/energy.md); " + ", ".join(
    f"{name}: {100 * low.value:.0f} to {100 * high.value:.0f} % of a chip's power ({low.status})"
    for name, (low, high) in (("clock tree", CLOCK_TREE), ("leakage", LEAKAGE))) + "."


def assumptions(result: Estimate) -> list[str]:
    """Return what the numbers rest on, in a few short lines."""
    options, config = result.options, result.config
    per_cycle = options.bytes_per_cycle(config)
    bandwidth = per_cycle * options.clock_mhz / 1000
    status = result.energy_table.node.status
    lines = ["Generic mapping, of layer shapes: not what the core does to the cycle."]
    if result.workload.left_out:
        lines.append("Products alone; left out: " + ", ".join(
            f"{count} {kind}" for kind, count in result.workload.left_out.items()) + ".")
    if options.bits is not Mode.W8A8 and any(op.role in (PATCH, HEAD)
                                             for op in result.workload.products):
        lines.append("Patch embedding and head run at w8a8" + (
            ", attention x V at w4a8." if options.bits is Mode.W4A4 else "."))
    lines.append(f"Weights stream once per image, double buffered, at {bandwidth:g} GB/s "
                 f"({per_cycle:g} bytes/cycle).")
    lines.append(f"Softmax and norms run on {config.lanes} lanes beside the array; "
                 "exposed: what it cannot hide.")
    lines.append(f"ASIC-equivalent dynamic energy, {options.tech} ({status}); "
                 "without leakage and clock tree.")
    lines.append(CHIP_NOTE)
    low, high = (picojoules / 1e9 for picojoules in result.energy_range)
    lines.append(f"DRAM costs {result.energy_table['dram']:g} pJ/bit; {DRAM_RANGE[0]:g} to "
                 f"{DRAM_RANGE[1]:g} are published: {low:.2f} to {high:.2f} mJ.")
    if options.scales == "jit":
        lines.append("Scales: each tensor is measured whole in 16 bits, read again, then "
                     "quantized.")
    if (shape := result.predictor) is not None:
        lines.append(f"Scales: {shape.statistics} statistics after {result.workload.first_block}, "
                     f"{shape.variables} variables, degree {shape.degree}, {shape.sites} sites.")
    if result.spilled_bytes:
        lines.append(f"Activations that do not fit {config.sram_kib:,} KiB cost "
                     f"{result.spilled_bytes / 1e6:,.2f} MB of DRAM traffic.")
    lines += [f"Raised for this model: {name} to {value:,}."
              for name, value in result.raised.items()]
    return lines


def as_dict(result: Estimate, reason: str = "") -> dict:
    """Return everything about an estimate as numbers, text, lists and dictionaries."""
    options = result.options
    return {
        "model": result.workload.model,
        "mapping": "generic",
        "not_compiled": reason or None,
        "input_shape": list(result.workload.input_shape),
        "config": asdict(result.config),
        "options": asdict(options) | {"bits": options.bits.value},
        "totals": {
            "macs": result.macs,
            "weights": result.workload.weights,
            "cycles": result.cycles,
            "fps": result.fps,
            "energy_mj": result.energy.total / 1e9,
            "energy_pj": asdict(result.energy),
            "energy_range_mj": [picojoules / 1e9 for picojoules in result.energy_range],
            "tops_per_watt": result.tops_per_watt,
            "array_utilisation": result.utilisation,
            "stall_cycles": result.stall,
            "scale_cycles_share": result.scale_cycles_share,
            "scale_energy_share": result.scale_energy_share,
            "sram_bytes": result.traffic.sram,
            "dram_bytes": result.traffic.dram,
            "peak_activation_bytes": result.peak_bytes,
            "spilled_bytes": result.spilled_bytes,
            "non_gemm_elements": result.elements,
        },
        "operations": [_layer_dict(result, layer) for layer in result.groups],
        "layers": [_layer_dict(result, layer) for layer in result.layers],
        "pointwise_elements": result.pointwise,
        "predictor": result.predictor and asdict(result.predictor),
        "assumptions": assumptions(result),
        "measured": chip_dict(result, result.energy_table.dram_byte),
        "energy_constants": {name: asdict(constant)
                             for name, constant in result.energy_table.constants.items()},
    }


def _layer_dict(result, layer: Layer) -> dict:
    return {
        "name": layer.name, "operation": layer.role, "kind": layer.kind, "shape": list(layer.shape),
        "count": layer.count, "bits": layer.mode and layer.mode.value, "macs": layer.macs,
        "elements": layer.elements, "unit_cycles": layer.busy, "cycles": layer.cycles,
        "utilisation": result.layer_utilisation(layer) if layer.mode else None,
        "sram_bytes": layer.traffic.sram, "dram_bytes": layer.traffic.dram,
        "energy_pj": layer.energy.total,
    }


def to_pandas(result: Estimate):
    """Return a :class:`pandas.DataFrame` with a row for each layer: those of the command's CSV.

    Columns are ``name``, ``operation``, ``kind``, ``shape`` (a list), ``count``, ``bits``,
    ``macs``, ``elements``, ``unit_cycles``, ``cycles``, ``utilisation`` (0..1), ``sram_bytes``,
    ``dram_bytes`` and ``energy_pj``.

    Raises
    ------
    ImportError
        If pandas is missing.
    """
    import pandas

    return pandas.DataFrame(as_dict(result)["layers"])


def as_csv(rows: list[dict]) -> str:
    """Return dictionaries of equal keys as CSV with a header; lists are joined by ``x``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "x".join(map(str, value)) if isinstance(value, list) else value
                      for key, value in row.items()} for row in rows)
    return out.getvalue()


def print_scalesim(summary: dict, console: Console):
    """Print what :func:`scalesim_dict` gives."""
    rows, cols = summary["array"]
    console.print(Text.assemble((printable(summary["model"]), "bold green"),
                                f" as SCALE-Sim 3.0.0 maps it, {rows}x{cols}, "
                                f"{summary['dataflow']}"))
    console.print()
    rows = [[row["operation"], "x".join(map(str, row["shape"])), str(row["count"]),
             compact(row["macs"]), f"{row['cycles']:,}", f"{100 * row['utilisation']:.1f}%"]
            for row in summary["operations"]]
    show(console, table_of("Matrix products", ["operation", "MxKxN", "x", "MACs", "cycles", "util"],
                           rows, console.width, [[2], [1], [3], [5]]))
    console.print()
    console.print(f"compute cycles {summary['cycles']:,}, MACs {summary['macs']:,}, "
                  f"array busy {100 * summary['utilisation']:.1f} %")
    console.print(Text("Compute cycles alone, folds not overlapped; no memory, softmax, norms, "
                       "scales.", style="dim"))


def scalesim_dict(workload: Workload, rows: int, cols: int, dataflow: str) -> dict:
    """Return cycles in SCALE-Sim's mapping, per shape of product and in total."""
    groups: dict[tuple, dict] = {}
    for op in workload.products:
        row = groups.setdefault((op.role, op.shape), {
            "operation": op.role, "shape": list(op.shape), "count": 0, "macs": 0, "cycles": 0})
        row["count"] += op.count
        row["macs"] += op.macs
        row["cycles"] += op.count * scalesim.product_cycles(*op.shape, rows, cols, dataflow)
    operations = [row | {"utilisation": row["macs"] / rows / cols / row["cycles"]}
                  for row in groups.values()]
    cycles = scalesim.network_cycles(workload, rows, cols, dataflow)
    return {"model": workload.model, "array": [rows, cols],
            "dataflow": scalesim.DATAFLOWS[dataflow], "macs": workload.macs, "cycles": cycles,
            "utilisation": workload.macs / rows / cols / cycles, "operations": operations}
