"""Switching activity as SAIF has it: how often every bit of a design changes, and how long it is 1.

The format is that of IEEE 1801, "backward" files as simulators write them: instances within
instances, nets in them, and of each net times and counts::

    (SAIFILE (SAIFVERSION "2.0") (DIVIDER / ) (DURATION 30)
      (INSTANCE top
        (NET (x\\[0\\] (T0 20) (T1 10) (TC 2)))
        (INSTANCE unit ...)))
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

HELD = 1 << 40
"""Ticks for which ``verilator_main.cpp`` holds the first sample of a window; others take one."""

_NAME = r'(?:"[^"]*"|(?:\\.|[^\s()\\])+)'
_TOKEN = re.compile(
    r"\s*(?://[^\n]*\s*)*(?:"
    rf"\((?P<net>{_NAME})\s*(?P<counts>(?:\(\s*(?:T[01XZBGC]|IG|IK)\s+\d+\s*\)\s*)+)\)"
    rf"|\((?P<group>NET|PORT)(?=[\s()])"
    rf'|\(INSTANCE\s+(?:"[^"]*"\s+)?(?P<instance>{_NAME})'
    r"|\((?P<file>SAIFILE)\b"
    r'|\((?P<key>[A-Z_]+)\s*(?P<value>"[^"]*"|[^()"]*)\)'
    r"|(?P<close>\)))")
_USUAL = re.compile(  # as Verilator writes nets, of which there are a hundred thousand
    r'\s*\((?P<net>[^\s()"]+) \(T0 (\d+)\) \(T1 (\d+)\) (?:\(T[ZXB] \d+\) )*+\(TC (\d+)\)\)')
_COUNT = re.compile(r"\(\s*(\w+)\s+(\d+)\s*\)")
_ELEMENT = re.compile(r"(?<!\\)\[")


class Net(NamedTuple):
    """A bit.

    Attributes
    ----------
    scope
        Instances that it is in, from the top.
    name
        As in the file: ``x\\[0\\]`` is bit 0 of `x`, ``x[0]\\[1\\]`` bit 1 of its element 0.
    low, high
        How long it was 0 and 1.
    toggles
        How often it changed.
    """

    scope: tuple[str, ...]
    name: str
    low: int
    high: int
    toggles: int

    @property
    def in_array(self) -> bool:
        """Whether it is of an element of an array, as the contents of memories are."""
        return _ELEMENT.search(self.name) is not None

    @property
    def window_toggles(self) -> int:
        """Toggles in a window of :class:`sim.harness.verilator.Windows`: all but the one to its
        first value.
        """
        return self.toggles - (self.high >= HELD)


def nets(text: str) -> Iterator[Net]:
    """Yield the bits of a file, in its order.

    Raises
    ------
    ValueError
        With the line, if it is not SAIF, or ends before its end.
    """
    scope: list[str] = []
    open_: list[str] = []  # what is to be closed: file, instance, group
    at, ended, here = 0, False, ()
    while True:
        if open_ and open_[-1] == "group":
            while (usual := _USUAL.match(text, at)) is not None:
                at = usual.end()
                name, low, high, toggles = usual.groups()
                yield Net(here, name, int(low), int(high), int(toggles))
        if (found := _TOKEN.match(text, at)) is None:
            break
        kind = found.lastgroup if found.lastgroup != "counts" else "net"
        kind = {"value": "key"}.get(kind, kind)
        within = open_[-1] if open_ else None
        counts = dict(_COUNT.findall(found["counts"] or ""))
        if ended or not _ALLOWED[kind](within) or (kind == "net" and "TC" not in counts):
            break
        at = found.end()
        if kind == "net":
            yield Net(here, found["net"], int(counts.get("T0", 0)),
                      int(counts.get("T1", 0)), int(counts["TC"]))
        elif kind == "close":
            if open_.pop() == "instance":
                scope.pop()
                here = tuple(scope)
            ended = not open_
        elif kind != "key":
            open_.append(kind)
            if kind == "instance":
                scope.append(found["instance"])
                here = tuple(scope)
    if not ended or text[at:].strip():
        rest = len(text[at:]) - len(text[at:].lstrip())
        line = text.count("\n", 0, at + rest) + 1
        said = text[at:].split(maxsplit=1)
        raise ValueError(f"line {line}: this is not SAIF" if said
                         else f"line {line}: the file ends before its end")


_ALLOWED = {
    "net": lambda within: within == "group",
    "group": lambda within: within == "instance",
    "instance": lambda within: within in ("file", "instance"),
    "key": lambda within: within in ("file", "instance"),
    "file": lambda within: within is None,
    "close": lambda within: within is not None,
}
