"""What a board is in simulation: the accelerator, and the chip at its pins."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.core.isa import INDEX_BITS
from golden.sdram.sdram import Chip, Violation
from golden.soc.system import System

from ..sdram.sdram_model import SdramModel, words_signature
from .soc import Soc

__all__ = ["BoardModel"]


class BoardModel(wiring.Component):
    """:class:`Soc` with :class:`SdramModel`, whose words are kept outside.

    Parameters
    ----------
    system, chip, baud
        As of :class:`Soc`.

    Members
    -------
    rx, tx, alive, running, failed, begins, index
        As of :class:`Soc`.
    words : ``Out(words_signature(chip))``
    violations : ``Out(len(Violation))``
        Of the chip.
    """

    def __init__(self, system: System, chip: Chip, baud: int):
        self._soc = Soc(system, chip, baud)
        self._chip = chip
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "alive": Out(1), "running": Out(1), "failed": Out(1),
            "begins": Out(1), "index": Out(INDEX_BITS),
            "words": Out(words_signature(chip)), "violations": Out(len(Violation)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.soc = soc = self._soc
        m.submodules.chip = chip = SdramModel(self._chip, soc.schedule)
        connect(m, soc.pins, chip.pins)
        connect(m, chip.words, flipped(self.words))
        m.d.comb += [
            soc.rx.eq(self.rx), self.violations.eq(chip.violations),
            *(getattr(self, name).eq(getattr(soc, name))
              for name in ("tx", "alive", "running", "failed", "begins", "index")),
        ]
        return m
