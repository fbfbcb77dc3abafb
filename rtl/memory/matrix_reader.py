"""Matrix reader: reads a wide matrix of the scratchpad in the order of results."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import FIELDS
from golden.cycles.product_cycles import QUEUED, READER
from golden.memory.scratchpad import READ_LATENCY

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.places import Places
from ..common.shapes import shape_of
from .row_store import RowQueue, store_signature
from .scratchpad import read_signature, scratchpad_word_layout

__all__ = ["MatrixReader", "matrix_layout"]

matrix_layout = data.StructLayout({
    "address": shape_of(FIELDS["source"]),
    "stride": shape_of(FIELDS["source_stride"]),
    "rows": shape_of(FIELDS["m"]),
    "words": shape_of(FIELDS["n"]),
    "tile_words": shape_of(FIELDS["n"]),
})
"""A wide matrix: its address, the words from row to row, rows, words of a row that are read, and
words of a row in a tile column; whole rows where these are as many."""


class MatrixReader(wiring.Component):
    """Read a wide matrix in the order of results: by tile columns, in these by rows.

    Words wait in a queue of :attr:`PLACES`, so that a user that takes them in bursts finds them
    there, or, if `direct`, in one of a few places, for users that have the port for themselves.
    The first is offered :attr:`LATENCY` cycles after `start`, if the port is free, and then one in
    every cycle in which it was.

    Members
    -------
    run : ``In(matrix_layout)``
        Stable from `start` until all words have been given.
    direct : ``In(1)``
        Without the queue; as stable.
    start : ``In(1)``
        Begin; at the earliest in the cycle after the last word of the run before was taken.
    read : ``Out(read_signature(config))``
    free : ``In(1)``
        The port is; `read` asks only then.
    o, queued : ``Out(stream.Signature(scratchpad_word_layout(config)))``
        The words: of `o` if `direct`, otherwise out of the queue.
    announced : ``Out(1)``
        A word is read in this cycle: it will be at `queued` :attr:`QUEUE` cycles later at the
        latest, as soon as those before it have been taken. Unless `direct`.
    store : ``Out(store_signature(config, RowQueue.words(PLACES)))``
        Memory of the queue; unless `direct`.
    """

    PLACES = QUEUED
    LATENCY = READER
    QUEUE = READ_LATENCY + 3
    DIRECT = READ_LATENCY + 3

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "run": In(matrix_layout), "start": In(1), "direct": In(1),
            "read": Out(read_signature(config)), "free": In(1),
            "o": Out(stream.Signature(scratchpad_word_layout(config))),
            "queued": Out(stream.Signature(scratchpad_word_layout(config))),
            "announced": Out(1),
            "store": Out(store_signature(config, RowQueue.words(self.PLACES))),
        })

    def elaborate(self, platform):
        m = Module()
        run = self.run
        m.submodules.queue = queue = RowQueue(self._config, self.PLACES)
        m.submodules.ahead = ahead = Places(scratchpad_word_layout(self._config).size,
                                            self.DIRECT)
        connect(m, queue.store, flipped(self.store))
        given = Signal.like(ahead.o.payload, name="given", reset_less=True)
        waiting = Signal()  # the cycle that the queue would take is spent before the first word
        running = Signal()
        address, row_start, tile_start = (Signal.like(run.address, name=name) for name in
                                          ("address", "row_start", "tile_start"))
        row, word, left = (Signal.like(run.rows), Signal.like(run.words, name="word"),
                           Signal.like(run.words, name="left"))
        promised = Signal(range(self.PLACES + 1))
        asked = self.read.enable
        arriving = delayed(m, asked, "arriving", READ_LATENCY)
        taken = (self.o.valid & self.o.ready) | (self.queued.valid & self.queued.ready)
        tile_words, last_word = Signal.like(run.tile_words), Signal.like(run.tile_words)  # of this
        row_end = word == last_word  # tile column
        tile_end = row_end & (row + 1 == run.rows)
        m.d.comb += [
            self.read.enable.eq(running & self.free & (
                promised != Mux(self.direct, self.DIRECT, self.PLACES))),
            self.read.address.eq(address),
            self.announced.eq(asked & ~self.direct),
            queue.i.valid.eq(arriving & ~self.direct),
            queue.i.payload.eq(self.read.data),
            ahead.i.valid.eq(arriving & self.direct),
            ahead.i.payload.eq(self.read.data),
            self.queued.valid.eq(queue.o.valid),
            self.queued.payload.eq(queue.o.payload.as_value()),
            queue.o.ready.eq(self.queued.ready),
            ahead.o.ready.eq(~self.o.valid | self.o.ready),
            self.o.payload.eq(given),
        ]
        with m.If(ahead.o.ready):
            m.d.sync += [self.o.valid.eq(ahead.o.valid), given.eq(ahead.o.payload)]
        # Whether one is taken is known late: no adder behind it.
        m.d.sync += [promised.eq(Mux(taken, promised + asked - 1, promised + asked)),
                     waiting.eq(self.start & self.direct)]
        with m.If(asked):
            m.d.sync += [address.eq(address + 1), word.eq(word + 1)]
            with m.If(row_end):
                m.d.sync += [word.eq(0), row.eq(row + 1), row_start.eq(row_start + run.stride),
                             address.eq(row_start + run.stride)]
            with m.If(tile_end):
                following = tile_start + run.tile_words
                more = left - tile_words
                wide = Mux(more < run.tile_words, more, run.tile_words)
                m.d.sync += [row.eq(0), row_start.eq(following), address.eq(following),
                             tile_start.eq(following), left.eq(more),
                             tile_words.eq(wide), last_word.eq(wide - 1),
                             running.eq(left != tile_words)]
        with m.If(self.start):
            wide = Mux(run.words < run.tile_words, run.words, run.tile_words)
            m.d.sync += [running.eq(~self.direct), row.eq(0), word.eq(0), left.eq(run.words),
                         tile_words.eq(wide), last_word.eq(wide - 1),
                         *(register.eq(run.address)
                           for register in (address, row_start, tile_start))]
        with m.If(waiting):
            m.d.sync += running.eq(1)
        return m
