"""The stream of a program on its way into the core, to the cycle.

What :mod:`rtl.memory.dma` and :mod:`rtl.memory.weight_buffer` do with it: beats are requested one
per cycle while the ring has room and no transfer is running; memory answers after its latency;
words lie in the ring until they are freed, and a cursor moves through them. Everything is said in
cycles of a run, cycle 0 being that of its `start`.

State is kept in arrays, so that kernels share it: of the stream; of each of its words, in which
cycle the last response came, `arrived`, and in which it is freed, `freed`, :data:`NEVER` as long as
that is not known; and of the cursor, where somebody goes through it cycle by cycle.
"""

from fractions import Fraction

import numpy as np

from ..common.config import AcceleratorConfig
from ..common.jit import kernel
from ..core.isa import UNIT_BYTES
from ..core.program import Program
from ..memory.scratchpad import READ_LATENCY
from ..sdram.sdram import Chip, Schedule, place
from ..sdram.sdram_cycles import BANK_STATE, STATE, serve, state_of

NEVER = 1 << 60

FIRST = 2
"""Cycle of the first request of a run."""

WRITTEN = 1
"""Cycles from the last response of a transfer to when it has been written."""

ARBITER_RETURN = 1
"""Cycles from a response of the memory behind an arbiter to when its user has it."""

(_BEAT, _TOTAL, _SENT, _TAKEN, _PORT, _OPEN, _THERE, _BEATS, _RING, _LATENCY, _COST, _UNIT,
 _ADDRESS, _BUS, _COLUMN_BITS, _ROW_BITS, _CHIP) = range(17)
# The next beat, and beats of all; cycles in which a request was last made and last taken; when the
# port is free again, in 1 / unit cycles, or when the controller of a chip last accepted a request;
# from when on the stream may be requested; words that have come; beats of a word and words of the
# ring; latency and pace, cost / unit, of the memory; where the stream begins, and the bytes of a
# beat; of a chip, bits of its addresses (zero: there is none) and then the state of its controller.
_CHIP_BANKS = _CHIP + STATE
_STATE = _CHIP_BANKS + BANK_STATE[0] * BANK_STATE[1]

WORD, LEFT, _UNITS, GIVING, _PART, _END, _PER_UNIT, _PER_WORD = range(8)
# Of the cursor: the next word; words and units of the present command; whether there are units to
# be given; the first of them in their word, or the words of it that there are; the last one.


def stream_of(program: Program, latency: int, pace: Fraction,
              chip: tuple[Chip, Schedule] | None = None):
    """Return the stream of a program before its first cycle: the state, `arrived` and `freed`.

    `latency` and `pace` are cycles from a request to its answer, and from one to the next; or
    memory is a chip behind an arbiter (:class:`rtl.soc.arbiter.MemoryArbiter`) and a controller.
    """
    config = program.config
    per_word = config.cols // config.bus_bytes
    beats = program.stream.size // config.bus_bytes
    state = np.zeros(_STATE, np.int64)
    state[[_TOTAL, _SENT, _OPEN, _BEATS]] = beats, -1, FIRST, per_word
    state[[_ADDRESS, _BUS]] = program.stream.address, config.bus_bytes
    if chip is not None:
        state[[_COLUMN_BITS, _ROW_BITS]] = chip[0].column_bits, chip[0].row_bits
        state[_CHIP:_CHIP_BANKS], banks = state_of(*chip)
        state[_CHIP_BANKS:] = banks.reshape(-1)
    state[[_RING, _LATENCY, _COST, _UNIT]] = (config.stream_words, latency, pace.numerator,
                                              pace.denominator)
    words = -(-beats // per_word)
    return state, np.full(words, NEVER, np.int64), np.full(words, NEVER, np.int64)


def layout_of(config: AcceleratorConfig) -> tuple[int, int]:
    """Return the words of a unit and the units of a word."""
    return max(1, UNIT_BYTES // config.cols), max(1, config.cols // UNIT_BYTES)


_place = kernel(place)


@kernel
def request(state, at, address, write):
    """Put a request into the register of the port at cycle `at`; return when it is answered."""
    if state[_COLUMN_BITS]:
        taken = max(at + 1, state[_PORT])
        bank, row, column = _place(address, state[_COLUMN_BITS], state[_ROW_BITS])
        state[_PORT], answered = serve(
            state[_CHIP:_CHIP_BANKS], state[_CHIP_BANKS:].reshape(BANK_STATE), taken + 1, bank, row,
            column, write)
        answered += ARBITER_RETURN
    else:
        taken = max(at + 1, state[_PORT] // state[_UNIT])
        state[_PORT] = max(state[_PORT], taken * state[_UNIT]) + state[_COST]
        answered = taken + state[_LATENCY]
    state[_SENT], state[_TAKEN] = at, taken
    return answered


@kernel
def earliest(state):
    """First cycle in which the register of the port can take another request."""
    return max(state[_SENT] + 1, state[_TAKEN])


@kernel
def advance(state, arrived, freed, until, beats):
    """Request the stream up to cycle `until`, or up to a number of beats.

    All that is freed before `until` must be known, and no transfer be running.
    """
    while state[_BEAT] < min(state[_TOTAL], beats):
        word = state[_BEAT] // state[_BEATS]
        at = max(earliest(state), state[_OPEN])
        if word >= state[_RING]:
            at = max(at, freed[word - state[_RING]] + 1)
        if at > until:
            return
        address = state[_ADDRESS] + state[_BEAT] * state[_BUS]
        arrived[word] = request(state, at, address, False)
        state[_BEAT] += 1


@kernel
def arrival(state, arrived, freed, word):
    """Return the cycle of the last response of a word that somebody waits for."""
    advance(state, arrived, freed, NEVER - 1, (word + 1) * state[_BEATS])
    return arrived[word]


@kernel
def words_there(state, arrived, freed, cycle):
    """Return the words of the program that have been in the ring at a cycle."""
    advance(state, arrived, freed, cycle - 1, NEVER)
    whole = state[_BEAT] // state[_BEATS]
    if state[_BEAT] == state[_TOTAL]:
        whole = arrived.size
    while state[_THERE] < whole and arrived[state[_THERE]] < cycle:
        state[_THERE] += 1
    return state[_THERE]


@kernel
def take(state, arrived, freed, word, count, start, interval, mark, per_unit, per_word):
    """Take units of the stream whose words are free at once.

    Returns the word behind them, and the cycles in which unit `mark` and the last one are accepted,
    by somebody who takes one every `interval` cycles at most. They are asked for in cycle `start`.
    """
    accepted = marked = start + 1 - interval
    may_read = start + 1
    for unit in range(count):
        if unit % per_word == 0:
            for _ in range(per_unit):
                read = max(may_read, arrival(state, arrived, freed, word) + 1)
                freed[word] = read
                may_read = read + 1
                word += 1
            accepted = max(read + 1, accepted + interval)
        else:
            accepted += interval
        may_read = accepted
        if unit == mark:
            marked = accepted
    return word, marked, accepted


@kernel
def transfer(state, arrived, freed, start, addresses, group, zeros):
    """Return the cycle in which a transfer that starts in a cycle is done.

    Its beats are at `addresses`, and are written if there are groups, of so many beats: a word of
    the scratchpad, which is read while the one before is written (none for ``group == 0``); and it
    writes `zeros` words of zeros in cycles without a response of its own.
    """
    advance(state, arrived, freed, start, NEVER)
    kept = start + READ_LATENCY + 1  # when the word was kept that is written
    at = kept + 1 if group else start + 1
    done = start + 1
    quiet = start  # cycles up to here are counted
    for beat in range(addresses.size):
        if group and beat and beat % group == 0:
            kept = max(kept + READ_LATENCY + 1, state[_SENT])
            at = max(at, kept + 1)
        at = max(at, earliest(state))
        done = request(state, at, addresses[beat], group != 0)
        zeros -= min(zeros, done - 1 - quiet)
        quiet = done
    if zeros:
        done = quiet + zeros + 1
    done += WRITTEN
    state[_OPEN] = done + 1
    return done + 1


@kernel
def drained(state, arrived, freed, start):
    """Return the cycle in which the stream is at rest, of which nothing more is requested from the
    cycle after `start` on: its last response has come in the cycle before.
    """
    advance(state, arrived, freed, start - 1, NEVER)
    stopped = start + (state[_BEAT] < state[_TOTAL])
    advance(state, arrived, freed, start, NEVER)
    last = (state[_BEAT] - 1) // state[_BEATS]
    return max(stopped, arrived[last] + 1)


def requested(state) -> int:
    """Return the bytes of the stream that have been requested."""
    return int(state[_BEAT] * state[_BUS])


def cursor_of(word: int, config: AcceleratorConfig):
    """Return the state of a cursor at a word, without a command."""
    cursor = np.zeros(_PER_WORD + 1, np.int64)
    cursor[[WORD, _PER_UNIT, _PER_WORD]] = word, *layout_of(config)
    return cursor


@kernel
def command(cursor, units):
    """Have the cursor give units, from the next cycle on."""
    cursor[LEFT] = -(-units * cursor[_PER_UNIT] // cursor[_PER_WORD])
    cursor[_UNITS] = units


@kernel
def gives_unit(cursor):
    """Whether a unit is offered in this cycle."""
    return cursor[GIVING] and (cursor[_PER_UNIT] == 1 or cursor[_PART] == 2)


@kernel
def step_cursor(cursor, state, arrived, freed, cycle, accepted, hindered):
    """End a cycle, in which a unit was accepted or not; return whether a word has been read.

    None is if the cursor is `hindered`: somebody else reads the memory of the next word.
    """
    whole = cursor[_PART] if cursor[GIVING] else 0
    if cursor[_PER_UNIT] > 1:
        may_read = whole < 2 or accepted
    else:
        may_read = not cursor[GIVING] or (accepted and cursor[_PART] == cursor[_END])
    if (may_read and cursor[LEFT] and not hindered
            and words_there(state, arrived, freed, cycle) > cursor[WORD]):
        cursor[WORD] += 1
        cursor[LEFT] -= 1
        cursor[GIVING] = 1
        if cursor[_PER_UNIT] > 1:
            cursor[_PART] = 2 if whole == 1 else 1
        else:
            last = (cursor[_UNITS] - 1) % cursor[_PER_WORD]
            cursor[_PART], cursor[_END] = 0, cursor[_PER_WORD] - 1 if cursor[LEFT] else last
        return True
    if accepted:
        cursor[GIVING] = cursor[_PER_UNIT] == 1 and cursor[_PART] != cursor[_END]
        cursor[_PART] += 1
    return False
