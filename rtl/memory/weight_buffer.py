"""Weight buffer: the ring through which the stream of a program passes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.core.isa import FIELDS, PART_UNITS, UNIT_BYTES

from ..common.checks import check_config
from ..common.operands import BYTE
from ..common.unit_splitter import UNIT_BITS

__all__ = ["WeightBuffer", "ring_signature", "ring_word", "take_layout", "words_shape"]

take_layout = data.StructLayout({"units": PART_UNITS.bits, "free": 1})
"""Units to give, one or more, and whether their words are free again at once."""

words_shape = FIELDS["k"].bits + 1
"""Bits of a number of words: the weights of a tile column and what belongs to them."""


def ring_word(config: AcceleratorConfig) -> data.ArrayLayout:
    """A word of the ring: the weight bytes of a cycle."""
    return data.ArrayLayout(BYTE, config.cols)


def ring_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Read port, seen by its user: `data` of the word at `address` in the cycle after `enable`.

    `claim` keeps others from the memory of that word, whether it is read or not; `enable` comes
    with it.
    """
    return wiring.Signature({
        "claim": Out(1),
        "enable": Out(1),
        "address": Out(range(config.stream_words)),
        "data": In(ring_word(config)),
    })


class WeightBuffer(wiring.Component):
    """Hold the next ``config.stream_words`` words of a program's stream until they are used.

    Words come in at the back and lie in the ring until they are freed. A cursor moves through them
    by commands, one after the other: it gives words as units of 8 bytes, or skips words that are
    then read where they are. Commands are taken when the cursor has read all words of the one
    before, a `skip` before a `take` if both are offered.

    The ring lies in two memories, of even and of odd words, each with one read port, so that two
    can read without a copy of the ring. A word is read at `read` in every cycle that asks for one;
    the cursor has to wait while its next word is in the memory that is claimed there. Beside a user
    that reads one word after the other in every cycle, that is a cycle at most for each word, and
    one in all where the cursor reads a word in every cycle.

    Latency: a word is in the ring in the cycle after its last beat was accepted. The first unit
    is offered :attr:`LATENCY` cycles after its `take` was accepted (one more where a unit has two
    words), then one in every cycle (in every other cycle where a unit has two words); the next
    command is taken in the cycle after the last word was read.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: the size of the ring and of its words, and the width of the memory port.

    Members
    -------
    fill : ``In(stream.Signature(8 * bus_bytes))``
        The stream as it comes from memory, low byte first. Always ready for reserved beats.
    reserve : ``In(1)``
        A beat has been requested from memory, or is put into `fill` unasked, and will come. Once
        for each beat, only while `room` is not zero, and no later than the beat itself.
    room : ``Out(range(beats + 1))``
        Beats for which there is room, those reserved counted off.
    take : ``In(stream.Signature(take_layout))``
        Give units, then go on with the next word. With `free`, allowed only if nothing is held,
        the words are free as soon as they are read; otherwise they are held.
    units : ``Out(stream.Signature(64))``
        The units of the takes.
    skip : ``In(stream.Signature(words_shape))``
        Wait for that many words, go on behind them and hold them. Taken with `window`.
    window : ``Out(stream.Signature(range(stream_words)))``
        Address in the ring of the first of the words skipped.
    release : ``In(stream.Signature(words_shape))``
        The oldest words held, that many, are free again. Always ready.
    read : ``In(ring_signature(config))``
        Words by their address; `data` stays as it is while `enable` is low.
    starved : ``Out(1)``
        The cursor waits for words that are not in the ring.
    clear : ``In(1)``
        Forget words, reservations and commands. What was requested must not come any more.
    """

    LATENCY = 2

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        if config.stream_words < 2:
            raise ValueError(f"stream_words must be 2 or more, not {config.stream_words}")
        self._config = config
        self._beats = config.cols // config.bus_bytes  # of a word
        super().__init__({
            "fill": In(stream.Signature(BYTE * config.bus_bytes)),
            "reserve": In(1),
            "room": Out(range(config.stream_words * self._beats + 1),
                        init=config.stream_words * self._beats),
            "take": In(stream.Signature(take_layout)),
            "units": Out(stream.Signature(UNIT_BITS)),
            "skip": In(stream.Signature(words_shape)),
            "window": Out(stream.Signature(range(config.stream_words))),
            "release": In(stream.Signature(words_shape)),
            "read": In(ring_signature(config)),
            "starved": Out(1),
            "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        words = self._config.stream_words
        filled = Signal()  # a word has come
        passed = Signal()  # the cursor's word is free once it is read, and it is
        released = Mux(self.release.valid, self.release.payload, 0)
        ahead = Signal(range(words + 1))  # words in the ring from the cursor on
        level = Signal(range(words + 1))  # words in the ring
        # That is known late: no adder behind it.
        for value, now, beats in ((level, level + filled - released, -1),
                                  (self.room, self.room - self.reserve + released * self._beats,
                                   self._beats)):
            m.d.sync += value.eq(Mux(passed, now + beats, now))
        m.d.comb += [self.fill.ready.eq(level != words), self.release.ready.eq(1)]

        ports = self._memories(m, filled)
        self._cursor(m, ports, ahead, filled, passed)
        with m.If(self.clear):
            m.d.sync += [ahead.eq(0), level.eq(0), self.room.eq(self.room.init)]
        return m

    def _memories(self, m, filled):
        """Write beats into the even and odd words; return the read ports."""
        config, beats = self._config, self._beats
        at = Signal(range(config.stream_words))
        beat = Signal(range(beats))
        accepted = self.fill.valid & self.fill.ready
        m.d.comb += filled.eq(accepted & (beat == beats - 1))
        with m.If(accepted):
            m.d.sync += beat.eq(Mux(filled, 0, beat + 1))
        m.d.sync += at.eq(at + filled)
        with m.If(self.clear):
            m.d.sync += [at.eq(0), beat.eq(0)]

        ports = []
        for odd in range(2):
            m.submodules[f"bank_{odd}"] = bank = memory.Memory(
                shape=ring_word(config), depth=config.stream_words // 2, init=[])
            write = bank.write_port(granularity=config.bus_bytes)
            m.d.comb += [
                write.addr.eq(at[1:]),
                write.data.eq(self.fill.payload.replicate(beats)),
                write.en.eq((accepted & (at[0] == odd)) << beat),
            ]
            ports.append(bank.read_port())
        return ports

    def _cursor(self, m, ports, ahead, filled, passed):
        """Carry out the commands, and give `read` its words."""
        per_unit = max(1, UNIT_BYTES // self._config.cols)
        per_word = max(1, self._config.cols // UNIT_BYTES)
        at = Signal(range(self._config.stream_words))
        left = Signal(FIELDS["n"].bits + per_unit - 1)  # words of the take to read
        tail = Signal(range(per_word))  # last unit of its last word
        free = Signal()
        wanted, go = Signal(), Signal()  # a word is to be read; it is

        user, user_odd = self.read.enable, self.read.address[0]
        m.d.comb += go.eq(wanted & ~(self.read.claim & (user_odd == at[0])))
        for odd, port in enumerate(ports):
            claimed = self.read.claim & (user_odd == odd)
            m.d.comb += [
                port.en.eq(Mux(claimed, user, go & (at[0] == odd))),
                port.addr.eq(Mux(claimed, self.read.address[1:], at[1:])),
            ]
        m.d.comb += self.read.data.eq(_kept(m, "user", user, user_odd, ports))
        word = _kept(m, "cursor", go, at[0], ports)
        last = left == 1
        units = self._pairs if per_unit > 1 else self._parts
        m.d.comb += wanted.eq((left != 0) & (ahead != 0) & units(m, word, go, last, tail))

        taken = self.take.valid & self.take.ready
        skipped = self.skip.valid & self.skip.ready
        there = (left == 0) & (ahead >= self.skip.payload)
        m.d.comb += [
            self.take.ready.eq((left == 0) & ~self.skip.valid),
            self.window.valid.eq(self.skip.valid & there),
            self.window.payload.eq(at),
            self.skip.ready.eq(self.window.ready & there),
            self.starved.eq(Mux(left != 0, ahead == 0,
                                self.skip.valid & (ahead < self.skip.payload))),
        ]
        m.d.comb += passed.eq(go & free)
        # Whether a word is read is known late: no adder behind that.
        reached = ahead + filled
        m.d.sync += [
            ahead.eq(Mux(skipped, reached - self.skip.payload, Mux(go, reached - 1, reached))),
            at.eq(Mux(skipped, at + self.skip.payload, Mux(go, at + 1, at))),
        ]
        with m.If(taken):
            count = self.take.p.units
            m.d.sync += [
                left.eq((count * per_unit + per_word - 1) >> ceil_log2(per_word)),
                tail.eq((count - 1)[:ceil_log2(per_word)]),
                free.eq(self.take.p.free),
            ]
        with m.Elif(go):
            m.d.sync += left.eq(left - 1)
        with m.If(self.clear):
            m.d.sync += [at.eq(0), left.eq(0)]

    def _parts(self, m, word, go, last, tail):
        """Give units that are parts of words; return whether the next word may be read."""
        per_word = self._config.cols // UNIT_BYTES
        valid = Signal()
        part = Signal(range(per_word))
        end = Signal(range(per_word))  # last part of the word that is a unit
        done = self.units.ready & (part == end)
        m.d.comb += [
            self.units.valid.eq(valid),
            self.units.payload.eq(word.as_value().word_select(part, UNIT_BITS)),
        ]
        with m.If(go):
            m.d.sync += [valid.eq(1), part.eq(0), end.eq(Mux(last, tail, per_word - 1))]
        with m.Elif(valid & self.units.ready):
            m.d.sync += [valid.eq(~done), part.eq(part + 1)]
        with m.If(self.clear):
            m.d.sync += valid.eq(0)
        return ~valid | done

    def _pairs(self, m, word, go, last, tail):
        """Give units that have two words; return whether the next word may be read."""
        valid, second = Signal(), Signal()
        first = Signal.like(word)
        m.d.comb += [
            self.units.valid.eq(valid & second),
            self.units.payload.eq(Cat(first, word)),
        ]
        with m.If(go):
            m.d.sync += [valid.eq(1), second.eq(valid & ~second), first.eq(word)]
        with m.Elif(self.units.valid & self.units.ready):
            m.d.sync += valid.eq(0)
        with m.If(self.clear):
            m.d.sync += valid.eq(0)
        return ~valid | ~second | self.units.ready


def _kept(m, name, go, odd, ports):
    """Return the word that was read when `go` was high for the last time, by one of two users."""
    came = Signal(name=f"{name}_came")
    was_odd = Signal(name=f"{name}_was_odd")
    kept = Signal.like(ports[0].data, name=f"{name}_kept")
    word = Signal.like(ports[0].data, name=f"{name}_word")
    m.d.comb += word.eq(Mux(came, Mux(was_odd, ports[1].data.as_value(),
                                      ports[0].data.as_value()), kept.as_value()))
    m.d.sync += came.eq(go)
    with m.If(go):
        m.d.sync += was_odd.eq(odd)
    with m.If(came):
        m.d.sync += kept.eq(word)
    return word
