"""cocotb testbench of a memory port at AXI4, with the memory of cocotbext-axi."""

import os

import cocotb
from cocotb.triggers import RisingEdge

from tests.benches.axi import Rules, axi_ram, halves, pause
from tests.benches.memory_user import MemoryUser, check, check_failed, random_broken
from tests.cases.buses import BUSES
from tests.cases.memory_traffic import MEMORY_BYTES, Ask, contents, traffic

BUS = BUSES[os.environ["TB_BUS"]]
UNIT = BUS.config.bus_bytes


async def started(dut, memory, *, stall=0.0, longest=1, idle=0.0, broken=frozenset()):
    """Start the clock; return user and rules."""
    bus = halves(dut, "bus")
    ram = axi_ram(bus, dut.clk, memory, broken=broken)
    pause(ram, stall, longest)
    user = MemoryUser(dut, BUS.config, idle=idle)
    rules = Rules(bus, dut.clk, burst=BUS.burst, base=BUS.base, size=MEMORY_BYTES,
                  failed=lambda: user.failed)
    await user.start(BUS.base)
    cocotb.start_soon(rules.run())
    return user, rules


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize((("stall", "longest", "idle"), [
    (0.0, 1, 0.0), (0.0, 1, 0.5), (0.5, 1, 0.0), (0.5, 60, 0.0), (0.8, 4, 0.3), (0.3, 9, 0.9)]))
async def memory_is_as_if_there_were_no_bus(dut, stall, longest, idle):
    """Requests in all kinds of order, with pauses on all channels."""
    memory = contents(1)
    user, rules = await started(dut, memory, stall=stall, longest=longest, idle=idle)
    asks = traffic(2, UNIT, 800)
    check(asks, await user.run(asks), contents(1), memory)
    assert rules.most <= BUS.flight
    assert BUS.burst == 1 or idle or rules.most > BUS.burst
    assert max(rules.lengths["read"]) == BUS.burst
    assert max(rules.lengths["write"]) >= min(16, BUS.burst)
    for lengths in rules.lengths.values():
        assert BUS.burst == 1 or sum(lengths) > 2 * len(lengths)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_request_of_which_nothing_follows_is_a_burst_of_one(dut):
    """So are those that nothing is said of."""
    memory = contents(1)
    user, rules = await started(dut, memory)
    asks = [Ask(UNIT * at, beats, data) for at, beats, data in (
        (0, 0, None), (1, 1, None), (7, 0, bytes(UNIT)), (8, 1, bytes(UNIT)))]
    check(asks, await user.run(asks), contents(1), memory)
    assert rules.lengths == {"read": [1, 1], "write": [1, 1]}


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def nothing_is_asked_for_after_an_error(dut, stall):
    """It is answered with errors, until it is cleared."""
    memory, expected, broken = contents(3), contents(3), set()
    user, rules = await started(dut, memory, stall=stall, broken=broken)
    for seed in range(5):
        asks = traffic(seed, UNIT, 200)
        broken |= random_broken(asks, 0.02, seed) or {asks[-1].address}
        answers = await user.run(asks)
        first = check_failed(asks, answers, expected, broken, BUS.flight, BUS.burst)
        assert first > 0
        # Of a burst that has failed, any beat may have been written.
        for ask in asks[first:first + BUS.flight]:
            place = slice(ask.address, ask.address + UNIT)
            expected[place] = memory[place]
        assert memory == expected
        broken.clear()
        await user.clear()
    check(asks, await user.run(asks), expected, memory)
    assert rules.errors >= 5


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=BUS.burst < 4)
async def an_error_in_what_is_thrown_away_is_none(dut):
    """But nothing is asked for before that."""
    memory, broken = contents(3), {2 * UNIT}
    user, rules = await started(dut, memory, broken=broken)
    asks = [Ask(0, 4), Ask(1024), Ask(2048, data=bytes(UNIT)), Ask(0, 4), Ask(UNIT, 3)]
    answers = await user.run(asks[:1])
    assert rules.errors == 1
    check(asks, answers + await user.run(asks[1:]), contents(3), memory)
    assert rules.lengths == {"read": [4, 1, 4], "write": [1]}
    answers = await user.run([Ask(2 * UNIT, 2), Ask(3 * UNIT, 1), Ask(1024)])
    assert [error for _, error in answers] == [True, False, True]


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=BUS.burst < 4)
async def what_waits_is_forgotten_when_it_is_cleared(dut):
    """Memory may have changed."""
    memory = contents(3)
    user, rules = await started(dut, memory)
    await user.run([Ask(0, 4)])
    memory[UNIT:2 * UNIT] = bytes(UNIT)
    await user.clear()
    await RisingEdge(dut.clk)
    assert await user.run([Ask(UNIT, 3)]) == [(bytes(UNIT), False)]
    assert rules.lengths["read"] == [4, 3]
