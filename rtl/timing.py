# amaranth: UnusedElaboratable=no
"""Place and route a unit alone on an LFE5U-85F, and say how fast it is and along which path.

    python -m rtl.timing --list
    python -m rtl.timing --unit layernorm
    python -m rtl.timing --unit core --config 4x4 --seeds 4
    python -m rtl.timing --unit core --config 4x4 --depth
    python -m rtl.timing --unit soc --config 4x4 --paths 20

Registers are around the unit, so that what it takes from others and gives to them counts as a path
of its own. Seconds for small units, a quarter of an hour and more for the whole core; its logic
depth (:mod:`rtl.fpga.depth`) alone is there in a minute, and its slowest ways as estimated from
the netlist (:mod:`rtl.fpga.static_timing`) as soon as that is synthesised.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from golden.common.config import CORES, AcceleratorConfig
from golden.soc.boards import BAUD, BOARDS
from golden.soc.system import System

from .build import BuildError, find_tool, one_line_errors, run_tool, step
from .cli import Parser, command, count
from .core.constant_store import ConstantStore
from .core.core import Core
from .core.memory_side import MemorySide
from .core.product_path import ProductPath
from .core.program_stream import ProgramStream
from .core.result_path import ResultPath
from .core.row_path import RowPath
from .core.sequencer import Sequencer
from .fpga.alone import Alone
from .fpga.build_report import Step, path_of
from .fpga.depth import logic_depth
from .fpga.ecp5 import Ecp5, prepared
from .fpga.static_timing import slowest_ways
from .memory.dma import Dma
from .memory.scratchpad import Scratchpad
from .memory.weight_buffer import WeightBuffer
from .prediction.prediction import Prediction
from .prediction.range_unit import RangeUnit
from .prediction.scale_unit import ScaleUnit
from .product.kv_buffer import KvBuffer
from .product.mac_array import MacArray
from .product.operand_feed import OperandFeed
from .results.epilogue import Epilogue
from .rows.layernorm import LayerNorm
from .rows.softmax import Softmax
from .sdram.sdram import Sdram
from .soc.arbiter import MemoryArbiter
from .soc.host_link import SerialLink
from .soc.registers import Registers
from .soc.soc import Soc

PROG = "python -m rtl.timing"
FREQUENCY_MHZ = 80.0
_BOARD = BOARDS["ulx3s"]
_TOP = "alone"
_DEVICE = ["--85k", "--package", "CABGA381", "--speed", "6"]


UNITS: dict[str, Callable[[AcceleratorConfig], Component]] = {
    "range_unit": RangeUnit, "scale_unit": ScaleUnit, "prediction": Prediction,
    "epilogue": Epilogue, "layernorm": lambda config: LayerNorm(config, borrows=True),
    "softmax": lambda config: Softmax(config, borrows=True),
    "mac_array": MacArray, "kv_buffer": KvBuffer, "operand_feed": OperandFeed,
    "weight_buffer": WeightBuffer, "scratchpad": Scratchpad, "dma": Dma,
    "sequencer": lambda config: Sequencer(), "constant_store": ConstantStore,
    "program_stream": ProgramStream, "memory_side": MemorySide, "product_path": ProductPath,
    "result_path": ResultPath, "row_path": RowPath, "core": Core,
    "sdram": lambda config: Sdram(config, _BOARD.chip, _BOARD.clock_hz),
    "arbiter": MemoryArbiter, "registers": lambda config: Registers(System.of(config, _BOARD)),
    "link": lambda config: SerialLink(System.of(config, _BOARD), BAUD),
    "soc": lambda config: Soc(config, _BOARD, BAUD),
}
"""What can be placed alone, from a configuration of a core."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A unit as placed and routed: its clock in MHz, and its slowest path, step by step."""

    unit: str
    seed: int
    mhz: float
    path: tuple[Step, ...]


def synthesise(unit: str, config: AcceleratorConfig, out: Path) -> Path:
    """Write the netlist of a unit in cells of the ECP5 under `out`; return its path.

    Raises
    ------
    MissingTool
        If yosys is not installed; nothing is written then.
    BuildError
        If it fails.
    OSError
        If `out` cannot be written to.
    """
    yosys = find_tool("yosys")
    out.mkdir(parents=True, exist_ok=True)
    alone = Alone(UNITS[unit](config))
    text = rtlil.convert(alone, name=_TOP, platform=Ecp5(), emit_src=False)
    (out / "alone.il").write_text(text)
    run_tool(yosys, "yosys", ["-q", "-p", "; ".join([
        "read_rtlil alone.il", *prepared(_TOP).splitlines(),
        f"synth_ecp5 -top {_TOP} -json alone.json"])], out)
    return out / "alone.json"


def place(unit: str, netlist: Path, seed: int, frequency: float) -> Placed:
    """Place and route a netlist with a seed, for a clock in MHz.

    Raises
    ------
    MissingTool, BuildError
        If nextpnr is not installed, or fails.
    """
    report = f"report_{seed}.json"
    run_tool(find_tool("nextpnr-ecp5"), f"nextpnr_{seed}", [
        *_DEVICE, "--json", netlist.name, "--freq", f"{frequency:g}", "--seed", str(seed),
        "--report", report, "--timing-allow-fail", "--lpf-allow-unconstrained"], netlist.parent)
    made = json.loads((netlist.parent / report).read_text())
    (clock,) = made["fmax"].values()
    return Placed(unit, seed, clock["achieved"], path_of(made))


def placed_mhz(netlist: Path, seed: int, frequency: float) -> float:
    """Place a netlist with a seed, for a clock in MHz; return what nextpnr then estimates.

    Wires are not routed: the estimate is of what they will take at least.

    Raises
    ------
    MissingTool, BuildError
        If nextpnr is not installed, or fails.
    """
    name = f"placed_{seed}"
    run_tool(find_tool("nextpnr-ecp5"), name, [
        *_DEVICE, "--json", netlist.name, "--freq", f"{frequency:g}", "--seed", str(seed),
        "--placer", "static", "--no-route", "--timing-allow-fail", "--lpf-allow-unconstrained",
    ], netlist.parent)
    log = (netlist.parent / f"{name}.log").read_text(errors="replace")
    found = re.findall(r"Max frequency for clock .*: ([0-9.]+) MHz", log)
    if not found:
        raise BuildError(f"{name} says no clock (see {netlist.parent / name}.log)")
    return float(found[-1])


def _one_of(names):
    def parse(text: str):
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, not {text!r}")
        return text
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--unit", type=_one_of(UNITS), metavar="NAME",
                        help="see --list (default: core)", default="core")
    parser.add_argument("--config", type=_one_of(CORES), default="8x16", metavar="NAME",
                        help=f"core: {', '.join(CORES)} (%(default)s)")
    parser.add_argument("--seeds", type=count, default=1, metavar="N",
                        help="place with seeds 1 to N (%(default)s)")
    parser.add_argument("--mhz", type=count, default=round(FREQUENCY_MHZ), metavar="F",
                        help="clock that is aimed at (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="directory to write to (build/timing/CONFIG/UNIT)")
    parser.add_argument("--depth", action="store_true",
                        help="only count operations on the longest way between registers")
    parser.add_argument("--paths", type=count, metavar="N",
                        help="only estimate the N slowest ways, of the netlist")
    parser.add_argument("--list", action="store_true", help="list the units and exit")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _paths(args, out: Path) -> int:
    with one_line_errors(out), redirect_stdout(sys.stderr if args.json else sys.stdout):
        with step(1, 1, f"synthesise {args.unit}"):
            netlist = synthesise(args.unit, CORES[args.config], out)
        ways = slowest_ways(json.loads(netlist.read_text()), _TOP, args.paths)
    if args.json:
        print(json.dumps([asdict(way) for way in ways], indent=2))
        return 0
    for way in ways:
        print(f"\n{way.ns:7.2f} ns, {way.cells} cells, along")
        print(*(f"{at:7.2f} ns  {signal}" for signal, at in way.signals), sep="\n")
    return 0


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.list:
        print(*UNITS, sep="\n")
        return 0
    out = args.out or Path("build/timing") / args.config / args.unit
    if args.depth:
        with one_line_errors(out):
            depth = logic_depth(UNITS[args.unit](CORES[args.config]), out)
        if args.json:
            print(json.dumps(asdict(depth), indent=2))
        else:
            print(f"{args.unit} of {args.config}: {depth.levels} operations, along")
            print(*(f"    {signal}" for signal in depth.path), sep="\n")
        return 0
    if args.paths is not None:
        return _paths(args, out)
    found, total = [], 1 + args.seeds
    with one_line_errors(out), redirect_stdout(sys.stderr if args.json else sys.stdout):
        with step(1, total, f"synthesise {args.unit}"):
            netlist = synthesise(args.unit, CORES[args.config], out)
        for seed in range(1, args.seeds + 1):
            with step(1 + seed, total, f"place and route, seed {seed}"):
                found.append(place(args.unit, netlist, seed, args.mhz))
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return 0
    for one in found:
        print(f"\n{one.unit} of {args.config}, seed {one.seed}: {one.mhz:.1f} MHz, along")
        print(*(f"{part.at:7.2f} ns  {part.signal}" for part in one.path), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
