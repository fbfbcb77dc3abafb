# amaranth: UnusedElaboratable=no

import random
import re
import subprocess

import pytest
from amaranth.back import rtlil, verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring

from golden.common.formats import IntFormat
from rtl.common.soft_multiplier import SoftMultiplier
from tests.benches.simulate import simulate

FORMATS = [(IntFormat(16), IntFormat(16, signed=False)),
           (IntFormat(10), IntFormat(6, signed=False)),
           (IntFormat(11, signed=False), IntFormat(5, signed=False)),
           (IntFormat(13, signed=False), IntFormat(14, signed=False)),
           (IntFormat(2), IntFormat(3, signed=False)), (IntFormat(3), IntFormat(1, signed=False))]


class ECP5:
    """All that the multiplier asks of a platform."""

    device = "LFE5U-25F"


class Clocked(wiring.Component):
    """A combinational component beside a register, as a simulation needs a clock."""

    def __init__(self, inner):
        self._inner = inner
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self._inner
        m.d.sync += Signal().eq(1)
        return m


def ids(value):
    return str(value) if isinstance(value, IntFormat) else None


@pytest.mark.parametrize(("a", "b"), FORMATS, ids=ids)
def test_product_is_exact(a, b):
    dut = SoftMultiplier(a, b)
    rng = random.Random(1)

    async def testbench(ctx):
        for x in (a.min, a.max, 0, *(rng.randint(a.min, a.max) for _ in range(20))):
            for y in (0, b.max, rng.randint(0, b.max)):
                ctx.set(dut.a, x)
                ctx.set(dut.b, y)
                assert ctx.get(dut.product) == x * y

    simulate(Clocked(dut), testbench)


# Lattice's carry cell, as yosys has it, and a testbench that multiplies a great many numbers.
CELL = """
module CCU2C(input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
  parameter [15:0] INIT0 = 0, INIT1 = 0;
  parameter INJECT1_0 = "YES", INJECT1_1 = "YES";
  wire [15:0] first = INIT0, second = INIT1;
  wire p0 = first[{D0, C0, B0, A0}], g0 = first[{2'b0, B0, A0}];
  wire p1 = second[{D1, C1, B1, A1}], g1 = second[{2'b0, B1, A1}];
  wire carry = p0 ? CIN : g0;
  assign S0 = p0 ^ CIN, S1 = p1 ^ carry, COUT = p1 ? carry : g1;
  initial if (INJECT1_0 != "NO" || INJECT1_1 != "NO") $fatal;
endmodule
module tb;
  parameter A = 1, B = 1, SIGNED = 0;
  reg [A-1:0] a = 0;
  reg [B-1:0] b = 0;
  wire [A+B-1:0] product, expected;
  wire signed [A:0] wide = {SIGNED ? a[A-1] : 1'b0, a};
  assign expected = wide * $signed({1'b0, b});
  dut dut(.a(a), .b(b), .product(product));
  integer round;
  initial begin
    for (round = 0; round < 200000; round = round + 1) begin
      #1 if (product !== expected) $fatal(1, "%d * %d = %d", a, b, product);
      a = A + B <= 16 ? round : $random;
      b = A + B <= 16 ? round >> A : $random;
    end
    $finish;
  end
endmodule
"""


@pytest.mark.verilator
@pytest.mark.parametrize(("a", "b"), FORMATS[::3], ids=ids)
def test_carry_chains_of_an_ecp5_multiply_exactly(a, b, tmp_path):
    text = verilog.convert(SoftMultiplier(a, b), name="dut", platform=ECP5(), emit_src=False)
    assert " * " not in text
    (tmp_path / "all.v").write_text(text + CELL)
    parameters = {"A": a.bits, "B": b.bits, "SIGNED": int(a.signed)}
    subprocess.run(["verilator", "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-CFLAGS",
                    "-fcoroutines", "--timescale", "1ns/1ps", "--top-module", "tb", "-Mdir",
                    tmp_path / "obj", *(f"-G{name}={value}" for name, value in parameters.items()),
                    tmp_path / "all.v"], check=True, capture_output=True)
    subprocess.run([tmp_path / "obj" / "Vtb"], check=True, capture_output=True)


def test_takes_carry_chains_only():
    dut = SoftMultiplier(*FORMATS[0])
    text = rtlil.convert(dut, platform=ECP5(), emit_src=False)
    assert set(re.findall(r"^\s*cell (\S+)", text, re.MULTILINE)) == {"\\CCU2C"}
    assert text.count("cell \\CCU2C") <= 150


def test_refuses_wrong_formats():
    with pytest.raises(TypeError, match="a must be an IntFormat, not 8"):
        SoftMultiplier(8, IntFormat(8, signed=False))
    with pytest.raises(ValueError, match="b must be unsigned, not s8"):
        SoftMultiplier(IntFormat(8), IntFormat(8))
