"""What a report shows, out of the JSON that sim.estimate, sim.explore and sim.accuracy write."""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..cli import UserError
from ..timeline.spans import UNITS
from .scales import scales_of

_TOTALS = ("cycles", "fps", "energy_mj", "macs", "array_busy", "array_utilisation", "sram_bytes",
           "dram_bytes", "stall_cycles", "drain_cycles", "scale_cycles_share", "energy_pj")
_SUMMED = ("count", "cycles", "array_cycles", "macs", "sram_bytes", "dram_bytes", "energy_pj")
_COLUMNS = ("model", "rows", "cols", "sram_kib", "bus_bytes", "stream_words", "memory", "bits",
            "scales", "fits", "reason", "cycles", "fps", "energy_mj", "array_utilisation",
            "dram_bytes", "scratchpad_kib", "luts", "ffs", "multipliers", "block_rams", "meets",
            "front")


@dataclass(frozen=True)
class Shown:
    """What a report is made of.

    Attributes
    ----------
    runs
        Estimates of programs, JSON values.
    designs
        Rows of explorations, as one list for each column, JSON values; None without any.
    scales
        How scales of sites spread over images, :func:`~.scales.scales_of`.
    """

    runs: list[dict]
    designs: dict | None
    scales: list[dict]

    def as_dict(self) -> dict:
        """Return all of it as JSON values."""
        return {"units": UNITS, "runs": self.runs, "designs": self.designs,
                "scales": self.scales}


def read(paths: list[Path]) -> Shown:
    """Return what there is to show of files.

    Raises
    ------
    UserError
        If one cannot be read, or is nothing that there is a report of.
    """
    runs, rows, scales = [], [], []
    for path in paths:
        document = _document(path)
        try:
            if document.get("kind") == "explore":
                rows += document["designs"]
            elif document.get("kind") == "accuracy":
                scales += scales_of(document, path.stem)
            elif "programs" in document:
                runs += [_run(one, path.stem) for one in document["programs"].values()]
            elif document.get("mapping") == "program":
                runs.append(_run(document, path.stem))
            else:
                raise UserError(f"{path} must be what sim.estimate --json writes of a compiled "
                                "program, or sim.explore --json or sim.accuracy --json")
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise UserError(f"{path} lacks what a report needs ({error!r}); write it again with "
                            "this version") from None
    _tell_apart(runs)
    _tell_apart(scales)
    columns = {name: [row.get(name) for row in rows] for name in _COLUMNS} if rows else None
    return Shown(runs, columns, scales)


def _document(path: Path) -> dict:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; sim.estimate --json, "
                        "sim.explore --json and sim.accuracy --json write such files") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} must hold an object, not {type(document).__name__}")
    return document


def _run(document: dict, source: str) -> dict:
    """Return what is shown of an estimate."""
    about, config, totals = document["program"], document["config"], document["totals"]
    rows = document["layers"]
    return {
        "name": f"{about.get('model', 'network')} {about.get('bits', '')} "
                f"{about.get('scales', '')} {config['rows']}x{config['cols']}",
        "source": source,
        "about": {name: str(about.get(name, "")) for name in ("model", "bits", "scales")},
        "config": config, "options": document["options"],
        "totals": {name: totals[name] for name in _TOTALS},
        "assumptions": document["assumptions"],
        "modes": _modes(str(about.get("bits", ""))),
        "instructions": [[row["instruction"], row["name"], row["layer"]] for row in rows],
        "layers": _added(rows, r"(?<=[a-z])\.\d+$", ("instruction", "name", "layer")),
        "roles": [{name: row[name] for name in ("instruction", "name", "layer", *_SUMMED)}
                  for row in document["operations"]],
        "spans": [[list(UNITS).index(span["unit"]), span["start"], span["cycles"],
                   span["instruction"]] for span in document["timeline"]],
        "residents": [[one["name"], one["address"], one["bytes"], one["start"], one["cycles"]]
                      for one in document["scratchpad"]],
    }


def _modes(bits: str) -> list[list]:
    """Return the modes that a precision runs products in, and multiply-accumulates of each."""
    from golden.common.formats import Mode
    from golden.network.precision import HEAD, parse

    used = {HEAD.mode}
    for text in bits.split(" then "):  # of a cascade
        with contextlib.suppress(ValueError):  # a program may say anything about itself
            used |= {mode for one in parse(text).each
                     for mode in (one.mode, one.score_mode, one.value_mode)}
    return [[mode.value, mode.macs] for mode in Mode if mode in used]


def _added(rows: list[dict], head: str, by: tuple[str, ...]) -> list[dict]:
    """Return rows with those of the heads of a layer added up."""
    groups: dict[tuple, dict] = {}
    for row in rows:
        named = row | {"name": re.sub(head, "", row["name"])}
        key = tuple(named[name] for name in by)
        if key not in groups:
            groups[key] = {name: named[name] for name in (*by, *_SUMMED)}
        else:
            for name in _SUMMED:
                groups[key][name] += row[name]
    return list(groups.values())


def _tell_apart(runs: list[dict]) -> None:
    """Add to names that are the same where they come from, or a number."""
    names = [run["name"] for run in runs]
    for run in runs:
        if names.count(run["name"]) > 1:
            run["name"] = f"{run['name']} ({run['source']})"
    seen: dict[str, int] = {}
    for run in runs:
        seen[run["name"]] = seen.get(run["name"], 0) + 1
        if seen[run["name"]] > 1:
            run["name"] = f"{run['name']} {seen[run['name']]}"
