"""From stored bytes to multiplier operands, once per row and column at the edge of the array."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core import isa
from golden.product.mac_array import CODES, Activation
from golden.product.packing import ACTIVATION_PORT, WEIGHT_PORT, packed_activation, packed_weight

from .checks import check_config
from .shapes import shape_of

__all__ = ["BYTE", "OperandEdge", "TileActivation", "TileMode", "by_mode", "codebook_layout"]

BYTE = 8
NIBBLE = 4

codebook_layout = data.ArrayLayout(shape_of(formats.OPERAND), CODES)
"""Operand of each code."""


class TileMode(enum.Enum, shape=2):
    """:class:`golden.common.formats.Mode`: bit 0 tells two columns from one, bit 1 two rows."""

    W8A8 = isa.MODES[Mode.W8A8]
    W4A8 = isa.MODES[Mode.W4A8]
    W4A4 = isa.MODES[Mode.W4A4]


class TileActivation(enum.Enum, shape=2):
    """:class:`golden.product.mac_array.Activation`; W4A4 bytes are read alike in all."""

    SIGNED = isa.ACTIVATIONS[Activation.SIGNED]
    UNSIGNED = isa.ACTIVATIONS[Activation.UNSIGNED]
    CODE = isa.ACTIVATIONS[Activation.CODE]


def by_mode(mode: Value, choices: dict) -> Value:
    """The one of `choices`, by :class:`golden.common.formats.Mode`, that belongs to `mode`."""
    (_, value), *others = choices.items()
    for each, choice in others:
        value = Mux(mode == TileMode[each.name], choice, value)
    return value


def _nibbles(byte: Value) -> list[Value]:
    return [byte[low:low + NIBBLE].as_signed() for low in range(0, BYTE, NIBBLE)]


class OperandEdge(wiring.Component):
    """Turn the bytes of every row and column into multiplier operands.

    Two-stage pipeline that never stalls: a latency of :attr:`LATENCY` cycles. Cycles without
    `valid` give activations of zero, which leave the accumulators as they are.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Array shape.
    copies : int
        Registers that each activation is in, for users in different places.

    Members
    -------
    valid : ``In(1)``
    mode, activation : ``In(TileMode)``, ``In(TileActivation)``
    activation_bytes : ``In(ArrayLayout(8, rows))``
        Of each PE row, as :func:`golden.product.operand_bytes.pack_activations` gives them.
    weight_bytes : ``In(ArrayLayout(8, cols))``
        Of each PE column, as :func:`golden.product.operand_bytes.pack_weights` gives them: no
        nibble is -8.
    codebook : ``In(codebook_layout)``
        Operand of each code, one cycle later than the bytes.
    activations : ``Out(ACTIVATION_PORT).array(rows, copies)``
    weights : ``Out(WEIGHT_PORT).array(cols)``
    """

    LATENCY = 2

    def __init__(self, config: AcceleratorConfig, copies: int = 1):
        check_config(config)
        self._copies = integer("copies", copies, 1)
        super().__init__({
            "valid": In(1),
            "mode": In(TileMode),
            "activation": In(TileActivation),
            "activation_bytes": In(data.ArrayLayout(BYTE, config.rows)),
            "weight_bytes": In(data.ArrayLayout(BYTE, config.cols)),
            "codebook": In(codebook_layout),
            "activations": Out(shape_of(ACTIVATION_PORT)).array(config.rows, copies),
            "weights": Out(shape_of(WEIGHT_PORT)).array(config.cols),
        })

    def elaborate(self, platform):
        m = Module()
        # Stage b: bytes.
        b_valid = Signal()
        b_mode, b_activation = Signal(TileMode), Signal(TileActivation)
        b_activations = Signal.like(self.activation_bytes)
        b_weights = Signal.like(self.weight_bytes)
        m.d.sync += [
            b_valid.eq(self.valid),
            b_mode.eq(self.mode),
            b_activation.eq(self.activation),
            b_activations.eq(self.activation_bytes),
            b_weights.eq(self.weight_bytes),
        ]

        # The operands themselves are the second stage.
        for row, (byte, copies) in enumerate(zip(b_activations, self.activations, strict=True)):
            value = Mux(b_mode == TileMode.W4A4, packed_activation(_nibbles(byte)),
                        self._activation(byte, b_activation))
            for copy, operand in enumerate(copies):
                register = Signal.like(operand, name=f"operand_{row}_{copy}", attrs={"keep": 1})
                m.d.sync += register.eq(Mux(b_valid, value, 0))
                m.d.comb += operand.eq(register)
        for byte, operand in zip(b_weights, self.weights, strict=True):
            m.d.sync += operand.eq(Mux(b_mode == TileMode.W8A8, byte.as_signed(),
                                       packed_weight(_nibbles(byte))))
        return m

    def _activation(self, byte: Value, kind: Value) -> Value:
        """Operand of an 8-bit activation or a code."""
        entries = Array(self.codebook[code] for code in range(CODES))
        return Mux(kind == TileActivation.CODE, entries[byte[:NIBBLE]],
                   Mux(kind == TileActivation.UNSIGNED, byte, byte.as_signed()))
