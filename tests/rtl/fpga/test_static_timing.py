"""Ways between registers of netlists that were written by hand."""

import math

import pytest

from rtl.fpga.static_timing import FAN_OUT_NS, NET_NS, slowest_ways

CLOCK = 2


def cell(kind, inputs, outputs, **parameters):
    connections = {name: bits if isinstance(bits, list) else [bits]
                   for name, bits in {**inputs, **outputs}.items()}
    return {"type": kind, "parameters": parameters, "connections": connections,
            "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")}


def flip_flop(d, q):
    return cell("TRELLIS_FF", {"CLK": CLOCK, "DI": d}, {"Q": q})


def lut(inputs, output):
    return cell("LUT4", dict(zip("ABCD", inputs, strict=False)), {"Z": output})


def netlist(cells, **names):
    return {"modules": {"top": {"cells": cells, "netnames": {
        name: {"hide_name": 0, "bits": bits} for name, bits in names.items()}}}}


def net(fan_out):
    return NET_NS + FAN_OUT_NS * math.log2(1 + fan_out)


def test_a_way_has_its_cells_and_nets():
    made = netlist({"a": flip_flop(13, 10), "u": lut([10, "0"], 11), "v": lut([11, 10], 12),
                    "b": flip_flop(12, 13)},
                   first=[10], middle=[11], end=[13], last_LUT4_Z=[12])
    way, back = slowest_ways(made, "top", 9)
    assert way.ns == pytest.approx(0.52 + net(2) + 0.24 + net(1) + 0.24 + net(1) + 0.1)
    assert way.cells == 3
    assert [name for name, _ in way.signals] == ["first", "middle", "last", "end"]
    assert [at for _, at in way.signals] == sorted(at for _, at in way.signals)
    assert back.signals[-1][0] == "first"
    assert back.ns == pytest.approx(0.52 + net(1) + 0.1)
    assert slowest_ways(made, "top", 1) == [way]


def test_carries_and_wide_multiplexers_have_nets_of_their_own():
    made = netlist({
        "a": flip_flop(20, 10),
        "low": cell("CCU2C", {"A0": 10}, {"COUT": 11}),
        "high": cell("CCU2C", {"CIN": 11}, {"S0": 12, "COUT": 13}),
        "mux": cell("PFUMX", {"ALUT": 14, "BLUT": "0", "C0": "0"}, {"Z": 15}),
        "u": lut([12], 14), "b": flip_flop(15, 20)}, a=[10], b=[20])
    way, _ = slowest_ways(made, "top", 9)
    assert way.ns == pytest.approx(
        0.52 + net(1) + 0.45 + 0.45 + net(1) + 0.24 + 0.17 + net(1) + 0.1)


def test_blocks_with_registers_end_and_begin_ways():
    ram = cell("DP16KD", {"CLKA": CLOCK, "ADA0": 10}, {"DOB0": 11}, REGMODE_A="NOREG")
    made = netlist({"a": flip_flop(11, 10), "ram": ram}, address=[10], word=[11])
    ways = slowest_ways(made, "top", 9)
    assert [one.signals[-1][0] for one in ways] == ["address", "word"]
    assert ways[0].ns == pytest.approx(5.6 + net(1) + 0.1)
    ram["parameters"]["REGMODE_A"] = "OUTREG"
    assert slowest_ways(made, "top", 9)[0].ns < 3


def test_a_multiplier_without_registers_is_gone_through():
    made = netlist({"a": flip_flop(11, 10),
                    "product": cell("MULT18X18D", {"A0": 10}, {"P0": 11})}, a=[10], p=[11])
    (way,) = slowest_ways(made, "top", 9)
    assert way.ns == pytest.approx(0.52 + net(1) + 3.9 + net(1) + 0.1)


def test_loops_and_other_modules_are_refused():
    loop = netlist({"u": lut([11], 10), "v": lut([10], 11), "a": flip_flop(10, 12)})
    with pytest.raises(ValueError, match="loop of logic through"):
        slowest_ways(loop, "top", 1)
    with pytest.raises(ValueError, match="no module 'other'"):
        slowest_ways(loop, "other", 1)
