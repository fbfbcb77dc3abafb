"""What is at the other end of a Wishbone bus in cocotb testbenches."""

import random
from collections import deque

from cocotb.triggers import RisingEdge

NAMES = {"cyc": "cyc", "stb": "stb", "we": "we", "adr": "adr", "datwr": "dat_w",
         "datrd": "dat_r", "ack": "ack"}
"""Names of cocotbext-wishbone, and ours."""


class PipelinedMemory:
    """A memory that takes a request per cycle, and answers in order; it checks what it is asked.

    Parameters
    ----------
    prefix
        Of the names of the bus's signals.
    memory
        Its bytes, at addresses modulo their number.
    stall, idle
        Probability in each cycle that no request is taken, and that no answer is given.
    latency
        Least cycles from request to answer.
    broken
        Addresses that are answered with errors.
    """

    def __init__(self, dut, prefix, clock, memory, *, stall=0.0, idle=0.0, latency=1,
                 broken=frozenset(), seed=1):
        self._signal = lambda name: getattr(dut, prefix + name)
        self._clock, self.memory, self.broken = clock, memory, broken
        self._stall, self._idle, self._latency = stall, idle, latency
        self._rng = random.Random(seed)
        self.addresses, self.most, self.errors = [], 0, 0

    async def run(self):
        """Answer for ever."""
        bus, rng = self._signal, self._rng
        cyc, stb, stall, ack, err = (bus(name) for name in ("cyc", "stb", "stall", "ack", "err"))
        awaited, cycle, held, given = deque(), 0, None, 0
        unit = len(bus("sel"))
        while True:
            if not (awaited or given or held or cyc.value):
                await RisingEdge(cyc)  # which is much faster than to look in every cycle
            stalls = rng.random() < self._stall
            due = bool(awaited) and awaited[0][0] <= cycle and rng.random() >= self._idle
            if due:
                _, data, wrong = awaited.popleft()
                bus("dat_r").value = data if data is not None else rng.getrandbits(8 * unit)
                given += wrong
            stall.value = int(stalls)
            ack.value, err.value = int(due and not wrong), int(due and wrong)
            await RisingEdge(self._clock)
            cycle += 1
            self.errors, before = self.errors + given, self.errors
            given = 0
            strobe = bool(stb.value)
            assert cyc.value or not (strobe or awaited or due), "the cycle ends too early"
            said = None
            if strobe:
                said = tuple(int(bus(name).value) for name in ("adr", "we", "sel",
                                                                        "dat_w"))
                said = said if said[1] else (*said[:3], None)
            assert held is None or said == held, "a stalled request is withdrawn or changed"
            assert not strobe or held or not before, "something is asked for after an error"
            held = said if strobe and stalls else None
            if strobe and not stalls:
                awaited.append((cycle + self._latency - 1, *self._access(unit, *said)))
                self.most = max(self.most, len(awaited))

    def _access(self, unit, adr, we, sel, data):
        assert sel == (1 << unit) - 1
        self.addresses.append(adr * unit)
        place = adr * unit % len(self.memory)
        if place in self.broken:
            return None, True
        if we:
            self.memory[place:place + unit] = data.to_bytes(unit, "little")
            return None, False
        return int.from_bytes(self.memory[place:place + unit], "little"), False
