"""What moves between external memory and the core: the stream, images, matrices, logits."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from golden.common.config import AcceleratorConfig
from golden.core.isa import FIELDS, Opcode
from golden.memory.scratchpad import BANK_BITS, READ_LATENCY

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.operands import BYTE
from ..common.shapes import shape_of
from .memory_port import ADDRESS, AHEAD_BITS, memory_signature, request_layout
from .scratchpad import read_signature, write_signature

__all__ = ["Dma", "transfer_layout"]


transfer_layout = data.StructLayout({name: shape_of(FIELDS[name]) for name in (
    "opcode", "m", "k", "source", "dest", "dest_stride", "address", "words", "run_bytes", "grid",
    "image_row_bytes", "patch_row_bytes")})
"""A transfer of :mod:`golden.core.isa`: LOAD, STORE or PATCHES, and its fields."""


class Dma(wiring.Component):
    """Read the stream of a program, and carry out the transfers of its instructions.

    The stream is requested from `stream` on, a beat per cycle, as long as there is `room` for it.
    During a transfer it is not: the transfer has the port to itself from the cycle after `start`,
    one request per cycle; responses of the stream may still come in before its own. What is read
    is written to the scratchpad as it comes. A transfer is `done` when all has been answered.
    Requests say how many beats follow: all of the stream or of a linear transfer, a run of PATCHES.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    begin : ``In(1)``
        The stream begins at `stream`; only while `idle`.
    end : ``In(1)``
        Request no more of the stream.
    stream, stream_bytes : ``In(32)``
        Byte address and length, multiples of ``bus_bytes``; no more than that is requested.
    room : ``In(1)``
        The weight buffer has room for a beat.
    reserve : ``Out(1)``
        A beat of the stream has been requested.
    fill : ``Out(stream.Signature(8 * bus_bytes))``
        The stream; must be ready for what has been reserved.
    run, start, done
        ``In(transfer_layout)``, stable from `start` to `done`; ``In(1)``, only while `done`.
    memory : ``Out(memory_signature(config))``
    read, write
        Ports of the scratchpad.
    error : ``Out(1)``
        A response was an error; stays until `begin`.
    idle : ``Out(1)``
        Nothing is requested any more, and no response is awaited.
    ended : ``Out(1)``
        All of the stream has come, or all that will.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "begin": In(1), "end": In(1),
            "stream": In(ADDRESS), "stream_bytes": In(ADDRESS),
            "room": In(1), "reserve": Out(1),
            "fill": Out(stream.Signature(BYTE * config.bus_bytes)),
            "run": In(transfer_layout), "start": In(1), "done": Out(1, init=1),
            "memory": Out(memory_signature(config)),
            "read": Out(read_signature(config)),
            "write": Out(write_signature(config)),
            "error": Out(1), "idle": Out(1, init=1), "ended": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        config, run = self._config, self.run
        response = self.memory.response
        request = self._registered(m)
        storing = Signal()  # from the cycle after `start` on
        m.d.sync += storing.eq(run.opcode == Opcode.STORE)
        sent, answered = request.valid & request.ready, response.valid

        # Requests and responses that have still to come; those of the stream are answered first.
        limit = config.stream_words * config.cols // config.bus_bytes
        of_stream, of_transfer = Signal(range(limit + 1)), Signal(FIELDS["words"].bits + 8)
        streaming, address = Signal(), Signal(ADDRESS)
        m.submodules.walk = walk = _Walk(config)
        stream_turn = streaming & self.done & self.room
        for_stream = of_stream != 0
        stream_sent = sent & self.done
        stream_answered = answered & for_stream
        m.d.comb += [
            response.ready.eq(1),
            self.reserve.eq(stream_sent),
            self.fill.valid.eq(stream_answered),
            self.fill.payload.eq(response.p.data),
            walk.run.eq(run),
            walk.start.eq(self.start),
            self.ended.eq(~streaming & ~for_stream),
            self.idle.eq(self.done & self.ended),
        ]
        m.d.sync += [
            of_stream.eq(of_stream + stream_sent - stream_answered),
            of_transfer.eq(of_transfer + (sent & ~self.done) - (answered & ~for_stream)),
            self.error.eq((self.error | (answered & response.p.error)) & ~self.begin),
        ]
        left = Signal(ADDRESS)  # bytes of the stream to be requested
        with m.If(stream_sent):
            m.d.sync += [address.eq(address + config.bus_bytes), left.eq(left - config.bus_bytes),
                         streaming.eq(left != config.bus_bytes)]
        with m.If(self.begin):
            m.d.sync += [streaming.eq(self.stream_bytes != 0), address.eq(self.stream),
                         left.eq(self.stream_bytes)]
        with m.Elif(self.end | self.error):
            m.d.sync += streaming.eq(0)

        store = self._store(m, request, sent)
        m.d.comb += [request.p.address.eq(walk.address), request.p.beats.eq(walk.beats)]
        with m.If(self.done):
            m.d.comb += [request.valid.eq(stream_turn), request.p.address.eq(address),
                         request.p.beats.eq(_beats(left >> exact_log2(config.bus_bytes))),
                         request.p.stream.eq(1)]
        with m.Elif(storing):
            m.d.comb += [request.valid.eq(store), request.p.write.eq(1)]
        with m.Else():
            m.d.comb += request.valid.eq(~walk.last_sent)
        m.d.comb += walk.advance.eq(sent & ~self.done)

        own = answered & ~for_stream
        zeroed = self._write(m, own & ~storing, response.p.data)
        ended = Signal()  # but for what is written in this cycle
        m.d.sync += ended.eq(walk.last_sent & (of_transfer == own) & zeroed & ~self.done)
        with m.If(self.start):
            m.d.sync += self.done.eq(0)
        with m.Elif(ended):
            m.d.sync += self.done.eq(1)
        return m

    def _registered(self, m):
        """Return a stream in front of the requests, whose payload may change until it is taken."""
        request = stream.Signature(request_layout(self._config)).create(path=("request_next",))
        with m.If(request.ready):
            m.d.sync += [self.memory.request.valid.eq(request.valid),
                         self.memory.request.payload.eq(request.payload)]
        m.d.comb += request.ready.eq(~self.memory.request.valid | self.memory.request.ready)
        return request

    def _store(self, m, request, sent):
        """Read words of the scratchpad, each while the one before is written; return whether a beat
        is there to be sent.
        """
        config, run = self._config, self.run
        width = BYTE * config.bus_bytes
        beats = config.word_bytes // config.bus_bytes
        beat, word = Signal(range(beats)), Signal.like(run.source)
        left = Signal.like(run.words)  # words to be read
        wanted, there = Signal(), Signal()  # a word is read; it is at the port
        kept = Signal(beats * width)  # the one that is written, from the present beat on
        ready, last_beat, keep = Signal(), Signal(), Signal()
        came = delayed(m, wanted, "came", READ_LATENCY - 1)
        m.d.comb += [
            last_beat.eq(beat == beats - 1),
            keep.eq(there & (~ready | (sent & last_beat))),
            self.read.enable.eq(wanted),
            self.read.address.eq(word),
            request.p.data.eq(kept[:width]),
        ]
        m.d.sync += [there.eq(came | (there & ~keep)), wanted.eq(keep & (left != 0))]
        with m.If(ready & sent):
            m.d.sync += [beat.eq(beat + 1), kept.eq(kept >> width)]
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), ready.eq(0)]
        with m.If(keep):
            m.d.sync += [kept.eq(self.read.data), ready.eq(1)]
        with m.If(wanted):
            m.d.sync += [word.eq(word + 1), left.eq(left - 1)]
        with m.If(self.start):
            m.d.sync += [beat.eq(0), word.eq(run.source), left.eq(run.words),
                         wanted.eq(run.opcode == Opcode.STORE)]
        return ready

    def _write(self, m, arriving, payload):
        """Write what arrives in the next cycle; return whether the row of zeros of PATCHES is
        whole then.
        """
        config, run, write = self._config, self.run, self.write
        rows, pairs = config.rows, config.bus_bytes * BYTE // BANK_BITS
        patches = run.opcode == Opcode.PATCHES
        bank_bits = exact_log2(rows)

        word = Signal.like(run.dest)  # of a linear load, or of the present row's first pair
        part = Signal(range(max(rows // pairs, 2)))  # of a word, linear
        tile, row = Signal.like(run.dest), Signal(bank_bits)
        pair = Signal(FIELDS["k"].bits)
        zero, zeros = Signal.like(run.dest), Signal(FIELDS["k"].bits)
        last_pair = pair + pairs >= (run.k + 1) >> 1
        arrived, zeroes = Signal(), Signal()  # what is written now
        bus, zero_now = Signal.like(payload), Signal.like(zero)
        zeroing = (zeros != 0) & ~arriving
        m.d.sync += [arrived.eq(arriving), bus.eq(payload), zeroes.eq(zeroing), zero_now.eq(zero)]
        with m.If(self.start):
            m.d.sync += [word.eq(run.dest), part.eq(0), tile.eq(run.dest), row.eq(1), pair.eq(0),
                         zero.eq(run.dest), zeros.eq(Mux(patches, (run.k + 1) >> 1, 0))]
        with m.Elif(arrived):
            m.d.sync += [part.eq(part + 1), pair.eq(pair + pairs), word.eq(word + pairs)]
            with m.If(patches & last_pair):
                following = Mux(row == rows - 1, tile + run.dest_stride, tile)
                m.d.sync += [row.eq(row + 1), pair.eq(0), tile.eq(following), word.eq(following)]
            with m.If(~patches):
                m.d.sync += word.eq(word + (part == rows // pairs - 1))
                if rows // pairs < 2:
                    m.d.sync += part.eq(0)
        with m.If(zeroing):
            m.d.sync += [zeros.eq(zeros - 1), zero.eq(zero + 1)]

        values = [bus[at * BANK_BITS:(at + 1) * BANK_BITS] for at in range(pairs)]
        turn = (row + word)[:bank_bits]
        with m.If(arrived & ~patches):
            for bank in range(rows):
                m.d.comb += [
                    write.enable[bank].eq(part == bank // pairs),
                    write.address[bank].eq(word),
                    write.data[bank].eq(values[bank % pairs]),
                ]
        with m.Elif(arrived):
            # Pair j goes to bank (row + word + j) % rows of word + j.
            for bank in range(rows):
                offset = Signal(bank_bits, name=f"offset_{bank}")
                m.d.comb += [
                    offset.eq(bank - turn),
                    write.enable[bank].eq(offset < pairs),
                    write.address[bank].eq(word + offset),
                    write.data[bank].eq(Array(values)[offset[:max(ceil_log2(pairs), 1)]]
                                        if pairs > 1 else values[0]),
                ]
        with m.Elif(zeroes):
            for bank in range(rows):
                m.d.comb += [
                    write.enable[bank].eq(zero_now[:bank_bits] == bank),
                    write.address[bank].eq(zero_now),
                ]
        return zeros == 0


def _beats(count):
    """Return a number of beats, or the largest that a request can say."""
    return Mux((count >> AHEAD_BITS) != 0, (1 << AHEAD_BITS) - 1, count)


class _Walk(wiring.Component):
    """Addresses of a transfer's beats, one after the other.

    Members
    -------
    run, start
        As in :class:`Dma`.
    advance : ``In(1)``
        The beat at `address` has been requested.
    address : ``Out(32)``
    beats : ``Out(AHEAD_BITS)``
        So many follow one another from `address` on, itself among them, or more.
    last_sent : ``Out(1)``
        The last beat has been requested.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "run": In(transfer_layout), "start": In(1), "advance": In(1),
            "address": Out(ADDRESS), "beats": Out(AHEAD_BITS),
            "last_sent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, run = self._config, self.run
        bus = config.bus_bytes
        patches = run.opcode == Opcode.PATCHES
        left = Signal(FIELDS["words"].bits + ceil_log2(config.word_bytes // bus) + 1)  # linear
        # Bytes of the run and of the patch, patches of the row and in all that are left.
        in_run, runs = Signal(FIELDS["run_bytes"].bits), Signal(FIELDS["k"].bits)
        columns, rows = Signal(FIELDS["grid"].bits), Signal(FIELDS["m"].bits)
        run_start, patch, patch_row = (Signal(ADDRESS, name=name)
                                       for name in ("run_start", "patch", "patch_row"))
        # What the beat is the last of is compared a beat ahead.
        run_end, last_run, last_column, last_patch, last_beat = (Signal(name=name) for name in (
            "run_end", "last_run", "last_column", "last_patch", "last_beat"))
        patch_end = run_end & last_run
        row_end = patch_end & last_column
        last = Mux(patches, patch_end & last_patch, last_beat)
        m.d.comb += self.beats.eq(_beats(Mux(patches, in_run[exact_log2(bus):], left)))
        with m.If(self.start):
            m.d.sync += [
                self.address.eq(run.address), run_start.eq(run.address), patch.eq(run.address),
                patch_row.eq(run.address), in_run.eq(run.run_bytes), runs.eq(run.k),
                columns.eq(run.grid),
                rows.eq(run.m - 1), left.eq(run.words * (config.word_bytes // bus)),
                run_end.eq(run.run_bytes == bus), last_run.eq(run.k == run.run_bytes),
                last_column.eq(run.grid == 1), last_patch.eq(run.m == 2),
                last_beat.eq((run.words == 1) & (config.word_bytes == bus)),
                self.last_sent.eq(patches & (run.m == 1)),
            ]
        with m.Elif(self.advance):
            m.d.sync += [self.address.eq(self.address + bus), left.eq(left - 1),
                         in_run.eq(in_run - bus), self.last_sent.eq(last),
                         run_end.eq(in_run == 2 * bus), last_beat.eq(left == 2)]
            with m.If(patches & run_end):
                m.d.sync += [run_end.eq(run.run_bytes == bus),
                             last_run.eq(runs == run.run_bytes << 1)]
                down = run_start + run.image_row_bytes
                m.d.sync += [in_run.eq(run.run_bytes), runs.eq(runs - run.run_bytes),
                             run_start.eq(down), self.address.eq(down)]
            with m.If(patches & patch_end):
                m.d.sync += [last_run.eq(run.k == run.run_bytes), last_column.eq(columns == 2),
                             last_patch.eq(rows == 2)]
                right = patch + run.run_bytes
                m.d.sync += [runs.eq(run.k), rows.eq(rows - 1), columns.eq(columns - 1),
                             patch.eq(right), run_start.eq(right), self.address.eq(right)]
            with m.If(patches & row_end):
                m.d.sync += last_column.eq(run.grid == 1)
                below = patch_row + run.patch_row_bytes
                m.d.sync += [columns.eq(run.grid), patch_row.eq(below), patch.eq(below),
                             run_start.eq(below), self.address.eq(below)]
        return m
