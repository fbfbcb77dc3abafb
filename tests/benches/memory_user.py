"""A user of the memory port ``memory`` of a master in cocotb testbenches, and what it checks."""

import random

import cocotb
from cocotb.triggers import RisingEdge

from rtl.memory.memory_port import request_layout, response_layout
from tests.benches.cocotb_streams import drive, pack, start, unpack


class MemoryUser:
    """Asks for beats, and takes the answers.

    Parameters
    ----------
    config
        Of the port.
    idle
        Probability in each cycle that nothing is asked for.

    Attributes
    ----------
    failed
        An answer was an error.
    """

    def __init__(self, dut, config, *, idle=0.0):
        self._dut, self._idle, self.failed = dut, idle, False
        self._request, self._response = request_layout(config), response_layout(config)

    async def start(self, base: int):
        """Start the clock, and have memory begin at `base`."""
        self._dut.base.value, self._dut.clear.value = base, 0
        self._dut.memory__request__payload.value = 0
        self._dut.memory__response__ready.value = 1
        await start(self._dut, sources=["memory__request"])
        await RisingEdge(self._dut.clk)

    async def clear(self):
        """Begin again after an error."""
        self._dut.clear.value, self.failed = 1, False
        await RisingEdge(self._dut.clk)
        self._dut.clear.value = 0

    async def run(self, asks) -> list[tuple[bytes, bool]]:
        """Return the answers to requests: data, and whether it is an error."""
        payloads = [pack(self._request, {
            "address": ask.address, "write": ask.data is not None, "beats": ask.beats,
            "data": int.from_bytes(ask.data or b"", "little")}) for ask in asks]
        driver = cocotb.start_soon(drive(self._dut, "memory__request", payloads,
                                         idle=self._idle))
        answers, width = [], self._response.size // 8
        while len(answers) < len(asks):
            await RisingEdge(self._dut.clk)
            if self._dut.memory__response__valid.value:
                answer = unpack(self._response,
                                int(self._dut.memory__response__payload.value))
                self.failed |= bool(answer.error)
                answers.append((answer.data.to_bytes(width, "little"), bool(answer.error)))
        await driver
        for _ in range(100):
            await RisingEdge(self._dut.clk)
            assert not self._dut.memory__response__valid.value, "an answer to no request"
        return answers


def check(asks, answers, memory, found):
    """Compare answers and what memory holds in the end with what they must be without errors.

    Parameters
    ----------
    memory
        What it held before; changed.
    found
        What it holds.
    """
    for index, (ask, (data, error)) in enumerate(zip(asks, answers, strict=True)):
        assert not error, f"#{index} {ask}: error"
        place = slice(ask.address, ask.address + len(data))
        if ask.data is not None:
            memory[place] = ask.data
        else:
            assert data == memory[place], f"#{index} {ask}: {data} != {memory[place]} (expected)"
    assert found == memory


def check_failed(asks, answers, memory, broken, flight, burst=1):
    """Check the answers to requests of which some are for `broken` addresses.

    Up to the first error all is right, and `flight` requests may have been on their way with it.
    A write fails with its burst.

    Returns
    -------
    int
        Requests in front of the first error.
    """
    errors = [error for _, error in answers]
    first = errors.index(True)
    unit = len(answers[0][0])
    group = [ask.address for ask in asks[first:first + (burst if asks[first].data else 1)]]
    assert broken & set(group), f"#{first} {asks[first]}: error"
    assert all(errors[first + flight:]), "memory is used after an error"
    for index, (ask, (data, error)) in enumerate(zip(asks, answers, strict=True)):
        place = slice(ask.address, ask.address + unit)
        if error:
            continue
        assert ask.address not in broken, f"#{index} {ask}: no error"
        if ask.data is not None:
            memory[place] = ask.data
        else:
            assert data == memory[place], f"#{index} {ask}: {data} != {memory[place]} (expected)"
    return first


def random_broken(asks, share, seed):
    """Return addresses of a share of the requests of the second half."""
    rng = random.Random(seed)
    return {ask.address for ask in asks[len(asks) // 2:] if rng.random() < share}
