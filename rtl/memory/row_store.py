"""One memory for rows that wait, of whoever works: LayerNorm, softmax, or the residuals."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16

from ..common.checks import check_config
from ..common.shapes import shape_of
from .scratchpad import UNCHECKED

__all__ = ["RowQueue", "RowStore", "row_layout", "store_lent_to", "store_signature"]


def row_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """A word of a row."""
    return data.ArrayLayout(shape_of(ACT16), config.lanes)


def store_signature(config: AcceleratorConfig, words: int) -> wiring.Signature:
    """A memory of `words` words with a mark for each lane, seen by its user.

    What was read last goes into a register with `move`, in the cycle after `read_enable` at the
    earliest, and is at `read_data` and `read_marks` from then until the next `move`. It is anything
    of a word that is written in the cycle in which it is read.
    """
    address = range(words)
    return wiring.Signature({
        "write_enable": Out(1),
        "write_address": Out(address),
        "write_data": Out(row_layout(config)),
        "write_marks": Out(config.lanes),
        "read_enable": Out(1),
        "read_address": Out(address),
        "move": Out(1),
        "read_data": In(row_layout(config)),
        "read_marks": In(config.lanes),
    })


class RowStore(wiring.Component):
    """The memory behind :func:`store_signature`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.
    words : int
        1 or more.

    Members
    -------
    port : ``In(store_signature(config, words))``
    """

    def __init__(self, config: AcceleratorConfig, words: int):
        check_config(config)
        self._config, self._words = config, integer("words", words, 1)
        super().__init__({"port": In(store_signature(config, words))})

    def elaborate(self, platform):
        m = Module()
        word = data.StructLayout({"data": row_layout(self._config), "marks": self._config.lanes})
        m.submodules.memory = store = memory.Memory(
            shape=word, depth=self._words, init=[], attrs=UNCHECKED)
        write, read = store.write_port(), store.read_port()
        given = Signal(word, reset_less=True)
        m.d.comb += [
            write.en.eq(self.port.write_enable),
            write.addr.eq(self.port.write_address),
            write.data.data.eq(self.port.write_data),
            write.data.marks.eq(self.port.write_marks),
            read.en.eq(self.port.read_enable),
            read.addr.eq(self.port.read_address),
            self.port.read_data.eq(given.data),
            self.port.read_marks.eq(given.marks),
        ]
        with m.If(self.port.move):
            m.d.sync += given.eq(read.data)
        return m


def store_lent_to(user, port, writes: bool = True):
    """Return the assignments that give `user`, of a signature of fewer words, the memory `port`.

    Unless it `writes`, what it writes comes from elsewhere.
    """
    names = ["write_enable", "write_address", "read_enable", "read_address", "move"]
    if writes:
        names += ["write_data", "write_marks"]
    return [*(getattr(port, name).eq(getattr(user, name)) for name in names),
            Cat(user.read_data, user.read_marks).eq(Cat(port.read_data, port.read_marks))]


class RowQueue(wiring.Component):
    """Queue of words in a :class:`RowStore`; a word comes out three cycles after it went in.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.
    depth : int
        Words it has room for, 3 or more, two of them behind the memory.

    Members
    -------
    i, o : ``In``, ``Out`` of ``stream.Signature(row_layout(config))``
    store : ``Out(store_signature(config, words(depth)))``
        While anything is inside.
    """

    def __init__(self, config: AcceleratorConfig, depth: int):
        check_config(config)
        self._inside = integer("depth", depth, 3) - 2
        word = stream.Signature(row_layout(config))
        super().__init__({
            "i": In(word),
            "o": Out(word),
            "store": Out(store_signature(config, self.words(depth))),
        })

    @staticmethod
    def words(depth: int) -> int:
        """Words of the memory."""
        return 1 << ceil_log2(depth - 2)

    def elaborate(self, platform):
        m = Module()
        store = self.store
        level = Signal(range(self._inside + 1))
        # Stage r: a word has been read. Stage o, the output: the register behind the memory.
        r_valid = Signal()
        written, read, move = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(level != self._inside),
            written.eq(self.i.valid & self.i.ready),
            move.eq(~self.o.valid | self.o.ready),
            read.eq((level != 0) & (~r_valid | move)),
            store.write_enable.eq(written),
            store.write_data.eq(self.i.payload),
            store.read_enable.eq(read),
            store.move.eq(move),
            self.o.payload.eq(store.read_data),
        ]
        m.d.sync += [
            store.write_address.eq(store.write_address + written),
            store.read_address.eq(store.read_address + read),
            level.eq(level + written - read),
        ]
        with m.If(move):
            m.d.sync += [self.o.valid.eq(r_valid), r_valid.eq(0)]
        with m.If(read):
            m.d.sync += r_valid.eq(1)
        return m
