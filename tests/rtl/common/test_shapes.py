import random

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.common.shapes import clamped, joined, narrowed, saturated
from tests.benches.simulate import simulate


class Function(wiring.Component):
    """A combinational function of signed `x` and unsigned `amount`."""

    def __init__(self, width, result):
        self._result = result
        super().__init__({"x": In(signed(width)), "amount": In(5), "y": Out(signed(40)),
                          "flag": Out(1)})

    def elaborate(self, platform):
        m = Module()
        value, flag = self._result(self.x, self.amount)
        m.d.comb += [self.y.eq(value), self.flag.eq(flag)]
        m.d.sync += Signal().eq(1)  # the simulation needs a clock
        return m


def numbers(width):
    """Numbers of every size."""
    rng = random.Random(width)
    top = 1 << (width - 1)
    near = [sign * (1 << bits) + off for bits in range(width - 1) for sign in (-1, 1)
            for off in (-1, 0, 1)]
    return [*(x for x in near if -top <= x < top), -top, top - 1,
            *(rng.randint(-top, top - 1) >> rng.randrange(width) for _ in range(200))]


@pytest.mark.parametrize(("width", "low", "high"), [
    (18, -32768, 32767), (33, -128, 127), (16, -32768, 32767), (8, -8, 7), (12, -100, 27),
    (12, 0, 255), (12, -255, 255)])
def test_saturated_clamps(width, low, high):
    dut = Function(width, lambda x, _: (saturated(x, low, high), 0))

    async def testbench(ctx):
        for x in numbers(width):
            ctx.set(dut.x, x)
            assert ctx.get(dut.y) == min(max(x, low), high)

    simulate(dut, testbench)


@pytest.mark.parametrize(("width", "bits"), [(33, 18), (20, 17), (20, 3), (8, 17)])
def test_narrowed_shifts_or_says_that_it_does_not_fit(width, bits):
    dut = Function(width, lambda x, amount: narrowed(x, amount, bits))

    async def testbench(ctx):
        for x in numbers(width):
            for amount in {0, 1, 7, 16, 31, max(0, x.bit_length() - bits + 1)} & {*range(32)}:
                ctx.set(dut.x, x)
                ctx.set(dut.amount, amount)
                fits = -(1 << (bits - 1)) <= x >> amount < 1 << (bits - 1)
                assert ctx.get(dut.flag) == (not fits)
                assert not fits or ctx.get(dut.y) == x >> amount

    simulate(dut, testbench)


@pytest.mark.parametrize(("flags", "expected"), [((0, 0), None), ((1, 0), 50), ((0, 1), -20)])
def test_clamped_goes_by_flags_first(flags, expected):
    above, below = Signal(init=flags[0]), Signal(init=flags[1])
    dut = Function(12, lambda x, _: (clamped(x, -20, 50, above, below), 0))

    async def testbench(ctx):
        for x in (-2048, -21, -20, 0, 50, 51, 2047):
            ctx.set(dut.x, x)
            wanted = min(max(x, -20), 50) if expected is None else expected
            assert ctx.get(dut.y) == wanted

    simulate(dut, testbench)


class Joined(wiring.Component):
    """Fields of `i` as those of `o` with the same names, whatever their order."""

    i: In(data.StructLayout({"wide": 8, "other": 3, "flag": 1, "number": signed(5)}))
    o: Out(data.StructLayout({"number": signed(5), "wide": 4, "flag": 1}))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += joined(self.o, self.i)
        m.d.sync += Signal().eq(1)  # the simulation needs a clock
        return m


def test_fields_are_joined_by_name():
    dut = Joined()

    async def testbench(ctx):
        ctx.set(dut.i, {"wide": 9, "other": 5, "flag": 1, "number": -7})
        assert ctx.get(dut.o) == {"number": -7, "wide": 9, "flag": 1}

    simulate(dut, testbench)


@pytest.mark.parametrize("shape", [9, signed(8)])
def test_a_field_that_cannot_hold_another_is_refused(shape):
    target = Signal(data.StructLayout({"fine": 1, "wide": shape}))
    source = Signal(data.StructLayout({"fine": 1, "wide": 8}))
    assert len(joined(target, source, "fine")) == 1
    with pytest.raises(ValueError, match="wide must be .* or wider, not unsigned"):
        joined(target, source)


def test_a_field_that_is_missing_is_refused():
    target, source = (Signal(data.StructLayout({name: 1})) for name in ("here", "there"))
    with pytest.raises(KeyError):
        joined(target, source)
