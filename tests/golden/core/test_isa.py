"""Instructions: encoding, decoding, disassembly, and what is refused."""

import numpy as np
import pytest

from golden.common.formats import Mode
from golden.core import isa
from golden.core.bit_fields import pack, unpack
from golden.core.isa import (
    FIELDS,
    INSTRUCTION_BYTES,
    Instruction,
    Layout,
    Opcode,
    Path,
    decode,
    make,
)
from golden.product.mac_array import Activation


def random_instruction(draw, opcode):
    """An instruction with random values in all of its fields."""
    fields = {}
    for name in isa._HAS[opcode]:
        fmt = FIELDS[name]
        codes = isa._NAMES.get(name)
        fields[name] = int(draw.choice(list(codes)) if codes
                           else draw.integers(fmt.min, fmt.max, endpoint=True))
    return Instruction(opcode, fields)


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_every_instruction_survives_encoding(opcode):
    draw = np.random.default_rng(int(opcode))
    for _ in range(200):
        made = random_instruction(draw, opcode)
        data = made.encode()
        assert len(data) == INSTRUCTION_BYTES
        assert decode(data) == made


def test_fields_lie_where_positions_say_and_do_not_overlap():
    made = make(Opcode.GEMM, m=197, exponent=-5, high=7)
    word = int.from_bytes(made.encode(), "little")
    for name, fmt in FIELDS.items():
        value = (word >> isa.POSITIONS[name]) & ((1 << fmt.bits) - 1)
        wanted = int(made.opcode) if name == "opcode" else getattr(made, name)
        assert value == wanted & ((1 << fmt.bits) - 1), name
    ends = [isa.POSITIONS[name] + fmt.bits for name, fmt in FIELDS.items()]
    assert [*isa.POSITIONS.values()][1:] == ends[:-1]
    assert ends[-1] <= 8 * INSTRUCTION_BYTES


def test_disassembly_names_codes_and_leaves_zeros_out():
    made = make(Opcode.GEMM, mode=Mode.W4A8, activation=Activation.CODE, path=Path.DIRECT,
                layout=Layout.OPERAND4, m=3, dest=255, low=-8, residual=0)
    assert str(made) == ("GEMM     mode=w4a8 activation=code path=direct layout=operand4 m=3 "
                         "dest=0xff low=-8")
    assert (made.mode_of, made.activation_of) == (Mode.W4A8, Activation.CODE)
    assert str(make(Opcode.END)) == "END"


@pytest.mark.parametrize(("fields", "message"), [
    ({"m": 8192}, r"m must be within 0\.\.8191, not 8192"),
    ({"exponent": -(1 << 20)}, "exponent must be within"),
    ({"epsilon": 1}, "GEMM has no field 'epsilon'"),
    ({"size": 1}, "GEMM has no field 'size'"),
])
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make(Opcode.GEMM, **fields)


@pytest.mark.parametrize(("change", "message"), [
    (lambda word: 0, "opcode must be one of 1, .*, 13, not 0"),
    (lambda word: word & ~15 | 14, "not 14"),
    (lambda word: word | 2 << isa.POSITIONS["mode"], "mode must be one of w8a8, .* not code 2"),
    (lambda word: word | 7 << isa.POSITIONS["layout"], "layout must be one of wide, .* not code 7"),
    (lambda word: word | 1 << 1000, "GEMM has bits set behind its fields"),
    (lambda word: word & ~15 | int(Opcode.END), "END has no field 'm'"),
])
def test_no_instruction_is_refused(change, message):
    word = int.from_bytes(make(Opcode.GEMM, m=1).encode(), "little")
    with pytest.raises(ValueError, match=message):
        decode(change(word).to_bytes(INSTRUCTION_BYTES, "little"))


def test_bytes_of_another_length_are_refused():
    with pytest.raises(ValueError, match="an instruction has 128 bytes, not 3"):
        decode(b"abc")


@pytest.mark.parametrize("layout", [isa.COLUMN, isa.CHANNEL, isa.SCALES, isa.CODEBOOK,
                                    isa.STATISTICS, isa.PREDICTOR, isa.TABLE])
def test_units_have_eight_bytes_and_survive_packing(layout):
    assert sum(fmt.bits for fmt in layout.values()) == 8 * isa.UNIT_BYTES
    draw = np.random.default_rng(1)
    for _ in range(50):
        values = {name: int(draw.integers(fmt.min, fmt.max, endpoint=True))
                  for name, fmt in layout.items()}
        assert unpack(pack(values, layout), layout) == values
