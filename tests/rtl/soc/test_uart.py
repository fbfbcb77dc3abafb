# amaranth: UnusedElaboratable=no

import pytest

from rtl.soc.uart import UartTransmitter
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


@pytest.mark.parametrize(("divisor", "error", "message"), [
    (0, ValueError, "divisor must be 1 or more, not 0"),
    (2.5, TypeError, "divisor must be an integer, not 2.5"),
])
def test_refuses_wrong_divisor(divisor, error, message):
    with pytest.raises(error, match=message):
        UartTransmitter(divisor)
