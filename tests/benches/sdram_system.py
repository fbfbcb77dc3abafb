"""A controller with a model of its chip at the pins."""

from dataclasses import replace

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import CORES
from golden.soc.sdram import CHIPS, Chip, Violation
from rtl.memory.memory_port import memory_signature
from rtl.soc.sdram import Sdram
from rtl.soc.sdram_model import SdramModel, WordMemory

CONFIG = CORES["8x16"]


def small(name: str, **changes) -> Chip:
    """A chip with few rows and a short initialisation."""
    return replace(CHIPS[name], **{"row_bits": 3, "init_us": 1} | changes)


def names(violations: int) -> list[str]:
    """What a model has found."""
    return [one.name for one in Violation if violations >> one & 1]


class SdramSystem(wiring.Component):
    """Controller and chip; the port of the one and the violations of the other."""

    def __init__(self, chip: Chip, hertz: int, *, config=CONFIG, capture=1):
        self._chip = chip
        self.sdram = Sdram(config, chip, hertz, capture)
        self.schedule = self.sdram.schedule
        super().__init__({
            "memory": In(memory_signature(config)), "restart": In(1), "ready": Out(1),
            "violations": Out(len(Violation)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.sdram = sdram = self.sdram
        m.submodules.chip = chip = SdramModel(self._chip, self.schedule)
        m.submodules.words = words = WordMemory(self._chip)
        connect(m, sdram.pins, chip.pins)
        connect(m, chip.words, words.words)
        connect(m, flipped(self.memory), sdram.memory)
        m.d.comb += [sdram.restart.eq(self.restart), self.ready.eq(sdram.ready),
                     self.violations.eq(chip.violations)]
        return m
