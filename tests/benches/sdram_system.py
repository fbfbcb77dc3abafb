"""A controller with a model of its chip at the pins, and requests to it."""

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import CORES
from golden.sdram.sdram import CHIPS, Chip, Violation
from golden.sdram.sdram_cycles import SdramCycles
from rtl.memory.memory_port import memory_signature
from rtl.sdram.sdram import Sdram
from rtl.sdram.sdram_model import SdramModel, WordMemory
from rtl.sdram.sdram_pins import PinRegisters
from tests.benches.simulate import simulate

CONFIG = CORES["8x16"]


def small(name: str, **changes) -> Chip:
    """A chip with few rows and a short initialisation."""
    return replace(CHIPS[name], **{"row_bits": 3, "init_us": 1} | changes)


def names(violations: int) -> list[str]:
    """What a model has found."""
    return [one.name for one in Violation if violations >> one & 1]


class SdramSystem(wiring.Component):
    """Controller and chip; the port of the one and the violations of the other.

    `believed` is the chip that the controller is made for, if it is another.
    """

    def __init__(self, chip: Chip, hertz: int, *, config=CONFIG, capture=1, believed=None):
        self.chip = chip
        self.sdram = Sdram(config, believed or chip, hertz, capture)
        self.schedule = self.sdram.schedule
        self._real = replace(self.schedule, timing=chip.timing(hertz))
        super().__init__({
            "memory": In(memory_signature(config)), "restart": In(1), "ready": Out(1),
            "violations": Out(len(Violation)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = sdram = self.sdram
        m.submodules.chip = chip = SdramModel(self.chip, self._real)
        m.submodules.words = words = WordMemory(self.chip)
        m.submodules.pads = pads = PinRegisters()
        connect(m, sdram.pins, pads.controller)
        connect(m, pads.pins, chip.pins)
        connect(m, chip.words, words.words)
        connect(m, flipped(self.memory), sdram.memory)
        m.d.comb += [sdram.restart.eq(self.restart), self.ready.eq(sdram.ready),
                     self.violations.eq(chip.violations)]
        return m


@dataclass
class Requests:
    """Requests of a run, each offered from a cycle on, or once the one before it is accepted."""

    offered: np.ndarray
    addresses: np.ndarray
    writes: np.ndarray
    data: np.ndarray

    @classmethod
    def random(cls, system: SdramSystem, count: int, seed: int, *, beyond: int = 0):
        """Requests in all kinds of order, some of them late, to `beyond` bytes more than there are.

        Runs of neighbours, of places around few rows, and of places anywhere take turns.
        """
        rng = np.random.default_rng(seed)
        step = 2 * system.schedule.burst
        size = (1 << system.chip.size_bits) + beyond
        anywhere = rng.integers(0, size // step, count) * step
        row = 2 << system.chip.column_bits
        near = rng.integers(0, 10, count) * row + rng.integers(-2, 2, count) * step
        along = rng.integers(0, size) // step * step + np.arange(count) * step
        kind, write = rng.integers(0, 3, (2, count // 50 + 1))
        kind, write = (np.repeat(each, 50)[:count] for each in (kind, write))
        addresses = np.choose(kind, (anywhere, near % size, along % size))
        late = rng.integers(0, 12, count) * (rng.random(count) < 0.1)
        return cls(np.cumsum(late), addresses,
                   np.where(write == 2, rng.integers(0, 2, count), write),
                   rng.integers(0, 256, (count, step), np.uint8))

    @classmethod
    def along(cls, system: SdramSystem, count: int):
        """Reads of one beat after the other."""
        step = 2 * system.schedule.burst
        zeros = np.zeros(count, int)
        return cls(zeros, np.arange(count) * step, zeros, np.zeros((count, step), np.uint8))

    def cycles(self, system: SdramSystem):
        """When they are accepted and answered, as the golden model says."""
        return SdramCycles(system.chip, system.schedule).serve_all(
            self.offered, self.addresses, self.writes)


@dataclass
class Seen:
    """What has been seen of a run: cycles of requests and responses, and what the latter said."""

    accepted: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    data: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)


async def run(ctx, system: SdramSystem, requests: Requests) -> Seen:
    """Restart, and make requests until the last one is answered; cycle 0 is that of `restart`."""
    port, seen, cycle = system.memory, Seen(), 0
    waiting = deque(zip(*(each.tolist() for each in (
        requests.offered, requests.addresses, requests.writes)), requests.data, strict=True))
    ctx.set(port.response.ready, 1)
    ctx.set(system.restart, 1)
    while len(seen.answered) < len(requests.addresses):
        offers = bool(waiting) and cycle >= waiting[0][0]
        ctx.set(port.request.valid, offers)
        if offers:
            _, address, write, data = waiting[0]
            ctx.set(port.request.payload, {"address": address, "write": write,
                                           "data": int.from_bytes(data.tobytes(), "little")})
        *_, ready, valid, response = await ctx.tick().sample(
            port.request.ready, port.response.valid, port.response.payload)
        ctx.set(system.restart, 0)
        if offers and ready:
            waiting.popleft()
            seen.accepted.append(cycle)
        if valid:
            seen.answered.append(cycle)
            seen.data.append(response.data)
            seen.errors.append(response.error)
        cycle += 1
    ctx.set(port.request.valid, 0)
    return seen


def check(system: SdramSystem, requests: Requests, seen: Seen, kept: dict[int, bytes]):
    """Compare with the golden cycles, and with `kept`, beats of memory by address."""
    accepted, answered = requests.cycles(system)
    np.testing.assert_array_equal(seen.accepted, accepted)
    np.testing.assert_array_equal(seen.answered, answered)
    step = 2 * system.schedule.burst
    for index, (address, write, data) in enumerate(zip(
            requests.addresses.tolist(), requests.writes, requests.data, strict=True)):
        if write:
            kept[address] = data.tobytes()
        elif address in kept:
            got = seen.data[index].to_bytes(step, "little")
            assert got == kept[address], (
                f"#{index} 0x{address:x}: {got.hex()} != {kept[address].hex()} (expected)")


async def started(ctx, system: SdramSystem):
    """Wait until the chip is initialised and has been refreshed."""
    while not ctx.get(system.ready):
        await ctx.tick()
    for _ in range(3 * system.schedule.settle):
        await ctx.tick()


def checked(system: SdramSystem, *runs: Requests, kept=None, pause=0, max_cycles=100_000):
    """Run requests and check all of it; return what has been seen of the last run."""
    kept, all_seen = {} if kept is None else kept, []

    async def testbench(ctx):
        await started(ctx, system)
        for requests in runs:
            all_seen.append(await run(ctx, system, requests))
            for _ in range(pause):
                await ctx.tick()
        assert names(ctx.get(system.violations)) == []

    simulate(system, testbench, max_cycles=max_cycles)
    for requests, seen in zip(runs, all_seen, strict=True):
        check(system, requests, seen, kept)
        assert not any(seen.errors)
    return all_seen[-1]
