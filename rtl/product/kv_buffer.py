"""KV buffer: weights that are activations, keys and values, on their way to the MAC array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import FIELDS, Source
from golden.cycles import feed
from golden.memory.scratchpad import READ_LATENCY

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.operands import BYTE, TileActivation, TileMode, by_mode
from ..common.shapes import shape_of
from ..memory.scratchpad import address_shape, operand_turn, read_signature

__all__ = ["KvBuffer", "WeightSource", "last_tile", "product_layout", "words_signature"]


class WeightSource(enum.Enum, shape=2):
    """:class:`golden.core.isa.Source`."""

    STREAM = Source.STREAM.value
    KEYS = Source.KEYS.value
    VALUES = Source.VALUES.value


product_layout = data.StructLayout({
    "mode": TileMode,
    "activation": TileActivation,
    "weights": WeightSource,
    **{name: shape_of(FIELDS[name])
       for name in ("m", "k", "n", "source", "source_stride", "weights_address",
                    "weights_stride")},
})
"""The fields of a GEMM that say where its operands are; sizes are 1 or more."""


def last_tile(size: Value, mode: Value, tile_sizes: dict[Mode, int]) -> Value:
    """Number of the last of the tiles, of powers of two, that `size` rows or columns have."""
    last = (size - 1).as_unsigned()[:len(size)]
    return by_mode(mode, {each: last >> ceil_log2(tile) for each, tile in tile_sizes.items()})


def _load_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where the one or two words go that come of a word of the scratchpad."""
    return data.StructLayout({
        "base": range(2 * config.key_words),
        "target": range(2 * config.key_words),
        "turn": ceil_log2(config.rows),
        "part": 1,
        "two": 1,
        "last": 1,
    })


def words_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Read port, seen by its user: `data` of the word at `address` in the cycle after `enable`."""
    return wiring.Signature({
        "enable": Out(1),
        "address": Out(range(2 * config.key_words)),
        "data": In(data.ArrayLayout(BYTE, config.cols)),
    })


class KvBuffer(wiring.Component):
    """Load the weights of one tile column after the other out of the scratchpad.

    Two halves of ``config.key_words`` words of `cols` bytes, a word for each `k`: a tile column
    is loaded while the one before is used. Of a word of the scratchpad come two such words, or
    those parts of them that are the keys of ``rows`` columns; then a word is read in every other
    cycle at most. Only of values with ``cols = 2 * rows`` it is one word, and one may be read in
    every cycle. Words are read as soon as a half is free and the port is granted.

    Latency: what is read in a cycle is in the buffer :attr:`LATENCY` cycles later, or one less if
    it is one word; then the tile column is offered. The first word is read in the cycle after
    `start`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: shape of the array and size of the buffer.

    Members
    -------
    run : ``In(product_layout)``
        The product, with at most `key_words` for `k`; stable from `start` to the last `free`.
    start : ``In(1)``
        Load the tile columns of `run`, both halves being free.
    read : ``Out(read_signature(config))``
        Port of the scratchpad; the data are looked at ``READ_LATENCY`` cycles later only.
    granted : ``In(1)``
        The port is given to `read` in this cycle if it wants it.
    column : ``Out(stream.Signature(range(2 * key_words)))``
        A tile column is there: address of its first word. To be taken before the next one has been
        loaded, which takes the place of the offer. The first two are loaded one after the other;
        after these, none begins to be loaded before the `free` of the last but one.
    words : ``In(words_signature(config))``
        Its words; `data` stays as it is while `enable` is low.
    free : ``In(1)``
        The oldest tile column has been read.
    """

    LATENCY = feed.LOAD

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "run": In(product_layout),
            "start": In(1),
            "read": Out(read_signature(config)),
            "granted": In(1),
            "column": Out(stream.Signature(range(2 * config.key_words))),
            "words": In(words_signature(config)),
            "free": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, run = self._config, self.run
        is_keys = run.weights == WeightSource.KEYS
        single = ~is_keys if config.cols > config.rows else Const(0)  # a word for a word

        # Stage f: the word has been asked for in the cycle before. Stage g: it is at the port.
        f_valid = Signal()
        f = Signal(_load_layout(config))
        g_valid = delayed(m, f_valid, "g_valid", READ_LATENCY - 1)
        g = delayed(m, f, "g", READ_LATENCY - 1)
        # Stage w: its one or two words are written.
        w_valid, w_second = Signal(), Signal()
        w = Signal(_load_layout(config))
        w_word = Signal.like(self.read.data)

        m.d.sync += [f_valid.eq(self._requests(m, f, is_keys, single, single | ~f_valid)),
                     w_valid.eq(g_valid)]
        with m.If(g_valid):
            m.d.sync += [w.eq(g), w_word.eq(self.read.data), w_second.eq(0)]
        with m.Elif(w.two & ~w_second):
            m.d.sync += [w_second.eq(1), w_valid.eq(w_valid)]

        words = self._store(m)
        m.d.comb += [
            words.en.eq(Mux(w_valid, self._halves(is_keys, w.part), 0)),
            words.addr.eq(w.target + w_second),
            words.data.eq(self._bytes(w_word, w.turn, w_second, is_keys, single)),
        ]
        with m.If(w_valid & w.last & (w_second == w.two)):
            m.d.sync += [self.column.valid.eq(1), self.column.payload.eq(w.base)]
        with m.Elif(self.column.ready):
            m.d.sync += self.column.valid.eq(0)
        return m

    def _requests(self, m, place, is_keys, single, free):
        """Ask for one word after the other when `free`; return whether one is read, and where to.
        """
        config, run = self._config, self.run
        active = Signal()
        column = Signal(FIELDS["n"].bits)
        inside = Signal()  # the tile column has been begun
        part = Signal()  # which `rows` of its columns the word has
        index = Signal(FIELDS["k"].bits)  # of the first weights of the word
        first = Signal(address_shape(config))  # word of the part
        address = Signal(address_shape(config))
        base = Signal(range(2 * config.key_words))
        vacant = Signal(range(3), init=2)  # halves of the buffer

        go, part_end, column_end, final = Signal(), Signal(), Signal(), Signal()
        # Of the run, from the cycle after `start` on.
        last_index, last_column = Signal.like(index), Signal.like(column)
        m.d.sync += [
            last_index.eq(run.k - 1),
            last_column.eq(last_tile(run.n, run.mode, {
                each: config.tile_cols(each) for each in Mode})),
        ]
        m.d.comb += [
            self.read.enable.eq(active & (inside | (vacant != 0)) & free),
            self.read.address.eq(address),
            go.eq(self.read.enable & self.granted),
            part_end.eq((index | ~single) >= last_index),
            column_end.eq(part_end & (part | (~is_keys if config.cols > config.rows else 1))),
            final.eq(column_end & (column == last_column)),
        ]
        m.d.sync += [
            vacant.eq(vacant + self.free - (go & ~inside)),
            place.base.eq(base),
            place.target.eq(base + index),
            place.turn.eq(Mux(is_keys, address, 0)),
            place.part.eq(part),
            place.two.eq(~single & (index != last_index)),
            place.last.eq(column_end),
        ]
        with m.If(go):
            m.d.sync += [
                inside.eq(~column_end),
                active.eq(~final),
                index.eq(index + Mux(single, 1, 2)),
                address.eq(address + 1),
            ]
            with m.If(part_end):
                m.d.sync += [index.eq(0), part.eq(~column_end)]
                m.d.sync += [each.eq(first + run.weights_stride) for each in (first, address)]
            with m.If(column_end):
                m.d.sync += [column.eq(column + 1), base.eq(Mux(base == 0, config.key_words, 0))]
        with m.If(self.start):
            m.d.sync += [each.eq(0) for each in (column, inside, part, index, base)]
            m.d.sync += [each.eq(run.weights_address) for each in (first, address)]
            m.d.sync += [active.eq(run.weights != WeightSource.STREAM), vacant.eq(2)]
        return go

    def _halves(self, is_keys, part):
        """Halves of a word of the buffer that are written."""
        if self._config.cols == self._config.rows:
            return Const(0b11)
        return Mux(is_keys, Cat(~part, part), 0b11)

    def _store(self, m):
        """Make the memory, give its words to `words`, and return its write port, by halves."""
        config = self._config
        m.submodules.store = store = memory.Memory(
            shape=data.ArrayLayout(BYTE, config.cols), depth=2 * config.key_words, init=[])
        read = store.read_port()
        m.d.comb += [
            read.en.eq(self.words.enable),
            read.addr.eq(self.words.address),
            self.words.data.eq(read.data),
        ]
        return store.write_port(granularity=config.cols // 2)

    def _bytes(self, word, turn, second, is_keys, single):
        """Return the bytes to write: of keys, for whichever part it is, or of values."""
        config = self._config
        by_rows = operand_turn(word, turn)
        keys = Cat(by_rows[row].word_select(second, BYTE) for row in range(config.rows))
        values = word.as_value()[:BYTE * config.cols]
        if config.cols == config.rows:
            values = word.as_value().word_select(second, BYTE * config.cols)
        return Mux(is_keys, keys.replicate(config.cols // config.rows), values)
