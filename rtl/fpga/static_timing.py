"""Ways between registers of a netlist for the ECP5, before anything is placed.

Cells have the delays of nextpnr's tables (LFE5U, speed grade 6), a net what nets of its fan-out
took on average in designs that were routed. So the absolute figures are estimates (within a tenth
of nextpnr's after placement, for whole cores), but the order of the ways is there in seconds, for
all of them at once, where nextpnr tells of one in half an hour.
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from .build_report import register_name

__all__ = ["Way", "slowest_ways"]

NET_NS, FAN_OUT_NS = 0.75, 0.28
"""Of a net to one cell, and for each doubling of its fan-out."""

_CLOCK_TO_OUT = {"TRELLIS_FF": 0.52, "DP16KD": 5.6, "MULT18X18D": 0.6, "TRELLIS_DPR16X4": 0.6}
_OUTPUT_REGISTER_NS = 0.9
_SETUP = {"TRELLIS_FF": 0.1, "DP16KD": 0.3, "MULT18X18D": 0.3, "TRELLIS_DPR16X4": 0.1}
_THROUGH = {"LUT4": 0.24, "PFUMX": 0.17, "L6MUX21": 0.15, "CCU2C": 0.45, "TRELLIS_DPR16X4": 0.24,
            "MULT18X18D": 3.9}
_CARRY_NS = 0.06
_LOCAL = {("LUT4", "PFUMX"), ("PFUMX", "L6MUX21"), ("L6MUX21", "L6MUX21"), ("CCU2C", "CCU2C")}
_CLOCKS = ("CLK", "CLKA", "CLKB", "CLK0", "CLK1", "CLK2", "CLK3", "WCK")


@dataclass(frozen=True, slots=True)
class Way:
    """A way from register to register: nanoseconds, cells on it, and its signals with their times.

    `signals` are names of the source, in order, each with the nanoseconds behind the edge of the
    clock at which it is there; the last is the register that the way ends in.
    """

    ns: float
    cells: int
    signals: tuple[tuple[str, float], ...]


class _Netlist:
    """The cells of a module, who drives and who reads its nets, and what those are called."""

    def __init__(self, module: dict):
        self.cells = module["cells"]
        self.driver: dict[int, tuple[str, str]] = {}
        self.fan_out: dict[int, int] = defaultdict(int)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    self.driver |= dict.fromkeys(bits, (name, port))
                elif port not in _CLOCKS:
                    for bit in bits:
                        self.fan_out[bit] += 1
        self.names: dict[int, str] = {}
        named = ((register_name(name.split("[")[0]), net["bits"])
                 for name, net in module["netnames"].items()
                 if not net.get("hide_name") and "$" not in name)
        for name, bits in sorted(named, key=lambda one: (one[0].count("."), len(one[0]))):
            for bit in bits:
                self.names.setdefault(bit, name)

    def starts(self, cell: dict, port: str) -> bool:
        """Return whether what leaves by a port comes from a register."""
        kind = cell["type"]
        if kind == "MULT18X18D":
            return any(cell["parameters"].get(f"REG_{place}_CLK", "NONE") != "NONE"
                       for place in ("OUTPUT", "PIPELINE", "INPUTA"))
        return kind in ("TRELLIS_FF", "DP16KD")

    def arcs(self, cell: dict, port: str):
        """Yield the inputs that an output without a register depends on, with their delays."""
        kind = cell["type"]
        if kind not in _THROUGH:
            return
        for other, bits in cell["connections"].items():
            if cell["port_directions"][other] != "input" or other in _CLOCKS:
                continue
            if kind == "TRELLIS_DPR16X4" and not other.startswith("RAD"):
                continue
            carry = kind == "CCU2C" and other == "CIN" and port == "COUT"
            for bit in bits:
                yield bit, _CARRY_NS if carry else _THROUGH[kind]

    def ends(self, name: str):
        """Yield the inputs of a cell that are taken at the edge of a clock."""
        cell = self.cells[name]
        kind = cell["type"]
        if kind not in _SETUP or kind == "MULT18X18D" and not self.starts(cell, "P0"):
            return
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output" or port in _CLOCKS:
                continue
            if kind == "TRELLIS_DPR16X4" and port.startswith("RAD"):
                continue
            yield from bits

    def net_ns(self, bit: int, reader: str) -> float:
        """Return how long a net takes to a kind of cell."""
        kind = self.cells[self.driver[bit][0]]["type"]
        if (kind, reader) in _LOCAL:
            return 0.0
        return NET_NS + FAN_OUT_NS * math.log2(1 + self.fan_out[bit])


def slowest_ways(netlist: dict, top: str, most: int) -> list[Way]:
    """Return the slowest ways of a netlist, one for each register of the source that ways end in.

    Parameters
    ----------
    netlist
        As yosys' ``write_json`` writes it, after ``synth_ecp5``, parsed.
    top
        The module.
    most
        How many.

    Raises
    ------
    ValueError
        If the netlist has a loop of logic, or no such module.
    """
    if top not in netlist.get("modules", {}):
        raise ValueError(f"netlist has no module {top!r}")
    nets = _Netlist(netlist["modules"][top])
    there, came_by = _arrivals(nets)
    slowest: dict[str, tuple[float, int]] = {}
    for name, cell in nets.cells.items():
        for bit in nets.ends(name):
            if bit in there:
                at = there[bit] + nets.net_ns(bit, cell["type"]) + _SETUP[cell["type"]]
                end = _name_of(nets, name)
                if at > slowest.get(end, (0.0, 0))[0]:
                    slowest[end] = at, bit
    ranked = sorted(slowest.items(), key=lambda one: -one[1][0])[:most]
    return [_way(nets, there, came_by, end, at, bit) for end, (at, bit) in ranked]


def _arrivals(nets: _Netlist) -> tuple[dict[int, float], dict[int, int]]:
    """Return when each net's driver has it, and the net before it on the slowest way."""
    there: dict[int, float] = {}
    came_by: dict[int, int] = {}
    for start in nets.driver:
        stack = [start]
        open_ = set()
        while stack:
            bit = stack[-1]
            if bit in there:
                stack.pop()
                continue
            name, port = nets.driver[bit]
            cell = nets.cells[name]
            if nets.starts(cell, port):
                registered = cell["parameters"].get("REGMODE_A", "NOREG") == "OUTREG"
                there[bit] = _OUTPUT_REGISTER_NS if registered else _CLOCK_TO_OUT[cell["type"]]
                continue
            arcs = [arc for arc in nets.arcs(cell, port) if arc[0] in nets.driver]
            missing = [before for before, _ in arcs if before not in there]
            if missing:
                if bit in open_:
                    raise ValueError(f"netlist has a loop of logic through {name}")
                open_.add(bit)
                stack.extend(missing)
                continue
            there[bit] = _CLOCK_TO_OUT.get(cell["type"], 0.0) if not arcs else 0.0
            for before, delay in arcs:
                at = there[before] + nets.net_ns(before, cell["type"]) + delay
                if at > there[bit]:
                    there[bit], came_by[bit] = at, before
    return there, came_by


def _name_of(nets: _Netlist, cell: str) -> str:
    """Return the register of the source that a cell is a bit of."""
    outputs = [bit for port, bits in nets.cells[cell]["connections"].items()
               if nets.cells[cell]["port_directions"][port] == "output" for bit in bits]
    named = [nets.names[bit] for bit in outputs if bit in nets.names]
    return named[0] if named else register_name(cell)


def _way(nets: _Netlist, there, came_by, end: str, at: float, bit: int) -> Way:
    bits = [bit]
    while bits[-1] in came_by:
        bits.append(came_by[bits[-1]])
    signals: list[tuple[str, float]] = []
    for one in reversed(bits):
        name = nets.names.get(one)
        if name is not None:
            if signals and signals[-1][0] == name:
                signals.pop()
            signals.append((name, there[one]))
    return Way(at, len(bits), (*signals, (end, at)))
