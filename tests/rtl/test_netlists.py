# amaranth: UnusedElaboratable=no
"""Units after synthesis: their netlists give in every cycle what the RTL gave; minutes each.

The RTL's runs are those of its own tests, which compare it with golden, on recorded activations
of DeiT-Tiny where they have such. ``pytest tests/rtl/test_netlists.py -m long -rP`` shows the
cells and how much was compared.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from amaranth.back import rtlil

from golden.common.config import CORES
from golden.common.formats import ACT16, Mode
from golden.core.isa import Layout
from golden.rows.layernorm import epsilon_units
from rtl.build import MissingTool, find_tool
from rtl.export import ports_of, unit_verilog
from rtl.memory.placement import Placement
from rtl.memory.scratchpad import Scratchpad
from rtl.product.mac_array import MacArray
from rtl.results.epilogue import Epilogue
from rtl.results.requant import Requant
from tests.benches.netlist import Netlist, Replay, Trace, synthesise, traced
from tests.benches.streams import sink, source
from tests.cases.configs import TEST_CONFIGS
from tests.cases.gemm_products import attention_products, random_products
from tests.cases.recorded import recorded
from tests.rtl.common import test_exp2
from tests.rtl.common.test_multiplier import ECP5
from tests.rtl.memory import test_placement, test_scratchpad
from tests.rtl.prediction import test_range_unit, test_scale_unit
from tests.rtl.product import test_mac_array
from tests.rtl.results import test_epilogue, test_gelu, test_requant
from tests.rtl.rows import test_layernorm, test_softmax

pytestmark = [pytest.mark.long, pytest.mark.verilator]

SMALL = TEST_CONFIGS["two-lanes"]
CORE = CORES["4x4"]


@dataclass(frozen=True)
class Unit:
    """A unit's Verilog or RTLIL, and runs of it in the functions of its test module."""

    tests: object
    runs: Callable[[], None]
    design: Callable[[], str]
    lanes: int = 1  # results in a payload
    watched: Callable = lambda dut: dut
    resets: bool = True  # half a run before a reset and the whole run; memories keep what they hold


def exported(name, config=SMALL):
    return lambda: unit_verilog(name, config)


def for_a_board(unit, config):
    def design():
        made = unit(config)
        return rtlil.convert(made, ports=ports_of(made), platform=ECP5(), emit_src=False)

    return design


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


def layernorm_runs():
    test_layernorm.check(SMALL, test_layernorm.random_runs(SMALL), idle=0.3, stall=0.3)
    data = recorded()
    test_layernorm.check(SMALL, [test_layernorm.run(
        data.residual(image)[:10], epsilon_units("1e-6", 192, data.frac), image)
        for image in range(2)], stall=0.1)


def softmax_runs():
    test_softmax.check(SMALL, test_softmax.random_runs(SMALL), idle=0.3, stall=0.3,
                       exponent_stall=0.3)
    scores = test_softmax.score_rows(4, 197)
    test_softmax.check(SMALL, [test_softmax.Run(scores, step) for step in (0, 512)])


def range_unit_runs():
    test_range_unit.check(SMALL, test_range_unit.random_runs(SMALL), idle=0.3, stall=0.3)
    test_range_unit.check(SMALL, test_range_unit.recorded_runs(SMALL))


def scale_unit_runs():
    test_scale_unit.check(SMALL, test_scale_unit.random_images(SMALL), idle=0.3, stall=0.4)
    test_scale_unit.check(SMALL, test_scale_unit.recorded_images(SMALL)[::5])


def epilogue_runs():
    for mode in Mode:
        test_epilogue.check(
            test_epilogue.all_kinds(CORE, mode, random.Random(mode.macs)), idle=0.3)


def placement_runs():
    config = test_placement.CONFIGS["4x4"]
    for layout in Layout:
        test_placement.check(config, test_placement.runs(layout, config), idle=0.3)


def mac_array_runs():
    config = test_mac_array.SMALL
    test_mac_array.check(config, random_products(config), idle=0.2, stall=0.3)
    test_mac_array.check(config, attention_products(config))


UNITS = {
    "exp2": Unit(test_exp2, exp2_runs, exported("exp2")),
    "requant": Unit(test_requant, requant_runs, exported("requant"), SMALL.lanes),
    "gelu": Unit(test_gelu, gelu_runs, exported("gelu"), SMALL.lanes),
    "layernorm": Unit(test_layernorm, layernorm_runs, exported("layernorm"), SMALL.lanes),
    "softmax": Unit(test_softmax, softmax_runs, exported("softmax"), SMALL.lanes),
    "range_unit": Unit(test_range_unit, range_unit_runs, exported("range_unit")),
    "scale_unit": Unit(test_scale_unit, scale_unit_runs, exported("scale_unit")),
    "mac_array": Unit(test_mac_array, mac_array_runs,
                      exported("mac_array", test_mac_array.SMALL)),
    "mac_array, for a board": Unit(test_mac_array, mac_array_runs,
                                   for_a_board(MacArray, test_mac_array.SMALL)),
    "epilogue": Unit(test_epilogue, epilogue_runs, for_a_board(Epilogue, CORE), CORE.rows,
                     lambda dut: dut.epilogue),
    "placement": Unit(test_placement, placement_runs,
                      for_a_board(Placement, test_placement.CONFIGS["4x4"]), CORE.rows,
                      lambda dut: dut.placement),
    "scratchpad": Unit(test_scratchpad, lambda: test_scratchpad.check_parts(19),
                       for_a_board(Scratchpad, replace(CORES["8x16"], sram_kib=19)),
                       CORES["8x16"].rows, resets=False),
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
        replay.check(trace, resets=unit.resets)
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
