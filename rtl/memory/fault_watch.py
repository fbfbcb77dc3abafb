"""Where memory has answered with an error: looks on at a memory port."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.soc.registers import ERROR_SOURCE_BITS, ErrorSource

from ..common.checks import check_config
from .memory_port import ADDRESS, request_layout

__all__ = ["FaultWatch"]

_asked = data.StructLayout({"address": ADDRESS, "source": ERROR_SOURCE_BITS})


class FaultWatch(wiring.Component):
    """Keep the address and source of the first request that was answered with an error.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
    flight : int
        Most requests that await their answers.

    Members
    -------
    clear : ``In(1)``
        Forget what was kept, not what is awaited.
    sent, request
        ``In(1)``, ``In(request_layout(config))``: a request is taken.
    answered, error : ``In(1)``
        A response comes, and is an error.
    source, address : ``Out(ERROR_SOURCE_BITS)``, ``Out(32)``
        In the cycle after it; :data:`ErrorSource.NONE` until then.
    """

    def __init__(self, config: AcceleratorConfig, flight: int):
        check_config(config)
        self._flight = integer("flight", flight, 1)
        super().__init__({
            "clear": In(1),
            "sent": In(1), "request": In(request_layout(config)),
            "answered": In(1), "error": In(1),
            "source": Out(ERROR_SOURCE_BITS), "address": Out(ADDRESS),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.awaited = awaited = fifo.SyncFIFO(width=_asked.size, depth=self._flight)
        asked, answered = _asked(awaited.w_data), _asked(awaited.r_data)
        m.d.comb += [
            awaited.w_en.eq(self.sent),
            asked.address.eq(self.request.address),
            asked.source.eq(Mux(self.request.stream, ErrorSource.STREAM, Mux(
                self.request.write, ErrorSource.WRITE, ErrorSource.READ))),
            awaited.r_en.eq(self.answered),
        ]
        with m.If(self.clear):
            m.d.sync += [self.source.eq(ErrorSource.NONE), self.address.eq(0)]
        with m.Elif(self.answered & self.error & (self.source == ErrorSource.NONE)):
            m.d.sync += [self.source.eq(answered.source), self.address.eq(answered.address)]
        return m
