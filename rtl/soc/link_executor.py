"""Does what requests ask for: memory, registers, and what is answered."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.soc.device import ANSWERS
from golden.soc.link import BLOCK, Opcode, Status
from golden.soc.registers import WORD_BITS, WORD_BYTES
from golden.soc.system import System

from ..common.checks import check_system
from ..common.operands import BYTE
from ..memory.memory_port import memory_signature
from .link_layouts import (
    ANSWER_BITS,
    buffer_read_signature,
    buffer_write_signature,
    frame_layout,
    response_layout,
)
from .registers import register_signature

__all__ = ["LinkExecutor"]


class LinkExecutor(wiring.Component):
    """Carry out one request after the other, as :class:`golden.soc.device.Device` does.

    A unit, a beat of memory or a register, goes through a word of its own, byte by byte from and to
    the payload, and is answered before the next one is begun.

    Parameters
    ----------
    system : :class:`System`

    Members
    -------
    i : ``In(stream.Signature(frame_layout))``
        Taken when it has been answered, until when its payload must stay.
    o : ``Out(stream.Signature(response_layout))``
    read, write
        ``Out(buffer_read_signature)``, ``Out(buffer_write_signature)``: the payload of request
        and response.
    memory : ``Out(memory_signature(config))``
    registers : ``Out(register_signature)``
    """

    def __init__(self, system: System):
        check_system(system)
        self._system = system
        self._bus = system.config.bus_bytes
        super().__init__({
            "i": In(stream.Signature(frame_layout)),
            "o": Out(stream.Signature(response_layout)),
            "read": Out(buffer_read_signature), "write": Out(buffer_write_signature),
            "memory": Out(memory_signature(system.config)),
            "registers": Out(register_signature),
        })

    def elaborate(self, platform):
        m = Module()
        request = self.i.p.request
        word = Signal(BYTE * max(self._bus, WORD_BYTES))
        at = Signal(range(BLOCK + 1))  # bytes that are done
        step = Signal(range(len(word) // BYTE + 1))  # bytes of the unit that are done
        status, stored = Signal(ANSWER_BITS), Signal(ANSWER_BITS)
        peeks_now = (request.opcode == Opcode.PEEK) | (request.opcode == Opcode.POKE)
        writes_now = (request.opcode == Opcode.WRITE) | (request.opcode == Opcode.POKE)
        peeks, writes = Signal(), Signal()  # from the cycle after a request came
        m.d.sync += [peeks.eq(peeks_now), writes.eq(writes_now)]
        unit = Mux(peeks, WORD_BYTES, self._bus)
        address = Signal(len(request.address))
        m.d.comb += address.eq(request.address + at)
        answer = Signal(response_layout)
        self._ports(m, word, address, at, step, status, writes, answer)
        repeated = self._repeated(m, status, stored)

        with m.FSM():
            with m.State("idle"), m.If(self.i.valid):
                m.d.sync += [at.eq(0), step.eq(0), status.eq(self._refusal(peeks_now, writes_now))]
                m.next = "refused"
            with m.State("refused"):
                with m.If(writes & repeated):
                    m.d.sync += status.eq(stored)
                    m.next = "answer"
                with m.Elif((status != Status.FINE) | (request.opcode == Opcode.PING)):
                    m.next = "answer"
                with m.Else():
                    m.next = "unit"
            with m.State("unit"):  # its bytes come in, of which the first takes a cycle more
                m.d.sync += step.eq(step + 1)
                with m.If(writes):
                    m.d.sync += word.eq(Cat(word[BYTE:], self.read.data))
                with m.If(~writes | (step == unit)):
                    m.d.sync += step.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                m.d.comb += self.memory.request.valid.eq(~peeks)
                m.d.sync += self.registers.enable.eq(peeks)
                with m.If(peeks):
                    m.next = "look"
                with m.Elif(self.memory.request.ready):
                    m.next = "wait"
            with m.State("look"):
                m.next = "wait"
            with m.State("wait"), m.If(peeks | self.memory.response.valid):
                self._answered(m, word, status, peeks)
                m.next = "bytes"
            with m.State("bytes"):  # go out, or are counted
                m.d.comb += self.write.enable.eq(~writes & (status == Status.FINE))
                m.d.sync += [word.eq(word >> BYTE), step.eq(step + 1), at.eq(at + 1)]
                with m.If(status != Status.FINE):
                    m.next = "answer"
                with m.Elif(step == unit - 1):
                    m.d.sync += step.eq(0)
                    m.next = "unit"
                    with m.If(at + 1 == request.length):
                        m.next = "answer"
            with m.State("answer"):
                m.d.sync += self.o.payload.eq(answer)
                m.next = "send"
            with m.State("send"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(self.o.ready):
                    m.next = "idle"
        return m

    def _ports(self, m, word, address, at, step, status, writes, answer):
        """Connect what does not depend on the state."""
        memory, registers = self.memory, self.registers
        request = self.i.p.request
        fine = (status == Status.FINE) & (self.i.p.status == Status.FINE)
        m.d.comb += [
            self.read.address.eq(at + step),
            self.write.address.eq(at),
            self.write.data.eq(word[:BYTE]),
            memory.request.p.address.eq(address),
            memory.request.p.write.eq(writes),
            memory.request.p.data.eq(word[-BYTE * self._bus:]),
            memory.response.ready.eq(1),
            answer.status.eq(status),
            answer.sequence.eq(Mux(self.i.p.status == Status.FINE, request.sequence, 0)),
            answer.length.eq(Mux(fine & ~writes, request.length, 0)),
        ]
        # Registers are reached out of registers: their addresses are compared with many.
        m.d.sync += [registers.enable.eq(0), registers.write.eq(writes),
                     registers.address.eq(address), registers.data.eq(word[-WORD_BITS:])]

    def _refusal(self, peeks, writes):
        """Return what is wrong with a request as such."""
        request, bus, memory = self.i.p.request, self._bus, self._system.memory_bytes
        length, address = request.length, request.address
        known = sum(request.opcode == opcode for opcode in Opcode) != 0
        whole = Mux(peeks, length % WORD_BYTES == 0, length % bus == 0)
        right = Mux(request.opcode == Opcode.PING, length == 0, Mux(
            request.opcode == Opcode.POKE, length == WORD_BYTES,
            whole & (length != 0) & (length <= BLOCK)))
        fits = self.i.p.size == Mux(writes, length, 0)
        inside = (address % bus == 0) & (address + length <= memory)
        moves = (request.opcode == Opcode.READ) | (request.opcode == Opcode.WRITE)
        return Mux(self.i.p.status != Status.FINE, self.i.p.status, Mux(
            ~known, Status.UNKNOWN_OPCODE, Mux(
                ~(right & fits), Status.BAD_LENGTH, Mux(
                    moves & ~inside, Status.BAD_ADDRESS, Status.FINE))))

    def _repeated(self, m, status, stored):
        """Return whether the request is that before; keep how each has ended in `stored`."""
        last, known = Signal.like(self.i.p.check), Signal()
        readable = self.i.p.status == Status.FINE
        with m.If(self.i.valid & self.i.ready & readable):
            m.d.sync += [last.eq(self.i.p.check), known.eq(1), stored.eq(status)]
        return known & readable & (last == self.i.p.check)

    def _answered(self, m, word, status, peeks):
        """Keep what a unit has been answered."""
        response = self.memory.response.p
        with m.If(peeks):
            m.d.sync += word.eq(self.registers.value)
            with m.Switch(self.registers.answer):
                for answer, meaning in ANSWERS.items():
                    with m.Case(answer):
                        m.d.sync += status.eq(meaning)
        with m.Else():
            m.d.sync += [word.eq(response.data),
                         status.eq(Mux(response.error, Status.MEMORY_ERROR, Status.FINE))]

