"""Make a bitstream for a board, and say how full and how fast it is.

    python -m rtl.build --list
    python -m rtl.build --board icebreaker
    python -m rtl.build --board ulx3s_85f --seeds 4

The design is the whole accelerator (:class:`rtl.soc.soc.Soc`), or, on small boards, one that tests
its units in the hardware itself and reports over the board's serial port
(:mod:`rtl.selftest.self_test`). The tools are the YoWASP builds of yosys and nextpnr, or native
ones on PATH. Of several seeds the fastest is kept. Exit status 1 if the design does not fit or
misses its clock; its bitstream is written nevertheless where it only misses the clock.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from .boards import BOARDS, Board
from .cli import Parser, UserError, command, count, printable
from .fpga.build_report import BuildReport, parse
from .fpga.files import write_whole

PROG = "python -m rtl.build"
INSTALL = "python -m pip install 'vernier[fpga]'"

_DESIGN = "top"
_STATISTICS = "statistics.json"
_REPORT = "report.json"


class MissingTool(UserError):
    """A tool is not installed."""


class BuildError(UserError):
    """A tool refused the design, or says what cannot be understood."""

    status = 1


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build.

    Attributes
    ----------
    bitstream
        Its file.
    report
        Of the seed that was kept.
    seeds
        Clocks by seeds, in MHz.
    """

    bitstream: Path
    report: BuildReport
    seeds: dict[int, float]


def find_tool(name: str) -> str:
    """Return the path of the YoWASP build of a tool, or of a native one.

    Raises
    ------
    MissingTool
        If there is neither beside this Python nor on PATH.
    """
    beside = str(Path(sys.executable).parent)
    for candidate in (f"yowasp-{name}", name):
        for path in (beside, None):
            found = shutil.which(candidate, path=path)
            if found:
                return found
    raise MissingTool(f"{name} is not installed; get it with {INSTALL}")


@contextmanager
def one_line_errors(out: Path):
    """Take reports that cannot be understood for a :exc:`BuildError`, and what goes wrong with
    files under `out` for a :exc:`UserError`.
    """
    try:
        yield
    except ValueError as error:
        raise BuildError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from None


@contextmanager
def step(number: int, total: int, what: str):
    """Print a line: what is done, then how long it took."""
    print(f"[{number}/{total}] {what} ...", end="", flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {time.monotonic() - start:.0f} s", flush=True)


def build(board: Board, out: Path, *, seed: int = 1, seeds: int = 1) -> Build:
    """Build the design of `board` under `out`, with a line on stdout for each step.

    It is placed with `seeds` seeds, from `seed` on; those with which that fails are left out.

    Raises
    ------
    MissingTool
        If a tool is not installed; nothing is written then.
    BuildError
        If a tool fails, place and route with every seed.
    OSError
        If `out` cannot be written to.
    """
    plan = board.platform().prepare(
        board.design(), _DESIGN, emit_src=False, synth_opts=board.synthesis_options,
        script_after_read=board.synthesis_script, add_preferences=board.preferences,
        script_after_synth=f"tee -q -o {_STATISTICS} stat -json",
        nextpnr_opts=f"--report {_REPORT} --timing-allow-fail {board.placement_options}")
    commands = json.loads(plan.files[f"build_{_DESIGN}.json"])["commands"]
    tools = [find_tool(name) for name, *_ in commands]
    bitstream = out / f"vernier_{board.name}.{board.bitstream}"
    work = out / "work"
    bitstream.unlink(missing_ok=True)  # a failed build should not leave one to be loaded
    shutil.rmtree(work, ignore_errors=True)
    plan.extract(work)
    (synthesise, synthesis), (place, placement), (pack, packing) = zip(tools, commands, strict=True)
    placed = next(work / after for option, after in pairwise(placement)
                  if option in ("--asc", "--textcfg"))
    kept = placed.with_suffix(".best")
    total, found, failed = seeds + 2, {}, None
    with step(1, total, synthesis[0]):
        run_tool(synthesise, synthesis[0], synthesis[1:], work)
    cells = json.loads((work / _STATISTICS).read_text())["design"]["num_cells_by_type"]
    for number, one in enumerate(range(seed, seed + seeds), start=2):
        try:
            with step(number, total, f"{placement[0]}, seed {one}"):
                run_tool(place, placement[0], [*placement[1:], "--seed", str(one)], work)
        except BuildError as error:
            failed = error
            continue
        report = parse(json.loads((work / _REPORT).read_text()), cells, board.resources,
                       board.untimed_ns, board.required_mhz)
        found[one] = report.timing.achieved
        if found[one] == max(found.values()):
            best = report
            placed.replace(kept)
    if not found:
        raise failed
    with step(total, total, packing[0]):
        kept.replace(placed)
        run_tool(pack, packing[0], packing[1:], work)
    write_whole(bitstream, (work / f"{_DESIGN}.{board.bitstream}").read_bytes())
    return Build(bitstream, best, found)


def run_tool(tool: str, name: str, arguments: list[str], work: Path):
    """Run a tool in `work`, its output in ``NAME.log`` there.

    Raises
    ------
    BuildError
        If it fails.
    """
    log = work / f"{name}.log"
    with log.open("w") as file:
        status = subprocess.run([tool, *arguments], cwd=work, stdout=file,
                                stderr=subprocess.STDOUT, check=False).returncode
    if status:
        text = log.read_text(errors="replace").splitlines()
        errors = [line for line in text if "ERROR" in line] or text[-1:] or [f"status {status}"]
        raise BuildError(f"{name} failed: {' '.join(errors[0].split())} (see {log})")


def _board(text: str) -> Board:
    if text not in BOARDS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(BOARDS)}, not {text!r}")
    return BOARDS[text]


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to 2147483647, not {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--board", type=_board, metavar="NAME",
                        help=f"board: {', '.join(BOARDS)}")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="directory to write to (build/NAME)")
    parser.add_argument("--seed", type=_seed, metavar="N",
                        help="seed of the placement (the board's)")
    parser.add_argument("--seeds", type=count, default=1, metavar="N",
                        help="place with N seeds, and keep the fastest (%(default)s)")
    parser.add_argument("--list", action="store_true", help="list the boards and exit")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.list:
        for board in BOARDS.values():
            print(f"{board.name:12} {board.description}; {board.what}")
        return 0
    if args.board is None:
        parser.error("a board must be given: --board NAME, or --list to see them")
    out = args.out or Path("build") / args.board.name
    with one_line_errors(out):
        seed = args.board.seed if args.seed is None else args.seed
        result = build(args.board, out, seed=seed, seeds=args.seeds)
    print(f"\n{result.report.table()}")
    if len(result.seeds) > 1:
        print(*(f"{f'seed {seed}':14}{mhz:>8.1f} MHz" for seed, mhz in result.seeds.items()),
              sep="\n")
    print(f"\nBitstream: {printable(str(result.bitstream))}")
    print(args.board.instructions(result.bitstream))
    return 0 if result.report.timing.met else 1


if __name__ == "__main__":
    sys.exit(main())
