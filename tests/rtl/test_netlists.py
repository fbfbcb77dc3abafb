# amaranth: UnusedElaboratable=no
"""Units after synthesis: their netlists give in every cycle what the RTL gave; minutes each.

The RTL's runs are those of its own tests, which compare it with golden, on recorded activations
of DeiT-Tiny where they have such. ``pytest tests/rtl/test_netlists.py -m long -rP`` shows the
cells and how much was compared.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from amaranth.back import rtlil

from golden.config import CONFIGS
from golden.formats import ACT16
from rtl.build import MissingTool, find_tool
from rtl.export import unit_verilog
from rtl.mac_array import MacArray
from rtl.requant import Requant
from tests.gemm_products import attention_products, random_products
from tests.netlist import Netlist, Replay, Trace, synthesise, traced
from tests.recorded import recorded
from tests.rtl import (
    test_exp2,
    test_gelu,
    test_mac_array,
    test_requant,
)
from tests.rtl.test_multiplier import ECP5
from tests.streams import sink, source

pytestmark = [pytest.mark.long, pytest.mark.verilator]

SMALL = CONFIGS["4x4"]


@dataclass(frozen=True)
class Unit:
    """A unit's Verilog or RTLIL, and runs of it in the functions of its test module."""

    tests: object
    runs: Callable[[], None]
    design: Callable[[], str]
    lanes: int = 1  # results in a payload
    watched: Callable = lambda dut: dut


def exported(name):
    return lambda: unit_verilog(name, SMALL)


def exp2_runs():
    for idle, stall in ((0, 0), (0.2, 0.5)):
        test_exp2.check(idle=idle, stall=stall)


def requant_runs():
    for low, high in ((-128, 127), (0, 15), (ACT16.min, ACT16.max)):
        test_requant.check(SMALL, low, high, idle=0.3, stall=0.3)
    dut = Requant(SMALL)
    beats = test_requant.score_beats(SMALL.lanes, 2000)

    async def limits(ctx):
        ctx.set(dut.low, ACT16.min)
        ctx.set(dut.high, ACT16.max)

    test_requant.simulate(
        dut, limits, source(dut.i, beats),
        sink(dut.o, test_requant.expected_beats(beats, ACT16.min, ACT16.max), list))


def gelu_runs():
    test_gelu.check(SMALL, test_gelu.EVERY)
    test_gelu.check(SMALL, recorded().residual(0)[:20].ravel(), idle=0.3, stall=0.3)


def mac_array_runs():
    config = test_mac_array.SMALL
    test_mac_array.check(config, random_products(config), idle=0.2, stall=0.3)
    test_mac_array.check(config, attention_products(config))


UNITS = {
    "exp2": Unit(test_exp2, exp2_runs, exported("exp2")),
    "requant": Unit(test_requant, requant_runs, exported("requant"), SMALL.lanes),
    "gelu": Unit(test_gelu, gelu_runs, exported("gelu"), SMALL.lanes),
    "mac_array, for a board": Unit(
        test_mac_array, mac_array_runs,
        lambda: rtlil.convert(MacArray(test_mac_array.SMALL), platform=ECP5(), emit_src=False)),
}


@pytest.fixture(autouse=True)
def yosys():
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))


def traces_of(unit) -> list[Trace]:
    traces = []
    with traced(unit.tests, traces, unit.watched):
        unit.runs()
    return traces


def numbers(netlist, traces, lanes):
    """A line on a netlist's cells and on what has been compared."""
    beats = sum((trace.beats() for trace in traces), Counter())
    cells = ", ".join(f"{count} {kind}" for kind, count in sorted(netlist.cells.items()))
    given = ", ".join(f"{count} of {stream}" for stream, count in beats.items())
    return (f"{cells}; {sum(len(trace.rows) for trace in traces)} cycles, payloads: {given}; "
            f"results in a payload of o: {lanes}")


@pytest.mark.parametrize("name", UNITS)
def test_netlist_does_what_the_rtl_does(name, tmp_path):
    unit = UNITS[name]
    traces = traces_of(unit)
    netlist = synthesise(unit.design(), tmp_path)
    replay = Replay(netlist, traces[0].ports, tmp_path)
    for trace in traces:
        assert replay.check(trace) > len(trace.rows)
    assert sum(len(trace.rows) for trace in traces) > 900
    print(f"{name}: {numbers(netlist, traces, unit.lanes)}")


def test_one_flipped_bit_of_a_lut_is_noticed(tmp_path):
    """An inverter, of one of its four inputs, that gives 1 whatever it gets."""
    trace = traces_of(UNITS["exp2"])[0]
    netlist = synthesise(UNITS["exp2"].design(), tmp_path)
    text = netlist.text.replace(".INIT(16'h00ff)", ".INIT(16'h01ff)", 1)
    assert text != netlist.text
    replay = Replay(Netlist(text, netlist.cells), trace.ports, tmp_path)
    with pytest.raises(AssertionError, match=r"cycle \d+: o__payload 0x\w+ != 0x\w+ \(expected\)"):
        replay.check(trace)
