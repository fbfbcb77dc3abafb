"""A board without a core: the link, registers and a memory that takes its time."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.soc.system import System
from rtl.soc.host_link import HostLink
from rtl.soc.registers import Registers
from rtl.soc.uart import line_layout
from tests.cases.link_traffic import BROKEN, device

PAUSE = 64
"""Cycles after which a frame is given up."""


class LinkBoard(wiring.Component):
    """:class:`HostLink` with what it is connected to.

    Members
    -------
    rx, tx
        Of the link.
    busy : ``In(1)``
        Of a core that does nothing.
    starts : ``Out(16)``
        How often it was started.
    shown, beat
        Address of a beat of memory, counted in beats, and what it holds, a cycle later.
    """

    def __init__(self, system: System):
        self._system = system
        beat = 8 * system.config.bus_bytes
        super().__init__({
            "rx": In(stream.Signature(line_layout)), "tx": Out(stream.Signature(8)),
            "busy": In(1), "starts": Out(16), "shown": In(range(self._beats)), "beat": Out(beat),
        })

    @property
    def _beats(self):
        return self._system.memory_bytes // self._system.config.bus_bytes

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = HostLink(self._system, pause=PAUSE)
        m.submodules.registers = registers = Registers(self._system)
        connect(m, flipped(self.rx), link.rx)
        connect(m, link.tx, flipped(self.tx))
        connect(m, link.registers, registers.port)
        m.d.comb += registers.busy.eq(self.busy)
        m.d.sync += self.starts.eq(self.starts + registers.start)
        self._memory(m, link.memory)
        return m

    def _memory(self, m, port):
        """Answer requests after a while, those of broken addresses with an error."""
        bus = self._system.config.bus_bytes
        content = bytes(device(self._system)._memory)
        init = [int.from_bytes(content[at:at + bus], "little")
                for at in range(0, len(content), bus)]
        m.submodules.memory = store = memory.Memory(shape=8 * bus, depth=self._beats, init=init)
        write, read, show = store.write_port(), store.read_port(), store.read_port()
        request, response = port.request, port.response
        wait, waiting, broken = Signal(4, init=1), Signal(), Signal()
        error = (request.p.address >= BROKEN.start) & (request.p.address < BROKEN.stop)
        m.d.sync += wait.eq((wait << 1) | (wait[3] ^ wait[2]))
        m.d.comb += [
            request.ready.eq(~waiting & wait[0]),
            response.valid.eq(waiting & wait[1]),
            response.p.data.eq(read.data),
            response.p.error.eq(broken),
            write.en.eq(request.valid & request.ready & request.p.write & ~error),
            write.addr.eq(request.p.address // bus),
            write.data.eq(request.p.data),
            read.addr.eq(request.p.address // bus),
            show.addr.eq(self.shown),
            self.beat.eq(show.data),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [waiting.eq(1), broken.eq(error)]
        with m.Elif(response.valid):
            m.d.sync += waiting.eq(0)
