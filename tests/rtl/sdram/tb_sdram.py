"""cocotb testbench of the controller and its chip; TB_SYSTEM names them, TB_COUNT the requests."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from rtl.memory.memory_port import request_layout, response_layout
from tests.benches.cocotb_streams import pack, unpack
from tests.benches.sdram_system import CONFIG, Requests, Seen, check, names
from tests.cases.sdrams import SYSTEMS

COUNT = int(os.environ["TB_COUNT"])


async def run(dut, requests: Requests) -> Seen:
    """As :func:`tests.benches.sdram_system.run`."""
    layout, answers = request_layout(CONFIG), []
    payloads = [pack(layout, {"address": address, "write": write,
                              "data": int.from_bytes(data.tobytes(), "little")})
                for address, write, data in zip(requests.addresses.tolist(),
                                                requests.writes.tolist(), requests.data,
                                                strict=True)]
    offered = [*requests.offered.tolist(), 1 << 60]
    clock, ready, answered = dut.clk, dut.memory__request__ready, dut.memory__response__valid
    valid, payload = dut.memory__request__valid, dut.memory__request__payload
    response, seen, cycle, at = dut.memory__response__payload, Seen(), 0, 0
    offers = offered[0] == 0
    dut.restart.value, valid.value, payload.value = 1, int(offers), payloads[0]
    while len(answers) < len(payloads):
        await RisingEdge(clock)
        dut.restart.value = 0
        if offers and ready.value:
            seen.accepted.append(cycle)
            at += 1
            if at < len(payloads):
                payload.value = payloads[at]
        if answered.value:
            seen.answered.append(cycle)
            answers.append(response.value.to_unsigned())
        cycle += 1
        if offers != (cycle >= offered[at]):
            offers = not offers
            valid.value = int(offers)
    layout = response_layout(CONFIG)
    for answer in answers:
        said = unpack(layout, answer)
        seen.data.append(said.data)
        seen.errors.append(said.error)
    return seen


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def matches_golden(dut):
    """Requests in all kinds of order."""
    system = SYSTEMS[os.environ["TB_SYSTEM"]]()
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    for port in (dut.restart, dut.memory__request__valid, dut.memory__request__payload):
        port.value = 0
    dut.memory__response__ready.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    while not dut.ready.value:
        await RisingEdge(dut.clk)
    for _ in range(3 * system.schedule.settle):
        await RisingEdge(dut.clk)
    requests = Requests.random(system, COUNT, seed=COUNT)
    seen = await run(dut, requests)
    assert names(dut.violations.value.to_unsigned()) == []
    check(system, requests, seen, {})
    assert not any(seen.errors)
