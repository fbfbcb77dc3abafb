"""Encodings as they are written out: what has been compiled can be read for good."""

import pytest

from golden.common.formats import Mode
from golden.core import isa
from golden.core.bit_fields import pack, unpack
from golden.core.isa import (
    FIELDS,
    INSTRUCTION_BYTES,
    UNIT_BYTES,
    Instruction,
    Layout,
    Opcode,
    Path,
    Source,
    Status,
    decode,
    fields_of,
)
from golden.product.mac_array import Activation
from tests.cases.encodings import INSTRUCTIONS, SINGLE_FIELDS, UNITS


def bytes_of(text, size):
    return bytes.fromhex(text).ljust(size, b"\0")


@pytest.mark.parametrize(("opcode", "fields", "text"), [*INSTRUCTIONS, *SINGLE_FIELDS],
                         ids=lambda value: getattr(value, "name", None))
def test_instructions_are_these_bytes(opcode, fields, text):
    data = bytes_of(text, INSTRUCTION_BYTES)
    made = Instruction(opcode, fields)
    assert made.encode() == data
    assert decode(data) == made
    assert made.fields == fields


def test_an_example_of_every_opcode_has_all_of_its_fields():
    assert [opcode for opcode, _, _ in INSTRUCTIONS] == list(Opcode)
    for opcode, fields, _ in INSTRUCTIONS:
        assert fields.keys() == set(fields_of(opcode))
        wide = [value for name, value in fields.items() if FIELDS[name].bits > 3]
        assert len(set(wide)) == len(wide)
    single = {name for _, fields, _ in SINGLE_FIELDS for name in fields}
    assert single >= {name for name, fmt in FIELDS.items() if fmt.bits <= 3}


def test_fields_have_so_many_bits_in_all():
    assert (sum(fmt.bits for fmt in FIELDS.values()), INSTRUCTION_BYTES) == (699, 128)


@pytest.mark.parametrize(("layout", "values", "text"), UNITS,
                         ids=["column", "channel", "scales", "codebook", "statistics", "predictor",
                              "table"])
def test_units_are_these_bytes(layout, values, text):
    data = bytes_of(text, UNIT_BYTES)
    assert pack(values, layout).to_bytes(UNIT_BYTES, "little") == data
    assert unpack(int.from_bytes(data, "little"), layout) == values


def test_codes_are_these_numbers():
    def codes(kind):
        return {each.name: each.value for each in kind}

    assert codes(Opcode) == {
        "END": 1, "SCALES": 2, "PATCHES": 3, "LOAD": 4, "STORE": 5, "NORM": 6, "GEMM": 7,
        "SOFTMAX": 8, "PREDICT": 9, "MEASURE": 10, "QUANTIZE": 11, "EXIT": 12,
        "TABLE": 13}
    assert codes(Source) == {"STREAM": 0, "KEYS": 1, "VALUES": 2}
    assert codes(Path) == {"WIDE": 0, "SITE": 1, "DIRECT": 2}
    assert codes(Layout) == {"WIDE": 0, "OPERAND8": 1, "OPERAND4": 2, "WEIGHT8": 3, "WEIGHT4": 4}
    assert codes(Status) == {"FINE": 0, "ILLEGAL_INSTRUCTION": 1, "BUS_ERROR": 2}
    assert isa.MODES == {Mode.W8A8: 0, Mode.W4A8: 1, Mode.W4A4: 3}
    assert isa.ACTIVATIONS == {Activation.SIGNED: 0, Activation.UNSIGNED: 1, Activation.CODE: 2}
