"""DeiT-Tiny's matrix products in cycles: ours, the RTL's, SCALE-Sim's and ZigZag's, side by side.

The products are those of the program that the core runs. Ours are
:func:`golden.cycles.feed.cycles`, the RTL's are measured under Verilator (random weights: cycles do
not depend on them) or, where they were not, those of :mod:`golden.cycles.timing`, SCALE-Sim's those
of :mod:`sim.estimation.scalesim`. What takes minutes or other tools is kept in a file, measured
anew with ``--rtl``, ``--scalesim`` and ``--zigzag``.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from golden.common.config import CORES, AcceleratorConfig
from golden.core.isa import Instruction, Layout, Opcode, Source
from golden.core.program import Program
from golden.cycles import feed, memory_model, timing
from golden.network.network import Block, Linear, Network, Norm
from golden.network.precision import HEAD, Precision
from golden.network.shape import VitShape
from sim.cli import UserError, command, one_of, precision, whole_file
from sim.common.tables import show, table_of
from sim.compiler import compile_network
from sim.estimation import workload as names
from sim.estimation.scalesim import product_cycles
from sim.harness import verilator

from . import estimator_tools as tools
from .estimator_tools import Product

MEASURED = Path(__file__).with_name("estimators.json")
DEIT_TINY = VitShape(image=224, patch=16, dim=192, depth=12, heads=3, hidden=768, classes=1000)
DATAFLOWS = ("os", "ws")

_OURS, _RTL, _TIMING, _ZIGZAG = "closed form", "RTL", "timing", "ZigZag"
_QKV, _FC1, _FC2 = "q, k, v of a head", "fc1", "fc2"


def random_network(bits: Precision, shape: VitShape = DEIT_TINY) -> Network:
    """Return a network of random weights."""
    draw = np.random.default_rng(1)

    def linear(inputs, outputs, fmt=bits.weight):
        zeros = np.zeros(outputs, np.int64)
        return Linear(draw.integers(fmt.min, fmt.max + 1, (inputs, outputs)), zeros, zeros)

    norm = Norm(np.full(shape.dim, 1 << 12), np.zeros(shape.dim, np.int64), 12)
    blocks = tuple(Block(norm, linear(shape.dim, 3 * shape.dim), linear(shape.dim, shape.dim), norm,
                         linear(shape.dim, shape.hidden), linear(shape.hidden, shape.dim), 0)
                   for _ in range(shape.depth))
    return Network(shape, bits, 9, 10, 10, 1, -1024,
                   linear(shape.patch_values, shape.dim, HEAD.weight),
                   np.zeros((shape.tokens, shape.dim), np.int64), blocks, norm,
                   linear(shape.dim, shape.classes, HEAD.weight), np.zeros(shape.sites, np.int64))


def products(program: Program, shape: VitShape = DEIT_TINY) -> dict[int, Product]:
    """Return the products of a network's program by the index of their instruction."""
    head = [*[_QKV] * 3, names.SCORES, names.AV]
    called = [names.PATCH, *[*head * shape.heads, names.PROJECTION, _FC1, _FC2] * shape.depth,
              names.HEAD]
    found = [(index, op) for index, (_, op) in enumerate(program.instructions())
             if op.opcode is Opcode.GEMM]
    return {index: _product(name, op) for name, (index, op) in zip(called, found, strict=True)}


def _product(name: str, op: Instruction) -> Product:
    return Product(name, op.m, op.k, op.n, Source(op.weights), Layout(op.layout).bits, op.mode_of)


@dataclass(frozen=True, slots=True)
class Row:
    """Products that are alike, and the cycles of all of them by who says so."""

    product: Product
    cycles: dict[str, int]


def rows(program: Program, measured: dict) -> list[Row]:
    """Return a row for each kind of product; of what was not measured there is nothing."""
    config = program.config
    placed = products(program)
    source, instructions = instruction_cycles(program, measured)
    found = []
    for product, count in Counter(placed.values()).items():
        cycles = {_OURS: count * feed.cycles(product.m, product.k, product.n, product.mode,
                                             product.weights, config)}
        cycles[source] = sum(instructions[index] for index, other in placed.items()
                             if other == product)
        if program.about["bits"] == "w8a8":
            for dataflow in DATAFLOWS:
                cycles[_scalesim(dataflow)] = count * product_cycles(
                    product.m, product.k, product.n, config.rows, config.cols, dataflow)
            zigzag = measured.get("zigzag", {}).get(_array(config), {})
            if product.layer in zigzag:
                cycles[_ZIGZAG] = count * zigzag[product.layer]["cycles"]
        found.append(Row(replace(product, count=count), cycles))
    return found


def _scalesim(dataflow: str) -> str:
    return f"SCALE-Sim {dataflow}"


def _array(config: AcceleratorConfig) -> str:
    return f"{config.rows}x{config.cols}"


def _key(program: Program) -> str:
    return f"{_array(program.config)} {program.about['bits']}"


def table(found: list[Row], config: AcceleratorConfig) -> list[list[str]]:
    """Return the table as text: cycles of one product, then of all, then how busy the array is."""
    columns = list(found[0].cycles)
    macs = [row.product.macs / config.multipliers / row.product.mode.macs for row in found]
    lines = [["product", "M x K x N", "times", "MACs / peak", *columns]]
    for row, ideal in zip(found, macs, strict=True):
        product = row.product
        lines.append([product.name, f"{product.m} x {product.k} x {product.n}", str(product.count),
                      f"{ideal:,.0f}",
                      *(f"{row.cycles[name] / product.count:,.0f}" for name in columns)])
    ideal = sum(row.product.count * each for row, each in zip(found, macs, strict=True))
    totals = [sum(row.cycles[name] for row in found) for name in columns]
    lines.append(["all", "", str(sum(row.product.count for row in found)), f"{ideal:,.0f}",
                  *(f"{total:,}" for total in totals)])
    lines.append(["array busy", "", "", "100.0 %",
                  *(f"{100 * ideal / total:.1f} %" for total in totals)])
    return lines


def instruction_cycles(program: Program, measured: dict) -> tuple[str, list[int]]:
    """Return where the cycles of each instruction are from, and the cycles.

    What END takes belongs to the instruction before.
    """
    run = measured.get("rtl", {}).get(_key(program))
    if run is not None:
        return _RTL, run["instructions"]
    memory = memory_model.MemoryModel(verilator.LATENCY, verilator.BANDWIDTH)
    *others, last, end = timing.cycles(program, memory)
    return _TIMING, [*others, last + end]


def instruction_table(program: Program, measured: dict) -> list[list[str]]:
    """Return the cycles of each opcode as a table of text."""
    source, instructions = instruction_cycles(program, measured)
    count, cycles = Counter(), Counter()
    for (_, op), took in zip(program.instructions(), instructions, strict=False):
        count[op.opcode.name] += 1
        cycles[op.opcode.name] += took
    total = sum(instructions)
    return [["instruction", "times", source, "share"],
            *([name, str(count[name]), f"{each:,}", f"{100 * each / total:.2f} %"]
              for name, each in cycles.most_common()),
            ["all", str(count.total()), f"{total:,}", "100.00 %"]]


def as_markdown(lines: list[list[str]], left: int) -> str:
    """Return a table as Markdown, all columns but the first `left` to the right."""
    first, *others = lines
    rule = ["---" if at < left else "---:" for at in range(len(first))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (first, rule, *others))


def run_rtl(program: Program) -> dict:
    """Run a program on the RTL; return the memory's speed and the cycles of each instruction."""
    pixels = np.random.default_rng(2).integers(0, 256, (program.side, program.side, 3), np.uint8)
    result = verilator.run(program, pixels)
    if not result.ok:
        raise UserError(f"the RTL has not run the program: {result.message}")
    return {"latency": verilator.LATENCY, "bandwidth": verilator.BANDWIDTH,
            "instructions": result.instruction_cycles}


def _measure(options, program: Program, measured: dict) -> None:
    """Run what the options ask for, and put what came of it in `measured`."""
    config = program.config
    if options.rtl:
        measured.setdefault("rtl", {})[_key(program)] = run_rtl(program)
    if (options.scalesim or options.zigzag) and str(options.bits) != "w8a8":
        raise UserError("--scalesim and --zigzag need --bits w8a8: neither tool has multipliers "
                        "that do several products a cycle")
    kinds = list(dict.fromkeys(products(program).values()))
    with tempfile.TemporaryDirectory(prefix="vernier-") as name:
        place = Path(options.keep or name)
        if options.scalesim:
            for dataflow in DATAFLOWS:
                found = tools.scalesim(options.scalesim, kinds, config, dataflow,
                                       place / f"scalesim_{dataflow}")
                entry = measured.setdefault("scalesim", {})
                entry["version"] = found["version"]
                entry.setdefault(_array(config), {})[dataflow] = found["cycles"]
        if options.zigzag:
            found = tools.zigzag(options.zigzag, kinds, config, place / "zigzag")
            entry = measured.setdefault("zigzag", {})
            entry["version"], entry[_array(config)] = found["version"], found["cycles"]


def unlike_scalesim(measured: dict, config: AcceleratorConfig) -> list[str]:
    """Return a line for each product of which SCALE-Sim reports other cycles than ours of it."""
    lines = []
    for dataflow, reported in measured.get("scalesim", {}).get(_array(config), {}).items():
        for shape, cycles in reported.items():
            ours = product_cycles(*map(int, shape.split("x")), config.rows, config.cols, dataflow)
            if cycles != ours:
                lines.append(f"{shape} {dataflow}: SCALE-Sim reports {cycles:,}, not {ours:,}")
    return lines


def load(path: Path) -> dict:
    """Read what was measured; a file that is missing is empty.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _save(path: Path, measured: dict) -> None:
    """Write a file with a list, or an entry with nothing below it, to a line."""
    with whole_file(path) as temporary:
        temporary.write_text(_text(measured) + "\n")


def _text(value, indent: str = "") -> str:
    if isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values()):
        inner = indent + " "
        parts = (f"{inner}{json.dumps(key)}: {_text(each, inner)}" for key, each in value.items())
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return json.dumps(value)


def _print(lines: list[list[str]], title: str, left: int, console: Console) -> None:
    """Print a table: the `left` first columns in one, millions as thousands."""
    columns = [lines[0][0], *("\n".join(name.rsplit(" ", 1)) for name in lines[0][left:])]
    cells = [["\n  ".join(filter(None, line[:left])), *map(_shorter, line[left:])]
             for line in lines[1:]]
    others = [number for number in range(1, len(columns)) if number != left + 1]
    show(console, table_of(title, columns, cells, console.width, [[number] for number in others]))


def _shorter(cell: str) -> str:
    """Return a number of millions as thousands, and anything else as it is."""
    digits = cell.replace(",", "")
    if not digits.isdecimal() or len(digits) <= 6:
        return cell
    return f"{round(int(digits), -3) // 1000:,}k"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators",
                                     description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--array", metavar="RxC", type=one_of(*CORES), default="8x16",
        help=f"one of {', '.join(CORES)} (default: %(default)s)")
    add("--bits", metavar="WxAy", type=precision, default="w8a8",
        help="widths of the network (default: %(default)s)")
    add("--rtl", action="store_true", help="run the RTL under Verilator (minutes)")
    add("--scalesim", metavar="PYTHON", type=Path,
        help="run SCALE-Sim with the Python that has it (minutes)")
    add("--zigzag", metavar="PYTHON", type=Path, help="run ZigZag with the Python that has it")
    add("--keep", metavar="FOLDER", type=Path, help="for the files of the tools (default: none)")
    add("--measured", metavar="FILE", type=Path, default=MEASURED,
        help=f"what was measured, read and written (default: {MEASURED.name} beside the source)")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    return parser


@command("python -m benchmarks.estimators")
def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    options = _parser().parse_args(argv)
    measured = load(options.measured)
    program = compile_network(random_network(options.bits), CORES[options.array])
    if options.rtl or options.scalesim or options.zigzag:
        _measure(options, program, measured)
        _save(options.measured, measured)
    for line in unlike_scalesim(measured, program.config):
        print(line, file=sys.stderr)
    found = table(rows(program, measured), program.config)
    instructions = instruction_table(program, measured)
    if options.markdown:
        print(as_markdown(found, 2), as_markdown(instructions, 1), sep="\n", end="")
        return 0
    console = Console()
    _print(found, f"DeiT-Tiny, {_key(program)}: cycles of each product", 2, console)
    _print(instructions, "The whole program", 1, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
