"""Pins of an SDRAM chip, and what the controller and the model of the chip say with them."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.sdram.sdram import BANK_BITS, ROW_BITS, WORD_BITS, Command

__all__ = ["command_layout", "pins_signature"]

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
