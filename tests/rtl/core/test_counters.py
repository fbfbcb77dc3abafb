import random

from golden.core.isa import Opcode
from rtl.core.counters import COUNTERS, Counters
from rtl.core.instruction import Phase
from tests.benches.simulate import simulate

KINDS = {"transfer": {Opcode.LOAD, Opcode.STORE, Opcode.PATCHES}, "norm": {Opcode.NORM},
         "softmax": {Opcode.SOFTMAX}, "predict": {Opcode.PREDICT}}
FLAGS = ("feeding", "operands_valid", "operands_ready", "beat", "write")


def counted(phase, opcode, flags):
    """Return what counts in a cycle of a run."""
    product = phase is Phase.RUN and opcode is Opcode.GEMM and flags["feeding"]
    valid, ready = flags["operands_valid"], flags["operands_ready"]
    return {
        "cycles": phase is not Phase.IDLE,
        "array": valid and ready,
        "weights": product and not valid,
        "drain": product and valid and not ready,
        "fetch": phase is Phase.FETCH,
        **{name: phase in (Phase.CONSTANTS, Phase.RUN) and opcode in opcodes
           for name, opcodes in KINDS.items()},
        "reads": flags["beat"] and not flags["write"],
        "writes": flags["beat"] and flags["write"],
    }


async def cycles(ctx, dut, rng, count):
    """Random cycles; return what has been counted in them."""
    totals = dict.fromkeys(COUNTERS, 0)
    for _ in range(count):
        phase, opcode = rng.choice(list(Phase)), rng.choice(list(Opcode))
        flags = {name: rng.getrandbits(1) for name in FLAGS}
        ctx.set(dut.phase, phase)
        ctx.set(dut.instruction.opcode, opcode)
        ctx.set(dut.busy, phase is not Phase.IDLE)
        for name, flag in flags.items():
            ctx.set(getattr(dut, name), flag)
        await ctx.tick()
        for name, event in counted(phase, opcode, flags).items():
            totals[name] += bool(event)
    return totals


def test_counts_what_it_says_from_zero_on_in_each_run():
    dut = Counters()
    rng = random.Random(1)

    async def testbench(ctx):
        for _ in range(2):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            totals = await cycles(ctx, dut, rng, 3000)
            assert all(totals.values())
            assert totals == {name: ctx.get(getattr(dut, f"counter_{name}")) for name in COUNTERS}

    simulate(dut, testbench)
