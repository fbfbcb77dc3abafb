# amaranth: UnusedElaboratable=no

from dataclasses import dataclass, replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from golden.common.config import CORES, AcceleratorConfig
from golden.core.isa import OPERANDS, Layout
from golden.memory import scratchpad as golden
from rtl.memory import placement as module
from rtl.memory.placement import Placement, destination_layout, placed_layout
from rtl.memory.scratchpad import Scratchpad
from tests.benches.simulate import simulate
from tests.benches.streams import source

CONFIGS = {name: replace(config, sram_kib=8, max_k=128) for name, config in
           {**CORES, "4x8": replace(CORES["4x4"], cols=8)}.items()}

every_layout = pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.name)
every_config = pytest.mark.parametrize("name", CONFIGS)


class Store(wiring.Component):
    """A scratchpad that results are placed in."""

    def __init__(self, config):
        self._config = config
        self.placement = Placement(config)
        self.scratchpad = Scratchpad(config)
        super().__init__({
            "run": In(destination_layout),
            "i": In(stream.Signature(placed_layout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.placement = self.placement
        m.submodules.scratchpad = self.scratchpad
        connect(m, self.placement.write, self.scratchpad.write)
        m.d.comb += [
            self.placement.run.eq(self.run),
            self.placement.i.valid.eq(self.i.valid),
            self.placement.i.payload.eq(self.i.payload),
            self.i.ready.eq(self.placement.i.ready),
            self.idle.eq(self.placement.idle),
        ]
        return m


@dataclass(frozen=True)
class Run:
    """A matrix to be placed; `tile` beats of a row come together, all of them if None."""

    config: AcceleratorConfig
    layout: Layout
    values: np.ndarray
    dest: int
    stride: int
    tile: int | None = None
    first: int = 0

    def registers(self):
        rows, cols = self.values.shape
        return {"layout": self.layout, "dest": self.dest, "dest_stride": self.stride,
                "m": rows, "n": cols, "first_row": self.first}

    def beats(self):
        """Beats with up to two rows and a beat of columns too many, and junk outside."""
        lanes = self.config.rows
        rows, cols = self.values.shape
        beats = -(-cols // lanes) + 1
        rng = np.random.default_rng(rows * cols)
        grid = rng.integers(-1 << 15, 1 << 15, (rows + 1 + rows % 2, beats * lanes))
        grid[:rows, :cols] = self.values
        tile = self.tile or beats
        return [{"values": grid[row, beat * lanes:(beat + 1) * lanes].tolist(), "row": row,
                 "column": beat * lanes}
                for start in range(0, beats, tile)
                for row in range(len(grid))
                for beat in range(start, min(start + tile, beats))]

    def write(self, memory):
        """Store the matrix as the golden model does."""
        where = (memory, self.dest, self.stride, self.values)
        if self.layout is Layout.WIDE:
            golden.write_wide(*where)
        elif self.layout in OPERANDS:
            golden.write_operand(*where, self.layout, self.first)
        else:
            golden.write_weights(*where, self.layout, self.config)


def run(layout, rows, cols, config, tile=None, seed=1, first=0):
    """Return a matrix of 16-bit values somewhere in the scratchpad, that of operands from PE row
    `first` on.
    """
    first = first if layout in OPERANDS else 0
    rng = np.random.default_rng([seed, rows, cols])
    stride = golden.stride_of(layout, rows, cols, config) + int(rng.integers(3))
    words = golden.words_of(layout, rows + 2 * first, cols, stride, config)
    return Run(config, layout, rng.integers(-1 << 15, 1 << 15, (rows, cols)),
               int(rng.integers(config.scratchpad_words - words)), stride, tile, first)


def runs(layout, config):
    """Matrices of one beat up to several tiles, by rows and by column tiles."""
    n, c = config.rows, config.cols
    return [
        run(layout, 1, 1, config),
        run(layout, 2, 2, config, tile=1),  # the odd row right behind the even one
        run(layout, 3, n - 1, config),
        run(layout, n + 1, n + 1, config, tile=1),
        run(layout, 4, 2 * n + 2, config, tile=2),
        run(layout, 2, 2 * c + 3, config, tile=c // n),
        run(layout, 5, 3 * n, config),
        run(layout, 2 * n + 3, n // 2 + 1, config),
        run(layout, 3, n + 1, config, first=n - 1),
        run(layout, 2 * n + 3, n - 1, config, tile=1, first=n // 2),
    ]


def contents(ctx, dut):
    """Memory image."""
    return np.array([[ctx.get(bank[address]) for bank in dut.scratchpad.banks]
                     for address in range(dut.scratchpad.banks[0].depth)], np.uint16)


def random_memory(ctx, dut, config):
    """Fill the scratchpad; return what it holds."""
    memory = np.random.default_rng(5).integers(
        0, 1 << 16, (config.scratchpad_words, config.rows), np.uint16)
    for bank, column in zip(dut.scratchpad.banks, memory.T.tolist(), strict=True):
        for address, value in enumerate(column):
            ctx.set(bank[address], value)
    return memory


def check_image(ctx, dut, memory, item):
    wrong = np.argwhere(contents(ctx, dut) != memory)
    assert not len(wrong), (
        f"{item.layout.name} {item.values.shape} at {item.dest}: word {wrong[0][0]}, "
        f"bank {wrong[0][1]} differs from the expected image, as {len(wrong) - 1} others do")


def check(config, items, *, idle=0.0):
    """Place one matrix after the other, comparing all of the memory after each."""
    dut = Store(config)

    async def testbench(ctx):
        memory = random_memory(ctx, dut, config)
        for item in items:
            assert ctx.get(dut.idle)
            ctx.set(dut.run, item.registers())
            await ctx.tick()
            await source(dut.i, item.beats(), idle=idle, seed=item.dest)(ctx)
            while not ctx.get(dut.idle):
                await ctx.tick()
            await ctx.tick()  # through the registers of the scratchpad
            item.write(memory)
            check_image(ctx, dut, memory, item)

    simulate(dut, testbench)


@every_config
@every_layout
def test_matches_golden(layout, name):
    check(CONFIGS[name], runs(layout, CONFIGS[name]), idle=0.3)


@pytest.mark.parametrize("name", ["4x8", "8x16"])
def test_matches_golden_when_layouts_follow_each_other_without_gaps(name):
    config = CONFIGS[name]
    rng = np.random.default_rng(6)
    check(config, [run(Layout(layout), int(rng.integers(1, 12)), int(rng.integers(1, 40)), config,
                       tile, seed) for seed, tile in enumerate((None, 1, 2))
                   for layout in rng.permutation(list(Layout)).tolist()])


@pytest.mark.parametrize("order", [None, 1])
@pytest.mark.parametrize("longest", ["max_k", "max_channels"])
def test_even_rows_of_the_longest_matrices_wait_for_odd_ones(longest, order):
    config = replace(CONFIGS["4x8"], **{longest: 256})
    check(config, [run(Layout.OPERAND4, 5, 256, config, order)])


@every_layout
def test_takes_a_beat_per_cycle_and_the_stated_cycles_to_the_last_write(layout):
    config = CONFIGS["8x16"]
    dut = Store(config)
    item = run(layout, 6, 4 * config.rows, config)
    beats = [beat for beat in item.beats() if beat["row"] < 6 and beat["column"] < 32]
    waits = layout is Layout.OPERAND4

    async def testbench(ctx):
        memory = random_memory(ctx, dut, config)
        ctx.set(dut.run, item.registers())
        await ctx.tick()
        ctx.set(dut.i.valid, 1)
        writes = []
        for cycle in range(len(beats) + Placement.LATENCY):
            ctx.set(dut.i.valid, cycle < len(beats))
            if cycle < len(beats):
                ctx.set(dut.i.payload, beats[cycle])
            writes.append(ctx.get(dut.placement.write.enable) != 0)
            assert ctx.get(dut.idle) == (cycle == 0)
            await ctx.tick()
        written = [not (waits and beat["row"] % 2 == 0) for beat in beats]
        assert writes == [False] * Placement.LATENCY + written[:len(beats)]
        assert ctx.get(dut.idle)
        await ctx.tick()
        item.write(memory)
        check_image(ctx, dut, memory, item)

    simulate(dut, testbench)


def test_is_idle_while_nothing_but_beats_outside_the_matrix_comes():
    config = CONFIGS["4x4"]
    dut = Store(config)
    item = run(Layout.WIDE, 2, 3, config)
    outside = [beat for beat in item.beats() if beat["row"] >= 2 or beat["column"] >= 3]

    async def testbench(ctx):
        ctx.set(dut.run, item.registers())
        for beat in outside:
            await source(dut.i, [beat])(ctx)
            assert ctx.get(dut.idle)
        assert not contents(ctx, dut).any()

    simulate(dut, testbench)


def test_largest_matrices_use_all_bits_of_their_fields():
    config = replace(CORES["4x4"], sram_kib=128, max_k=1024)
    last = config.scratchpad_words - 1
    dut = Store(config)
    write = dut.placement.write
    cases = [  # layout, row, column, dest, stride, address
        (Layout.WIDE, 8190, 0, 0, 2, 16380),
        (Layout.WIDE, 8190, 8184, 5, 1, 8195 + 2046),
        (Layout.WIDE, 1, 0, 3, last - 3, last),
        (Layout.OPERAND8, 8188, 0, 4, 8, 4 + 2047 * 8),
        (Layout.WEIGHT8, 8190, 0, 9, 0, 9 + 4095),
        (Layout.WEIGHT4, 0, 8184, 1, 16, 1 + 1023 * 16),
    ]

    async def testbench(ctx):
        for layout, row, column, dest, stride, address in cases:
            ctx.set(dut.run, {"layout": layout, "dest": dest, "dest_stride": stride,
                              "m": 8191, "n": 8191})
            await ctx.tick()
            await source(dut.i, [{"values": [0] * 4, "row": row, "column": column}])(ctx)
            await ctx.tick().repeat(Placement.LATENCY - 1)
            enable = ctx.get(write.enable)
            got = {ctx.get(write.address[bank]) for bank in range(4) if enable >> bank & 1}
            assert min(got) == address, f"{layout.name} ({row}, {column}): {got} != {address}"
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("layout", [Layout.WIDE, Layout.OPERAND4, Layout.WEIGHT4],
                         ids=lambda layout: layout.name)
def test_a_flipped_bit_is_noticed(layout, monkeypatch):
    original = module.turned
    monkeypatch.setattr(module, "turned", lambda values, amount, width: original(
        values ^ (width > 1), amount, width))
    with pytest.raises(AssertionError, match="expected image"):
        check(CONFIGS["4x4"], runs(layout, CONFIGS["4x4"]))


def test_a_bank_too_many_is_noticed(monkeypatch):
    original = module.turned
    monkeypatch.setattr(module, "turned", lambda values, amount, width: original(
        values | 2 * (width == 1), amount, width))
    with pytest.raises(AssertionError, match="expected image"):
        check(CONFIGS["4x4"], [run(Layout.OPERAND8, 1, 1, CONFIGS["4x4"])])


def test_refuses_wrong_configurations():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Placement(8)
    with pytest.raises(ValueError, match=r"lanes must be rows \(4\) in a core, not 2"):
        Placement(replace(CORES["4x4"], lanes=2))
