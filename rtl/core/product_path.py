"""Product path: from operands in the scratchpad and the ring to accumulators."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode

from ..common.checks import check_config
from ..common.multiplier import lent_signature
from ..common.shapes import joined
from ..memory.scratchpad import read_signature
from ..memory.weight_buffer import ring_signature, take_layout, words_shape
from ..product.mac_array import MacArray
from ..product.operand_feed import OperandFeed
from ..product.tile_drain import accumulators_layout
from ..rows.layernorm import LayerNorm
from ..rows.softmax import softmax_codebook_layout
from .instruction import decoded, instruction_layout

__all__ = ["ProductPath"]


class ProductPath(wiring.Component):
    """Multiply: the operand feed and the array, whose multipliers work on rows in between.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    instruction, start
        ``In(instruction_layout)``, ``In(1)``: a product begins with `start`.
    codebook : ``In(softmax_codebook_layout)``
    read : ``Out(read_signature(config))``
        Scratchpad; gets what it asks for.
    take, skip, window, release, ring
        As in :class:`.operand_feed.OperandFeed`.
    o : ``Out(stream.Signature(accumulators_layout(config)))``
        Accumulators, tile by tile.
    busy : ``Out(1)``
        As in :class:`.operand_feed.OperandFeed`.
    operands_valid, operands_ready : ``Out(1)``
        The feed has operands for the array, the array takes them.
    lent : ``In(lent_signature).array(LayerNorm.MULTIPLIERS * lanes)``
        Multipliers of the array, for NORM and SOFTMAX.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        self._lends = LayerNorm.MULTIPLIERS * config.lanes
        super().__init__({
            "instruction": In(instruction_layout), "start": In(1),
            "codebook": In(softmax_codebook_layout),
            "read": Out(read_signature(config)),
            "take": Out(stream.Signature(take_layout)),
            "skip": Out(stream.Signature(words_shape)),
            "window": In(stream.Signature(range(config.stream_words))),
            "release": Out(stream.Signature(words_shape)),
            "ring": Out(ring_signature(config)),
            "o": Out(stream.Signature(accumulators_layout(config))),
            "busy": Out(1), "operands_valid": Out(1), "operands_ready": Out(1),
            "lent": In(lent_signature).array(self._lends),
        })

    def elaborate(self, platform):
        m = Module()
        op = self.instruction
        m.submodules.feed = feed = OperandFeed(self._config)
        m.submodules.array = array = MacArray(self._config, lends=self._lends)
        for name in ("take", "skip", "release", "ring", "read"):
            connect(m, getattr(feed, name), flipped(getattr(self, name)))
        connect(m, flipped(self.window), feed.window)
        connect(m, feed.tile, array.tile)
        connect(m, feed.o, array.i)
        connect(m, array.o, flipped(self.o))
        for user, multiplier in zip(self.lent, array.lent, strict=True):
            connect(m, flipped(user), multiplier)
        m.d.comb += [
            *joined(feed.run, op),
            feed.start.eq(self.start & decoded(m, op, Opcode.GEMM)),
            *(entry.eq(operand)
              for entry, operand in zip(array.codebook, self.codebook, strict=True)),
            array.lend.eq(decoded(m, op, Opcode.NORM, Opcode.SOFTMAX)),
            self.busy.eq(feed.busy),
            self.operands_valid.eq(array.i.valid),
            self.operands_ready.eq(array.i.ready),
        ]
        return m
