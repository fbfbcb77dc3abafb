"""TABLE: activations that a program loads, on the golden machine, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from golden.core.isa import Layout, Opcode, make
from golden.core.machine import Machine
from golden.core.program import ProgramError
from golden.core.rules import check, verify
from golden.memory.scratchpad import read_operand
from golden.results.curves import CURVES, curve_table
from tests.cases.activations import CONFIG, T, product, program_of, table


def results(program, places):
    verify(program)
    machine = Machine(program)
    machine.run()
    return [read_operand(machine.scratchpad, place, 4, 1, 8, Layout.OPERAND8,
                         signed=False)[0].tolist() for place in places]


def expected(curve):
    made = curve_table(curve)[np.array(T) + 32768].astype(int)
    return np.clip((made + 16) >> 5, 0, 255).tolist()


def test_products_have_the_activation_that_was_loaded_last():
    silu, relu = CURVES["silu"], CURVES["relu"]
    program = program_of(product(16), table(silu), product(32), product(48), table(relu),
                         product(64), table(CURVES["gelu"]), product(80))
    wanted = [expected(CURVES[name]) for name in ("gelu", "silu", "silu", "relu", "gelu")]
    for _ in range(2):  # a run begins with GELU
        assert results(program, range(16, 96, 16)) == wanted
    assert len(set(map(tuple, wanted))) == 3


def test_a_table_that_could_make_results_negative_is_refused():
    program = program_of(table(CURVES["silu"], low=-284))
    with pytest.raises(ProgramError, match=r"instruction 0 .*values\[10\] = 456\d is outside"):
        Machine(program).run()


@pytest.mark.parametrize(("fields", "message"), [
    ({"n": 63}, "n must be 64, the values of a table, not 63"),
    ({"low": 1}, r"low must be within -511\.\.0, not 1"),
    ({"low": -512}, r"low must be within -511\.\.0, not -512"),
])
def test_what_a_table_has_not_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        check(make(Opcode.TABLE, **{"n": 64, **fields}), CONFIG, 0)


def test_a_program_reads_as_it_was_written():
    program = program_of(table(CURVES["quick_gelu"]), product(16))
    lines = list(program.disassemble())
    assert "TABLE    n=64 low=-168 wide=1" in lines[0]
    assert "gelu=1" in lines[1]
    assert replace(program).instructions() == program.instructions()
