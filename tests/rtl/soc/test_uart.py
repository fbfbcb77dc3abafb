# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from rtl.soc.uart import UartReceiver, UartTransmitter, bit_time
from tests.benches.simulate import simulate
from tests.benches.streams import source
from tests.benches.terminal import terminal


@pytest.mark.parametrize("divisor", [1, 2, 7])
@pytest.mark.parametrize("idle", [0.0, 0.9])
def test_terminal_reads_what_was_sent(divisor, idle):
    dut = UartTransmitter(divisor)
    sent = bytes([0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *b"text"])
    received = bytearray()
    simulate(dut, source(dut.i, sent, idle=idle),
             terminal(dut.tx, divisor, received, count=len(sent)))
    assert received == sent


@pytest.mark.parametrize("divisor", [1, 3])
def test_a_frame_takes_ten_bits_and_the_line_rests_high(divisor):
    dut = UartTransmitter(divisor)

    async def testbench(ctx):
        for _ in range(5):
            assert ctx.get(dut.tx) == 1
            await ctx.tick()
        ctx.set(dut.i.payload, 0b01010011)
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        line = []
        while not ctx.get(dut.i.ready):
            line.append(ctx.get(dut.tx))
            await ctx.tick()
        bits = [0, 1, 1, 0, 0, 1, 0, 1, 0, 1]
        assert line == [bit for bit in bits for _ in range(divisor)]
        assert ctx.get(dut.tx) == 1

    simulate(dut, testbench)


def line_of(bits, cycles):
    """Return a line's value in each cycle, for bits that last so many, which may be a fraction."""
    edges = [round(index * cycles) for index in range(len(bits) + 1)]
    return [bit for bit, start, end in zip(bits, edges, edges[1:], strict=False)
            for _ in range(start, end)]


def frame(byte, stop=1):
    return [0, *(byte >> bit & 1 for bit in range(8)), stop]


def received(line, *, divisor, sixteenths=0):
    """Return what a receiver makes of a line that rests high before and after."""
    dut, found = UartReceiver(divisor, sixteenths), []
    line = [1] * 4 + line + [1] * (12 * divisor)

    async def testbench(ctx):
        for value in line:
            ctx.set(dut.rx, value)
            *_, valid, entry = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if valid:
                found.append(None if entry.error else entry.byte)

    simulate(dut, testbench, max_cycles=len(line) + 1)
    return found


@pytest.mark.parametrize(("divisor", "sixteenths", "most"), [
    (4, 0, 0.02), (5, 0, 0.03), (8, 5, 0.03), (16, 11, 0.04), (30, 0, 0.04)])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_receives_bytes_one_after_the_other_of_a_sender_whose_clock_is_off(divisor, sixteenths,
                                                                           most, sign):
    sent = [0x00, 0xff, 0x55, 0xaa, 0x01, 0x80, *random.Random(1).randbytes(40)]
    cycles = (divisor + sixteenths / 16) * (1 + sign * most)
    bits = [bit for byte in sent for bit in frame(byte)]
    assert received(line_of(bits, cycles), divisor=divisor, sixteenths=sixteenths) == sent


def test_glitches_are_not_seen():
    rng, sent = random.Random(2), list(random.Random(3).randbytes(20))
    line = line_of([bit for byte in sent for bit in [1, *frame(byte)]], 16)
    for at in range(3, len(line), 5):
        line[at] ^= rng.randrange(2)
    assert received(line, divisor=16) == sent
    assert received([0] * 3 + [1] * 200, divisor=16) == []


def test_a_missing_stop_bit_is_an_error_and_the_next_byte_is_right():
    line = line_of([*frame(0x41), *frame(0x42, stop=0), 1, *frame(0x43)], 8)
    assert received(line, divisor=8) == [0x41, None, 0x43]


def test_a_line_that_stays_low_is_one_error():
    line = line_of([0] * 100 + [1, 1, *frame(0x44)], 8)
    assert received(line, divisor=8) == [None, 0x44]


class Loop(wiring.Component):
    """A transmitter, and a receiver behind it."""

    def __init__(self, **bit):
        self._bit = bit
        super().__init__({"i": UartTransmitter(**bit).signature.members["i"],
                          "o": UartReceiver(**bit).signature.members["o"]})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = UartTransmitter(**self._bit)
        m.submodules.receiver = receiver = UartReceiver(**self._bit)
        wiring.connect(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        m.d.comb += receiver.rx.eq(sender.tx)
        return m


def test_three_megabaud_at_25_megahertz():
    bit = bit_time(25_000_000, 3_000_000)
    assert bit == {"divisor": 8, "sixteenths": 5}
    dut, sent, found = Loop(**bit), random.Random(4).randbytes(50), bytearray()
    cycles = 0

    async def terminal_end(ctx):
        nonlocal cycles
        while len(found) < len(sent):
            *_, valid, entry = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            cycles += 1
            if valid:
                assert not entry.error
                found.append(entry.byte)

    simulate(dut, source(dut.i, sent), terminal_end)
    assert found == sent
    assert abs(cycles - 50 * (10 * (8 + 5 / 16) + 1)) < 90


@pytest.mark.parametrize(("clock", "baud", "divisor", "sixteenths"), [
    (25_000_000, 115_200, 217, 0), (50_000_000, 3_000_000, 16, 11), (12_000_000, 3_000_000, 4, 0),
    (100_000_000, 9_600, 10416, 11)])
def test_bit_time_is_the_nearest(clock, baud, divisor, sixteenths):
    assert bit_time(clock, baud) == {"divisor": divisor, "sixteenths": sixteenths}
    assert abs(clock / baud - divisor - sixteenths / 16) <= 1 / 32


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: UartTransmitter(0), ValueError, "divisor must be 1 or more, not 0"),
    (lambda: UartTransmitter(2.5), TypeError, "divisor must be an integer, not 2.5"),
    (lambda: UartTransmitter(2, 16), ValueError, r"sixteenths must be within 0\.\.15, not 16"),
    (lambda: UartReceiver(3), ValueError, "divisor must be 4 or more, not 3"),
    (lambda: UartReceiver(4, -1), ValueError, r"sixteenths must be within 0\.\.15, not -1"),
    (lambda: bit_time(0, 1), ValueError, "clock_hz must be 1 or more, not 0"),
    (lambda: bit_time(10**6, 10**6), ValueError,
     "baud must be 250000 or less at 1000000 Hz, not 1000000"),
])
def test_refuses_wrong_arguments(make, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        make()
