"""Shared read port of the scratchpad: who may read when."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig

from ..common.checks import check_config
from .scratchpad import read_signature, scratchpad_word_layout

__all__ = ["SharedRead"]


class SharedRead(wiring.Component):
    """Give several users one read port: the first that asks, in their order.

    A user that `keeps` has what it read last at its port until it reads again; others have it in
    the cycle after.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.
    keeps : sequence of bool
        Of each user.

    Members
    -------
    users : ``In(read_signature(config)).array(len(keeps))``
    free : ``Out(len(keeps))``
        Nobody before this user asks: it will get what it asks for.
    port : ``Out(read_signature(config))``
    """

    def __init__(self, config: AcceleratorConfig, keeps: Sequence[bool]):
        check_config(config, core=True)
        self._config, self._keeps = config, tuple(keeps)
        count = len(self._keeps)
        super().__init__({
            "users": In(read_signature(config)).array(count),
            "free": Out(count),
            "port": Out(read_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        before, address = 0, self.users[-1].address
        for user in reversed(self.users):
            address = Mux(user.enable, user.address, address)
        for index, (user, keeps) in enumerate(zip(self.users, self._keeps, strict=True)):
            fresh = Signal(name=f"fresh_{index}")
            kept = Signal(scratchpad_word_layout(self._config), name=f"kept_{index}")
            m.d.comb += [
                self.free[index].eq(~before if index else 1),
                user.data.eq(Mux(fresh, self.port.data.as_value(), kept.as_value())
                             if keeps else self.port.data),
            ]
            if keeps:
                m.d.sync += [kept.eq(user.data), fresh.eq(user.enable & self.free[index])]
            before = before | user.enable
        m.d.comb += [self.port.enable.eq(before), self.port.address.eq(address)]
        return m
