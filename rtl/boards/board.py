"""What the build needs to know of a board."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth.build import Platform
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory
from golden.selftest import self_test

from ..fpga.resource import Resource
from ..selftest.self_test import SelfTest
from .accelerator import AcceleratorTop

_CLOCK = "clk"  # of all but pads, as synthesis calls it
BAUD = 115_200
PAUSE = 1.0  # seconds between two rounds of the self-test


@dataclass(frozen=True, kw_only=True)
class Board(ABC):
    """A board, what is built for it and how.

    Attributes
    ----------
    name, description
        What a user types, and what it is.
    platform
        Amaranth platform; its default clock drives the design.
    config
        Configuration of what is built.
    synthesis_options
        Of yosys' synthesis command.
    bitstream
        Extension of the bitstream file.
    load
        Command that loads the bitstream ``{}``.
    resources
        Rows of the utilisation table.
    synthesis_script
        Commands for yosys before its synthesis command.
    placement_options
        Of nextpnr.
    seed
        Of the placement, one that is known to be routed.
    untimed_ns
        Delay of a block that nextpnr takes for registered though it is not (see
        :func:`rtl.fpga.build_report.parse`).
    """

    name: str
    description: str
    platform: Callable[[], Platform]
    config: AcceleratorConfig
    synthesis_options: str
    bitstream: str
    load: str
    resources: tuple[Resource, ...]
    synthesis_script: str = ""
    placement_options: str = ""
    seed: int = 1
    untimed_ns: float = 0.0

    @property
    def required_mhz(self) -> float | None:
        """The clock that it needs, if that is another one than place and route are asked for."""
        return None

    @property
    def preferences(self) -> str:
        """More lines for the file of constraints."""
        return ""

    @property
    @abstractmethod
    def what(self) -> str:
        """What is built, in words."""

    @abstractmethod
    def design(self) -> Elaboratable:
        """Return what is built, wired to the board's pins."""

    @abstractmethod
    def usage(self) -> str:
        """Return what must be seen once the bitstream is loaded, as lines of text."""

    def instructions(self, bitstream: Path) -> str:
        """Return how to load a bitstream, and what must be seen then, as lines of text."""
        return f"Load it:  {self.load.format(bitstream)}\n{self.usage()}"


class SelfTestBoard(Board):
    """A board with :class:`SelfTest`."""

    @property
    def what(self) -> str:
        return f"self-test, {self.config.rows}x{self.config.cols} array"

    def design(self) -> Elaboratable:
        return _SelfTestTop(self.config)

    def usage(self) -> str:
        text = self_test.report(self.config).strip().replace("\r\n", "\n    ")
        return (f"Its serial port ({BAUD} baud, 8N1) must print, every second or so:\n"
                f"    {text}")


@dataclass(frozen=True, kw_only=True)
class AcceleratorBoard(Board):
    """A board with the whole accelerator, its memory, and the clock that place and route are asked
    for, which may be more than it needs.
    """

    memory: SdramMemory
    asked_hz: int | None = None

    @property
    def required_mhz(self) -> float:
        return self.memory.clock_hz / 1e6

    @property
    def preferences(self) -> str:
        return "" if self.asked_hz is None else f'FREQUENCY NET "{_CLOCK}" {self.asked_hz} HZ;'

    @property
    def what(self) -> str:
        return (f"accelerator, {self.config.rows}x{self.config.cols} core, "
                f"{self.memory.said(self.config)}")

    def design(self) -> Elaboratable:
        return AcceleratorTop(self.config, self.memory)

    def usage(self) -> str:
        return ("LED 0 must blink about once a second. Then, with its serial port:\n"
                "    python -m sim.board selftest --port /dev/ttyUSB0")


class _SelfTestTop(Elaboratable):
    """:class:`SelfTest` on a board's first serial port; LED 0 tells passed, LED 1 failed."""

    def __init__(self, config: AcceleratorConfig):
        self._config = config

    def elaborate(self, platform):
        m = Module()
        clock = platform.default_clk_frequency
        m.submodules.self_test = self_test = SelfTest(
            self._config, divisor=round(clock / BAUD), pause=round(clock * PAUSE))
        pins = {"tx": (platform.request("uart", 0, dir="-").tx, self_test.tx),
                "passed": (platform.request("led", 0, dir="-"), self_test.passed),
                "failed": (platform.request("led", 1, dir="-"), self_test.failed)}
        for name, (port, value) in pins.items():
            m.submodules[f"{name}_buffer"] = buffer = io.Buffer("o", port)
            m.d.comb += buffer.o.eq(value)
        return m
