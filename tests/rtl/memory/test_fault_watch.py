# amaranth: UnusedElaboratable=no

import random
from collections import deque

import pytest

from golden.common.config import CORES
from golden.soc.registers import ErrorSource
from rtl.memory.fault_watch import FaultWatch
from tests.benches.simulate import simulate

FLIGHT = 5


def source_of(request):
    if request["stream"]:
        return ErrorSource.STREAM
    return ErrorSource.WRITE if request["write"] else ErrorSource.READ


@pytest.mark.parametrize("seed", range(3))
def test_keeps_the_first_error_of_each_run(seed):
    dut, rng, seen = FaultWatch(CORES["4x4"], FLIGHT), random.Random(seed), set()

    async def testbench(ctx):
        awaited, expected = deque(), (ErrorSource.NONE, 0)
        for _ in range(2000):
            write, stream = rng.choice([(0, 1), (0, 0), (1, 0)])
            request = {"address": rng.getrandbits(32), "write": write, "stream": stream}
            sent = len(awaited) < FLIGHT and rng.random() < 0.6
            answered = bool(awaited) and rng.random() < 0.6
            error, clear = rng.random() < 0.1, rng.random() < 0.02
            ctx.set(dut.request, request)
            for name, value in {"sent": sent, "answered": answered, "error": error,
                                "clear": clear}.items():
                ctx.set(getattr(dut, name), int(value))
            await ctx.tick()
            if answered:
                first = awaited.popleft()
                if error and expected[0] == ErrorSource.NONE:
                    expected = source_of(first), first["address"]
            if clear:
                expected = ErrorSource.NONE, 0
            if sent:
                awaited.append(request)
            assert (ctx.get(dut.source), ctx.get(dut.address)) == expected
            seen.add(expected[0])

    simulate(dut, testbench)
    assert seen == set(ErrorSource)


def test_refuses_what_keeps_nothing():
    with pytest.raises(ValueError, match="^flight must be 1 or more, not 0$"):
        FaultWatch(CORES["4x4"], 0)
