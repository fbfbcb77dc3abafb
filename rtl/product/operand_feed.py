"""Operand feed: brings activations and weights of a product to the MAC array, tile by tile."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import FIELDS, header_words
from golden.cycles import feed
from golden.memory.scratchpad import READ_LATENCY

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.operands import BYTE, by_mode
from ..common.places import Places
from ..memory.scratchpad import address_shape, read_signature, turned
from ..memory.weight_buffer import ring_signature, take_layout, words_shape
from .kv_buffer import KvBuffer, WeightSource, last_tile, product_layout
from .mac_array import operand_beat_layout, tile_layout

__all__ = ["OperandFeed", "product_layout"]


def step_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where the operands of a beat are, and what it is the last of."""
    return data.StructLayout({
        "address": address_shape(config),
        "odd": 1,  # the high bytes of the word, which has been read for the beat before
        **_queued_layout(config).members,
    })


def _queued_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What of a beat is needed once its activations are there."""
    return data.StructLayout({
        "turn": ceil_log2(config.rows),
        "weights": range(max(config.stream_words, 2 * config.key_words)),
        "last": 1,
        "column_last": 1,
        "final": 1,
    })


class OperandFeed(wiring.Component):
    """Read the operands of one product and give them to the array in the order of its tiles.

    Tile columns are outermost, as in :func:`golden.product.tiling.tiles`. A tile column starts
    when all of its weights are there; from then on a beat is given in every cycle in which the
    array takes one, from tile to tile, and from tile column to tile column if the weights are
    there; while it takes none, up to :data:`golden.cycles.feed.AHEAD` are read ahead. Weights are
    those of the stream, in the ring of a :class:`WeightBuffer`, or keys or values out of the
    scratchpad, see :class:`KvBuffer`. A beat is offered :attr:`LATENCY` cycles after its
    activations were asked for. For the cycles of a product see
    :func:`golden.cycles.feed.cycles`.

    Of each tile column of the stream, the cursor of the weight buffer takes the column units,
    which go to somebody else, and skips the weights, which are read in place; the units and
    weights are released together when the last tile has been read. This goes on one tile column
    ahead: the units of the next one are taken while this one is multiplied. The ring has to have
    room for a tile column with its units.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: shape of the array, sizes of memories.

    Members
    -------
    run : ``In(product_layout)``
        The product; stable while `busy`.
    start : ``In(1)``
        Begin, while not `busy`.
    busy : ``Out(1)``
        From the cycle after `start` until the array has taken the last beat.
    done : ``Out(1)``
        In the cycle after the array took the last beat.
    read : ``Out(read_signature(config))``
        Port of the scratchpad. The data are looked at ``READ_LATENCY`` cycles after `enable` only,
        so others may use the port while `enable` is low.
    take, skip, window, release, ring
        The members of :class:`WeightBuffer` with those names; `ring` is its `read`. `release` is
        valid for one cycle.
    tile : ``Out(stream.Signature(tile_layout(config)))``
        Of :class:`MacArray`; start values are zero.
    o : ``Out(stream.Signature(operand_beat_layout(config)))``
        Beats for :class:`MacArray`.
    """

    LATENCY = feed.LATENCY

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "run": In(product_layout),
            "start": In(1),
            "busy": Out(1),
            "done": Out(1),
            "read": Out(read_signature(config)),
            "take": Out(stream.Signature(take_layout)),
            "skip": Out(stream.Signature(words_shape)),
            "window": In(stream.Signature(range(config.stream_words))),
            "release": Out(stream.Signature(words_shape)),
            "ring": Out(ring_signature(config)),
            "tile": Out(stream.Signature(tile_layout(config))),
            "o": Out(stream.Signature(operand_beat_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, run = self._config, self.run
        m.submodules.order = order = _Order(config)
        m.submodules.columns = columns = _Columns(config)
        m.submodules.kv = kv = KvBuffer(config)
        streamed = run.weights == WeightSource.STREAM
        fresh = order.o.valid & order.o.ready & ~order.o.p.odd  # a word of activations is read
        freed, finished = self._stages(m, order, kv, fresh, streamed)

        m.d.comb += [
            *(part.run.eq(run) for part in (order, columns, kv)),
            *(part.start.eq(self.start) for part in (order, columns, kv)),
            kv.granted.eq(~fresh),
            self.read.enable.eq(fresh | kv.read.enable),
            self.read.address.eq(Mux(fresh, order.o.p.address, kv.read.address)),
            kv.read.data.eq(self.read.data),
            # Where the weights of the next tile column are.
            order.column.valid.eq(Mux(streamed, self.window.valid, kv.column.valid)),
            order.column.payload.eq(Mux(streamed, self.window.payload, kv.column.payload)),
            self.window.ready.eq(order.column.ready & streamed),
            kv.column.ready.eq(order.column.ready),
            self.release.payload.eq(run.k + by_mode(run.mode, {
                each: header_words(each) for each in Mode})),
        ]
        connect(m, columns.take, flipped(self.take))
        connect(m, columns.skip, flipped(self.skip))
        # Registers end the path from the array's ready.
        m.d.sync += [
            self.release.valid.eq(freed & streamed),
            kv.free.eq(freed & ~streamed),
            self.busy.eq(self.start | (self.busy & ~finished)),
            self.done.eq(finished),
        ]
        return m

    def _stages(self, m, order, kv, fresh, streamed):
        """Read what `order` says; return whether a tile column has been read, and all is given."""
        config = self._config
        # Stage a: the activations are at the port, or were when the beat before came.
        asked = Signal()
        m.d.comb += asked.eq(order.o.valid & order.o.ready)
        queued = _queued_layout(config)
        a_came, a_valid, a = (delayed(m, value, name, READ_LATENCY) for value, name in (
            (fresh, "a_came"), (asked, "a_valid"),
            (Cat(order.o.p[name] for name in queued.members), "a")))
        a_odd = Signal(data.ArrayLayout(BYTE, config.rows))  # of the word that came last
        # Stage b: places for all that has been asked for. So nothing is asked for that has no
        # place, and that is known without the array's ready.
        b_layout = data.StructLayout({"step": queued, "bytes": a_odd.shape()})
        m.submodules.b = places = Places(b_layout.size, feed.AHEAD)
        taken_place, ahead = Signal(), Signal(range(feed.AHEAD + 1))
        b_valid, b_all = places.o.valid, data.View(b_layout, places.o.payload)
        b = b_all.step
        # Stage c: one byte of each bank; the weights are at their port.
        c_valid, c_last, c_final = Signal(), Signal(), Signal()
        c_turn = Signal(queued.members["turn"])
        c_bytes = Signal(data.ArrayLayout(BYTE, config.rows))
        # Stage d, the output: bytes by PE rows, and the weights.
        d_final = Signal()

        c_free, d_free = Signal(), Signal()
        m.d.comb += [
            d_free.eq(~self.o.valid | self.o.ready),
            c_free.eq(~c_valid | d_free),
            taken_place.eq(b_valid & c_free),
            order.o.ready.eq(ahead != feed.AHEAD),
            places.i.valid.eq(a_valid),
            places.i.payload.eq(Cat(a, *(Mux(a_came, bank[:BYTE], odd) for bank, odd in zip(
                self.read.data, a_odd, strict=True)))),
            places.o.ready.eq(c_free),
            # Late is only whether it is read, and the cursor of the ring does not wait for that.
            self.ring.claim.eq(b_valid & streamed),
            self.ring.enable.eq(taken_place & streamed),
            self.ring.address.eq(b.weights),
            kv.words.enable.eq(taken_place & ~streamed),
            kv.words.address.eq(b.weights),
            self.tile.valid.eq(self.o.valid),
            self.tile.p.mode.eq(self.run.mode),
            self.tile.p.activation.eq(self.run.activation),
        ]
        m.d.sync += ahead.eq(Mux(taken_place, ahead + asked - 1, ahead + asked))
        with m.If(a_came):
            m.d.sync += [odd.eq(bank[BYTE:]) for bank, odd in zip(
                self.read.data, a_odd, strict=True)]
        with m.If(c_free):
            m.d.sync += [
                c_valid.eq(b_valid),
                c_last.eq(b.last),
                c_final.eq(b.final),
                c_turn.eq(b.turn),
                c_bytes.eq(b_all.bytes),
            ]
        with m.If(d_free):
            m.d.sync += [
                self.o.valid.eq(c_valid),
                self.o.p.last.eq(c_last),
                d_final.eq(c_final),
                self.o.p.activations.eq(turned(c_bytes.as_value(), c_turn, BYTE)),
                self.o.p.weights.eq(Mux(streamed, self.ring.data.as_value(),
                                        kv.words.data.as_value())),
            ]
        return taken_place & b.column_last, self.o.valid & self.o.ready & d_final


class _Order(wiring.Component):
    """Say one beat after the other where its operands are, while the weights are there.

    Members
    -------
    run, start
        As in :class:`OperandFeed`.
    column : ``In(stream.Signature(weights address))``
        The weights of the next tile column are there.
    o : ``Out(stream.Signature(step_layout(config)))``
        The beats; the first of a tile column in the cycle after its `column`.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        self._weights = step_layout(config)["weights"].shape
        super().__init__({
            "run": In(product_layout),
            "start": In(1),
            "column": In(stream.Signature(self._weights)),
            "o": Out(stream.Signature(step_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, run, o = self._config, self.run, self.o.p
        active = Signal()
        there = Signal()  # the weights of the tile column
        base = Signal(self._weights)  # and where
        k = Signal(FIELDS["k"].bits)
        tile = Signal(FIELDS["m"].bits)
        column = Signal(FIELDS["n"].bits)
        first = Signal(address_shape(config))  # word of the tile
        address = Signal(address_shape(config))
        following = Signal(address_shape(config))

        # Of the run, from the cycle after `start` on.
        last_k, last_row, last_column = (Signal.like(each, name=f"last_{each.name}")
                                         for each in (k, tile, column))
        m.d.sync += [
            last_k.eq(run.k - 1),
            last_row.eq(last_tile(run.m, run.mode, {
                each: config.tile_rows(each) for each in Mode})),
            last_column.eq(last_tile(run.n, run.mode, {
                each: config.tile_cols(each) for each in Mode})),
        ]
        go = self.o.valid & self.o.ready
        # Whether these are the last ones, compared a cycle ahead.
        k_ends, tile_ends, column_ends = Signal(), Signal(), Signal()
        m.d.sync += column_ends.eq(Mux(go & o.column_last, column + 1 == last_column,
                                       column == last_column))
        with m.If(go):
            m.d.sync += k_ends.eq(Mux(o.last, last_k == 0, k + 1 == last_k))
        with m.If(go & o.last):
            m.d.sync += tile_ends.eq(Mux(o.column_last, last_row == 0, tile + 1 == last_row))
        with m.If(~there):
            m.d.sync += [k_ends.eq(last_k == 0), tile_ends.eq(last_row == 0)]
        m.d.comb += [
            self.o.valid.eq(active & there),
            o.odd.eq(k[0]),
            o.address.eq(address),
            o.turn.eq(address),
            o.weights.eq(base + k),
            o.last.eq(k_ends),
            o.column_last.eq(o.last & tile_ends),
            o.final.eq(o.column_last & column_ends),
            following.eq(Mux(o.column_last, run.source, first + run.source_stride)),
            self.column.ready.eq(active & (~there | (go & o.column_last))),
        ]
        with m.If(go):
            m.d.sync += [k.eq(k + 1), address.eq(address + k[0])]
            with m.If(o.last):
                m.d.sync += [k.eq(0), tile.eq(tile + 1), first.eq(following),
                             address.eq(following)]
            with m.If(o.column_last):
                m.d.sync += [tile.eq(0), column.eq(column + 1), there.eq(0)]
            with m.If(o.final):
                m.d.sync += active.eq(0)
        with m.If(self.column.valid & self.column.ready):
            m.d.sync += [there.eq(1), base.eq(self.column.payload)]
        with m.If(self.start):
            m.d.sync += [active.eq(1), column.eq(0), first.eq(run.source), address.eq(run.source)]
        return m


class _Columns(wiring.Component):
    """Have the weight buffer give the units and find the weights of one tile column of the stream
    after the other.

    Members
    -------
    run, start
        As in :class:`OperandFeed`; nothing is done for other weights.
    take, skip
        As in :class:`WeightBuffer`.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "run": In(product_layout),
            "start": In(1),
            "take": Out(stream.Signature(take_layout)),
            "skip": Out(stream.Signature(words_shape)),
        })

    def elaborate(self, platform):
        m = Module()
        run = self.run
        cols = {each: self._config.tile_cols(each) for each in Mode}
        column, last = Signal(FIELDS["n"].bits), Signal(FIELDS["n"].bits)
        m.d.sync += last.eq(last_tile(run.n, run.mode, cols))
        m.d.comb += [
            self.take.p.units.eq(by_mode(run.mode, cols)),
            self.skip.payload.eq(run.k),
        ]
        with m.If(self.take.ready & self.take.valid):
            m.d.sync += [self.take.valid.eq(0), self.skip.valid.eq(1)]
        with m.If(self.skip.ready & self.skip.valid):
            m.d.sync += [
                self.skip.valid.eq(0),
                self.take.valid.eq(column != last),
                column.eq(column + 1),
            ]
        with m.If(self.start):
            m.d.sync += [self.take.valid.eq(run.weights == WeightSource.STREAM), column.eq(0)]
        return m
