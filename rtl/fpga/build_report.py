"""Utilisation and timing of a placed and routed design."""

from dataclasses import dataclass

from .resource import Resource


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a resource is used."""

    name: str
    used: int
    available: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Achieved clock of the design against the one it will run at, in MHz; of several clocks, that
    which has the least of what it needs."""

    achieved: float
    required: float
    longest_path: str  # first and last register of the path that limits the clock

    @property
    def met(self) -> bool:
        """Whether the design is fast enough."""
        return self.achieved >= self.required


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What came out of place and route."""

    usage: tuple[Usage, ...]
    timing: Timing

    def table(self) -> str:
        """Return utilisation and timing as lines of text."""
        lines = [f"{'':14}{'used':>8}{'of':>8}{'':>6}"]
        lines += [f"{row.name:14}{row.used:>8,}{row.available:>8,}"
                  f"{100 * row.used / row.available:>5.0f}%" for row in self.usage]
        timing = self.timing
        verdict = "met" if timing.met else "NOT MET"
        lines += [f"{'clock':14}{timing.achieved:>8.1f}{timing.required:>8.1f} MHz: {verdict}",
                  f"{'longest path':14}  {timing.longest_path}"]
        return "\n".join(lines)


def parse(report: dict, cells: dict[str, int], resources: tuple[Resource, ...],
          untimed_ns: float = 0.0, required_mhz: float | None = None) -> BuildReport:
    """Return what a report of nextpnr says.

    Blocks that nextpnr takes for registered though they are used without registers (multipliers of
    the iCE40) split a path in two, and its clock comes out too fast. Both halves show up as paths
    to and from a clock that is none; here they are joined again.

    Parameters
    ----------
    report
        Of ``nextpnr --report``, parsed.
    cells
        Netlist cells by type, of yosys' ``stat``.
    resources
        Rows of the utilisation table.
    untimed_ns
        Delay of such a block.
    required_mhz
        What all clocks must reach, if it is not what was asked for.

    Raises
    ------
    ValueError
        If the report lacks something, or the design has no clock.
    """
    try:
        return BuildReport(tuple(_usage(resource, report["utilization"], cells)
                                 for resource in resources),
                           _timing({name: clock if required_mhz is None else
                                    clock | {"constraint": required_mhz}
                                    for name, clock in report["fmax"].items()},
                                   report["critical_paths"], untimed_ns))
    except KeyError as error:
        raise ValueError(f"report of place and route lacks {error}") from None


def _usage(resource: Resource, utilization: dict, cells: dict[str, int]) -> Usage:
    counted = utilization[resource.cell]
    if resource.netlist is None:
        return Usage(resource.name, counted["used"], counted["available"])
    used = sum(count for name, count in cells.items() if name.startswith(resource.netlist))
    return Usage(resource.name, used, counted["available"])


def _timing(clocks: dict, paths: list[dict], untimed_ns: float) -> Timing:
    if not clocks:
        raise ValueError("report of place and route has no clock")
    clock = min(clocks, key=lambda name: (clocks[name]["achieved"] / clocks[name]["constraint"]))
    frequencies = clocks[clock]
    longest = {(_kind(path["from"], clock), _kind(path["to"], clock)): path["path"]
               for path in paths}
    candidates = [(1000 / frequencies["achieved"], _ends(longest.get(("clock", "clock"))))]
    into, out = longest.get(("clock", "none")), longest.get(("none", "clock"))
    if into and out:
        between = longest.get(("none", "none"), [])
        blocks = 2 if between else 1
        delay = sum(map(_delay, (into, between, out))) + blocks * untimed_ns
        candidates.append((delay, f"{_ends(into + out)}, through a block without registers"))
    period, ends = max(candidates)
    return Timing(1000 / period, frequencies["constraint"], ends)


def _kind(event: str, clock: str) -> str:
    """Return whether a path's end is of the clock, outside of all clocks, or of none that is."""
    if event == "<async>":
        return "async"
    return "clock" if event.split()[-1] == clock else "none"


def _delay(path: list[dict]) -> float:
    return sum(step["delay"] for step in path)


def _ends(path: list[dict] | None) -> str:
    if not path:
        return "unknown"
    return " -> ".join(register_name(end["cell"]) for end in (path[0]["from"], path[-1]["to"]))


def register_name(cell: str) -> str:
    """Return the name in the source of a cell or net: what yosys and nextpnr append is cut off."""
    for mark in ("_TRELLIS_", "_SB_", "_LUT4", "_CCU2", "_MULT18", "$", "_DFFLC", "_LC",
                 "_PFUMX", "_L6MUX"):
        at = cell.find(mark)
        cell = cell[:at] if at > 0 else cell
    return cell


@dataclass(frozen=True, slots=True)
class Step:
    """A signal on a path, and when it is there, in nanoseconds behind the edge of the clock."""

    signal: str
    at: float


def path_of(report: dict) -> tuple[Step, ...]:
    """Return the slowest path between registers of a report of nextpnr, in names of the source;
    what carries and LUTs in between are called after is left out.

    Raises
    ------
    ValueError
        If the report has none.
    """
    try:
        paths = [path for path in report["critical_paths"]
                 if path["from"] == path["to"] != "<async>"]
        if not paths:
            raise ValueError("report of place and route has no path between registers")
        steps, at = [], 0.0
        for part in paths[0]["path"]:
            at += part["delay"]
            name = register_name(part.get("net", part["to"]["cell"]))
            if steps and steps[-1].signal == name:
                steps.pop()
            steps.append(Step(name, at))
        return tuple(steps)
    except KeyError as error:
        raise ValueError(f"report of place and route lacks {error}") from None
