"""Helpers for stream ports in cocotb testbenches: clock and reset, source, sink, packing."""

import random

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


def pack(layout, value) -> int:
    """Return `value` as the packed integer of a port with Amaranth layout `layout`."""
    return layout.const(value).as_bits()


def unpack(layout, bits: int):
    """Return the constant view of a port's packed integer."""
    return layout.from_bits(bits)


def signed_fields(bits: int, width: int, count: int) -> list[int]:
    """Split a packed integer into `count` two's-complement numbers of `width` bits."""
    sign = 1 << (width - 1)
    fields = ((bits >> (width * n)) & ((1 << width) - 1) for n in range(count))
    return [(field ^ sign) - sign for field in fields]


async def start(dut, *, sources=(), sinks=()):
    """Start the clock, hold the named streams idle and reset `dut`."""
    Clock(dut.clk, 10, unit="ns").start()
    for name in sources:
        getattr(dut, f"{name}__valid").value = 0
    for name in sinks:
        getattr(dut, f"{name}__ready").value = 0
    dut.rst.value = 1
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def drive(dut, name, payloads, *, idle=0.0):
    """Offer `payloads` (packed integers) on stream `name`, pausing with probability `idle`."""
    clock = dut.clk
    payload, valid, ready = (getattr(dut, f"{name}__{port}")
                             for port in ("payload", "valid", "ready"))
    for value in payloads:
        while random.random() < idle:
            await RisingEdge(clock)
        payload.value = value
        valid.value = 1
        while True:
            await RisingEdge(clock)
            if ready.value:
                break
        valid.value = 0


async def collect(dut, name, count, *, stall=0.0) -> list[int]:
    """Accept `count` payloads of stream `name` as packed unsigned integers.

    A payload is refused with probability `stall` in each cycle.
    """
    clock = dut.clk
    payload, valid, ready = (getattr(dut, f"{name}__{port}")
                             for port in ("payload", "valid", "ready"))
    payloads = []
    while len(payloads) < count:
        accept = random.random() >= stall
        ready.value = int(accept)
        await RisingEdge(clock)
        if accept and valid.value:
            payloads.append(payload.value.to_unsigned())
    ready.value = 0
    return payloads
