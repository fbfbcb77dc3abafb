"""Placement of results in the scratchpad, as :mod:`golden.memory.scratchpad` writes them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, IntFormat
from golden.core.isa import FIELDS, OPERANDS, Layout
from golden.cycles.product_cycles import PLACEMENT
from golden.memory.scratchpad import BANK_BITS
from golden.rows.layernorm import highest_channels

from ..common.checks import check_config
from ..common.shapes import shape_of
from ..common.soft_multiplier import SoftMultiplier
from .scratchpad import UNCHECKED, turned, write_signature

__all__ = ["Placement", "destination_layout", "placed_layout"]

_BYTE, _NIBBLE = 8, 4

destination_layout = data.StructLayout({name: shape_of(FIELDS[name])
                                for name in ("layout", "dest", "dest_stride", "m", "n",
                                             "first_row")})
"""A matrix of `m` rows and `n` columns; `dest` and `dest_stride` in words. The first row of OPERAND
is PE row `first_row` of its tile."""


def placed_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Results of ``config.rows`` columns of a row, `column` being the first of them."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(ACT16), config.rows),
        "row": shape_of(FIELDS["m"]),
        "column": shape_of(FIELDS["n"]),
    })


class Placement(wiring.Component):
    """Write beats of results to the scratchpad, in the layout asked for.

    Four-stage pipeline that never stalls: a beat of cycle ``t`` is at `write` in cycle
    ``t + LATENCY``. OPERAND4 holds two rows in a byte: the beats of an even row wait in a memory
    for those of the odd row, unless it is the last row of the matrix. The memory has room for the
    longest row that is multiplied, ``config.max_k`` columns, and for the longest of LayerNorm; the
    other layouts know no limit but that of `n`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: gives the scratchpad, `cols`, `max_k` and `max_channels`.

    Members
    -------
    run : ``In(destination_layout)``
        The matrix; stable from the cycle before its first beat until `idle`.
    i : ``In(stream.Signature(placed_layout(config)))``
        Beats, always taken; `column` is a multiple of ``config.rows``. Those of the same columns
        come by rising rows; otherwise the order does not matter. Beats behind the last row or
        column are ignored, as are the lanes behind the last column: they are stored as zero, in
        OPERAND only the one that shares 16 bits with the last column.
    write : ``Out(write_signature(config))``
        Low 16, 8 or 4 bits of each lane.
    idle : ``Out(1)``
        No beat of an earlier cycle is on its way: a read in this cycle sees all of them.
    """

    LATENCY = PLACEMENT

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._rows = config.rows
        self._row_bits = ceil_log2(config.rows)
        self._tile_bits = ceil_log2(config.cols // config.rows)
        self._beats = -(-max(config.max_k, highest_channels(config)) // config.rows)
        super().__init__({
            "run": In(destination_layout),
            "i": In(stream.Signature(placed_layout(config), always_ready=True)),
            "write": Out(write_signature(config)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        run, beat = self.run, self.i.p
        lanes = self._lanes()

        # Stage a: lanes of the matrix; beats of an even row of OPERAND4 wait.
        a_valid, a_waits = Signal(), Signal()
        a_odd = Signal()
        a_lanes = Signal(self._rows)
        a_values = Signal.like(beat.values)
        a_beat = Signal(len(beat.column) - self._row_bits)
        inside = [Mux(lane, value, 0) for lane, value in zip(a_lanes, a_values, strict=True)]

        # Stage p: nibbles of the row before.
        p_valid, p_odd = Signal(), Signal()
        p_lanes = Signal(self._rows)
        p_values = Signal.like(a_values)

        # Stage s: parts of the first word from bank 0 on.
        s_valid = Signal()
        s_words = Signal(self._rows * BANK_BITS)
        s_parts = Signal(self._rows)
        s_address, s_bank = self._address(m)

        last_row = Signal.like(beat.row)  # of the matrix; it is known long before its beats come

        # Stage w: turned to their banks. The write port itself is the stage register.
        layout = Signal.like(run.layout)  # for stages p and s
        waiting = self._waiting(m, a_beat, inside, a_valid & a_waits)
        words, parts = self._words(m, layout, p_values, p_lanes, p_odd, waiting)
        m.d.comb += self.idle.eq(~(a_valid | p_valid | s_valid | self.write.enable.any()))
        m.d.sync += [
            a_valid.eq(self.i.valid & (beat.row < run.m) & lanes[0]),
            last_row.eq(run.m - 1),
            a_waits.eq((run.layout == Layout.OPERAND4) & ~beat.row[0] & (beat.row != last_row)),
            a_odd.eq(beat.row[0]),
            a_lanes.eq(lanes),
            a_values.eq(beat.values),
            a_beat.eq(beat.column >> self._row_bits),
            p_valid.eq(a_valid & ~a_waits),
            p_odd.eq(a_odd),
            p_lanes.eq(a_lanes),
            *(kept.eq(value) for kept, value in zip(p_values, inside, strict=True)),
            layout.eq(run.layout),
            s_valid.eq(p_valid),
            s_words.eq(words),
            s_parts.eq(parts),
            *self._write(layout, s_valid, s_words, s_parts, s_address, s_bank),
        ]
        return m

    def _address(self, m):
        """Return address and bank of the first word of a beat, those of stage s."""
        run = self.run
        # Stage a: place counted in strides, words and banks.
        a_index, a_offset = Signal.like(self.i.p.row), Signal.like(self.i.p.row)
        a_bank = Signal(self._row_bits)

        # Stage p: product of the index and the stride.
        p_product, p_offset = Signal.like(run.dest), Signal.like(run.dest)
        p_bank = Signal.like(a_bank)

        # Stage s: their sum.
        s_address, s_bank = Signal.like(run.dest), Signal.like(a_bank)

        index, offset, bank = self._place(m)
        m.submodules.multiplier = multiplier = SoftMultiplier(*(
            IntFormat(len(each), signed=False) for each in (a_index, run.dest_stride)))
        m.d.comb += [multiplier.a.eq(a_index), multiplier.b.eq(run.dest_stride)]
        m.d.sync += [
            a_index.eq(index),
            a_offset.eq(offset),
            a_bank.eq(bank),
            p_product.eq(multiplier.product),
            p_offset.eq(run.dest + a_offset),
            p_bank.eq(a_bank),
            s_address.eq(p_product + p_offset),
            s_bank.eq(p_bank),
        ]
        return s_address, s_bank

    def _waiting(self, m, beat, values, waits):
        """Keep the nibbles of a beat that `waits`; return those of the row before, in stage p."""
        m.submodules.waiting = waiting = memory.Memory(
            shape=_NIBBLE * self._rows, depth=self._beats, init=[], attrs=UNCHECKED)
        read, write = waiting.read_port(), waiting.write_port()
        m.d.comb += [
            read.addr.eq(beat),
            write.addr.eq(beat),
            write.data.eq(Cat(value[:_NIBBLE] for value in values)),
            write.en.eq(waits),
        ]
        return read.data

    def _lanes(self) -> Value:
        """Return a bit for each lane of the beat at the input: its column is in the matrix."""
        n, bits = self.run.n, self._row_bits
        beat, last = self.i.p.column[bits:], n[bits:]
        return Cat((beat < last) | ((beat == last) & (lane < n[:bits]))
                   for lane in range(self._rows))

    def _place(self, m):
        """Return index, words behind ``index * stride`` and bank of the beat at the input.

        The bank of an OPERAND matrix is that of a word whose address is a multiple of the rows.
        """
        bits = self._row_bits
        row, beat = self.i.p.row, self.i.p.column[bits:]
        index, offset = Signal.like(row), Signal.like(row)
        bank = Signal(bits)
        with m.Switch(self.run.layout):
            with m.Case(Layout.WIDE):
                m.d.comb += [index.eq(row), offset.eq(beat), bank.eq(0)]
            for layout in OPERANDS:
                with m.Case(layout):
                    pe_row = (row[_BYTE // layout.bits - 1:] + self.run.first_row)[:len(row)]
                    m.d.comb += [
                        index.eq(pe_row >> bits),
                        offset.eq(beat << (bits - 1)),
                        bank.eq(pe_row),
                    ]
            for layout in (Layout.WEIGHT8, Layout.WEIGHT4):
                with m.Case(layout):
                    part_bits = ceil_log2(BANK_BITS // layout.bits)  # a beat is a part of a word
                    tile_bits = self._tile_bits + part_bits - 1
                    place = Cat(beat[:tile_bits], row)
                    m.d.comb += [
                        index.eq(beat[tile_bits:]),
                        offset.eq(place[part_bits:]),
                        bank.eq(place[:part_bits] << (bits - part_bits)),
                    ]
        return index, offset, bank

    def _words(self, m, layout, values, lanes, odd, waiting):
        """Return what the banks get of a beat, 16 bits each, and which parts it has.

        Those of 8 and 4 bits come again in all halves and quarters of the word.
        """
        def repeated(pieces):
            value = Cat(pieces)
            return value.replicate(len(words) // len(value))

        words = Signal(self._rows * BANK_BITS)
        parts = Signal(self._rows)
        nibbles = [value[:_NIBBLE] for value in values]
        whole_bytes = repeated(value[:_BYTE] for value in values)
        pairs = lanes[::2]
        with m.Switch(layout):
            with m.Case(Layout.WIDE):
                m.d.comb += [words.eq(values), parts.eq(-1)]
            with m.Case(Layout.OPERAND8):
                m.d.comb += [words.eq(whole_bytes), parts.eq(pairs)]
            with m.Case(Layout.OPERAND4):
                both = [Cat(Mux(odd, waiting.word_select(lane, _NIBBLE), nibble),
                            Mux(odd, nibble, 0)) for lane, nibble in enumerate(nibbles)]
                m.d.comb += [words.eq(repeated(both)), parts.eq(pairs)]
            with m.Case(Layout.WEIGHT8):
                m.d.comb += [words.eq(whole_bytes), parts.eq((1 << self._rows // 2) - 1)]
            with m.Case(Layout.WEIGHT4):
                m.d.comb += [words.eq(repeated(nibbles)), parts.eq((1 << self._rows // 4) - 1)]
        return words, parts

    def _write(self, layout, valid, words, parts, address, bank):
        """Return the updates of the write port.

        Parts ``0 .. rows - 1`` go to the banks from `bank` on, in OPERAND from ``bank + address``
        on, where part ``j`` goes to ``address + j``: the low bits of what a bank gets as address
        are its distance from `bank`, and the others one more where part 0 lies behind that.
        """
        bits = self._row_bits
        operand = (layout == Layout.OPERAND8) | (layout == Layout.OPERAND4)
        low, high = address[:bits], address[bits:]
        amount = (-bank - Mux(operand, low, 0))[:bits]
        # What is repeated in both halves needs no turn by one, and WIDE none at all.
        update = [
            self.write.enable.eq(Mux(valid, turned(parts, amount, 1), 0)),
            self.write.data.eq(turned(words, amount[:-1], BANK_BITS)),
        ]
        for index, each in enumerate(self.write.address):
            distance = (index - bank)[:bits]
            update.append(each.eq(Mux(
                operand, Cat(distance, high + (distance < low)), address)))
        return update
