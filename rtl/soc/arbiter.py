"""One memory for several users, such as the core and a host."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.cycles.stream import ARBITER_RETURN

from ..common.checks import check_config
from ..memory.memory_port import memory_signature

__all__ = ["MemoryArbiter"]


class MemoryArbiter(wiring.Component):
    """Give memory to the users that ask, in turn: none waits for more than one beat of each other.

    A request goes on a cycle after it came, one per cycle; a response comes to whose it is
    :attr:`RETURN` cycle after it came.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the width of memory.
    users : int
        2 or more.
    flight : int
        Most requests whose responses are awaited; with fewer than memory's latency in cycles, it
        cannot answer one per cycle.

    Members
    -------
    users : ``In(memory_signature(config)).array(users)``
    memory : ``Out(memory_signature(config))``
    """

    RETURN = ARBITER_RETURN

    def __init__(self, config: AcceleratorConfig, *, users: int = 2, flight: int = 64):
        check_config(config)
        self._count = integer("users", users, 2)
        self._flight = integer("flight", flight, 1)
        super().__init__({
            "users": In(memory_signature(config)).array(users),
            "memory": Out(memory_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        request, response = self.memory.request, self.memory.response
        owner = Signal(range(self._count))  # of the last request
        chosen = Signal.like(owner)
        m.submodules.owners = owners = fifo.SyncFIFOBuffered(
            width=ceil_log2(self._count), depth=self._flight)
        asking = [user.request.valid for user in self.users]
        for before in range(self._count):
            with m.If(owner == before):
                pick = Const(before, owner.shape())
                for step in reversed(range(1, self._count)):
                    other = (before + step) % self._count
                    pick = Mux(asking[other], other, pick)
                m.d.comb += chosen.eq(pick)
        free = Signal()
        accepted = Array(asking)[chosen] & free
        # Whether one more may be on its way is known ahead: users hear at once if they may ask.
        room, flying = Signal(init=1), Signal(range(self._flight + 1))
        m.d.sync += [
            flying.eq(flying + accepted - response.valid),
            room.eq(response.valid | Mux(accepted, flying < self._flight - 1,
                                         flying != self._flight)),
        ]
        m.d.comb += [
            free.eq((~request.valid | request.ready) & room),
            owners.w_en.eq(accepted),
            owners.w_data.eq(chosen),
            owners.r_en.eq(response.valid),
            response.ready.eq(1),
        ]
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(accepted):
            m.d.sync += [request.valid.eq(1), owner.eq(chosen),
                         request.payload.eq(Array(user.request.payload.as_value()
                                                  for user in self.users)[chosen])]
        answer = Signal.like(response.payload, reset_less=True)
        m.d.sync += answer.eq(response.payload)
        for index, user in enumerate(self.users):
            # As `chosen`, but known as soon as it can be: nobody who asks is nearer.
            nearer = [asking[(index - step) % self._count] & (
                owner == (index - step - more) % self._count)
                for step in range(1, self._count) for more in range(1, self._count - step + 1)]
            m.d.comb += [
                user.request.ready.eq(free & ~Cat(nearer).any()),
                user.response.payload.eq(answer),
            ]
            m.d.sync += user.response.valid.eq(response.valid & (owners.r_data == index))
        return m
