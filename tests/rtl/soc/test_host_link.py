# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.soc.link import Opcode, Request, Response, Status
from rtl.soc.host_link import HostLink, SerialLink
from rtl.soc.line_queue import LineQueue
from rtl.soc.link_executor import LinkExecutor
from rtl.soc.link_receiver import FrameReceiver
from rtl.soc.registers import Registers
from rtl.soc.uart import UartReceiver, UartTransmitter, bit_time, line_layout
from tests.benches.link_board import LinkBoard
from tests.benches.link_replay import LinkReplay
from tests.benches.simulate import simulate
from tests.benches.streams import source
from tests.cases.link_traffic import SYSTEMS, device

SYSTEM = SYSTEMS["4-byte beats"]


@pytest.mark.verilator
def test_answers_byte_for_byte_what_the_device_answers(tmp_path):
    assert LinkReplay(SYSTEM, tmp_path).check(seed=1, episodes=1000) > 1000


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("name", SYSTEMS)
def test_answers_a_hundred_thousand_frames(name, tmp_path):
    replay = LinkReplay(SYSTEMS[name], tmp_path)
    assert sum(replay.check(seed, 10_000) for seed in range(2, 9)) > 100_000


async def line_entries(ctx, dut, cycles):
    """Return what comes out of a queue."""
    found = []
    ctx.set(dut.o.ready, 1)
    for _ in range(cycles):
        *_, valid, entry = await ctx.tick().sample(dut.o.valid, dut.o.payload)
        if valid:
            found.append(entry.as_bits())
    ctx.set(dut.o.ready, 0)
    return found


def test_bytes_that_find_no_room_are_an_error():
    dut = LineQueue(4)

    async def testbench(ctx):
        for first, count in ((0, 10), (100, 5), (200, 3)):
            ctx.set(dut.i.valid, 1)
            for byte in range(first, first + count):
                ctx.set(dut.i.payload, {"byte": byte, "error": 0})
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            *entries, last = await line_entries(ctx, dut, 10)
            lost = count > 5
            assert last >> 8 == lost
            assert entries == list(range(first, first + (5 if lost else count - 1)))

    simulate(dut, testbench)


async def exchanged(ctx, dut, data, cycles):
    """Send bytes, one per cycle; return what is answered within so many cycles."""
    answer = bytearray()
    ctx.set(dut.tx.ready, 1)
    for cycle in range(cycles):
        ctx.set(dut.rx.valid, cycle < len(data))
        ctx.set(dut.rx.p.byte, data[cycle] if cycle < len(data) else 0)
        *_, valid, byte = await ctx.tick().sample(dut.tx.valid, dut.tx.payload)
        if valid:
            answer.append(byte)
    ctx.set(dut.rx.valid, 0)
    return bytes(answer)


async def shown(ctx, dut, count):
    """Return the first beats of memory."""
    beats = []
    for at in range(count):
        ctx.set(dut.shown, at)
        await ctx.tick()
        beats.append(ctx.get(dut.beat).to_bytes(4, "little"))
    return beats


def test_a_reset_in_any_cycle_leaves_whole_beats_and_a_link_that_works():
    board, reset = LinkBoard(SYSTEM), Signal()
    dut, rng = ResetInserter(reset)(board), random.Random(5)
    ping, cut = Request(Opcode.PING, 2).encode(), set()

    async def testbench(ctx):
        for number in range(25):
            payload = bytes(range(number, number + 32))
            before = await shown(ctx, board, 8)
            write = Request(Opcode.WRITE, number, 0, payload).encode()
            await exchanged(ctx, board, write, rng.randrange(len(write), len(write) + 160))
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            after = await shown(ctx, board, 8)
            wanted = [payload[at:at + 4] for at in range(0, 32, 4)]
            (done,) = (count for count in range(9) if after == wanted[:count] + before[count:])
            cut.add(done)
            answer = await exchanged(ctx, board, ping, 60)
            assert answer == Response(Status.FINE, 2).encode()

    simulate(dut, testbench, max_cycles=20_000)
    assert len(cut) > 3, f"resets came after {cut} of 8 beats"


class OnPins(wiring.Component):
    """A board on its line, and the host's end of the line."""

    def __init__(self, baud):
        self._baud = baud
        beat = 8 * SYSTEM.config.bus_bytes
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(line_layout)),
            "address": Out(32), "data": Out(beat), "write": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bit = bit_time(SYSTEM.clock_hz, self._baud)
        m.submodules.board = board = SerialLink(SYSTEM, self._baud)
        m.submodules.sender = sender = UartTransmitter(**bit)
        m.submodules.receiver = receiver = UartReceiver(**bit)
        m.submodules.registers = registers = Registers(SYSTEM)
        wiring.connect(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        wiring.connect(m, board.registers, registers.port)
        request = board.memory.request
        m.d.comb += [
            board.rx.eq(sender.tx), receiver.rx.eq(board.tx), request.ready.eq(1),
            self.write.eq(request.valid & request.p.write), self.address.eq(request.p.address),
            self.data.eq(request.p.data),
        ]
        m.d.sync += board.memory.response.valid.eq(request.valid)
        return m


def test_a_board_answers_on_its_pins():
    dut, board = OnPins(SYSTEM.clock_hz // 4), device(SYSTEM)
    sent = b"".join(one.encode() for one in (
        Request(Opcode.PING, 1), Request(Opcode.WRITE, 2, 0x20, b"~} !abcd"),
        Request(Opcode.PEEK, 3, 0, length=16)))
    expected, found, written = board.receive(sent), bytearray(), {}

    async def listen(ctx):
        ctx.set(dut.o.ready, 1)
        while len(found) < len(expected):
            *_, valid, entry, write, address, data = await ctx.tick().sample(
                dut.o.valid, dut.o.payload, dut.write, dut.address, dut.data)
            if valid:
                found.append(entry.byte)
                assert not entry.error
            if write:
                written[address] = data.to_bytes(4, "little")

    simulate(dut, source(dut.i, sent), listen)
    assert found == expected
    assert written == {0x20: b"~} !", 0x24: b"abcd"}


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: HostLink(8, pause=8), TypeError, "system must be a System, not 8"),
    (lambda: LinkExecutor("board"), TypeError, "system must be a System, not 'board'"),
    (lambda: HostLink(SYSTEM, pause=0), ValueError, "pause must be 1 or more, not 0"),
    (lambda: LineQueue(1), ValueError, "depth must be 2 or more, not 1"),
    (lambda: FrameReceiver("8"), TypeError, "pause must be an integer, not '8'"),
    (lambda: SerialLink(SYSTEM, 0), ValueError, "baud must be 1 or more, not 0"),
    (lambda: SerialLink(SYSTEM, 10_000_000), ValueError,
     "baud must be 6250000 or less at 25000000 Hz, not 10000000"),
])
def test_refuses_wrong_arguments(make, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        make()
