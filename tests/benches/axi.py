"""What is at the other end of AXI4 in cocotb testbenches, and what looks on."""

import itertools
import random
from collections import deque
from collections.abc import Callable

from cocotb.triggers import First, RisingEdge
from cocotbext.axi import AxiBus, AxiRam, AxiReadBus, AxiWriteBus

PAGE = 4096


def axi_ram(bus: AxiBus, clock, memory: bytearray, *, reset=None, active=True, broken=(),
            base=None, wait=None) -> AxiRam:
    """Return the memory of cocotbext-axi; accesses to the addresses `broken` are errors.

    `memory` is its contents, and is what is written. It begins at `base`, or everywhere. Before
    each beat `wait` is awaited.
    """
    ram = AxiRam(bus, clock, reset, active, size=len(memory), mem=memory)
    read, write = ram.read_if._read, ram.write_if._write

    def check(address):
        if address % len(memory) in broken or base not in (None, address - address % len(memory)):
            raise ValueError

    async def broken_read(address, length):
        check(address)
        if wait is not None:
            await wait()
        return await read(address, length)

    async def broken_write(address, data):
        check(address)
        if wait is not None:
            await wait()
        await write(address, data)

    ram.read_if._read, ram.write_if._write = broken_read, broken_write
    return ram


def halves(dut, prefix) -> AxiBus:
    """Return the bus of a component whose signals are PREFIX__write__awaddr, and so on."""
    return AxiBus(AxiWriteBus.from_prefix(dut, f"{prefix}__write_"),
                  AxiReadBus.from_prefix(dut, f"{prefix}__read_"))


def pauses(share: float, longest: int = 1):
    """Whether a channel pauses, cycle by cycle: a share of the time, in pieces up to `longest`."""
    rng = random.Random(share)
    while True:
        piece = rng.randint(1, longest)
        yield from itertools.repeat(rng.random() < share, piece)


def pause(ram: AxiRam, share: float, longest: int = 1):
    """Have all channels pause."""
    for channel in (ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                    ram.read_if.ar_channel, ram.read_if.r_channel):
        channel.set_pause_generator(pauses(share, longest) if share else None)


async def steady_memory(bus: AxiBus, clock, memory: bytearray, *, base: int, latency: int):
    """Be memory at `base`, for ever, that takes all that comes and answers after `latency` cycles,
    a beat per cycle: as the core's own memory port has it in :mod:`golden.cycles.memory_model`.
    """
    ar, r, aw, w, b = bus.read.ar, bus.read.r, bus.write.aw, bus.write.w, bus.write.b
    unit = len(w.wstrb)
    for ready in (ar.arready, aw.awready, w.wready):
        ready.value = 1
    r.rvalid.value = b.bvalid.value = 0
    r.rid.value = b.bid.value = r.rresp.value = b.bresp.value = 0
    beats, words, places, answers = deque(), deque(), deque(), deque()
    for cycle in itertools.count():
        if not (beats or words or places or answers or r.rvalid.value or b.bvalid.value
                or ar.arvalid.value or aw.awvalid.value or w.wvalid.value):
            await First(*(RisingEdge(valid) for valid in (ar.arvalid, aw.awvalid, w.wvalid)))
        await RisingEdge(clock)  # in each of them, only while something is on its way
        if ar.arvalid.value:
            first, last = int(ar.araddr.value) - base, int(ar.arlen.value)
            beats.extend((cycle + latency, first + unit * at, at == last)
                         for at in range(last + 1))
        if aw.awvalid.value:
            first = int(aw.awaddr.value) - base
            places.extend(first + unit * at for at in range(int(aw.awlen.value) + 1))
        if w.wvalid.value:
            words.append((w.wdata.value.to_unsigned(), int(w.wstrb.value), int(w.wlast.value)))
        while words and places:
            (data, strobes, last), place = words.popleft(), places.popleft()
            for byte, value in enumerate(data.to_bytes(unit, "little")):
                if strobes >> byte & 1:
                    memory[place + byte] = value
            if last:
                answers.append(cycle + latency)
        assert not r.rvalid.value or r.rready.value, "what is read must be taken at once"
        r.rvalid.value = int(bool(beats) and beats[0][0] <= cycle + 1)
        if beats and beats[0][0] <= cycle + 1:
            _, place, last = beats.popleft()
            r.rdata.value = int.from_bytes(memory[place:place + unit], "little")
            r.rlast.value = int(last)
        if b.bvalid.value and b.bready.value:
            answers.popleft()
        b.bvalid.value = int(bool(answers) and answers[0] <= cycle + 1)


class Rules:
    """Rules of AXI4 for a master, watched in every cycle.

    Parameters
    ----------
    burst, base, size
        Most beats of a burst, and the only memory there is.
    failed
        Returns whether an error was answered, after which no burst may begin.

    Attributes
    ----------
    lengths
        Of all bursts, ``read`` and ``write``.
    most
        Most beats that were awaited.
    errors
        Error responses that have come.
    """

    def __init__(self, bus: AxiBus, clock, *, burst: int, base: int, size: int,
                 failed: Callable[[], bool]):
        self._bus, self._clock, self._burst = bus, clock, burst
        self._base, self._size, self._failed = base, size, failed
        self.lengths, self.most, self.errors = {"read": [], "write": []}, 0, 0
        self._offered = {}

    async def run(self):
        """Watch for ever."""
        ar, r, aw, w, b = (self._bus.read.ar, self._bus.read.r, self._bus.write.aw,
                           self._bus.write.w, self._bus.write.b)
        awaited, bursts, written = deque(), deque(), deque()
        while True:
            await RisingEdge(self._clock)
            for channel, name in ((ar, "ar"), (aw, "aw")):
                if length := self._taken(channel, name, ["addr", "len", "size", "burst"]):
                    (awaited if name == "ar" else bursts).append(length)
                    self.lengths["read" if name == "ar" else "write"].append(length)
            if said := self._taken(w, "w", ["data", "strb", "last"]):
                written.append(said[-1])
            while written and bursts and len(written) >= bursts[0]:
                length = bursts.popleft()
                assert [written.popleft() for _ in range(length)] == [0] * (length - 1) + [1], (
                    "wlast")
            assert r.rready.value, "what is read must be taken at once"
            if r.rvalid.value:
                self.errors += int(r.rresp.value) >> 1
                awaited[0] -= 1
                assert r.rlast.value == (awaited[0] == 0)
                if awaited[0] == 0:
                    awaited.popleft()
            if b.bvalid.value and b.bready.value:
                self.errors += int(b.bresp.value) >> 1
            self.most = max(self.most, sum(awaited))

    def _taken(self, channel, name, fields):
        """Check a channel; return the length of the burst or the beat that is taken, if any."""
        valid = getattr(channel, f"{name}valid").value
        held = self._offered.pop(name, None)
        if not valid:
            assert held is None, f"{name}valid is withdrawn"
            return None
        said = [int(getattr(channel, name + field).value) for field in fields]
        assert held in (None, said), f"{name} changes while it waits"
        if name != "w" and held is None:
            assert not self._failed(), f"{name} begins after an error"
            self._check_burst(channel, name, said)
        if not getattr(channel, f"{name}ready").value:
            self._offered[name] = said
            return None
        return said if name == "w" else said[1] + 1

    def _check_burst(self, channel, name, said):
        address, length, size, kind = said
        unit = len(self._bus.write.w.wstrb)
        assert (1 << size, kind) == (unit, 1)
        assert length < self._burst
        assert address % PAGE + (length + 1) * unit <= PAGE, "a burst crosses 4 KiB"
        assert address & ~(self._size - 1) == self._base
        assert getattr(channel, f"{name}cache").value == 0b0011
        assert getattr(channel, f"{name}id").value == 0
