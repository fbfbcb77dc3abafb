"""Requests on their way to an SDRAM chip: which is served, and what to open ahead of it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.sdram.sdram import AHEAD, BANK_BITS, BANKS, Chip

from ..common.checks import check_config
from ..common.operands import BYTE
from ..memory.memory_port import request_layout

__all__ = ["Ahead", "Requests", "access_layout", "place_layout"]


def place_layout(chip: Chip) -> data.StructLayout:
    """Where a beat begins."""
    return data.StructLayout({"bank": BANK_BITS, "row": chip.row_bits,
                              "column": chip.column_bits})


def access_layout(config: AcceleratorConfig, chip: Chip) -> data.StructLayout:
    """A request; one `outside` the chip is never to `write`."""
    return data.StructLayout({"place": place_layout(chip), "write": 1, "outside": 1,
                              "data": BYTE * config.bus_bytes})


class Requests(wiring.Component):
    """Keep a request until it is `served`, and another one behind it.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
    chip : :class:`Chip`

    Members
    -------
    request : ``In(stream.Signature(request_layout(config)))``
        Accepted every other cycle at most.
    now : ``Out(access_layout(config, chip))``
        To be served.
    valid : ``Out(1)``
        There is one.
    seen : ``Out(1)``
        It was there in the cycle before.
    served : ``In(1)``
        Only while `seen`.
    """

    def __init__(self, config: AcceleratorConfig, chip: Chip):
        check_config(config)
        self._config, self._chip = config, chip
        super().__init__({
            "request": In(stream.Signature(request_layout(config))),
            "now": Out(access_layout(config, chip)), "valid": Out(1), "seen": Out(1),
            "served": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        asked, chip = self.request.p, self._chip
        waiting, waits = Signal.like(self.now), Signal()
        outside = (asked.address >> chip.size_bits) != 0
        m.d.comb += self.request.ready.eq(~waits)
        with m.If(~waits):
            bank, row, column = chip.place(asked.address)
            m.d.sync += [
                waits.eq(self.request.valid),
                waiting.place.bank.eq(bank), waiting.place.row.eq(row),
                waiting.place.column.eq(column),
                waiting.write.eq(asked.write & ~outside), waiting.outside.eq(outside),
                waiting.data.eq(asked.data),
            ]
        m.d.sync += self.seen.eq(self.valid)
        with m.If(~self.valid | self.served):
            m.d.sync += [self.now.eq(waiting), self.valid.eq(waits), self.seen.eq(0)]
            with m.If(waits):
                m.d.sync += waits.eq(0)
        return m


class Ahead(wiring.Component):
    """The row to be opened ahead: that behind an access near the end of one.

    Parameters
    ----------
    chip : :class:`Chip`

    Members
    -------
    now, valid, served
        As in :class:`Requests`; of `now`, its place.
    begin : ``In(1)``
        Open none any more.
    row : ``Out(place_layout(chip))``
        Its column does not matter.
    seen : ``Out(1)``
        It was there in the cycle before, and no access to its bank is.
    """

    def __init__(self, chip: Chip):
        self._chip = chip
        super().__init__({
            "now": In(place_layout(chip)), "valid": In(1), "served": In(1), "begin": In(1),
            "row": Out(place_layout(chip)), "seen": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        now, there, was_there = self.now, Signal(), Signal()
        reached = Signal()
        m.d.comb += [
            reached.eq(self.valid & (now.bank == self.row.bank)),
            self.seen.eq(was_there & ~reached),
        ]
        m.d.sync += was_there.eq(there & ~reached)
        with m.If(reached):
            m.d.sync += there.eq(0)
        with m.If(self.served & (now.column == (1 << self._chip.column_bits) - AHEAD)):
            m.d.sync += [there.eq(1), was_there.eq(0), self.row.bank.eq(now.bank + 1),
                         self.row.row.eq(now.row + (now.bank == BANKS - 1))]
        with m.If(self.begin):
            m.d.sync += [there.eq(0), was_there.eq(0)]
        return m
