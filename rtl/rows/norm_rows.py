"""Rows on their way through LayerNorm: told apart as they come in, and kept for a second pass."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.rows.layernorm import CHANNELS, EPSILON, LATENCY, highest_channels

from ..common.checks import check_config
from ..common.shapes import shape_of
from ..memory.row_store import RowStore, store_lent_to, store_signature
from .norm_root import row_scale_layout
from .norm_sums import norm_word_layout

__all__ = ["CoarseChannels", "Intake", "RowBuffer", "marked_layout", "norm_shape_layout",
           "replay_layout", "word_index"]


def word_index(config: AcceleratorConfig) -> range:
    """Words of the longest row."""
    return range(highest_channels(config) // config.lanes)


def norm_shape_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Channels of a row, its last word ``channels / lanes - 1``, and LayerNorm's epsilon.

    `channels` is a multiple of ``config.lanes`` and at most
    :func:`golden.rows.layernorm.highest_channels`; `epsilon` is in the units of
    :func:`golden.rows.layernorm.epsilon_units`.
    """
    return data.StructLayout({
        "channels": shape_of(CHANNELS),
        "last_word": word_index(config),
        "epsilon": shape_of(EPSILON),
    })


def marked_layout(lanes: int) -> data.StructLayout:
    """A word of a row, and which of its channels are coarse, see :mod:`golden.rows.layernorm`."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(ACT16), lanes),
        "coarse": lanes,
    })


def replay_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A word of a row with the scale of the row, its number, and whether it is the last."""
    return data.StructLayout({
        **marked_layout(config.lanes).members,
        "scale": row_scale_layout,
        "word": word_index(config),
        "last": 1,
    })


class Intake(wiring.Component):
    """Offer every word to both passes, with its place in the row; none while `closed`.

    Members
    -------
    closed : ``In(1)``
    last_word : ``In(word_index(config))``
        Stable from the first word of a row to its last.
    i : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        Words; each is taken when both outputs take it.
    word : ``Out(word_index(config))``
        Number in its row of the word on offer.
    coarse : ``In(lanes)``
        Which of its channels are coarse.
    sums : ``Out(stream.Signature(norm_word_layout(lanes)))``
    buffer : ``Out(stream.Signature(marked_layout(lanes)))``
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        values = data.ArrayLayout(shape_of(ACT16), config.lanes)
        self._config = config
        super().__init__({
            "closed": In(1),
            "last_word": In(word_index(config)),
            "i": In(stream.Signature(values)),
            "word": Out(word_index(config)),
            "coarse": In(config.lanes),
            "sums": Out(stream.Signature(norm_word_layout(config.lanes))),
            "buffer": Out(stream.Signature(marked_layout(config.lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        word = self.word
        m.d.comb += [
            self.i.ready.eq(~self.closed & self.sums.ready & self.buffer.ready),
            self.sums.valid.eq(self.i.valid & ~self.closed & self.buffer.ready),
            *(part.p.values.eq(self.i.payload) for part in (self.sums, self.buffer)),
            *(part.p.coarse.eq(self.coarse) for part in (self.sums, self.buffer)),
            self.sums.p.first.eq(word == 0),
            self.sums.p.last.eq(word == self.last_word),
            self.buffer.valid.eq(self.i.valid & ~self.closed & self.sums.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += word.eq(word + 1)
            with m.If(self.sums.p.last):
                m.d.sync += word.eq(0)
        return m


class CoarseChannels(wiring.Component):
    """Which channels are coarse, of every word of a row; kept while a run's rows pass.

    Members
    -------
    load : ``In(1)``
        As of :class:`rtl.rows.layernorm.LayerNorm`.
    taken, coarse : ``In(1)``
        Of a channel, in order: its constants are taken now, and whether it is coarse; kept from
        the cycle after the next one on.
    word, flags : ``In(word_index(config))``, ``Out(lanes)``
        Read port, in the same cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "load": In(1),
            "taken": In(1),
            "coarse": In(1),
            "word": In(word_index(config)),
            "flags": Out(config.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        depth = len(word_index(self._config))
        m.submodules.flags = store = memory.Memory(shape=lanes, depth=depth, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        lane, word = Signal(range(lanes)), Signal(word_index(self._config))
        gathered = Signal(lanes)
        taken, coarse = Signal(), Signal()  # many words: whether one is taken is known late
        m.d.comb += [
            read.addr.eq(self.word),
            self.flags.eq(read.data),
            write.addr.eq(word),
            write.data.eq(Cat(gathered[1:], coarse)),
            write.en.eq(taken & (lane == lanes - 1)),
        ]
        m.d.sync += [taken.eq(self.taken), coarse.eq(self.coarse)]
        with m.If(taken):
            m.d.sync += [gathered.eq(write.data), lane.eq(lane + 1)]
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1)]
        with m.If(~self.load):
            m.d.sync += [lane.eq(0), word.eq(0)]
        return m


class RowBuffer(wiring.Component):
    """Keep rows until their scales are known, then give them word by word.

    A queue of words with room for the longest row and for what follows while its scale is being
    worked out: without stalls it never refuses a word. The first word of a row comes out
    :attr:`LATENCY` cycles after its scale is taken, the others follow one per cycle, and so does
    the next row if its scale is there.

    Members
    -------
    last_word : ``In(word_index(config))``
        Stable while a row is inside.
    i : ``In(stream.Signature(marked_layout(lanes)))``
        Words of the rows.
    scales : ``In(stream.Signature(row_scale_layout))``
        Scale of each row, not before its last word.
    o : ``Out(stream.Signature(replay_layout(config)))``
        The same words with their scales.
    store : ``Out(store_signature(config, words(config)))``
        Memory of the queue. Only if it `borrows`.
    """

    LATENCY = 3

    def __init__(self, config: AcceleratorConfig, borrows: bool = False):
        check_config(config)
        self._config, self._borrows = config, borrows
        store = {"store": Out(store_signature(config, self.words(config)))}
        super().__init__({
            "last_word": In(word_index(config)),
            "i": In(stream.Signature(marked_layout(config.lanes))),
            "scales": In(stream.Signature(row_scale_layout)),
            "o": Out(stream.Signature(replay_layout(config))),
            **(store if borrows else {}),
        })

    @staticmethod
    def words(config: AcceleratorConfig) -> int:
        """Words of the memory."""
        return 1 << (len(word_index(config)) + LATENCY).bit_length()

    def elaborate(self, platform):
        m = Module()
        words = word_index(self._config)
        store = store_signature(self._config, self.words(self._config)).create()
        if self._borrows:
            m.d.comb += store_lent_to(store, self.store)
        else:
            m.submodules.store = own = RowStore(self._config, self.words(self._config))
            m.d.comb += store_lent_to(store, own.port)
        fill = Signal(range(self.words(self._config) + 1))
        advance, taken = Signal(), Signal()

        # Stage h: a row of which words are being read.
        h_valid, h_last = Signal(), Signal()
        h_scale, h_word = Signal(row_scale_layout, reset_less=True), Signal(words, reset_less=True)

        # Stage r: the word read. Beside the memory's own register:
        r_valid = Signal()
        r_scale, r_word, r_last = Signal(row_scale_layout, reset_less=True), Signal(words), Signal()

        # Stage o: the same, in a register behind the memory.
        o_scale, o_word, o_last = Signal(row_scale_layout, reset_less=True), Signal(words), Signal()

        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~fill[-1]),
            taken.eq(self.i.valid & self.i.ready),
            store.write_enable.eq(taken),
            store.write_data.eq(self.i.p.values),
            store.write_marks.eq(self.i.p.coarse),
            store.read_enable.eq(advance),
            store.move.eq(advance),
            h_last.eq(h_word == self.last_word),
            self.scales.ready.eq(advance & (~h_valid | h_last)),
            self.o.p.values.eq(store.read_data),
            self.o.p.coarse.eq(store.read_marks),
            self.o.p.scale.eq(o_scale),
            self.o.p.word.eq(o_word),
            self.o.p.last.eq(o_last),
        ]
        m.d.sync += [
            store.write_address.eq(store.write_address + taken),
            store.read_address.eq(store.read_address + (advance & h_valid)),
            fill.eq(fill + taken - (advance & h_valid)),
        ]
        with m.If(advance):
            m.d.sync += [
                h_word.eq(h_word + 1),
                r_valid.eq(h_valid),
                r_scale.eq(h_scale),
                r_word.eq(h_word),
                r_last.eq(h_last),
                self.o.valid.eq(r_valid),
                o_scale.eq(r_scale),
                o_word.eq(r_word),
                o_last.eq(r_last),
            ]
        with m.If(self.scales.ready):
            m.d.sync += [
                h_valid.eq(self.scales.valid),
                h_scale.eq(self.scales.payload),
                h_word.eq(0),
            ]
        return m
