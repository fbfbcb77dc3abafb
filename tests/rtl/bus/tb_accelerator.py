"""cocotb testbench of an exported core: a host's view of it, and memory of others behind it.

TB_BUS names the bus, TB_RUN a file with a program's memory, what is to be told, and the logits.
"""

import logging
import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp
from cocotbext.wishbone.driver import WBOp, WishboneMaster

from golden.core.isa import Status
from golden.soc.registers import IDENTITY, REGISTERS, ErrorSource
from tests.benches.axi import axi_ram, steady_memory
from tests.benches.wishbone import NAMES, PipelinedMemory

BUS = os.environ["TB_BUS"]
RUN = dict(np.load(os.environ["TB_RUN"]))
BASE = 0xab_cdc0_0000
MOST_CYCLES = 4_000_000
PERIOD = 10
UNIT = int(RUN["unit"])
FIRST_BYTES = 0x4000
"""Errors are looked for among so many, which are soon read."""


def cycles(count):
    """Return what waits so long without a look at every one of them, which would take longer."""
    return Timer(count * PERIOD, unit="ns")


class AxiHost:
    """The host of a core at AXI4."""

    def __init__(self, dut, memory, broken, latency):
        self.dut, self.clock = dut, dut.aclk
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)  # a line per burst
        bus = AxiBus.from_prefix(dut, "m_axi")
        if latency:
            self.serve = lambda: steady_memory(bus, dut.aclk, memory, base=BASE, latency=latency)
        else:
            self._ram = axi_ram(bus, dut.aclk, memory, reset=dut.aresetn, active=False,
                                broken=broken, base=BASE, wait=self._wait)
            self.serve = self._stall
        self._rng = random.Random(1)
        self._registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk,
                                        dut.aresetn, reset_active_level=False)

    def reset(self, level):
        """Hold the reset, or not."""
        self.dut.aresetn.value = int(not level)

    async def _stall(self):
        """Have each channel pause now and then, for ever."""
        write, read, rng = self._ram.write_if, self._ram.read_if, self._rng
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                    read.r_channel]
        while True:
            for channel in channels:
                channel.pause = rng.random() < 0.2
            await cycles(rng.randint(1, 40))

    async def _wait(self):
        """Have a beat wait, one of some."""
        if self._rng.random() < 1 / 16:
            await cycles(self._rng.randint(1, 30))

    async def write(self, name, value):
        """Write a register."""
        answer = await self._registers.write(REGISTERS[name].address, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, name

    async def read(self, name):
        """Return a register."""
        answer = await self._registers.read(REGISTERS[name].address, 4)
        assert answer.resp == AxiResp.OKAY, name
        return int.from_bytes(answer.data, "little")


class WishboneHost:
    """The host of a core at Wishbone."""

    def __init__(self, dut, memory, broken, latency):
        self.dut, self.clock = dut, dut.clk
        stall = 0 if latency else 0.1
        self._memory = PipelinedMemory(dut, "m_wb_", dut.clk, memory, broken=broken, stall=stall,
                                       idle=stall, latency=latency or 6)
        self.serve = self._memory.run
        self._registers = WishboneMaster(dut, "s_wb", dut.clk, timeout=10, signals_dict=NAMES)

    def reset(self, level):
        """Hold the reset, or not."""
        self.dut.rst.value = int(level)

    async def write(self, name, value):
        """Write a register."""
        self._memory.errors = 0
        (answer,) = await self._registers.send_cycle([WBOp(REGISTERS[name].address // 4, value)])
        assert answer.ack == 1, name

    async def read(self, name):
        """Return a register."""
        (answer,) = await self._registers.send_cycle([WBOp(REGISTERS[name].address // 4)])
        assert answer.ack == 1, name
        return int(answer.datrd)


async def started(dut, broken=frozenset(), latency=None):
    """Return a host, and its memory with the program in it, which the core is told of.

    It stalls at random, or always answers after `latency` cycles.
    """
    memory = bytearray(RUN["memory"].tobytes())
    host = {"axi4": AxiHost, "wishbone": WishboneHost}[BUS](dut, memory, broken, latency)
    Clock(host.clock, PERIOD, unit="ns").start()
    host.reset(1)
    await cycles(4)
    host.reset(0)
    cocotb.start_soon(host.serve())
    await cycles(2)
    assert await host.read("ID") == IDENTITY
    for name, value in {"STREAM": RUN["stream"][0], "STREAM_BYTES": RUN["stream"][1],
                        "BASE_LOW": BASE & 0xffff_ffff, "BASE_HIGH": BASE >> 32,
                        "INTERRUPT_ENABLE": 3}.items():
        await host.write(name, int(value))
    return host, memory


async def run(host):
    """Start the core, and return STATUS when it has raised its interrupt."""
    await host.write("CONTROL", 1)
    await First(RisingEdge(host.dut.irq), cycles(MOST_CYCLES))
    assert host.dut.irq.value == 1
    return await host.read("STATUS")


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_model_runs_whole(dut):
    """Its logits are those of golden."""
    host, memory = await started(dut)
    status = REGISTERS["STATUS"].field
    word = await run(host)
    assert [status(name).of(word) for name in ("busy", "done", "error")] == [0, 1, Status.FINE]
    assert await host.read("INTERRUPT_PENDING") == 1
    assert await host.read("ERROR_SOURCE") == ErrorSource.NONE
    assert await host.read("INDEX") == RUN["instructions"]
    cycles, reads = await host.read("CYCLES_LOW"), await host.read("READS_LOW")
    least, most = RUN["cycles"]
    cocotb.log.info("%d cycles, %d with ideal memory; %d beats read", cycles, least, reads)
    assert least <= cycles <= most
    first, size = (int(value) for value in RUN["logits_place"])
    found = np.frombuffer(memory[first:first + size], "<i2")[:len(RUN["logits"])]
    assert found.tolist() == RUN["logits"].tolist()


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def a_bus_costs_hardly_any_cycles(dut):
    """Little more than memory at the core's own port does, with the same numbers."""
    host, _ = await started(dut, latency=int(RUN["latency"]))
    assert REGISTERS["STATUS"].field("error").of(await run(host)) == Status.FINE
    cycles, least = await host.read("CYCLES_LOW"), int(RUN["alike"])
    cocotb.log.info("%d cycles, %d without a bus", cycles, least)
    assert least <= cycles <= float(RUN["most"]) * least


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def an_error_of_memory_is_told_with_its_address(dut):
    """At any beat of the stream or of the image; then the core runs again."""
    rng = random.Random(2)
    places = {source: (first, min(size, FIRST_BYTES)) for source, (first, size) in (
        (ErrorSource.STREAM, RUN["stream"]), (ErrorSource.READ, RUN["image"]))}
    broken = set()
    host, _ = await started(dut, broken)
    for source in 2 * list(places):
        first, size = (int(value) for value in places[source])
        wrong = first + rng.randrange(0, size, UNIT)
        broken.add(wrong)
        word = await run(host)
        assert REGISTERS["STATUS"].field("error").of(word) == Status.BUS_ERROR
        assert await host.read("INTERRUPT_PENDING") == 2
        assert await host.read("ERROR_SOURCE") == source
        assert await host.read("ERROR_ADDRESS") == wrong
        await host.write("INTERRUPT_PENDING", 3)
        assert dut.irq.value == 0
        broken.clear()
