"""Constant store: takes the constants of instructions, and keeps scales."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.core.isa import CHANNEL, CODEBOOK_UNITS, FIELDS, Opcode
from golden.results.curves import GELU, LENGTH, SLOPE, VALUE

from ..common.checks import check_config
from ..common.shapes import joined, rom, shape_of
from ..common.unit_splitter import UNIT_BITS, UnitSplitter
from ..results.gelu import curve_layout, entry_layout
from ..results.result_constants import BASE
from ..rows.layernorm import channel_layout
from ..rows.softmax import softmax_codebook_layout
from .instruction import Phase, decoded, instruction_layout
from .scale_file import ScaleFile

__all__ = ["ConstantStore"]

_channel_unit_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in CHANNEL.items()})


class ConstantStore(wiring.Component):
    """Take what comes first of a payload: scales and a codebook to keep, channels for LayerNorm,
    the table of an activation for those who keep it. In the first cycles after reset it gives them
    that of GELU, and instructions with `gelu` wait for that.

    Units of channels and of the codebook are taken one per cycle, scales and tables one number per
    cycle.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of slots, `max_sites`.

    Members
    -------
    phase, instruction
        ``In(Phase)``, ``In(instruction_layout)``
    units : ``In(stream.Signature(64))``
        What SCALES, TABLE, NORM and SOFTMAX have in their payload; valid in phase CONSTANTS only.
    taken : ``Out(1)``
        All of them have been.
    predicted : ``In(stream.Signature(LAMBDA, always_ready=True))``
        Scales for the slots from the instruction's `scale_a` on.
    resolve, resolved, base, base_out
        `start`, `done`, ... of :class:`.scale_file.ScaleFile`, for the instruction; `resolved`
        also says that there is the table that it needs.
    load, channels
        ``Out(1)``, ``Out(stream.Signature(channel_layout))``: those of LayerNorm, no more than it
        takes. It must be ready for them.
    codebook : ``Out(softmax_codebook_layout)``
        The last one.
    curve : ``Out(curve_layout)``
        Of the last TABLE, or GELU.
    entry : ``Out(entry_layout)``
        An entry of its table.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "phase": In(Phase), "instruction": In(instruction_layout),
            "units": In(stream.Signature(UNIT_BITS)), "taken": Out(1),
            "predicted": In(stream.Signature(shape_of(formats.LAMBDA), always_ready=True)),
            "resolve": In(1), "resolved": Out(1), "base": Out(BASE), "base_out": Out(BASE),
            "load": Out(1), "channels": Out(stream.Signature(channel_layout)),
            "codebook": Out(softmax_codebook_layout),
            "curve": Out(curve_layout, init={"wide": int(GELU.wide), "offset": GELU.offset}),
            "entry": Out(entry_layout),
        })

    def elaborate(self, platform):
        m = Module()
        op, units = self.instruction, self.units
        phase = self.phase == Phase.CONSTANTS
        is_norm, is_softmax, is_table = (decoded(m, op, each) for each in (
            Opcode.NORM, Opcode.SOFTMAX, Opcode.TABLE))
        has_numbers = decoded(m, op, Opcode.SCALES, Opcode.TABLE)
        norm = phase & is_norm
        self._settled = Signal()  # the table that the instruction needs is there
        numbers, given = self._scales(m, is_table)

        channel = _channel_unit_layout(units.payload)
        m.d.comb += [
            numbers.i.valid.eq(units.valid & phase & has_numbers),
            numbers.i.payload.eq(units.payload),
            self.load.eq(norm),
            self.channels.valid.eq(units.valid & norm),
            *(self.channels.p[name].eq(channel[name]) for name in channel_layout.members),
            # As many units come as channels are taken, and nobody but numbers makes them wait.
            units.ready.eq(numbers.i.ready | ~has_numbers),
        ]
        with m.If(phase & is_softmax & units.valid):
            m.d.sync += self.codebook.eq(Cat(self.codebook, units.payload)[UNIT_BITS:])

        taken = Signal(FIELDS["n"].bits)  # numbers, or units
        m.d.comb += [
            numbers.o.ready.eq(phase & (taken != op.n)),
            self.taken.eq(taken == Mux(is_softmax, CODEBOOK_UNITS, op.n)),
        ]
        with m.If(~phase):
            m.d.sync += taken.eq(0)
        with m.Elif(Mux(has_numbers, given, units.valid & units.ready)):
            m.d.sync += taken.eq(taken + 1)
        with m.If(phase & is_table):
            m.d.sync += [self.curve.wide.eq(op.wide), self.curve.offset.eq(-op.low)]
        self._entries(m, numbers.o.payload, given, taken, phase & is_table)
        return m

    def _entries(self, m, number, given, taken, begun):
        """Give the entries of a table: each value when the next one is there, which its slope
        needs; behind the last there is zero.
        """
        value = Signal.like(self.entry.value)
        valid = Signal()
        following = Mux(self.taken, 0, number[:len(value)])
        with m.If(given):
            m.d.sync += value.eq(number)
        m.d.comb += valid.eq(begun & (self.taken | (given & (taken != 0))))
        first = self._first_table(m)
        m.d.sync += [
            self.entry.valid.eq(valid | first.valid),
            self.entry.index.eq(Mux(valid, taken - 1, first.index)),
            self.entry.value.eq(Mux(valid, value, first.value)),
            self.entry.slope.eq(Mux(valid, following - value, first.slope)),
        ]

    def _first_table(self, m):
        """Return the entries of GELU, one in each of the first cycles. Should a TABLE be there as
        soon, it is behind them.
        """
        given = Signal(range(LENGTH + 1))
        entry = Signal(entry_layout)
        settled = given[-1]
        with m.If(~settled):
            m.d.sync += given.eq(given + 1)
        m.d.sync += self._settled.eq(settled | ~self.instruction.gelu)
        m.d.comb += [
            entry.valid.eq(~settled),
            entry.index.eq(given),
            entry.value.eq(rom(GELU.table.values, entry.index, VALUE)),
            entry.slope.eq(rom(GELU.table.slopes, entry.index, SLOPE)),
        ]
        return entry

    def _scales(self, m, is_table):
        """Keep scales, given or predicted; return the splitter of numbers, when it gives one."""
        op = self.instruction
        m.submodules.scales = scales = ScaleFile(self._config)
        m.submodules.numbers = numbers = UnitSplitter(formats.LAMBDA.bits)
        fetch = self.phase == Phase.FETCH
        given = numbers.o.valid & numbers.o.ready
        kept = given & ~is_table
        m.d.comb += [
            numbers.clear.eq(fetch),
            scales.first.eq(op.scale_a),
            scales.begin.eq(fetch),
            scales.write.valid.eq(kept | self.predicted.valid),
            scales.write.payload.eq(Mux(given, numbers.o.payload.as_signed(),
                                        self.predicted.payload)),
            *joined(scales.run, op),
            scales.start.eq(self.resolve),
            self.resolved.eq(scales.done & self._settled),
            self.base.eq(scales.base),
            self.base_out.eq(scales.base_out),
        ]
        return numbers, given
