"""cocotb testbench of the link; run by test_host_link.py."""

import os
import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.soc.uart import line_layout
from tests.benches.cocotb_streams import pack, start
from tests.benches.link_board import PAUSE
from tests.cases.link_traffic import SYSTEMS, Traffic, device, happens

SYSTEM = SYSTEMS[os.environ["TB_SYSTEM"]]
FRAMES = int(os.environ["TB_FRAMES"])
SEED = int(os.environ["TB_SEED"])
ERROR = pack(line_layout, {"byte": 0, "error": 1})
ANSWERED = 30_000  # cycles within which what is expected must come
QUEUE = 1500  # bytes that may be sent before those before are answered


class Line:
    """Both ends of a line: sends to the link, and keeps what it answers."""

    def __init__(self, dut, rng):
        self.dut, self.rng, self.answers = dut, rng, bytearray()
        self.sent = self.expected = 0

    async def listen(self):
        """Take what is answered, with pauses."""
        dut = self.dut
        while True:
            ready = self.rng.random() < 0.9
            dut.tx__ready.value = int(ready)
            await RisingEdge(dut.clk)
            if ready and dut.tx__valid.value:
                self.answers.append(dut.tx__payload.value.to_unsigned())

    async def send(self, entries):
        """Send entries of the line's layout, mostly one after the other."""
        dut = self.dut
        for entry in entries:
            dut.rx__payload.value = entry
            dut.rx__valid.value = 1
            await RisingEdge(dut.clk)
            if self.rng.random() < 0.1:
                dut.rx__valid.value = 0
                await ClockCycles(dut.clk, self.rng.randint(1, 5))
        dut.rx__valid.value = 0

    async def settle(self, expected, where):
        """Wait until so many bytes have been answered, and none beyond."""
        for _ in range(ANSWERED):
            if len(self.answers) >= expected:
                break
            await RisingEdge(self.dut.clk)
        assert len(self.answers) == expected, f"{where}: {len(self.answers)} bytes of {expected}"


async def happen(dut, line, event, expected, where):
    """Let an event happen to the link, once all before has been answered."""
    if event.kind == "bytes":
        await line.send(event.data)
        return
    await line.settle(expected, where)
    if event.kind == "error":
        await line.send([ERROR])
    elif event.kind == "reset":
        dut.rst.value = 1
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
    elif event.kind == "busy":
        dut.busy.value = event.value
        await ClockCycles(dut.clk, 3)
    else:
        await ClockCycles(dut.clk, PAUSE + QUEUE + 10)


async def compare_memory(dut, board, where):
    """Compare all of memory."""
    bus = SYSTEM.config.bus_bytes
    actual = bytearray()
    for at in range(SYSTEM.memory_bytes // bus + 1):
        dut.shown.value = at % (SYSTEM.memory_bytes // bus)
        await ClockCycles(dut.clk, 1)
        await ClockCycles(dut.clk, 1)
        if at < SYSTEM.memory_bytes // bus:
            await RisingEdge(dut.clk)
            actual += dut.beat.value.to_unsigned().to_bytes(bus, "little")
    assert actual == board._memory, f"{where}: memory differs"


@cocotb.test()
async def answers_as_the_device_does(dut):
    """Random requests and faults; every byte of every answer, and memory."""
    rng = random.Random(SEED)
    board, traffic = device(SYSTEM), Traffic(SYSTEM, SEED)
    dut.busy.value, dut.shown.value = 0, 0
    await start(dut, sources=["rx"], sinks=["tx"])
    line = Line(dut, rng)
    listener = cocotb.start_soon(line.listen())
    frames = shown = 0
    while frames < FRAMES:
        where, answers = f"episode at frame {frames}", bytearray()
        events = traffic.episode()
        for event in events:
            await happen(dut, line, event, len(answers), where)
            answers += happens(board, event)
            assert line.answers == answers[:len(line.answers)], f"{where}: {events}"
        await line.settle(len(answers), f"{where}: {events}")
        assert line.answers == answers, f"{where}: {events}"
        line.answers.clear()
        frames += 1 + sum(event.data.count(b"\x7e\x7e") for event in events)
        assert dut.starts.value == board.registers.starts % (1 << 16), where
        if frames >= shown:
            await compare_memory(dut, board, where)
            shown = frames + 1000
    await compare_memory(dut, board, "the end")
    listener.cancel()
