"""cocotb testbench of registers behind AXI4-Lite, asked by the master of cocotbext-axi."""

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from golden.soc.registers import REGISTERS
from tests.benches.bus_registers import register_file
from tests.benches.cocotb_streams import start
from tests.cases.register_traffic import traffic

CONTROL = REGISTERS["CONTROL"].address
STREAM = REGISTERS["STREAM"].address


def pauses(share):
    """Whether a channel pauses, cycle by cycle."""
    while True:
        yield random.random() < share


async def master_of(dut, stall) -> AxiLiteMaster:
    """Start the clock, and return a master whose channels pause."""
    dut.busy.value = 0
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "bus_"), dut.clk, dut.rst)
    await start(dut)
    for channel in (master.write_if.aw_channel, master.write_if.w_channel,
                    master.write_if.b_channel, master.read_if.ar_channel,
                    master.read_if.r_channel):
        if stall:
            channel.set_pause_generator(pauses(stall))
    await RisingEdge(dut.clk)
    return master


async def done(master, access) -> tuple[bool, int]:
    """Carry an access out, and return whether it was fine, and what was read."""
    if access.value is not None:
        answer = await master.write(access.address, access.value.to_bytes(4, "little"))
        return answer.resp == AxiResp.OKAY, 0
    answer = await master.read(access.address, 4)
    return answer.resp == AxiResp.OKAY, int.from_bytes(answer.data, "little")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5, 0.8])
async def every_access_is_answered_as_in_golden(dut, stall):
    """Every address is read and written, then some of them at random."""
    master, file = await master_of(dut, stall), register_file()
    for access in traffic(int(10 * stall), 200):
        assert await done(master, access) == access.done(file), access
    assert dut.starts.value.to_unsigned() == file.starts > 0
    assert dut.irq.value == file.irq


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6])
async def reads_and_writes_at_once_are_all_answered(dut, stall):
    """Many are under way; no direction waits for the other for ever."""
    master = await master_of(dut, stall)
    writes = [master.init_write(STREAM, count.to_bytes(4, "little")) for count in range(1, 60)]
    reads = [master.init_read(STREAM, 4) for _ in range(60)]
    for event in (*writes, *reads):
        await event.wait()
        assert event.data.resp == AxiResp.OKAY
    seen = [int.from_bytes(event.data.data, "little") for event in reads]
    assert seen == sorted(seen)
    assert len(set(seen)) > 10, "reads and writes were not under way at once"
    assert seen[-1] <= 59
    assert int.from_bytes((await master.read(STREAM, 4)).data, "little") == 59


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def parts_of_a_register_are_not_written(dut):
    """Nor is the core started while it is busy."""
    master = await master_of(dut, 0.3)
    await master.write(STREAM, b"\x01\x02\x03\x04")
    for place, content in ((0, b"\xff"), (1, b"\xff\xff"), (3, b"\xff"), (0, b"\xff\xff\xff")):
        assert (await master.write(STREAM + place, content)).resp == AxiResp.SLVERR
    assert (await master.read(STREAM, 4)).data == b"\x01\x02\x03\x04"
    assert (await master.read(STREAM + 1, 2)).data == b"\x02\x03"
    dut.busy.value = 1
    assert (await master.write(CONTROL, b"\x01\0\0\0")).resp == AxiResp.SLVERR
    dut.busy.value = 0
    assert (await master.write(CONTROL, b"\x01\0\0\0")).resp == AxiResp.OKAY
    assert dut.starts.value == 1
