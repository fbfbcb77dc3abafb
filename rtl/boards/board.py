"""What the build needs to know of a board."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.build import Platform
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import io

from golden.common.config import AcceleratorConfig

from ..selftest.self_test import SelfTest

BAUD = 115_200
PAUSE = 1.0  # seconds between two rounds of the self-test


@dataclass(frozen=True, slots=True)
class Resource:
    """A row of the utilisation table.

    Attributes
    ----------
    name
        What it is.
    cell
        nextpnr's name, which gives how many there are and how many are used.
    netlist
        Beginning of the names of the netlist cells to count as used instead, if any.
    """

    name: str
    cell: str
    netlist: str | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """A board, how to build for it, and the accelerator that fits.

    Attributes
    ----------
    name, description
        What a user types, and what it is.
    platform
        Amaranth platform; its default clock drives the design.
    config
        Configuration of the self-testing design.
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
    untimed_ns: float = 0.0

    def design(self) -> Elaboratable:
        """Return the self-testing design, wired to the board's pins."""
        return _SelfTestTop(self.config)


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
