# amaranth: UnusedElaboratable=no

import random
import re

import pytest
from amaranth.back import rtlil

from golden.common.formats import IntFormat
from golden.product.packing import ACTIVATION_PORT, WEIGHT_PORT
from rtl.common.multiplier import Multiplier
from tests.benches.simulate import simulate

WIDE = IntFormat(18)


class ECP5:
    """All that the multiplier asks of a platform."""

    device = "LFE5U-25F"


@pytest.mark.parametrize(("a", "b"), [(ACTIVATION_PORT, WEIGHT_PORT), (WIDE, WIDE)])
def test_product_is_exact_and_held_while_disabled(a, b):
    dut = Multiplier(a, b)
    rng = random.Random(1)

    def draw(fmt):
        return rng.choice([fmt.min, fmt.max, -1, 0, 1, rng.randint(fmt.min, fmt.max)])

    async def testbench(ctx):
        pending = [0] * Multiplier.LATENCY
        for _ in range(500):
            x, y, enable = draw(a), draw(b), rng.random() < 0.7
            ctx.set(dut.a, x)
            ctx.set(dut.b, y)
            ctx.set(dut.enable, enable)
            await ctx.tick()
            if enable:
                pending = [*pending[1:], x * y]
            assert ctx.get(dut.product) == pending[0]

    simulate(dut, testbench)


def test_takes_one_registered_block_of_an_ecp5():
    dut = Multiplier(ACTIVATION_PORT, WEIGHT_PORT)
    text = rtlil.convert(dut, platform=ECP5(), emit_src=False)
    assert text.count("cell \\MULT18X18D ") == 1
    parameters = dict(re.findall(r'parameter \\(\w+) "(\w+)"', text))
    for stage in ("INPUTA", "INPUTB", "OUTPUT"):
        assert [parameters[f"REG_{stage}_{kind}"] for kind in ("CLK", "CE", "RST")] == [
            "CLK0", "CE0", "RST0"]
    assert parameters["REG_PIPELINE_CLK"] == "NONE"
    ports = dict(re.findall(r"connect \\(\w+) (.*)", text))
    assert (ports["CLK0"], ports["CE0"], ports["RST0"]) == (
        "\\clk [0]", "\\enable [0]", "\\rst [0]")
    assert ports["SIGNEDA"] == ports["SIGNEDB"] == "1'1"
    for bit in range(18):
        assert ports[f"A{bit}"] == f"\\a [{min(bit, ACTIVATION_PORT.bits - 1)}]"
        assert ports[f"B{bit}"] == f"\\b [{min(bit, WEIGHT_PORT.bits - 1)}]"


@pytest.mark.parametrize("wrong", [IntFormat(19), IntFormat(8, signed=False)])
def test_refuses_formats_the_block_does_not_take(wrong):
    with pytest.raises(ValueError, match=f"a must be signed and of 18 bits or fewer, not {wrong}"):
        Multiplier(wrong, WIDE)
    with pytest.raises(ValueError, match=f"b must be signed and of 18 bits or fewer, not {wrong}"):
        Multiplier(WIDE, wrong)


def test_refuses_what_is_no_format():
    with pytest.raises(TypeError, match="a must be an IntFormat, not 18"):
        Multiplier(18, WIDE)
