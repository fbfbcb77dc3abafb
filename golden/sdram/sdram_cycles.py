"""Cycles of :mod:`rtl.sdram.sdram`: when a request is accepted, and when it is answered.

Everything is said in cycles of a run, cycle 0 being that of `restart`, before which nothing is
requested that has not been answered. A request waits in one register and then in another, from
where it is served: its row is opened, and it is read or written. In cycles in which none is there
to be served, the bank may be opened that the stream will come to. Requests are served one after
the other, so what comes later changes nothing of what came before.
"""

import numpy as np

from ..common.checks import integer, integers
from ..common.jit import kernel
from .sdram import AHEAD, BANKS, Chip, Schedule

_IDLE, _CLOSE, _REFRESH = range(3)

(_CYCLE, _READY, _SERVED, _PHASE, _DUE, _READ, _WRITE, _ROW, _HINT, _HINT_BANK, _HINT_ROW,
 _PERIOD, _BURST, _LATENCY, _RCD, _RP, _RAS, _RC, _RRD, _RFC, _WRITE_TO_PRECHARGE, _AHEAD,
 _LAST_ROW) = range(23)
# The next cycle to be decided; when the register of the port is free; when a request was last
# served; the refresh, and when the next one is due; the earliest READ, WRITE and ACTIVATE of any
# bank; from when on a bank may be opened ahead (0: none), and which row; the schedule; the column
# that has the next bank opened, and the last row.

_OPEN, _COLUMN, _PRECHARGE, _ACTIVATE = range(4)
# Of each bank: the open row (-1: none), and the earliest READ or WRITE, PRECHARGE and ACTIVATE.


STATE, BANK_STATE = _LAST_ROW + 1, (4, BANKS)
"""Shapes of the state of a run."""


def state_of(chip: Chip, schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
    """Return the state of a run before its first cycle, int64, of shapes :data:`STATE` and
    :data:`BANK_STATE`.
    """
    timing = schedule.timing
    state, banks = np.zeros(STATE, np.int64), np.zeros(BANK_STATE, np.int64)
    state[[_CYCLE, _PHASE, _DUE]] = 1, _CLOSE, schedule.period
    state[_PERIOD:] = (
        schedule.period, schedule.burst, schedule.latency, schedule.rcd, schedule.rp,
        schedule.ras, schedule.rc, timing.rrd, timing.rfc, schedule.write_to_precharge,
        (1 << chip.column_bits) - AHEAD, (1 << chip.row_bits) - 1)
    banks[_OPEN] = -1
    banks[_PRECHARGE] = schedule.settle
    return state, banks


class SdramCycles:
    """A run of requests to the controller.

    Parameters
    ----------
    chip
        Behind the controller.
    schedule
        Of the controller.
    """

    def __init__(self, chip: Chip, schedule: Schedule):
        self._chip = chip
        self._state, self._banks = state_of(chip, schedule)

    def serve(self, offered: int, address: int, write: bool = False) -> tuple[int, int]:
        """Return when a request is accepted and when it is answered.

        Parameters
        ----------
        offered
            Cycle from which it is offered on, after the previous one was accepted.
        address
            In bytes, within the chip.
        """
        integer("offered", offered, 0)
        place = self._chip.place(integer("address", address, 0, (1 << self._chip.size_bits) - 1))
        return serve(self._state, self._banks, offered, *place, write)

    def serve_all(self, offered, addresses, writes) -> tuple[np.ndarray, np.ndarray]:
        """Return when requests are accepted and answered; each is offered from its cycle on, or
        from when the one before it has been accepted.
        """
        offered = integers("offered", offered, 0, 1 << 60, shape=(None,))
        addresses = integers("addresses", addresses, 0, (1 << self._chip.size_bits) - 1,
                             shape=offered.shape)
        writes = integers("writes", writes, 0, 1, shape=offered.shape)
        return _serve_all(self._state, self._banks, offered, *self._chip.place(addresses), writes)


@kernel
def _serve_all(state, banks, offered, bank, row, column, write):
    accepted, answered = np.empty_like(offered), np.empty_like(offered)
    earliest = 0
    for at in range(offered.size):
        accepted[at], answered[at] = serve(state, banks, max(offered[at], earliest), bank[at],
                                            row[at], column[at], write[at])
        earliest = accepted[at] + 1
    return accepted, answered


@kernel
def serve(state, banks, offered, bank, row, column, write):
    """Return when a request is accepted and when it is answered, :meth:`SdramCycles.serve`."""
    accepted = max(offered, state[_READY])
    taken = max(accepted + 1, state[_SERVED])
    state[_READY] = taken + 1
    served = False
    while not served:
        cycle = state[_CYCLE]
        there = cycle > taken
        if state[_PHASE] != _IDLE:
            _refresh(state, banks, cycle)
        else:
            ahead = state[_HINT_BANK]
            if cycle > taken + 1:
                served = (banks[_OPEN, bank] == row and cycle >= banks[_COLUMN, bank]
                          and cycle >= state[_WRITE if write else _READ])
                if not served:
                    _open(state, banks, cycle, bank, row)
            elif (state[_HINT] and cycle >= state[_HINT]
                    and not (there and ahead == bank)):
                _open(state, banks, cycle, ahead, state[_HINT_ROW])
        if there and state[_HINT_BANK] == bank:
            state[_HINT] = 0
        if served:
            _access(state, banks, cycle, bank, row, column, write)
        if cycle == state[_DUE]:
            state[_PHASE] = _CLOSE
            state[_DUE] += state[_PERIOD]
        state[_CYCLE] += 1
    return accepted, state[_SERVED] + state[_LATENCY]


@kernel
def _access(state, banks, cycle, bank, row, column, write):
    """READ or WRITE; near the end of a row the bank after it is to be opened."""
    burst = state[_BURST]
    after = cycle + (state[_WRITE_TO_PRECHARGE] if write else burst)
    banks[_PRECHARGE, bank] = max(banks[_PRECHARGE, bank], after)
    state[_READ] = max(state[_READ], cycle + burst)
    state[_WRITE] = max(state[_WRITE], cycle + (burst if write else state[_LATENCY]))
    state[_SERVED] = cycle
    if column == state[_AHEAD]:
        wrapped = bank == BANKS - 1
        state[_HINT] = cycle + 2
        state[_HINT_BANK] = 0 if wrapped else bank + 1
        state[_HINT_ROW] = (row + wrapped) & state[_LAST_ROW]


@kernel
def _open(state, banks, cycle, bank, row):
    """PRECHARGE or ACTIVATE a bank, if it needs that and it is time."""
    if banks[_OPEN, bank] == row:
        return
    if banks[_OPEN, bank] >= 0:
        if cycle >= banks[_PRECHARGE, bank]:
            banks[_OPEN, bank] = -1
            banks[_PRECHARGE, bank] = cycle + 2  # a refresh does not close it in the next cycle
            banks[_ACTIVATE, bank] = max(banks[_ACTIVATE, bank], cycle + state[_RP])
    elif cycle >= banks[_ACTIVATE, bank] and cycle >= state[_ROW]:
        banks[_OPEN, bank] = row
        banks[_COLUMN, bank] = cycle + state[_RCD]
        banks[_PRECHARGE, bank] = max(banks[_PRECHARGE, bank], cycle + state[_RAS])
        banks[_ACTIVATE, bank] = cycle + state[_RC]
        state[_ROW] = cycle + state[_RRD]


@kernel
def _refresh(state, banks, cycle):
    """PRECHARGE all banks, then REFRESH, each when it is time."""
    if state[_PHASE] == _CLOSE:
        if cycle >= banks[_PRECHARGE].max():
            banks[_OPEN] = -1
            banks[_ACTIVATE] = np.maximum(banks[_ACTIVATE], cycle + state[_RP])
            state[_PHASE] = _REFRESH
    elif cycle >= banks[_ACTIVATE].max():
        banks[_ACTIVATE] = cycle + state[_RFC]
        state[_PHASE] = _IDLE
