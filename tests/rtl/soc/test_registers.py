# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.common.config import CORES
from golden.core.counters import COUNTERS
from golden.soc.registers import REGISTERS, ErrorSource, RegisterFile
from golden.soc.system import System
from rtl.core.core import Core
from rtl.soc.registers import Registers
from tests.benches.simulate import simulate

SYSTEMS = [System(CORES["4x4"], 50_000_000, 1 << 20, bits) for bits in (0, 32, 40, 64)]
SYSTEM = SYSTEMS[0]


async def access(ctx, dut, address, data=None):
    """Return value and answer of an access, and whether the core was started."""
    port = dut.port
    ctx.set(port.enable, 1)
    ctx.set(port.write, data is not None)
    ctx.set(port.address, address)
    ctx.set(port.data, data or 0)
    *_, started = await ctx.tick().sample(dut.start)
    ctx.set(port.enable, 0)
    return ctx.get(port.value), ctx.get(port.answer), started


def shown(rng, core):
    """Have a core show something else."""
    core.busy, core.done, core.status = (rng.randrange(2) for _ in range(3))
    core.index, core.error_source = rng.randrange(1 << 16), rng.choice(list(ErrorSource))
    core.error_address = rng.getrandbits(32)
    core.images_done, core.images_exited = rng.getrandbits(16), rng.getrandbits(16)
    core.counters = {name: rng.randrange(1 << 40) for name in COUNTERS}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: f"{system.address_bits} bits")
def test_all_accesses_are_as_in_golden(system):
    dut, file, rng = Registers(system), RegisterFile(system), random.Random(1)
    addresses = [one.address for one in REGISTERS.values()] + [0x14, 0x1, 0x800, 0xfffffffc]

    async def testbench(ctx):
        for _ in range(1500):
            core = file.core
            was_busy = core.busy
            shown(rng, core)
            for name in ("busy", "done", "status", "index", "error_source", "error_address",
                         "images_done", "images_exited"):
                ctx.set(getattr(dut, name), getattr(core, name))
            for name, value in core.counters.items():
                ctx.set(getattr(dut, f"counter_{name}"), value)
            await ctx.tick()
            if was_busy > core.busy:
                file.ended()
            address, data = rng.choice(addresses), rng.getrandbits(32)
            if rng.random() < 0.5:
                starts = file.starts
                answer = file.write(address, data)
                _, got, started = await access(ctx, dut, address, data)
                assert (got, started) == (answer, file.starts - starts), f"{address:#x}"
            else:
                expected = (*file.read(address), 0)
                assert await access(ctx, dut, address) == expected, f"{address:#x}"
            for name in ("stream", "stream_bytes", "image_offset", "logits_offset", "image_stride",
                         "logits_stride", "images"):
                assert ctx.get(getattr(dut, name)) == file.written[name.upper()]
            await ctx.tick()
            assert (ctx.get(dut.base), ctx.get(dut.irq)) == (file.base, file.irq)

    simulate(dut, testbench)


def test_what_happens_as_it_is_cleared_stays():
    dut = Registers(SYSTEM)

    async def testbench(ctx):
        await access(ctx, dut, REGISTERS["INTERRUPT_ENABLE"].address, 1)
        ctx.set(dut.busy, 1)
        await ctx.tick()
        ctx.set(dut.busy, 0)
        await access(ctx, dut, REGISTERS["INTERRUPT_PENDING"].address, 1)  # as the run ends
        assert ctx.get(dut.irq)
        await access(ctx, dut, REGISTERS["INTERRUPT_PENDING"].address, 1)
        assert not ctx.get(dut.irq)

    simulate(dut, testbench)


def test_they_fit_the_core():
    core, registers = Core(SYSTEM.config).signature.members, Registers(SYSTEM).signature.members
    shared = registers.keys() & core.keys()
    assert shared == core.keys() - {"request", "response", "exited"}
    assert all(registers[name] == core[name].flip() for name in shared)


def test_refuses_what_is_no_system():
    with pytest.raises(TypeError, match="^system must be a System, not 8$"):
        Registers(8)
