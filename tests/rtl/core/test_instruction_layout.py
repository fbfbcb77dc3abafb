"""The sequencer's instruction: its fields lie where the bytes written out say."""

import pytest

from golden.core import isa
from rtl.core.sequencer import instruction_layout
from tests.cases.encodings import INSTRUCTIONS, SINGLE_FIELDS


@pytest.mark.parametrize(("opcode", "fields", "text"), [*INSTRUCTIONS, *SINGLE_FIELDS],
                         ids=lambda value: getattr(value, "name", None))
def test_fields_are_found_in_the_bytes_of_an_instruction(opcode, fields, text):
    word = int.from_bytes(bytes.fromhex(text), "little")
    found = instruction_layout.from_bits(word)
    assert found.opcode == opcode
    assert {name: found[name] for name in isa.fields_of(opcode) if found[name]} == fields
