"""Program stream: the ring that it passes through, and who gets what of it."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode

from ..common.checks import check_config
from ..common.operands import BYTE
from ..common.unit_splitter import UNIT_BITS
from ..memory.weight_buffer import WeightBuffer, ring_signature, take_layout, words_shape
from .instruction import Phase, decoded, instruction_layout

__all__ = ["ProgramStream"]


class ProgramStream(wiring.Component):
    """Hold the stream of a program, and lead its units to whom they are for.

    Latencies are those of :class:`.weight_buffer.WeightBuffer`; nothing is added to them.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    phase, instruction
        ``In(Phase)``, ``In(instruction_layout)``: tell whose units come.
    fill, reserve : as in :class:`.weight_buffer.WeightBuffer`
    room : ``Out(1)``
        There is room for a beat that is not reserved.
    starved : ``Out(1)``
        Words are needed that are not there.
    take : ``In(stream.Signature(units))``
        Give that many units, and free their words; not while a product runs.
    column_take, skip, window, release, ring
        `take`, ..., `read` of the weight buffer, for a product while it runs.
    fetched, constants, columns, predictor : ``Out(stream.Signature(64))``
        Units of an instruction (FETCH), those that come first of its payload (CONSTANTS), column
        units of a product and what PREDICT takes (RUN).
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        units = Out(stream.Signature(UNIT_BITS))
        super().__init__({
            "phase": In(Phase), "instruction": In(instruction_layout),
            "fill": In(stream.Signature(BYTE * config.bus_bytes)),
            "reserve": In(1), "room": Out(1), "starved": Out(1),
            "take": In(stream.Signature(take_layout["units"].shape)),
            "column_take": In(stream.Signature(take_layout)),
            "skip": In(stream.Signature(words_shape)),
            "window": Out(stream.Signature(range(config.stream_words))),
            "release": In(stream.Signature(words_shape)),
            "ring": In(ring_signature(config)),
            "fetched": units, "constants": units, "columns": units, "predictor": units,
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = WeightBuffer(self._config)
        running = self.phase == Phase.RUN
        product = running & decoded(m, self.instruction, Opcode.GEMM)
        connect(m, flipped(self.fill), buffer.fill)
        connect(m, flipped(self.skip), buffer.skip)
        connect(m, buffer.window, flipped(self.window))
        connect(m, flipped(self.release), buffer.release)
        connect(m, flipped(self.ring), buffer.read)
        m.d.comb += [
            self.room.eq(buffer.room != 0),
            self.starved.eq(buffer.starved),
            buffer.reserve.eq(self.reserve),
            buffer.take.valid.eq(Mux(product, self.column_take.valid, self.take.valid)),
            buffer.take.p.units.eq(Mux(product, self.column_take.p.units, self.take.payload)),
            buffer.take.p.free.eq(~product),
            self.column_take.ready.eq(buffer.take.ready & product),
            self.take.ready.eq(buffer.take.ready & ~product),
        ]
        predicts = running & decoded(m, self.instruction, Opcode.PREDICT)
        users = [(self.phase == Phase.FETCH, self.fetched),
                 (self.phase == Phase.CONSTANTS, self.constants),
                 (product, self.columns), (predicts, self.predictor)]
        for wanted, user in users:
            m.d.comb += [user.valid.eq(buffer.units.valid & wanted),
                         user.payload.eq(buffer.units.payload)]
        m.d.comb += buffer.units.ready.eq(Cat(wanted & user.ready for wanted, user in users).any())
        return m
