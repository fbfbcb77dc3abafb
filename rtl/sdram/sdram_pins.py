"""Pins of an SDRAM chip, and what the controller and the model of the chip say with them."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.sdram.sdram import BANK_BITS, ROW_BITS, WORD_BITS, Command

__all__ = ["PinRegisters", "command_layout", "pins_signature"]

command_layout = data.StructLayout({"command": 3, "bank": BANK_BITS, "address": ROW_BITS})
"""A :class:`golden.sdram.sdram.Command` and its operands."""


def pins_signature() -> wiring.Signature:
    """Pins, seen by the controller: `told` is RAS#, CAS#, WE#, the bank and the address pins; CS#
    is always low, and `masks` are both DQM. `driven` while the controller drives `write`.
    """
    return wiring.Signature({
        "cke": Out(1),
        "told": Out(command_layout, init={"command": Command.NOP}),
        "masks": Out(1, init=1),
        "write": Out(WORD_BITS),
        "driven": Out(1),
        "read": In(WORD_BITS),
    })


class PinRegisters(wiring.Component):
    """The flip-flops of the pads, where no pads are: each way takes a cycle.

    Members
    -------
    controller : ``In(pins_signature())``
    pins : ``Out(pins_signature())``
        Of the chip.
    """

    controller: In(pins_signature())
    pins: Out(pins_signature())

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            *(getattr(self.pins, name).eq(getattr(self.controller, name))
              for name in ("cke", "told", "masks", "write", "driven")),
            self.controller.read.eq(self.pins.read),
        ]
        return m
