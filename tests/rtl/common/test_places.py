# amaranth: UnusedElaboratable=no

import random

import pytest

from rtl.common.places import Places
from tests.benches.simulate import simulate
from tests.benches.streams import held

BITS = 9


def check(depth, room, *, often=0.7, stall=0.3, count=300, seed=1):
    """Send numbers, never more at a time than there is `room` for; return the cycles they wait."""
    dut, rng = Places(BITS, depth), random.Random(seed)
    sent, waited, cycle = [], [], 0

    async def testbench(ctx):
        nonlocal cycle
        inside = []  # what has come, and when
        while len(waited) < count:
            sends = len(sent) < count and len(inside) < room and rng.random() < often
            value = rng.randrange(1 << BITS)
            ready = rng.random() >= stall
            ctx.set(dut.i.valid, sends)
            ctx.set(dut.i.payload, value)
            ctx.set(dut.o.ready, ready)
            assert ctx.get(dut.o.valid) == bool(inside)
            if inside:
                assert ctx.get(dut.o.payload) == inside[0][0]
                if ready:
                    waited.append(cycle - inside.pop(0)[1])
            if sends:
                sent.append(value)
                inside.append((value, cycle))
            await ctx.tick()
            cycle += 1

    simulate(dut, testbench, monitors=[held(dut.o)])
    return waited


@pytest.mark.parametrize(("depth", "room"), [(1, 1), (2, 2), (3, 4), (4, 4), (8, 5)])
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_payloads_come_out_as_they_went_in(depth, room, stall):
    check(depth, room, stall=stall)


def test_a_payload_is_offered_in_the_next_cycle():
    assert set(check(4, 4, often=1.0, stall=0.0)) == {1}


def test_more_than_there_are_places_for_are_lost():
    with pytest.raises(AssertionError):
        check(4, 5, often=1.0, stall=0.8)


@pytest.mark.parametrize(("bits", "depth", "said"), [(0, 4, "bits"), (8, 0, "depth")])
def test_refuses_what_is_no_size(bits, depth, said):
    with pytest.raises(ValueError, match=said):
        Places(bits, depth)
