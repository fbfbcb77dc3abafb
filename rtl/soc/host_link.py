"""The link of a host with memory and registers: frames in, frames out."""

from amaranth.hdl import Module, Mux
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.soc.link import BLOCK
from golden.soc.system import System

from ..common.checks import check_system
from ..common.operands import BYTE
from ..memory.memory_port import memory_signature
from ..memory.scratchpad import UNCHECKED
from .line_queue import LineQueue
from .link_executor import LinkExecutor
from .link_layouts import buffer_read_signature, buffer_write_signature
from .link_receiver import FrameReceiver
from .link_sender import FrameSender
from .registers import register_signature
from .uart import UartReceiver, UartTransmitter, bit_time, line_layout

__all__ = ["HostLink", "SerialLink"]

QUEUE = 2 * BLOCK
"""Bytes of a line that wait while a request is carried out and answered."""

PAUSE_BITS = 100_000
"""Bits of a line after which a frame is given up: 33 ms at 3 Mbaud."""


class HostLink(wiring.Component):
    """Answer the frames of a host, as :class:`golden.soc.device.Device` does.

    ::

        rx -> LineQueue -> FrameReceiver -> LinkExecutor -> FrameSender -> tx
                                 |           |  |    |           |
                                 +-> payload +  |    registers   |
                                        |     memory             |
                                        +------------------------+

    Parameters
    ----------
    system : :class:`System`
    pause : int
        Cycles without a byte after which a frame that has begun is given up.

    Members
    -------
    rx : ``In(stream.Signature(line_layout))``, always ready
    tx : ``Out(stream.Signature(8))``
    memory : ``Out(memory_signature(config))``
    registers : ``Out(register_signature)``
    """

    def __init__(self, system: System, *, pause: int):
        check_system(system)
        self._system, self._pause = system, integer("pause", pause, 1)
        super().__init__({
            "rx": In(stream.Signature(line_layout)),
            "tx": Out(stream.Signature(BYTE)),
            "memory": Out(memory_signature(system.config)),
            "registers": Out(register_signature),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = LineQueue(QUEUE)
        m.submodules.receiver = receiver = FrameReceiver(self._pause)
        m.submodules.executor = executor = LinkExecutor(self._system)
        m.submodules.sender = sender = FrameSender()
        m.submodules.payload = payload = _Payload()
        connect(m, flipped(self.rx), queue.i)
        connect(m, queue.o, receiver.i)
        connect(m, receiver.o, executor.i)
        connect(m, executor.o, sender.i)
        connect(m, sender.o, flipped(self.tx))
        connect(m, receiver.write, payload.received)
        connect(m, executor.write, payload.answered)
        connect(m, executor.read, payload.carried_out)
        connect(m, sender.read, payload.sent)
        connect(m, executor.memory.request, flipped(self.memory.request))
        connect(m, flipped(self.memory.response), executor.memory.response)
        connect(m, executor.registers, flipped(self.registers))
        m.d.comb += payload.sending.eq(executor.o.valid)
        return m


class _Payload(wiring.Component):
    """The payload of a request, then of its response.

    Members
    -------
    received, answered : ``In(buffer_write_signature)``
        Of the receiver, and of the executor, never at once.
    carried_out, sent : ``In(buffer_read_signature)``
        Of the executor, and of the sender while it is `sending`.
    """

    received: In(buffer_write_signature)
    answered: In(buffer_write_signature)
    carried_out: In(buffer_read_signature)
    sent: In(buffer_read_signature)
    sending: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=BYTE, depth=BLOCK, init=[],
                                                    attrs=UNCHECKED)
        write, read = store.write_port(), store.read_port()
        first, second = self.received, self.answered
        m.d.comb += [
            write.en.eq(first.enable | second.enable),
            write.addr.eq(Mux(first.enable, first.address, second.address)),
            write.data.eq(Mux(first.enable, first.data, second.data)),
            read.en.eq(1),
            read.addr.eq(Mux(self.sending, self.sent.address, self.carried_out.address)),
            self.carried_out.data.eq(read.data),
            self.sent.data.eq(read.data),
        ]
        return m


class SerialLink(wiring.Component):
    """:class:`HostLink` on two pins.

    Parameters
    ----------
    system : :class:`System`
    baud : int
        Rate of the line, a quarter of the clock at most.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
    memory, registers
        As of :class:`HostLink`.
    """

    def __init__(self, system: System, baud: int):
        check_system(system)
        self._system, self._bit = system, bit_time(system.clock_hz, baud)
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "memory": Out(memory_signature(system.config)),
            "registers": Out(register_signature),
        })

    def elaborate(self, platform):
        m = Module()
        pause = PAUSE_BITS * self._bit["divisor"]
        m.submodules.link = link = HostLink(self._system, pause=pause)
        m.submodules.receiver = receiver = UartReceiver(**self._bit)
        m.submodules.transmitter = transmitter = UartTransmitter(**self._bit)
        connect(m, receiver.o, link.rx)
        connect(m, link.tx, transmitter.i)
        connect(m, link.memory.request, flipped(self.memory.request))
        connect(m, flipped(self.memory.response), link.memory.response)
        connect(m, link.registers, flipped(self.registers))
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        return m
