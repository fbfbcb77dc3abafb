"""Constant store: takes the constants of instructions, and keeps scales and the codebook."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.core.isa import CHANNEL, CODEBOOK_UNITS, FIELDS, Opcode

from ..common.checks import check_config
from ..common.shapes import joined, shape_of
from ..common.unit_splitter import UNIT_BITS, UnitSplitter
from ..results.result_constants import BASE
from ..rows.layernorm import channel_layout
from ..rows.softmax import softmax_codebook_layout
from .instruction import Phase, decoded, instruction_layout
from .scale_file import ScaleFile

__all__ = ["ConstantStore"]

_channel_unit_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in CHANNEL.items()})


class ConstantStore(wiring.Component):
    """Take what comes first of a payload: scales and a codebook to keep, channels for LayerNorm.

    Units of channels and of the codebook are taken one per cycle, scales one lambda per cycle.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of slots, `max_sites`.

    Members
    -------
    phase, instruction
        ``In(Phase)``, ``In(instruction_layout)``
    units : ``In(stream.Signature(64))``
        What SCALES, NORM and SOFTMAX have in their payload; valid in phase CONSTANTS only.
    taken : ``Out(1)``
        All of them have been.
    predicted : ``In(stream.Signature(LAMBDA, always_ready=True))``
        Scales for the slots from the instruction's `scale_a` on.
    resolve, resolved, base, base_out
        `start`, `done`, ... of :class:`.scale_file.ScaleFile`, for the instruction.
    load, channels
        ``Out(1)``, ``Out(stream.Signature(channel_layout))``: those of LayerNorm, no more than it
        takes. It must be ready for them.
    codebook : ``Out(softmax_codebook_layout)``
        The last one.
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
        })

    def elaborate(self, platform):
        m = Module()
        op, units = self.instruction, self.units
        phase = self.phase == Phase.CONSTANTS
        is_scales, is_norm, is_softmax = (decoded(m, op, each) for each in (
            Opcode.SCALES, Opcode.NORM, Opcode.SOFTMAX))
        norm = phase & is_norm
        lambdas, given = self._scales(m)

        channel = _channel_unit_layout(units.payload)
        m.d.comb += [
            lambdas.i.valid.eq(units.valid & phase & is_scales),
            lambdas.i.payload.eq(units.payload),
            self.load.eq(norm),
            self.channels.valid.eq(units.valid & norm),
            *(self.channels.p[name].eq(channel[name]) for name in channel_layout.members),
            # As many units come as channels are taken, and nobody but scales makes them wait.
            units.ready.eq(lambdas.i.ready | ~is_scales),
        ]
        with m.If(phase & is_softmax & units.valid):
            m.d.sync += self.codebook.eq(Cat(self.codebook, units.payload)[UNIT_BITS:])

        taken = Signal(FIELDS["n"].bits)  # lambdas, or units
        m.d.comb += [
            lambdas.o.ready.eq(phase & (taken != op.n)),
            self.taken.eq(taken == Mux(is_softmax, CODEBOOK_UNITS, op.n)),
        ]
        with m.If(~phase):
            m.d.sync += taken.eq(0)
        with m.Elif(Mux(is_scales, given, units.valid & units.ready)):
            m.d.sync += taken.eq(taken + 1)
        return m

    def _scales(self, m):
        """Keep scales, given or predicted; return the splitter of the former, when it gives one."""
        op = self.instruction
        m.submodules.scales = scales = ScaleFile(self._config)
        m.submodules.lambdas = lambdas = UnitSplitter(formats.LAMBDA.bits)
        fetch = self.phase == Phase.FETCH
        given = lambdas.o.valid & lambdas.o.ready
        m.d.comb += [
            lambdas.clear.eq(fetch),
            scales.first.eq(op.scale_a),
            scales.begin.eq(fetch),
            scales.write.valid.eq(given | self.predicted.valid),
            scales.write.payload.eq(Mux(given, lambdas.o.payload.as_signed(),
                                        self.predicted.payload)),
            *joined(scales.run, op),
            scales.start.eq(self.resolve),
            self.resolved.eq(scales.done),
            self.base.eq(scales.base),
            self.base_out.eq(scales.base_out),
        ]
        return lambdas, given
