"""Receiver of a serial line in Amaranth simulator testbenches."""


def terminal(line, divisor, received: bytearray, *, count=None, end=None):
    """Return a testbench that appends the 8N1 bytes of `line` to `received`.

    It ends with the byte number `count`, or when the bytes end with `end`; a missing stop bit is
    an error.
    """
    async def testbench(ctx):
        while (len(received) < count) if end is None else not received.endswith(end):
            while ctx.get(line):
                await ctx.tick()
            for _ in range(divisor // 2):  # to the middle of the start bit
                await ctx.tick()
            byte = 0
            for bit in range(8):
                for _ in range(divisor):
                    await ctx.tick()
                byte |= ctx.get(line) << bit
            for _ in range(divisor):
                await ctx.tick()
            assert ctx.get(line), f"no stop bit behind byte #{len(received)}, {byte:#04x}"
            received.append(byte)

    return testbench
