"""The scratchpad of a core; how matrices lie in it is said in :mod:`golden.memory.scratchpad`."""

from itertools import accumulate

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.memory.scratchpad import BANK_BITS

from ..common.checks import check_config
from ..common.delayed import delayed

__all__ = [
    "UNCHECKED",
    "Scratchpad",
    "address_shape",
    "operand_turn",
    "read_signature",
    "scratchpad_word_layout",
    "turned",
    "write_signature",
]

UNCHECKED = {"no_rw_check": True}
"""Attribute of memories of which nobody needs what is being written: tells yosys, where it reads
Verilog, not to add logic around the block RAM that keeps what a word held before."""


def address_shape(config: AcceleratorConfig):
    """Address of a word."""
    return unsigned(max(1, ceil_log2(config.scratchpad_words)))


def scratchpad_word_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """What the banks hold at one address, bank by bank."""
    return data.ArrayLayout(BANK_BITS, config.rows)


def read_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Read port, seen by its user: `data` is the word at `address` ``READ_LATENCY`` cycles later.
    """
    return wiring.Signature({
        "enable": Out(1),
        "address": Out(address_shape(config)),
        "data": In(scratchpad_word_layout(config)),
    })


def write_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Write port, seen by its user: each bank has a bit of `enable` and an address of its own."""
    return wiring.Signature({
        "enable": Out(config.rows),
        "address": Out(data.ArrayLayout(address_shape(config), config.rows)),
        "data": Out(scratchpad_word_layout(config)),
    })


class Scratchpad(wiring.Component):
    """A bank of 16 bits for each PE row, with one read and one write port, in block RAM.

    What is written in a cycle is seen by reads of later cycles. A read of the same cycle gives
    anything of the banks that are written at its address. Addresses behind the last word must not
    be used. All words are zero at first.

    The block RAM of a large scratchpad lies all over a chip: each bank has what is read and written
    out of registers of its own, and gives what was read to one.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: gives rows and words.

    Attributes
    ----------
    banks : list of :class:`memory.MemoryData`
        Contents, for simulations. The memories are the submodules ``bank_0``, ``bank_1`` ...

    Members
    -------
    read : ``In(read_signature(config))``
        Latency of :data:`READ_LATENCY` cycles; `data` stays as it is until the next word is there.
    write : ``In(write_signature(config))``
        Taken at the end of the next cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self.banks = [memory.MemoryData(shape=BANK_BITS, depth=config.scratchpad_words, init=[])
                      for _ in range(config.rows)]
        super().__init__({
            "read": In(read_signature(config)),
            "write": In(write_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        split = str(getattr(platform, "device", "")).startswith("LFE5U")
        for index, contents in enumerate(self.banks):
            parts = _powers(contents.depth) if split else [contents.depth]
            starts = list(accumulate(parts, initial=0))
            here = Signal(range(len(parts)), name=f"here_{index}")  # part that was read
            enable, address, place, value = (
                _registered(m, f"{name}_{index}", each) for name, each in (
                    ("read_enable", self.read.enable), ("read_address", self.read.address),
                    ("write_address", self.write.address[index]),
                    ("write_data", self.write.data[index])))
            reads = []
            for number, (start, depth) in enumerate(zip(starts, parts, strict=False)):
                name, part = f"bank_{index}", contents
                if split:
                    name = f"{name}_part_{number}"
                    part = memory.MemoryData(shape=BANK_BITS, depth=depth, init=[])
                m.submodules[name] = bank = memory.Memory(part, attrs=UNCHECKED)
                read, write = bank.read_port(), bank.write_port()
                reads.append(read.data)
                written = self.write.enable[index] & _within(
                    self.write.address[index], start, depth, starts[-1])
                m.d.comb += [
                    read.en.eq(enable),
                    read.addr.eq(address),
                    write.en.eq(_registered(m, f"write_enable_{index}_{number}", written)),
                    write.addr.eq(place),
                    write.data.eq(value),
                ]
                with m.If(enable & _within(address, start, depth, starts[-1])):
                    m.d.sync += here.eq(number)
            came = Signal(name=f"came_{index}", attrs={"keep": 1})
            data = Signal(BANK_BITS, name=f"data_{index}", reset_less=True)
            m.d.sync += came.eq(enable)
            with m.If(came):
                m.d.sync += data.eq(Array(reads)[here])
            m.d.comb += self.read.data[index].eq(data)
        return m


def _registered(m, name, value):
    """Return what has come of the user in the cycle before; tools keep the registers of each bank.
    """
    return delayed(m, value, name, 1, attrs={"keep": 1})


def _powers(words: int) -> list[int]:
    """Return the powers of two that add up to `words`, the largest first.

    A part of so many words needs no more blocks than it fills, and nothing to choose between them.
    """
    return [1 << bit for bit in reversed(range(words.bit_length())) if words >> bit & 1]


def _within(address: Value, start: int, depth: int, words: int) -> Value:
    """Whether `address`, of one of `words`, is in the part of `depth` words behind `start`."""
    if depth == words:
        return Const(1, 1)
    bits = ceil_log2(depth)
    return address[bits:] == start >> bits


def turned(values: Value, amount: Value, width: int) -> Value:
    """Return elements of `width` bits, the `i`-th of which is that at ``i + amount`` of `values`.

    Beyond the last it goes on with the first. `width` and the number of elements are powers of
    two; `amount` is less than the latter.
    """
    return Cat(values, values).bit_select(Cat(Const(0, ceil_log2(width)), amount), len(values))


def operand_turn(word, address: Value):
    """Return a word of an OPERAND matrix by PE rows instead of banks, combinationally.

    `word` is a view of :func:`scratchpad_word_layout`, `address` where it was read; the result is
    another view of the same layout.
    """
    layout = word.shape()
    amount = address[:ceil_log2(layout.length)]
    return layout(turned(word.as_value(), amount, BANK_BITS))
