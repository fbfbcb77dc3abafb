"""A small component with the ports of a whole core: LOAD, STORE and END, one after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.core import isa
from golden.core.isa import INSTRUCTION_BYTES, Opcode
from golden.memory.scratchpad import READ_LATENCY
from rtl.memory.scratchpad import Scratchpad


class StandIn(wiring.Component):
    """Executes LOAD, STORE and END; SOFTMAX never ends, and anything else is illegal.

    A request goes out in every cycle that the port takes one.
    """

    def __init__(self, config, *, always_ready=False):
        self.config = config
        bits = 8 * config.bus_bytes
        super().__init__({
            "start": In(1), "stream": In(32), "stream_bytes": In(32),
            "busy": Out(1), "done": Out(1), "status": Out(4), "index": Out(16),
            "request": Out(stream.Signature(data.StructLayout(
                {"address": 32, "write": 1, "data": bits}))),
            "response": In(stream.Signature(data.StructLayout({"data": bits, "error": 1}),
                                            always_ready=always_ready)),
            "counter_cycles": Out(48), "counter_array": Out(48), "counter_responses": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        config, request, response = self.config, self.request, self.response
        m.submodules.scratchpad = scratchpad = Scratchpad(config)
        beats = config.word_bytes // config.bus_bytes  # of a word
        banks = config.bus_bytes // 2  # of a beat

        cursor, address = Signal(32), Signal(32)
        asked, got, count = Signal(24), Signal(24), Signal(24)
        instruction = Signal(8 * INSTRUCTION_BYTES)
        word, beat = Signal(20), Signal(range(max(2, beats)))
        waited = Signal(range(READ_LATENCY + 1))  # for the word

        def field(name):
            low = isa.POSITIONS[name]
            return instruction[low:low + isa.FIELDS[name].bits]

        def begin(where, how_many):
            m.d.sync += [address.eq(where), count.eq(how_many), asked.eq(0), got.eq(0),
                         beat.eq(0)]

        def end(status=0):
            m.d.sync += [self.busy.eq(0), self.done.eq(1), self.status.eq(status)]
            m.next = "idle"

        def end_on_error():
            with m.If(response.valid & response.p.error):
                end(2)

        def following():
            m.d.sync += [self.index.eq(self.index + 1), cursor.eq(cursor + INSTRUCTION_BYTES)]
            begin(cursor + INSTRUCTION_BYTES, INSTRUCTION_BYTES // config.bus_bytes)
            m.next = "fetch"

        taken = request.valid & request.ready
        if not self.signature.members["response"].signature.always_ready:
            m.d.comb += response.ready.eq(1)
        m.d.comb += [request.p.address.eq(address),
                     scratchpad.read.enable.eq(1), scratchpad.read.address.eq(word)]
        with m.If(taken):
            m.d.sync += [asked.eq(asked + 1), address.eq(address + config.bus_bytes)]
        with m.If(response.valid):
            m.d.sync += [got.eq(got + 1), self.counter_responses.eq(self.counter_responses + 1)]
        with m.If(self.busy):
            m.d.sync += [self.counter_cycles.eq(self.counter_cycles + 1),
                         self.counter_array.eq(self.counter_array + 1)]
        following_beat = Mux(beat == beats - 1, 0, beat + 1)

        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.d.sync += [self.busy.eq(1), self.done.eq(0), self.index.eq(0),
                             cursor.eq(self.stream), self.counter_cycles.eq(0),
                             self.counter_array.eq(0), self.counter_responses.eq(0)]
                begin(self.stream, INSTRUCTION_BYTES // config.bus_bytes)
                m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += request.valid.eq(asked != count)
                with m.If(response.valid):
                    m.d.sync += instruction.eq(Cat(instruction, response.p.data)
                                               [8 * config.bus_bytes:])
                with m.If(got == count):
                    m.next = "decode"
                    with m.If(cursor - self.stream >= self.stream_bytes):
                        end(1)
                end_on_error()
            with m.State("decode"), m.Switch(field("opcode")):
                with m.Case(Opcode.END):
                    m.d.sync += self.index.eq(self.index + 1)
                    end()
                with m.Case(Opcode.LOAD):
                    m.d.sync += word.eq(field("dest"))
                    begin(field("address"), field("words") << ceil_log2(beats))
                    m.next = "load"
                with m.Case(Opcode.STORE):
                    m.d.sync += word.eq(field("source"))
                    begin(field("address"), field("words") << ceil_log2(beats))
                    m.next = "read"
                with m.Case(Opcode.SOFTMAX):
                    m.next = "hang"
                with m.Default():
                    end(1)
            with m.State("load"):
                m.d.comb += request.valid.eq(asked != count)
                with m.If(response.valid):
                    m.d.comb += scratchpad.write.enable.eq(((1 << banks) - 1) << beat * banks)
                    m.d.sync += beat.eq(following_beat)
                    with m.If(beat == beats - 1):
                        m.d.sync += word.eq(word + 1)
                with m.If(got == count):
                    following()
                end_on_error()
            with m.State("read"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == READ_LATENCY - 1):
                    m.d.sync += waited.eq(0)
                    m.next = "store"
            with m.State("store"):
                values = Cat(*(scratchpad.read.data[bank] for bank in range(config.rows)))
                m.d.comb += [request.valid.eq(asked != count), request.p.write.eq(1),
                             request.p.data.eq(values.word_select(beat, 8 * config.bus_bytes))]
                with m.If(taken):
                    m.d.sync += beat.eq(following_beat)
                    with m.If(beat == beats - 1):
                        m.d.sync += word.eq(word + 1)
                        m.next = "read"
                with m.If(got == count):
                    following()
                end_on_error()
            with m.State("hang"):
                pass
        for bank in range(config.rows):
            m.d.comb += [
                scratchpad.write.address[bank].eq(word),
                scratchpad.write.data[bank].eq(response.p.data.word_select(bank % banks, 16)),
            ]
        return m
