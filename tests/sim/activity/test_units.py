"""Units are instances of the RTL, and constants are those of the table of energies."""

import pytest

from golden.common.config import CORES
from golden.common.formats import Mode
from golden.core import isa
from golden.core.isa import Opcode, make
from rtl.core.core import Core
from sim.activity.units import CONSTANTS, UNITS, kind_of, unit_of
from sim.estimation.energy import EnergyTable


@pytest.mark.parametrize(("path", "unit"), [
    ("product_path.array.pe_0_3.multiplier", "multipliers"),
    ("product_path.array.drain", "array edge, drain"), ("product_path.feed", "operand feed"),
    ("result_path.epilogue.rescale.multiplier_1", "requantizer"),
    ("result_path.epilogue.order", "rest"), ("row_path.store", "row store, reader"),
    ("memory_side.ports", "scratchpad ports"), ("memory_side.dma.walk", "DMA"), ("", "rest")])
def test_the_unit_of_an_instance(path, unit):
    assert unit_of(path) == unit


def instances(part, path=()):
    """Paths of a component and of all that is in it, of its elaborated fragment."""
    yield ".".join(path)
    for sub, name, _ in part.subfragments:
        yield from instances(sub, (*path, name or ""))


def test_every_beginning_is_an_instance_of_the_core():
    from amaranth.hdl import Fragment

    paths = list(instances(Fragment.get(Core(CORES["4x4"]), None)))
    for unit, starts in UNITS.items():
        for start in starts:
            assert any(path.startswith(start) for path in paths), (unit, start)
    assert {unit_of(path) for path in paths} == set(UNITS)


@pytest.mark.parametrize(("mode", "gelu", "kind"), [
    (Mode.W8A8, 0, "GEMM w8a8"), (Mode.W4A4, 1, "GEMM w4a4 gelu")])
def test_kinds(mode, gelu, kind):
    assert kind_of(make(Opcode.GEMM, mode=mode, gelu=gelu)) == kind
    assert kind_of(make(Opcode.NORM, m=1)) == "NORM"


def test_constants_are_the_logic_of_the_table():
    table = EnergyTable.of("28nm").constants
    assert set(CONSTANTS) == {name for name, one in table.items() if one.unit == "pJ"}
    assert {unit for one in CONSTANTS.values() for unit in one.units} <= set(UNITS)


def test_every_constant_belongs_to_some_instruction():
    ops = [make(Opcode.GEMM, mode=mode, gelu=1, residual=1, tap=1, path=isa.Path.SITE)
           for mode in Mode] + [make(opcode) for opcode in (Opcode.NORM, Opcode.PREDICT)]
    for name, one in CONSTANTS.items():
        assert 0 < sum(one.during(op) for op in ops) < len(ops), name
