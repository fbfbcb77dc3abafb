"""How the estimate of a program is shown: tables, JSON, CSV."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..cli import printable
from ..common.tables import pairs_of, show, table_of
from ..compiler.plan import plan_line
from ..timeline.spans import residents, spans_of
from .energy import EnergyTable
from .estimate_report import (
    CHIP_NOTE,
    chip_dict,
    compact,
    energy_parts,
    millijoules,
    percent,
    print_chip,
)
from .program_costs import InstructionCost, ProgramEstimate

_SPARE = [[1], [6], [5], [7], [4], [8], [3]]
"""Columns that go where the terminal is narrow; cycles stay."""

_SPARE_LAYERS = [[2], [7], [6], [8], [5], [9], [4], [1]]
"""The same for a table with the names of layers in its second column."""

_COLUMNS = ["cycles", "share", "array", "MACs", "SRAM", "DRAM", "mJ"]


def print_program(result: ProgramEstimate, console: Console, *, every_layer: bool = False) -> None:
    """Print tables, totals and assumptions."""
    scales = result.program.about.get("scales", "static")
    console.print(_title(result).append(f", {printable(str(scales))} scales"))
    console.print()
    kinds = [[row.kind, str(row.count), *_numbers(row, result)] for row in result.kinds]
    show(console, table_of("Instructions", ["instruction", "x", *_COLUMNS], kinds, console.width,
                           _SPARE))
    console.print()
    rows = result.layers if every_layer else result.roles
    layers = [[f"{row.name} {row.kind}", row.layer, str(row.count), *_numbers(row, result)]
              for row in rows]
    show(console, table_of("Tensors", ["tensor", "layer", "x", *_COLUMNS], layers, console.width,
                           _SPARE_LAYERS))
    console.print()
    show(console, _totals(result, console.width))
    console.print(energy_parts(result))
    print_chip(result, EnergyTable.of(result.tech).dram_byte, console)
    if "plan" in result.program.about:
        console.print(Text(f"Plan: {plan_line(result.program.about['plan'])}"))
    console.print()
    for line in assumptions(result):
        console.print(Text(printable(line), style="dim"))


def _title(result: ProgramEstimate) -> Text:
    config, about = result.program.config, result.program.about
    return Text.assemble(
        (printable(str(about.get("model", "network"))), "bold green"),
        f" {printable(str(about.get('bits', '')))} on a {config.rows}x{config.cols} core, "
        f"{result.clock_mhz:g} MHz, {result.tech}")


def _numbers(row: InstructionCost, result: ProgramEstimate) -> list[str]:
    return [f"{row.cycles:,}", percent(row.cycles / result.cycles),
            f"{100 * row.array / row.cycles:.1f} %" if row.macs else "",
            compact(row.macs) if row.macs else "", compact(row.traffic.sram),
            compact(row.traffic.dram), millijoules(row.energy.total)]


def _totals(result: ProgramEstimate, width: int) -> Table:
    traffic, energy = result.traffic, result.energy
    return pairs_of([
        ("MACs", f"{result.sum('macs'):,}", "cycles", f"{result.cycles:,}"),
        ("frames/s", f"{result.fps:,.2f}", "energy/image", f"{energy.total / 1e9:.3f} mJ"),
        ("array busy", percent(result.busy), "of its work needed", percent(result.utilisation)),
        ("range + scale unit", f"{percent(result.scale_share)} of cycles", "",
         f"{percent(energy.scale / energy.total)} of energy"),
        ("waiting for operands", percent(result.sum("weights") / result.cycles),
         "for results", percent(result.sum("drain") / result.cycles)),
        ("SRAM traffic", f"{traffic.sram / 1e6:,.2f} MB", "DRAM traffic",
         f"{traffic.dram / 1e6:,.2f} MB"),
    ], width)


def assumptions(result: ProgramEstimate) -> list[str]:
    """Return what the numbers rest on, in a few short lines."""
    memory, config = result.memory, result.program.config
    status = EnergyTable.of(result.tech).node.status
    note = result.program.about.get("note")
    jit = result.program.about.get("scales") == "jit"
    notes = [f"Note: {note}."] if note else []
    notes += ["MEASURE and QUANTIZE are for the golden machine: their cycles are a model."] * jit
    return [*notes,
            "Cycles are those of the RTL; a frame begins when the one before has ended.",
            f"External memory: {memory.said(config)}.",
            (f"ASIC-equivalent dynamic energy, {result.tech} ({status}); without leakage and "
             "clock tree."),
            CHIP_NOTE]


def program_dict(result: ProgramEstimate) -> dict:
    """Return everything about an estimate as numbers, text, lists and dictionaries."""
    energies = EnergyTable.of(result.tech)
    return {
        "program": result.program.about,
        "mapping": "program",
        "config": asdict(result.program.config),
        "options": {**result.memory.about(),
                    "clock_mhz": result.clock_mhz, "tech": result.tech},
        "totals": {
            "macs": result.sum("macs"), "cycles": result.cycles, "fps": result.fps,
            "energy_mj": result.energy.total / 1e9, "energy_pj": asdict(result.energy),
            "array_busy": result.busy, "array_utilisation": result.utilisation,
            "stall_cycles": result.sum("weights"), "drain_cycles": result.sum("drain"),
            "scale_cycles_share": result.scale_share,
            "scale_energy_share": result.energy.scale / result.energy.total,
            "sram_bytes": result.traffic.sram, "dram_bytes": result.traffic.dram,
        },
        "instructions": [row_dict(row) for row in result.kinds],
        "operations": [row_dict(row) for row in result.roles],
        "layers": [row_dict(row) for row in result.costs],
        "timeline": [{"unit": span.unit, "start": span.start, "cycles": span.cycles,
                      "instruction": span.instruction} for span in spans_of(result.timing)],
        "scratchpad": [{"name": one.name, "address": one.address, "bytes": one.size,
                        "start": one.start, "cycles": one.cycles}
                       for one in residents(result.program, [row.cycles for row in result.costs])],
        "assumptions": assumptions(result),
        "measured": chip_dict(result, energies.dram_byte),
        "energy_constants": {name: asdict(constant)
                             for name, constant in energies.constants.items()},
    }


def comparison_dict(results: dict[str, ProgramEstimate]) -> dict:
    """Return what each kind of scales costs: a short row each, and all of its estimate."""
    static = results["static"]
    rows = []
    for kind, result in results.items():
        rows.append({
            "scales": kind, "cycles": result.cycles, "sram_bytes": result.traffic.sram,
            "dram_bytes": result.traffic.dram, "energy_mj": result.energy.total / 1e9,
            "scratchpad_bytes": result.program.scratchpad_bytes,
            "more_cycles": result.cycles / static.cycles - 1,
            "more_energy": result.energy.total / static.energy.total - 1,
        })
    return {"scales": rows,
            "programs": {kind: program_dict(result) for kind, result in results.items()}}


def print_comparison(results: dict[str, ProgramEstimate], console: Console) -> None:
    """Print a line for each kind of scales; `more` is what it takes more than static ones."""
    static = results["static"]
    console.print(_title(static))
    console.print()
    rows = [[row["scales"], f"{row['cycles']:,}", f"{100 * row['more_cycles']:+.2f} %",
             f"{row['sram_bytes'] / 1e6:,.2f}", f"{row['dram_bytes'] / 1e6:,.2f}",
             f"{row['energy_mj']:.3f}", f"{100 * row['more_energy']:+.2f} %",
             f"{row['scratchpad_bytes'] / 1024:,.0f}"]
            for row in comparison_dict(results)["scales"]]
    show(console, table_of("Scales", ["scales", "cycles", "more", "SRAM MB", "DRAM MB", "mJ",
                                      "more", "KiB used"], rows, console.width,
                           [[3], [4], [7], [5, 6]]))
    console.print()
    for line in dict.fromkeys(line for result in results.values() for line in assumptions(result)):
        console.print(Text(printable(line), style="dim"))


def to_pandas(result: ProgramEstimate):
    """Return a :class:`pandas.DataFrame` with a row for each instruction: those of the command's
    CSV.

    Columns are ``instruction``, ``name``, ``layer``, ``count``, ``cycles``, ``array_cycles``,
    ``stall_cycles``, ``drain_cycles``, ``macs``, ``sram_bytes``, ``dram_bytes`` and ``energy_pj``.

    Raises
    ------
    ImportError
        If pandas is missing.
    """
    import pandas

    return pandas.DataFrame([row_dict(row) for row in result.costs])


def row_dict(row: InstructionCost) -> dict:
    """Return the cost of an instruction, or of several, as JSON values."""
    return {
        "instruction": row.kind, "name": row.name, "layer": row.layer, "count": row.count,
        "cycles": row.cycles,
        "array_cycles": row.array, "stall_cycles": row.weights, "drain_cycles": row.drain,
        "macs": row.macs, "sram_bytes": row.traffic.sram, "dram_bytes": row.traffic.dram,
        "energy_pj": row.energy.total,
    }
