"""What a board is in simulation: the accelerator, and the chip at its pins."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import INDEX_BITS
from golden.cycles.memory_model import SdramMemory
from golden.sdram.sdram import Violation

from ..common.checks import check_config, check_memory
from ..sdram.sdram_model import SdramModel, words_signature
from ..sdram.sdram_pins import PinRegisters
from .soc import Soc

__all__ = ["BoardModel"]


class BoardModel(wiring.Component):
    """:class:`Soc` with :class:`SdramModel`, whose words are kept outside.

    Parameters
    ----------
    config, memory, baud
        As of :class:`Soc`.

    Members
    -------
    rx, tx, alive, running, failed, begins, index
        As of :class:`Soc`.
    words : ``Out(words_signature(chip))``
    violations : ``Out(len(Violation))``
        Of the chip.
    """

    def __init__(self, config: AcceleratorConfig, memory: SdramMemory, baud: int):
        check_config(config, core=True)
        check_memory(memory)
        self._config, self._memory, self._baud = config, memory, baud
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "alive": Out(1), "running": Out(1), "failed": Out(1),
            "begins": Out(1), "index": Out(INDEX_BITS),
            "words": Out(words_signature(memory.chip)), "violations": Out(len(Violation)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.soc = soc = Soc(self._config, self._memory, self._baud)
        m.submodules.chip = chip = SdramModel(self._memory.chip, soc.schedule)
        m.submodules.pads = pads = PinRegisters()
        connect(m, soc.pins, pads.controller)
        connect(m, pads.pins, chip.pins)
        connect(m, chip.words, flipped(self.words))
        m.d.comb += [
            soc.rx.eq(self.rx), self.violations.eq(chip.violations),
            *(getattr(self, name).eq(getattr(soc, name))
              for name in ("tx", "alive", "running", "failed", "begins", "index")),
        ]
        return m
