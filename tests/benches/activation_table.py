"""Loading a unit's table of an activation, in Amaranth simulator testbenches."""

from golden.results.curves import Curve


async def load_table(ctx, dut, curve: Curve) -> None:
    """Give a unit a table, an entry per cycle, from its end; it is there when this returns."""
    entries = list(enumerate(zip(curve.values, curve.table.slopes, strict=True)))
    ctx.set(dut.curve, {"wide": curve.wide, "offset": curve.offset})
    for index, (value, slope) in reversed(entries):
        ctx.set(dut.entry, {"valid": 1, "index": index, "value": value, "slope": slope})
        await ctx.tick()
    ctx.set(dut.entry.valid, 0)
    await ctx.tick()
