"""The whole accelerator on a board: clock, core, serial line, external memory, lights."""

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory
from golden.soc.boards import BAUD, PHASE

from ..common.checks import check_config, check_memory
from ..fpga.pll import Pll
from ..sdram.sdram_pins import pins_signature
from ..soc.soc import Soc

__all__ = ["AcceleratorTop", "SdramPads"]


_SETTLED = 1023  # cycles of a PLL that has locked before its clock is used
_SDRAM_PADS = ("clk", "clk_en", "cs", "we", "ras", "cas", "ba", "a", "dq", "dqm")


class AcceleratorTop(wiring.Component):
    """:class:`.soc.Soc` on the pins of a board with a chip of SDRAM.

    The first serial port, the resource ``sdram`` and three lights: LED 0 blinks, LED 1 is on during
    a run, LED 2 once one has ended with an error.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of the core.
    memory : :class:`SdramMemory`
    """

    def __init__(self, config: AcceleratorConfig, memory: SdramMemory):
        check_config(config, core=True)
        check_memory(memory)
        self._config, self._memory = config, memory
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        self._clocks(m, platform)
        m.submodules.soc = soc = Soc(self._config, self._memory, BAUD)
        m.submodules.pads = pads = SdramPads(
            platform.request("sdram", 0, dir=dict.fromkeys(_SDRAM_PADS, "-")))
        wiring.connect(m, soc.pins, pads.controller)
        uart = platform.request("uart", 0, dir=dict.fromkeys(("rx", "tx", "rts", "dtr"), "-"))
        m.submodules.rx = rx = io.FFBuffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [soc.rx.eq(rx.i), tx.o.eq(soc.tx)]
        for number, light in enumerate((soc.alive, soc.running, soc.failed)):
            m.submodules[f"light_{number}"] = buffer = io.Buffer(
                "o", platform.request("led", number, dir="-"))
            m.d.comb += buffer.o.eq(light)
        return m

    def _clocks(self, m, platform):
        """Make the clocks, and let that of everything begin once they are there.

        Registers begin with their initial values, which the end of the configuration gives them,
        so that no reset has to reach them; a clock that begins as a whole does not begin too early
        for some of them.
        """
        reference = round(platform.default_clk_frequency)
        m.submodules.reference = pin = io.Buffer(
            "i", platform.request(platform.default_clk, 0, dir="-"))
        m.submodules.pll = pll = Pll(reference, self._memory.clock_hz, PHASE)
        m.domains += [ClockDomain(name, reset_less=True) for name in ("sync", "chip", "pll")]
        locked, settled = Signal(), Signal(range(_SETTLED + 1))
        m.submodules.locked = FFSynchronizer(pll.locked, locked, o_domain="pll")
        with m.If(~locked):
            m.d.pll += settled.eq(0)
        with m.Elif(settled != _SETTLED):
            m.d.pll += settled.eq(settled + 1)
        m.submodules.gate = Instance("DCCA", i_CLKI=pll.clock, i_CE=settled == _SETTLED,
                                     o_CLKO=ClockSignal("sync"))
        m.d.comb += [
            pll.reference.eq(pin.i),
            ClockSignal("pll").eq(pll.clock),
            ClockSignal("chip").eq(pll.behind),
        ]


class SdramPads(wiring.Component):
    """Flip-flops in the pads of a chip of SDRAM, in place of :class:`.sdram_pins.PinRegisters`.

    Parameters
    ----------
    ports
        The resource ``sdram`` of a board. The chip's clock is that of the domain ``chip``.

    Members
    -------
    controller : ``In(pins_signature())``
    """

    def __init__(self, ports):
        self._ports = ports
        super().__init__({"controller": In(pins_signature())})

    def elaborate(self, platform):
        m = Module()
        ports, pins = self._ports, self.controller
        ras, cas, we = (~pins.told.command[bit] for bit in (2, 1, 0))
        for name, value in {
                "clk_en": pins.cke, "cs": Const(1), "ras": ras, "cas": cas, "we": we,
                "ba": pins.told.bank, "a": pins.told.address,
                "dqm": pins.masks.replicate(2)}.items():
            m.submodules[name] = pad = io.FFBuffer("o", getattr(ports, name))
            m.d.comb += pad.o.eq(value)
        m.submodules.dq = words = io.FFBuffer("io", ports.dq)
        m.d.comb += [words.o.eq(pins.write), words.oe.eq(pins.driven), pins.read.eq(words.i)]
        m.submodules.clk = clock = io.DDRBuffer("o", ports.clk, o_domain="chip")
        m.d.comb += [clock.o[0].eq(1), clock.o[1].eq(0)]
        return m
