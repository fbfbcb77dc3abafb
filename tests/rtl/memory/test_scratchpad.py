# amaranth: UnusedElaboratable=no

from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import CORES
from golden.core.isa import OPERANDS, Layout
from golden.memory import scratchpad as golden
from golden.memory.scratchpad import READ_LATENCY
from rtl.common.delayed import delayed
from rtl.memory import scratchpad as module
from rtl.memory.scratchpad import Scratchpad, operand_turn, read_signature, scratchpad_word_layout
from tests.benches.simulate import simulate

CONFIGS = {name: replace(config, sram_kib=4) for name, config in
           {**CORES, "4x8": replace(CORES["4x4"], cols=8)}.items()}


def random_memory(config, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << 16, (config.scratchpad_words, config.rows), np.uint16)


def load(ctx, dut, memory):
    """Fill the banks."""
    for bank, column in zip(dut.banks, memory.T.tolist(), strict=True):
        for address, value in enumerate(column):
            ctx.set(bank[address], value)


def access(config, rng):
    """Return enables and addresses of a cycle; few addresses, so that they meet."""
    last = config.scratchpad_words - 1
    return (int(rng.integers(2)), int(rng.choice([0, 1, 2, last])),
            rng.integers(2, size=config.rows).tolist(),
            rng.choice([0, 1, 2, last], config.rows).tolist(),
            rng.integers(0, 1 << 16, config.rows).tolist())


@pytest.mark.parametrize("name", CONFIGS)
def test_reads_what_earlier_cycles_wrote(name):
    config = CONFIGS[name]
    dut = Scratchpad(config)
    rng = np.random.default_rng(2)
    memory = random_memory(config)

    async def testbench(ctx):
        load(ctx, dut, memory)
        want = {}  # of each bank, unless it was written at the same address in the same cycle
        asked = [{}] * (READ_LATENCY - 1)
        for cycle in range(300):
            enable, address, enables, addresses, values = access(config, rng)
            ctx.set(dut.read.enable, enable)
            ctx.set(dut.read.address, address)
            ctx.set(dut.write.enable, sum(bit << bank for bank, bit in enumerate(enables)))
            ctx.set(dut.write.address, addresses)
            ctx.set(dut.write.data, values)
            await ctx.tick()
            asked.append({bank: int(memory[address, bank]) for bank in range(config.rows)
                          if not enables[bank] or addresses[bank] != address} if enable else {})
            want = asked.pop(0) or want
            for bank in np.flatnonzero(enables):
                memory[addresses[bank], bank] = values[bank]
            got = {bank: ctx.get(dut.read.data[bank]) for bank in want}
            assert got == want, f"cycle {cycle}: {got} != {want} (expected)"

    simulate(dut, testbench)


class OnEcp5(wiring.Component):
    """A scratchpad as it is made for an ECP5: in parts."""

    device = "LFE5U-85F"

    def __init__(self, config):
        self._inner = Scratchpad(config)
        super().__init__({name: self._inner.signature.members[name]
                          for name in ("read", "write")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self._inner.elaborate(self)
        connect(m, flipped(self.read), self._inner.read)
        connect(m, flipped(self.write), self._inner.write)
        self.parts = sorted(name for name, *_ in inner._named_submodules)
        return m


def check_parts(kib):
    """Write and read around the borders of an ECP5's parts; return how many parts there are.

    No word is read while it is written.
    """
    config = replace(CORES["8x16"], sram_kib=kib)
    dut = OnEcp5(config)
    rng = np.random.default_rng(3)
    memory = np.zeros((config.scratchpad_words, config.rows), int)
    edges = {0, config.scratchpad_words - 1}
    edges |= {part + step for part in (64, 128, 1024, 1152) for step in (-1, 0)}
    places = sorted(place for place in edges if place < config.scratchpad_words)

    async def testbench(ctx):
        want, asked = None, [None] * (READ_LATENCY - 1)
        for _ in range(1000):
            enable, address = int(rng.integers(2)), int(rng.choice(places))
            addresses = rng.choice([place for place in places if place != address],
                                   config.rows).tolist()
            asked.append(memory[address].tolist() if enable else None)
            values = rng.integers(0, 1 << 16, config.rows).tolist()
            ctx.set(dut.read.enable, enable)
            ctx.set(dut.read.address, address)
            ctx.set(dut.write.enable, (1 << config.rows) - 1)
            ctx.set(dut.write.address, addresses)
            ctx.set(dut.write.data, values)
            await ctx.tick()
            want = asked.pop(0) or want
            memory[addresses, range(config.rows)] = values
            assert want is None or list(ctx.get(dut.read.data)) == want

    simulate(dut, testbench)
    return len(dut.parts)


@pytest.mark.parametrize("kib", [3, 19, 16])
def test_parts_of_an_ecp5_act_as_one_memory(kib):
    assert check_parts(kib) == CORES["8x16"].rows * kib.bit_count()


class Reader(wiring.Component):
    """A scratchpad whose words come by PE rows."""

    def __init__(self, config):
        self._config = config
        self.scratchpad = Scratchpad(config)
        super().__init__({
            "read": In(read_signature(config)),
            "turned": Out(scratchpad_word_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.scratchpad = self.scratchpad
        connect(m, flipped(self.read), self.scratchpad.read)
        address = delayed(m, self.read.address, "address", READ_LATENCY)
        m.d.comb += self.turned.eq(operand_turn(self.scratchpad.read.data, address))
        return m


def check_columns(layout, config):
    """Read a matrix by columns: a tile's pair of columns in each cycle."""
    dut = Reader(config)
    packed = 8 // layout.bits
    tile_rows = packed * config.rows
    rows, cols, address, stride = 2 * tile_rows, 2 * config.rows + 1, 3, config.rows + 2
    limit = 1 << (layout.bits - 1)
    values = np.random.default_rng(3).integers(-limit, limit, (rows, cols))
    memory = random_memory(config)
    golden.write_operand(memory, address, stride, values, layout)
    values = np.pad(values, ((0, 0), (0, 1))) & (2 * limit - 1)
    stored = values if packed == 1 else values[::2] | values[1::2] << 4

    async def testbench(ctx):
        load(ctx, dut.scratchpad, memory)
        ctx.set(dut.read.enable, 1)
        for tile in range(2):
            part = stored[tile * config.rows:(tile + 1) * config.rows]
            for pair in range(cols // 2 + 1):
                ctx.set(dut.read.address, address + tile * stride + pair)
                await ctx.tick().repeat(READ_LATENCY)
                want = (part[:, 2 * pair] | part[:, 2 * pair + 1] << 8).tolist()
                got = list(ctx.get(dut.turned))
                assert got == want, f"tile {tile}, pair {pair}: {got} != {want} (expected)"

    simulate(dut, testbench)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layout", OPERANDS, ids=lambda layout: layout.name)
def test_gives_columns_of_operands_by_pe_rows(layout, name):
    check_columns(layout, CONFIGS[name])


def test_a_turn_by_a_wrong_bit_is_noticed(monkeypatch):
    original = module.turned
    monkeypatch.setattr(module, "turned", lambda values, amount, width: original(
        values, amount ^ 1, width))
    with pytest.raises(AssertionError, match="expected"):
        check_columns(Layout.OPERAND8, CONFIGS["4x4"])


def test_banks_have_names_and_as_many_words_as_the_configuration():
    text = rtlil.convert(Scratchpad(CONFIGS["8x16"]))
    assert all(f"memory width 16 size 256 \\bank_{bank}\n" in text for bank in range(8))
    assert {bank.depth for bank in Scratchpad(CORES["8x16"]).banks} == {19_456}


def test_refuses_wrong_configurations():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Scratchpad(8)
    with pytest.raises(ValueError, match=r"lanes must be rows \(4\) in a core, not 2"):
        Scratchpad(replace(CORES["4x4"], lanes=2))
