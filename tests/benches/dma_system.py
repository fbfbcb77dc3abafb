"""What is around a DMA: external memory, scratchpad and the ring of the stream."""

import random
from collections import deque

import numpy as np

from golden.memory.scratchpad import BANK_BITS
from rtl.memory.dma import Dma, transfer_layout
from tests.benches.simulate import simulate
from tests.benches.streams import held
from tests.cases.transfers import MEMORY_BYTES, TOP


class System:
    """External memory, scratchpad and ring around a DMA, and what each has seen.

    Attributes
    ----------
    memory, words
        Contents: uint8 (bytes,) from :data:`TOP` on, uint16 (words, rows).
    requests
        Cycle, address and direction of each accepted request.
    hints
        What it says of beats that follow, and whether it is of the stream.
    stream
        Beats that came of the stream.
    reserved, free
        Beats of the stream that were requested, and for how many there is room.
    """

    def __init__(self, config, *, latency=1, jitter=0, stall=0.0, idle=0.0, full=0.0, faults=(),
                 seed=1):
        rng = np.random.default_rng(seed)
        self.config, self.dut = config, Dma(config)
        self.memory = rng.integers(0, 256, MEMORY_BYTES, np.uint8)
        self.words = rng.integers(0, 1 << 16, (config.scratchpad_words, config.rows), np.uint16)
        self.requests, self.hints, self.stream = [], [], []
        self.reserved = self.cycle = 0
        self.free = self.limit = config.stream_words * config.cols // config.bus_bytes
        self._latency, self._jitter, self._faults = latency, jitter, set(faults)
        self._stall, self._idle, self._full, self._rng = stall, idle, full, random.Random(seed)

    async def external(self, ctx):
        """Take requests, and answer them in order; those whose numbers are faults with an error."""
        port, rng, answers, bus = self.dut.memory, self._rng, deque(), self.config.bus_bytes
        while True:
            ready = rng.random() >= self._stall
            given = bool(answers) and answers[0][0] <= self.cycle and rng.random() >= self._idle
            ctx.set(port.request.ready, ready)
            ctx.set(port.response.valid, given)
            ctx.set(port.response.p.data, answers[0][1] if given else rng.getrandbits(8 * bus))
            ctx.set(port.response.p.error, answers[0][2] if given else rng.randrange(2))
            *_, valid, request, taken = await ctx.tick().sample(
                port.request.valid, port.request.payload, port.response.ready)
            assert taken, "a response must always be taken"
            if given:
                answers.popleft()
            if valid and ready:
                data = self._access(request)
                due = self.cycle + self._latency + rng.randint(0, self._jitter)
                answers.append((due, data, len(self.requests) in self._faults))
                self.requests.append((self.cycle, request.address, request.write))
                self.hints.append((request.beats, request.stream))
            self.cycle += 1

    def _access(self, request):
        bus = self.config.bus_bytes
        assert request.address % bus == 0, f"address 0x{request.address:x} is none of a beat"
        place = request.address - TOP
        assert 0 <= place < MEMORY_BYTES, f"address 0x{request.address:x} is outside memory"
        if not request.write:
            return int.from_bytes(self.memory[place:place + bus].tobytes(), "little")
        self.memory[place:place + bus] = list(request.data.to_bytes(bus, "little"))
        return self._rng.getrandbits(8 * bus)

    async def scratchpad(self, ctx):
        """Read and write, as the ports are used; only during a transfer."""
        read, write, done = self.dut.read, self.dut.write, self.dut.done
        width = len(read.address)
        while True:
            *_, reads, address, enable, places, values, free = await ctx.tick().sample(
                read.enable, read.address, write.enable, write.address.as_value(),
                write.data.as_value(), done)
            assert not (free and (reads or enable)), "the scratchpad is used after a transfer"
            if reads:
                ctx.set(read.data, self.words[address].tolist())
            for bank in range(self.config.rows):
                if enable >> bank & 1:
                    place = places >> bank * width & (1 << width) - 1
                    self.words[place, bank] = values >> bank * BANK_BITS & (1 << BANK_BITS) - 1

    async def ring(self, ctx):
        """Take the stream, and make room again after a while."""
        dut, rng = self.dut, self._rng
        while True:
            ctx.set(dut.room, self.free > 0)
            ctx.set(dut.fill.ready, 1)
            *_, reserved, valid, beat = await ctx.tick().sample(
                dut.reserve, dut.fill.valid, dut.fill.payload)
            assert not reserved or self.free, "more of the stream is requested than has room"
            self.reserved += reserved
            self.free -= reserved
            if valid:
                self.stream.append(beat)
            waiting = self.limit - self.free - (self.reserved - len(self.stream))
            if waiting and rng.random() >= self._full:
                self.free += 1

    async def begin(self, ctx, address, size):
        """Begin a stream; it is idle before."""
        dut = self.dut
        assert ctx.get(dut.idle)
        ctx.set(dut.stream, address)
        ctx.set(dut.stream_bytes, size)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        ctx.set(dut.stream, self._rng.getrandbits(32))
        ctx.set(dut.stream_bytes, self._rng.getrandbits(32))

    async def transfer(self, ctx, fields, before=lambda: None):
        """Carry out a transfer; return the cycles from its start to the first with `done`.

        `before` is called when all of the transfer before has come to memory and scratchpad, and
        nothing of this one.
        """
        dut = self.dut
        assert ctx.get(dut.done)
        ctx.set(dut.run, transfer_layout.const(fields))
        ctx.set(dut.start, 1)
        begun = self.cycle
        await ctx.tick()
        ctx.set(dut.start, 0)
        before()
        while not ctx.get(dut.done):
            assert not ctx.get(dut.idle)
            await ctx.tick()
        taken = self.cycle - begun
        ctx.set(dut.run, transfer_layout.from_bits(self._rng.getrandbits(transfer_layout.size)))
        return taken

    def run(self, control, max_cycles=30_000):
        simulate(self.dut, control, monitors=[
            self.external, self.scratchpad, self.ring, held(self.dut.memory.request)],
            max_cycles=max_cycles)

    def compare(self, memory, words):
        """Compare all of memory and scratchpad with what they should be."""
        for name, actual, expected in (("memory", self.memory, memory),
                                       ("scratchpad", self.words, words)):
            wrong = np.argwhere(actual != expected)
            assert not len(wrong), (
                f"{name}: {len(wrong)} wrong, at {wrong[0].tolist()} {actual[tuple(wrong[0])]} != "
                f"{expected[tuple(wrong[0])]} (expected)")
