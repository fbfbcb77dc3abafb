"""Products of the core to the cycle: operand feed, array, epilogue, and the stream that feeds them.

:func:`golden.cycles.feed.cycles` says what a product takes if nobody else makes it wait. This goes
through all of its cycles, with the stream that may be late, the residuals that share the
scratchpad's port with the operands, and the constants of the columns.
"""

from dataclasses import dataclass

import numpy as np

from ..common.config import AcceleratorConfig
from ..common.jit import kernel
from ..core.isa import Instruction, Source
from ..product.mac_array import FILL, drain_cycles
from . import feed
from .stream import GIVING, LEFT, WORD, command, cursor_of, gives_unit, step_cursor, words_there

EPILOGUE = 13
"""Cycles of a result in the epilogue, from its accumulators on."""

PLACEMENT = 4
"""Cycles from there to the write of the scratchpad."""

FRONT, SUMS = 5, 2
"""Cycles of it in front of the residuals, and from there to the tap."""

READER = 4
"""Cycles from a start to the first word of a wide matrix."""

QUEUED = 128
"""Words of a wide matrix that are read ahead."""

DRAIN = 5
"""Cycles from when the sums of a tile are whole to its first result beat."""

CONSTANTS = 6
"""Cycles from a column unit to the constants of its column, or from a start to those of a row."""

RESULTS = 16
"""Result beats that wait behind the array."""

CONSTANT_WORDS = 16
"""Words of `lanes` columns for whose constants there is room."""

_FLIGHT = FILL - DRAIN  # cycles from the last operands of a tile to its sums
_UNITS = 2  # cycles from a start to when column units are accepted


@dataclass(frozen=True, slots=True)
class ProductCycles:
    """What a product takes.

    Attributes
    ----------
    end
        The cycle in which all is written, the last one of the instruction.
    word
        The word of the stream behind the product.
    array, weights, drain
        Cycles in which the array takes operands, has none, and cannot take them.
    tapped
        The cycle in which the last result passes the tap.
    """

    end: int
    word: int
    array: int
    weights: int
    drain: int
    tapped: int


def product_cycles(op: Instruction, config: AcceleratorConfig, stream, word: int,
                   start: int) -> ProductCycles:
    """Go through a product that starts in a cycle, its payload beginning with a word of the stream.

    `stream` is that of :func:`golden.cycles.stream.stream_of`, and goes on meanwhile.
    """
    mode = op.mode_of
    lanes, cols = config.lanes, config.tile_cols(mode)
    load, apart = feed.load_words(op.k, Source(op.weights), config)
    numbers = (op.m, op.k, op.n, op.weights, op.residual, -(-op.m // config.tile_rows(mode)),
               -(-op.n // cols), config.tile_rows(mode), cols, lanes, drain_cycles(mode, config),
               feed.header_words(mode), load, apart)
    steps = _steps(*stream, cursor_of(word, config), np.array(numbers, np.int64), start)
    return ProductCycles(*map(int, steps))


@kernel
def _steps(state, arrived, freed, cursor, numbers, start):
    # One pass of the loop is one cycle: first what is to be seen in it, then its end.
    (m, k, n, source, residual, tiles, columns, tile_rows, tile_cols, lanes, beats, header,
     load_words, apart) = numbers
    streamed = source == 0
    row_words = tile_cols // lanes
    last_word = (n - 1) // lanes
    load_latency = feed.LOAD - (1 if apart == 1 or k % 2 else 0)

    # Stream: the first word held, and commands for the cursor.
    first_held = cursor[WORD]
    taking, skipping, to_take = streamed, False, columns
    # Keys and values: words of the tile column to read, free halves, and when what happens.
    to_load, loading, halves, rest = (0 if streamed else columns), 0, 2, 0
    offered_at = np.zeros(2, np.int64)
    offered_at[:] = -1
    released = np.zeros(2, np.int64)
    released[:] = -1
    # Order of the beats; stages b, c, d of the feed.
    feeding, there, base = True, False, 0
    step, tile, column = 0, 0, 0
    b, b_last, b_end, b_word = False, False, False, 0
    c, c_last, c_final, b_final = False, False, False, False
    d, d_last, d_final = False, False, False
    # Array: what of a tile is to be issued, promised places; what was finished, issued and asked
    # for in the cycles before, the last one in bit 0.
    flying, issue, ready, to_issue, room = False, 0, True, 0, RESULTS
    finishes, issues, asks, fills = 0, 0, 0, 0
    # Epilogue: beats that have come, place of the next one, stages, constants.
    results, row, place, first_place = 0, 0, 0, 0
    active, front, ends, accepted, left_front = True, 0, 0, 0, 0
    filled, units, given_back = 0, 0, 0
    # Residuals: words to ask for, asked for and not taken, there and not taken.
    to_ask, promised, waiting = (m * (last_word + 1) if residual else 0), 0, 0

    taken = no_weights = no_drain = 0
    cycle = start
    while active or front:
        cycle += 1
        results += (issues >> (DRAIN - 2)) & 1
        waiting += (asks >> (READER - 2)) & 1
        filled += (fills >> (CONSTANTS - 1)) & 1

        # Epilogue.
        at_sums = (front >> (FRONT - 1)) & 1
        both = not residual or waiting > 0
        moves = not at_sums or both
        known = filled // lanes > place if streamed else cycle >= start + CONSTANTS
        accept = int(active and moves and known and results > 0)
        if at_sums and both:
            left_front = cycle
            if residual:
                waiting -= 1
                promised -= 1
        wants_unit = (streamed and active and cycle >= start + _UNITS
                      and units // lanes - given_back != CONSTANT_WORDS
                      and (units % tile_cols != 0 or units < n))
        inside = row < m and place <= last_word
        if moves:
            if (ends >> (FRONT - 2)) & 1:
                given_back += row_words
            front = (front << 1) & ((1 << FRONT) - 1)
            ends = (ends << 1) & ((1 << (FRONT - 1)) - 1)
        if accept:
            results -= 1
            front |= inside
            accepted = cycle
            place += 1
            if place % row_words == 0:
                row += 1
                if row == tiles * tile_rows:
                    row, first_place = 0, place
                    ends |= 1
                    if place > last_word:
                        active = False
                place = first_place

        # Feed and array.
        taken_d = d and (ready or not d_last)
        finish = taken_d and d_last
        if feeding:
            if not d:
                no_weights += 1
            elif taken_d:
                taken += 1
            else:
                no_drain += 1
        d_free = not d or taken_d
        c_free = not c or d_free
        b_free = not b or c_free
        reads_weights = b and c_free
        go = there and b_free
        last = step == k - 1
        column_last = last and tile == tiles - 1
        fresh = go and step % 2 == 0
        wants_column = column < columns and (not there or (go and column_last))

        # Weights: from the stream, or out of the scratchpad.
        offered, ask_keys, next_base, unit_taken = False, False, 0, False
        if streamed:
            next_base = cursor[WORD]
            if skipping and cursor[LEFT] == 0 and wants_column:
                offered = words_there(state, arrived, freed, cycle) - next_base >= k
            if cursor[LEFT] or cursor[GIVING]:
                unit_taken = wants_unit and gives_unit(cursor)
                step_cursor(cursor, state, arrived, freed, cycle, unit_taken,
                            reads_weights and (b_word - next_base) % 2 == 0)
            if offered:
                cursor[WORD] += k
                skipping, taking = False, to_take > 0
            elif taking and cursor[LEFT] == 0:
                taking, skipping = False, True
                command(cursor, tile_cols)
                to_take -= 1
        else:
            offered = wants_column and 0 <= offered_at[0] <= cycle
            if rest:
                rest -= 1
            for half in range(2):
                if released[half] == cycle:
                    halves += 1
                    released[half] = -1
            ask_keys = rest == 0 and (loading > 0 or (to_load > 0 and halves > 0))
            if ask_keys and not fresh:
                if loading == 0:
                    loading = load_words
                    to_load -= 1
                    halves -= 1
                loading -= 1
                rest = apart
                if loading == 0:
                    offered_at[1 if offered_at[0] >= 0 else 0] = cycle + load_latency
            if offered:
                offered_at[0], offered_at[1] = offered_at[1], -1
            if reads_weights and b_end:
                released[1 if released[0] >= 0 else 0] = cycle + feed.RELEASE
        if streamed and reads_weights and b_end:
            for held in range(first_held, first_held + header + k):
                freed[held] = cycle + 1
            first_held += header + k

        # Residuals.
        asks = (asks << 1) & 0xFF
        if to_ask and promised < QUEUED and not fresh and not ask_keys:
            asks |= 1
            to_ask -= 1
            promised += 1

        # Array.
        capture = (finishes >> (_FLIGHT - 1)) & 1
        finishes = (finishes << 1) & 0xFF | finish
        flying = finish or (flying and not capture)
        issues = (issues << 1) & 0xFF | issue
        to_issue = beats if capture else to_issue - issue
        room += accept - issue
        issue = int(to_issue != 0 and room != 0)
        ready = not flying and to_issue <= _FLIGHT + 1 and room >= to_issue

        fills = (fills << 1) & 0xFF | unit_taken
        units += unit_taken

        # Stages of the feed.
        if taken_d and d_final:
            feeding = False
        if d_free:
            d, d_last, d_final = c, c_last, c_final
        if c_free:
            c, c_last, c_final = b, b_last, b_final
        if b_free:
            b, b_last, b_end, b_word = there, last, column_last, base + step
            b_final = column_last and column == columns
        if go:
            step += 1
            if last:
                step = 0
                tile += 1
            if column_last:
                tile = 0
                there = False
        if offered:
            there, base = True, next_base
            column += 1
    end_cycle = max(left_front + EPILOGUE - FRONT + PLACEMENT + 1, accepted + 1)
    return end_cycle, cursor[WORD], taken, no_weights, no_drain, left_front + SUMS
