"""TABLE: activations that a program loads, on the golden machine, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import Layout, Opcode, Path, Source, make
from golden.core.machine import Machine
from golden.core.program import Program, ProgramError, Region
from golden.core.rules import check, verify
from golden.memory.scratchpad import read_operand
from golden.results.curves import CURVES, curve_table

CONFIG = CORES["4x4"]
DATA = 256
T = [-9000, -4097, -700, -64, 0, 64, 700, 3000]


def units(values, layout):
    """Numbers, four to a unit, as bytes."""
    rows = np.asarray(values).reshape(-1, len(layout)).tolist()
    return b"".join(pack(dict(zip(layout, row, strict=True)), layout).to_bytes(8, "little")
                    for row in rows)


def table(curve, **changed):
    """A TABLE with its payload."""
    op = make(Opcode.TABLE, **{"n": 64, "low": -curve.offset, "wide": int(curve.wide)} | changed)
    return op.encode() + units(curve.values, isa.TABLE)


def product(dest, **fields):
    """A product of zeros, one row of eight columns, whose biases are :data:`T`."""
    op = make(Opcode.GEMM, **{"m": 1, "k": 1, "n": 8, "source_stride": 1, "dest": dest,
                              "dest_stride": 4, "path": Path.SITE, "layout": Layout.OPERAND8,
                              "weights": Source.STREAM, "high": 255, "gelu": 1,
                              "exponent_out": -5 << 10} | fields)
    columns = [[{"bias": t, "exponent": -3 << 10} for t in T[at:at + 4]] for at in (0, 4)]
    payload = b"".join(b"".join(pack(one, isa.COLUMN).to_bytes(8, "little") for one in part)
                       + bytes(4) for part in columns)
    return op.encode() + payload


def program_of(*parts):
    stream = b"".join((*parts, make(Opcode.STORE, words=1).encode(), make(Opcode.END).encode()))
    return Program(CONFIG, bytes(DATA) + stream, Region(DATA, len(stream)), Region(0, 0),
                   Region(0, DATA), 0, 1, 0, (), {})


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
    program = program_of(product(16), table(silu), product(32, table=1), product(48),
                         product(64, table=1), table(relu), product(80, table=1))
    wanted = [expected(CURVES[name]) for name in ("gelu", "silu", "gelu", "silu", "relu")]
    assert results(program, range(16, 96, 16)) == wanted
    assert len(set(map(tuple, wanted))) == 3


def test_a_table_that_has_not_been_loaded_is_refused():
    program = program_of(product(16, table=1))
    verify(program)
    with pytest.raises(ProgramError, match="instruction 0 .*: there has been no TABLE$"):
        Machine(program).run()


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


@pytest.mark.parametrize("opcode", [Opcode.GEMM, Opcode.MEASURE, Opcode.QUANTIZE])
def test_a_table_is_for_gelu(opcode):
    fields = {"m": 1, "n": 4, "source_stride": 1, "table": 1}
    if opcode is Opcode.GEMM:
        fields |= {"k": 1, "path": Path.SITE, "layout": Layout.OPERAND8, "dest": 16,
                   "dest_stride": 2}
    if opcode is Opcode.QUANTIZE:
        fields |= {"layout": Layout.OPERAND8, "dest": 16, "dest_stride": 2}
    with pytest.raises(ValueError, match="table is for products with gelu"):
        check(make(opcode, **fields), CONFIG, 0)
    check(make(opcode, **fields | {"gelu": 1}), CONFIG, 0)


def test_a_program_reads_as_it_was_written():
    program = program_of(table(CURVES["quick_gelu"]), product(16, table=1))
    lines = list(program.disassemble())
    assert "TABLE    n=64 low=-168 wide=1" in lines[0]
    assert "gelu=1" in lines[1]
    assert "table=1" in lines[1]
    assert replace(program).instructions() == program.instructions()
