"""Shared read port of the scratchpad: who may read when."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig

from ..common.checks import check_config
from .scratchpad import read_signature

__all__ = ["SharedRead"]


class SharedRead(wiring.Component):
    """Give several users one read port: the first that asks, in their order.

    What a user asked for is at its port ``READ_LATENCY`` cycles later, until the next word is
    there, whoever asked for it.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.
    users : int
        1 or more.

    Members
    -------
    users : ``In(read_signature(config)).array(users)``
    free : ``Out(users)``
        Nobody before this user asks: it will get what it asks for.
    port : ``Out(read_signature(config))``
    """

    def __init__(self, config: AcceleratorConfig, users: int):
        check_config(config, core=True)
        integer("users", users, 1)
        super().__init__({
            "users": In(read_signature(config)).array(users),
            "free": Out(users),
            "port": Out(read_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        before, address = 0, self.users[-1].address
        for user in reversed(self.users):
            address = Mux(user.enable, user.address, address)
        for index, user in enumerate(self.users):
            m.d.comb += [self.free[index].eq(~before if index else 1),
                         user.data.eq(self.port.data)]
            before = before | user.enable
        m.d.comb += [self.port.enable.eq(before), self.port.address.eq(address)]
        return m
