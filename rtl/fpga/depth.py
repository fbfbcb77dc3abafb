"""Logic depth of a unit: the longest way from register to register, in operations on words.

It says nothing of nanoseconds: an adder counts as much as a gate. But it is there in seconds,
without place and route, and rises whenever logic is put in front of logic.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from ..build import BuildError, find_tool, run_tool
from .alone import Alone

_TOP = "alone"


@dataclass(frozen=True, slots=True)
class Depth:
    """Operations on the longest way, and the signals along it, in names of the source."""

    levels: int
    path: tuple[str, ...]


def logic_depth(unit: Component, out: Path) -> Depth:
    """Return the depth of a unit with registers around it, as ``ltp`` of yosys finds it; files go
    to `out`.

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
    (out / "depth.il").write_text(rtlil.convert(Alone(unit), name=_TOP, emit_src=False))
    run_tool(yosys, "depth", ["-p", "; ".join([
        "read_rtlil depth.il", f"hierarchy -top {_TOP}", "proc", "flatten", "opt_expr",
        "opt_clean", "tee -q -o depth.txt ltp -noff"])], out)
    return parse_depth((out / "depth.txt").read_text())


def parse_depth(text: str) -> Depth:
    """Return what a report of ``ltp`` says.

    Raises
    ------
    BuildError
        If it says nothing.
    """
    found = re.search(r"Longest topological path in .* \(length=(\d+)\)", text)
    if not found:
        raise BuildError("report of ltp has no longest path")
    path = []
    for name in re.findall(r"^ *\d+: \\?(\S+)", text, re.MULTILINE):
        name = name.split("[")[0]
        if name[0] not in "$0123456789" and name not in path[-1:]:  # no cell, no constant
            path.append(name)
    return Depth(int(found[1]), tuple(path))
