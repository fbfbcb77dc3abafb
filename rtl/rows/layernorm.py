"""LayerNorm with its affine, bit-exact with :func:`golden.rows.layernorm.layer_norm`."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.rows.layernorm import LONG

from ..common.checks import check_config
from ..common.multiplier import lent_signature, lent_to, own_multipliers
from ..common.shapes import shape_of
from ..common.skid_buffer import SkidBuffer
from ..memory.row_store import store_signature
from .norm_lanes import Affine, Normalize, affine_constants_layout, affine_layout
from .norm_root import Root, Variance, row_scale_layout
from .norm_rows import CoarseChannels, Intake, RowBuffer, norm_shape_layout
from .norm_sums import RowSums, row_sums_layout

__all__ = ["LayerNorm", "affine_layout", "channel_layout", "norm_shape_layout"]

channel_layout = data.StructLayout({**affine_constants_layout.members, "coarse": 1})
"""Factor and offset of a channel, and whether it is coarse: :mod:`golden.rows.layernorm`."""


class LayerNorm(wiring.Component):
    """Normalise rows of residuals and apply the affine of their channels.

    A run is one layer: `load` is held high while the constants are taken, one channel per cycle,
    and goes low after the last; then come the rows, as many as wanted. A row passes twice: into
    its sums and a buffer, and, once its root is known, out of the buffer. Both passes take a word
    of ``config.lanes`` channels per cycle and work on different rows at the same time. A row takes
    as many cycles as it has words, :data:`golden.rows.layernorm.INTERVAL` at least; no word of a
    longer row is refused. Backpressure anywhere. Without stalls a run takes
    :func:`golden.rows.layernorm.cycles`, constants not included.

    ::

        i -+-> RowSums -> Variance -> Root -+
           |                                v
           +----------------------> RowBuffer -> Normalize -> Affine -> o
                                                   constants -^

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes; memories are for rows of up to
        :func:`golden.rows.layernorm.highest_channels`.
    borrows : bool
        The four multipliers of each lane and the memory of its rows are not its own.

    Members
    -------
    shape : ``In(norm_shape_layout(config))``
        Channels, a multiple of the lanes, and epsilon; stable from the first constant of a run to
        its last result.
    load : ``In(1)``
        Take constants, from the first channel on, and no rows. May rise when all results of the
        run before have been taken; must fall between two runs.
    constants : ``In(stream.Signature(channel_layout))``
        `gamma`, `beta` and `coarse` of one channel after the other; none beyond the last is taken.
    i : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        Rows one after the other, the words of a row in order.
    o : ``Out(stream.Signature(affine_layout(config)))``
        Accumulators in the same order; `last` marks the last word of a row.
    products : ``Out(lent_signature).array(4 * lanes)``
    store : ``Out(store_signature(config, RowBuffer.words(config)))``
        Multipliers and memory, from the first constant of a run to its last result. Only if it
        `borrows`.
    """

    MULTIPLIERS = 4  # of a lane

    def __init__(self, config: AcceleratorConfig, borrows: bool = False):
        check_config(config)
        self._config, self._borrows = config, borrows
        borrowed = {"products": Out(lent_signature).array(self.MULTIPLIERS * config.lanes),
                    "store": Out(store_signature(config, RowBuffer.words(config)))}
        super().__init__({
            "shape": In(norm_shape_layout(config)),
            "load": In(1),
            "constants": In(stream.Signature(channel_layout)),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "o": Out(stream.Signature(affine_layout(config))),
            **(borrowed if borrows else {}),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.intake = intake = Intake(self._config)
        m.submodules.sums = sums = RowSums(self._config.lanes)
        m.submodules.ahead = ahead = SkidBuffer(row_sums_layout)
        m.submodules.variance = variance = Variance()
        m.submodules.root = root = Root()
        m.submodules.scales = scales = SkidBuffer(row_scale_layout)
        m.submodules.buffer = buffer = RowBuffer(self._config, self._borrows)
        m.submodules.normalize = normalize = Normalize(self._config)
        m.submodules.affine = affine = Affine(self._config)
        m.submodules.coarse = coarse = CoarseChannels(self._config)

        connect(m, flipped(self.i), intake.i)
        connect(m, intake.sums, sums.i)
        connect(m, sums.o, ahead.i)
        connect(m, ahead.o, variance.i)
        connect(m, variance.o, root.i)
        connect(m, root.o, scales.i)
        connect(m, scales.o, buffer.scales)
        connect(m, intake.buffer, buffer.i)
        connect(m, buffer.o, normalize.i)
        connect(m, normalize.o, affine.i)
        connect(m, affine.o, flipped(self.o))
        m.d.comb += [
            intake.closed.eq(self.load),
            intake.last_word.eq(self.shape.last_word),
            variance.channels.eq(self.shape.channels),
            variance.epsilon.eq(self.shape.epsilon),
            root.long.eq(self.shape.last_word >= LONG // self._config.lanes),
            buffer.last_word.eq(self.shape.last_word),
            normalize.channels.eq(self.shape.channels),
            *(getattr(affine.constants.p, name).eq(getattr(self.constants.p, name))
              for name in affine_constants_layout.members),
            affine.constants.valid.eq(self.constants.valid),
            self.constants.ready.eq(affine.constants.ready),
            coarse.load.eq(self.load),
            coarse.taken.eq(self.constants.valid & self.constants.ready),
            coarse.coarse.eq(self.constants.p.coarse),
            coarse.word.eq(intake.word),
            intake.coarse.eq(coarse.flags),
            affine.load.eq(self.load),
            affine.last_word.eq(self.shape.last_word),
        ]
        if self._borrows:
            connect(m, buffer.store, flipped(self.store))
        users = [*sums.products, *normalize.products, *affine.products]
        products = self.products if self._borrows else own_multipliers(m, len(users))
        for user, product in zip(users, products, strict=True):
            m.d.comb += lent_to(user, product)
        return m
