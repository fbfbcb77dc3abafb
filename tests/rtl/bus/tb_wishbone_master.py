"""cocotb testbench of a memory port at Wishbone."""

import os
import random
from itertools import count

import cocotb
from cocotbext.wishbone.monitor import WishboneSlave

from tests.benches.memory_user import MemoryUser, check, check_failed, random_broken
from tests.benches.wishbone import NAMES, PipelinedMemory
from tests.cases.buses import BUSES
from tests.cases.memory_traffic import MEMORY_BYTES, contents, traffic

BUS = BUSES[os.environ["TB_BUS"]]
UNIT = BUS.config.bus_bytes
ACK, ERR = 1, 2


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize((("stall", "idle", "latency", "pause"), [
    (0.0, 0.0, 1, 0.0), (0.0, 0.0, 40, 0.0), (0.5, 0.5, 1, 0.3), (0.9, 0.0, 5, 0.0),
    (0.0, 0.9, 20, 0.7)]))
async def memory_is_as_if_there_were_no_bus(dut, stall, idle, latency, pause):
    """Requests in all kinds of order, with stalls and latencies."""
    memory = PipelinedMemory(dut, "bus__", dut.clk, contents(1), stall=stall, idle=idle,
                             latency=latency)
    user, asks = MemoryUser(dut, BUS.config, idle=pause), traffic(2, UNIT, 500)
    cocotb.start_soon(memory.run())
    await user.start(BUS.base)
    check(asks, await user.run(asks), contents(1), memory.memory)
    assert {address & ~(MEMORY_BYTES - 1) for address in memory.addresses} == {BUS.base}
    assert len(memory.addresses) == len(asks)
    assert memory.most <= BUS.flight
    assert latency < 20 or idle or memory.most >= min(BUS.flight, latency)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def nothing_is_asked_for_after_an_error(dut, stall):
    """It is answered with errors, until it is cleared."""
    memory = PipelinedMemory(dut, "bus__", dut.clk, contents(3), stall=stall, idle=stall,
                             latency=9)
    user, expected = MemoryUser(dut, BUS.config), contents(3)
    cocotb.start_soon(memory.run())
    await user.start(BUS.base)
    for seed in range(5):
        asks = traffic(seed, UNIT, 200)
        memory.broken = random_broken(asks, 0.02, seed) or {asks[-1].address}
        assert check_failed(asks, await user.run(asks), expected, memory.broken, BUS.flight) > 0
        assert memory.errors > 0
        assert memory.memory == expected
        memory.errors = 0
        await user.clear()
    memory.broken = frozenset()
    check(asks, await user.run(asks), expected, memory.memory)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_slave_of_others_is_asked_one_by_one(dut):
    """That of cocotbext-wishbone sees a request only when it has answered the one before, and none
    that it has stalled.
    """
    memory, asks, rng = contents(4), traffic(5, UNIT, 60)[:60], random.Random(6)
    user, seen = MemoryUser(dut, BUS.config), []

    def data():
        while True:
            place = int(dut.bus__adr.value) * UNIT % MEMORY_BYTES
            yield int.from_bytes(memory[place:place + UNIT], "little")

    slave = WishboneSlave(dut, "bus", dut.clk, signals_dict=NAMES, bus_separator="__",
                          datgen=data(), waitreplygen=(rng.randrange(4) for _ in count()),
                          ackgen=(ERR if at == len(asks) - 1 else ACK for at in count()))
    slave.add_callback(seen.extend)
    await user.start(BUS.base)
    for index, ask in enumerate(asks):
        ((found, error),) = await user.run([ask])
        assert error == (index == len(asks) - 1)
        place = slice(ask.address, ask.address + UNIT)
        if ask.data is not None:
            memory[place] = ask.data
        assert error or ask.data is not None or found == memory[place]
    assert [int(one.adr) * UNIT - BUS.base for one in seen] == [ask.address for ask in asks]
    assert [one.datwr if one.datwr is None else int(one.datwr) for one in seen] == [
        ask.data if ask.data is None else int.from_bytes(ask.data, "little") for ask in asks]
