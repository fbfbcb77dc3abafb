"""Memory side of the core: the external memory port, and the users of the scratchpad."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode

from ..common.checks import check_config
from ..common.operands import BYTE
from ..common.shapes import joined
from ..memory.dma import Dma
from ..memory.memory_port import ADDRESS, memory_signature
from ..memory.scratchpad import read_signature, write_signature
from ..memory.shared_read import SharedRead
from .instruction import decoded, instruction_layout

__all__ = ["MemorySide"]


class MemorySide(wiring.Component):
    """Bring the stream of a program, carry out transfers, and share the scratchpad's ports.

    A transfer has the write port to itself. Of those that read, operands come before a matrix,
    and that before a transfer.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    instruction, start
        ``In(instruction_layout)``, ``In(1)``: it is carried out from the cycle after `start` on.
    begin, end, stream, stream_bytes, error, idle, ended
        As in :class:`.dma.Dma`.
    done : ``Out(1)``
        No transfer is under way.
    fill, room, reserve
        As in :class:`.dma.Dma`, of the program's stream.
    image_offset, logits_offset : ``In(32)``
        Added to the address of PATCHES, and of a STORE of logits; the same from `begin` to `end`.
    request, response
        External memory, :func:`.memory_port.memory_signature`.
    read, write
        ``Out(read_signature(config))``, ``Out(write_signature(config))``: the scratchpad.
    operands : ``In(read_signature(config))``
        User that gets what it asks for.
    matrix, matrix_free
        ``In(read_signature(config))``, ``Out(1)``: user that gets what it asks for while free.
    results : ``In(write_signature(config))``
        Written while no transfer is under way.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "instruction": In(instruction_layout), "start": In(1), "done": Out(1),
            "begin": In(1), "end": In(1), "stream": In(ADDRESS), "stream_bytes": In(ADDRESS),
            "image_offset": In(ADDRESS), "logits_offset": In(ADDRESS),
            "error": Out(1), "idle": Out(1), "ended": Out(1),
            "fill": Out(stream.Signature(BYTE * config.bus_bytes)),
            "room": In(1), "reserve": Out(1),
            **memory_signature(config).members,
            "read": Out(read_signature(config)), "write": Out(write_signature(config)),
            "operands": In(read_signature(config)),
            "matrix": In(read_signature(config)), "matrix_free": Out(1),
            "results": In(write_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        op = self.instruction
        m.submodules.dma = dma = Dma(self._config)
        m.submodules.ports = ports = SharedRead(self._config, 3)
        connect(m, dma.memory.request, flipped(self.request))
        connect(m, flipped(self.response), dma.memory.response)
        connect(m, dma.fill, flipped(self.fill))
        # An instruction has been there for a while before it starts.
        place = Signal(ADDRESS)
        m.d.sync += place.eq(op.address + Mux(
            decoded(m, op, Opcode.PATCHES), self.image_offset,
            Mux(decoded(m, op, Opcode.STORE) & op.logits, self.logits_offset, 0)))
        m.d.comb += [
            *joined(dma.run, op),
            dma.run.address.eq(place),
            dma.start.eq(self.start & decoded(m, op, Opcode.LOAD, Opcode.STORE, Opcode.PATCHES)),
            *(getattr(dma, name).eq(getattr(self, name))
              for name in ("begin", "end", "stream", "stream_bytes", "room")),
            *(getattr(self, name).eq(getattr(dma, name))
              for name in ("done", "error", "idle", "ended", "reserve")),
        ]

        connect(m, ports.port, flipped(self.read))
        connect(m, flipped(self.operands), ports.users[0])
        connect(m, flipped(self.matrix), ports.users[1])
        connect(m, dma.read, ports.users[2])
        m.d.comb += self.matrix_free.eq(ports.free[1])
        for wanted, user in ((dma.done, self.results), (~dma.done, dma.write)):
            with m.If(wanted):
                m.d.comb += [getattr(self.write, name).eq(getattr(user, name))
                             for name in ("enable", "address", "data")]
        return m
