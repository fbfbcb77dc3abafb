"""cocotb testbench of registers behind Wishbone, asked by cocotbext-wishbone and at full rate."""

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.wishbone.driver import WBOp, WishboneMaster

from golden.soc.registers import REGISTERS
from tests.benches.bus_registers import register_file
from tests.benches.cocotb_streams import start
from tests.benches.wishbone import NAMES
from tests.cases.register_traffic import Access, traffic

ACK, ERR = 1, 2
STREAM = REGISTERS["STREAM"].address


async def started(dut):
    """Start the clock, with nothing on the bus."""
    for name in ("cyc", "stb", "we", "adr", "sel", "dat_w"):
        getattr(dut, f"bus__{name}").value = 0
    dut.busy.value = 0
    await start(dut)
    await RisingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_access_is_answered_as_in_golden(dut):
    """Every address is read and written, then some of them at random, in cycles of several."""
    await started(dut)
    master = WishboneMaster(dut, "bus", dut.clk, timeout=10, signals_dict=NAMES,
                            bus_separator="__")
    file, accesses, rng = register_file(), traffic(1, 300), random.Random(2)
    while accesses:
        count = rng.randint(1, 9)
        now, accesses = accesses[:count], accesses[count:]
        found = await master.send_cycle([
            WBOp(one.address // 4, one.value, idle=rng.randrange(3)) for one in now])
        assert len(found) == len(now)
        for access, answer in zip(now, found, strict=True):
            fine, value = access.done(file)
            assert answer.ack == (ACK if fine else ERR), access
            assert access.value is not None or int(answer.datrd) == value, access
    assert dut.starts.value.to_unsigned() == file.starts > 0
    assert dut.irq.value == file.irq


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def parts_of_a_register_are_not_written(dut):
    """They may be read."""
    await started(dut)
    master = WishboneMaster(dut, "bus", dut.clk, timeout=10, signals_dict=NAMES,
                            bus_separator="__")
    found = await master.send_cycle([
        WBOp(STREAM // 4, 0x01020304), WBOp(STREAM // 4, 0, sel=0b0111),
        WBOp(STREAM // 4, 0, sel=0), WBOp(STREAM // 4, sel=0b0001)])
    assert [one.ack for one in found] == [ACK, ERR, ERR, ACK]
    assert int(found[-1].datrd) == 0x01020304


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5])
async def one_access_per_cycle_is_answered_in_the_next(dut, idle):
    """Of a cycle that ends early, the last answer is lost, and no other one comes."""
    await started(dut)
    file, rng, last = register_file(), random.Random(3), None
    for access in traffic(4, 1500):
        strobe, cycle = rng.random() >= idle, rng.random() < 0.95
        dut.bus__cyc.value, dut.bus__stb.value = int(cycle), int(strobe)
        dut.bus__we.value, dut.bus__sel.value = int(access.value is not None), 0xf
        dut.bus__adr.value, dut.bus__dat_w.value = access.address // 4, access.value or 0
        await RisingEdge(dut.clk)
        answer = int(dut.bus__ack.value), int(dut.bus__err.value)
        assert dut.bus__stall.value == 0
        if last is None or not cycle:
            assert answer == (0, 0)
        else:
            (fine, value), write = last
            assert answer == (int(fine), int(not fine)), access
            assert write or dut.bus__dat_r.value.to_unsigned() == value
        last = None
        if strobe and cycle:
            assert isinstance(access, Access)
            last = access.done(file), access.value is not None
