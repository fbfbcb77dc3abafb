"""What is around a sequencer: weight buffer, scale file, DMA and whatever does an instruction."""

import random

from golden.core.isa import INSTRUCTION_UNITS, Opcode, Status
from golden.cycles.timing import RESOLVE
from rtl.core.sequencer import Phase, Sequencer

NEVER = 1 << 30


class System:
    """All that a sequencer waits for, and what it has asked for.

    Parameters
    ----------
    idle
        How often what is waited for takes another cycle.
    resolve
        Cycles in which exponents are added up.
    run
        Cycles of an instruction from the second one on.
    exponent
        Row exponent of the last SOFTMAX.
    """

    def __init__(self, *, idle=0.0, resolve=RESOLVE, run=0, exponent=9000, seed=1):
        self.dut = Sequencer()
        self.takes, self.runs, self.phases = [], [], []
        self.accepted = []  # cycles in which units of instructions were
        self.exponent = exponent
        self.stop = {}  # signals to be given in the n-th cycle of a program
        self._idle, self._resolve, self._run, self._rng = idle, resolve, run, random.Random(seed)

    def _late(self):
        return self._rng.random() < self._idle

    def load(self, program):
        """Have a program ready to be fetched."""
        self._units = [code >> 64 * unit & (1 << 64) - 1
                       for code in program for unit in range(INSTRUCTION_UNITS)]
        self._left = self._busy = self._payload = 0
        self._steps, self._present = 0, None

    async def around(self, ctx):
        """Be weight buffer, scale file, DMA and whatever does an instruction."""
        dut, rng = self.dut, self._rng
        while True:
            phase = ctx.get(dut.phase)
            fetching, first = phase == Phase.FETCH, ctx.get(dut.run)
            opcode = ctx.get(dut.instruction.opcode)
            taking = not self._late()
            # Units are there for instructions once these are asked for; else they are of payloads.
            offered = self._left > 0 and not self._late() if fetching else rng.random() < 0.5
            constants = (phase == Phase.CONSTANTS and self._payload == 1 and not self._late())
            done = self._payload == (2 if opcode == Opcode.PREDICT else 0)
            finished = (rng.random() < 0.5 if phase != Phase.RUN or first else
                        (opcode != Opcode.PREDICT or done) and not self._busy and not self._late())
            ctx.set(dut.take.ready, taking)
            ctx.set(dut.units.valid, offered)
            ctx.set(dut.units.payload, self._units[0] if fetching and offered and self._units
                    else rng.getrandbits(64))
            ctx.set(dut.resolved, self._steps == 0)
            ctx.set(dut.constants, constants if phase == Phase.CONSTANTS else rng.randrange(2))
            ctx.set(dut.finished, finished)
            ctx.set(dut.last_exponent, self.exponent)
            for name in ("error", "starved", "drained"):
                ctx.set(getattr(dut, name), self._given(name, phase))
            *_, start, asked, units, ready, resolve, runs, instruction = await ctx.tick().sample(
                dut.start, dut.take.valid, dut.take.payload, dut.units.ready, dut.resolve,
                dut.run, dut.instruction.as_value())
            if start:
                self.takes, self.runs, self.phases, self.accepted = [], [], [], []
            self.phases.append(phase)
            assert fetching or not ready, "units are taken that are not of an instruction"
            assert bool(runs) <= (phase == Phase.RUN)
            if runs:
                self.runs.append(instruction)
                self._busy = self._run
            elif phase == Phase.RUN:
                self._busy -= self._busy > 0
            elif fetching:
                self._payload = 0
            if phase in (Phase.CONSTANTS, Phase.RUN):
                self._present = instruction if self._present is None else self._present
                assert instruction == self._present, "the instruction has changed"
            else:
                self._present = None
            if asked and taking:
                self.takes.append(units)
                self._left += units if fetching else 0
                self._payload += not fetching
            if fetching and offered and ready:
                self._units.pop(0)
                self._left -= 1
                self.accepted.append(len(self.phases) - 1)
            self._steps = self._resolve if resolve else max(0, self._steps - 1)

    def _given(self, name, phase):
        if name == "drained" and name not in self.stop:
            return phase == Phase.DRAIN and not self._late()
        return self.stop.get(name, NEVER) <= len(self.phases)

    async def run(self, ctx, program):
        """Carry out a program; return its status."""
        dut = self.dut
        self.load(program)
        assert not ctx.get(dut.busy)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while ctx.get(dut.busy):
            assert not ctx.get(dut.done)
            await ctx.tick()
        assert ctx.get(dut.done)
        for _ in range(2):  # for what is around to have seen it
            await ctx.tick()
        return Status(ctx.get(dut.status))
