"""Products of the core to the cycle: operand feed, array, epilogue, and the stream that feeds them.

:func:`golden.cycles.feed.cycles` says what a product takes if nobody else makes it wait. This goes
through all of its cycles, with the stream that may be late, the residuals that share the
scratchpad's port with the operands, and the constants of the columns.
"""

from dataclasses import dataclass

from ..common.config import AcceleratorConfig
from ..common.jit import inlined, kernel
from ..core.isa import Instruction
from ..memory.scratchpad import READ_LATENCY
from ..product.tiling import FILL
from .product_feed import BEATS, feed_beats, load_keys, sizes, step_beats, stream_weights
from .stream import WORD, cursor_of

EPILOGUE = 15
"""Cycles of a result in the epilogue, from its accumulators on."""

PLACEMENT = 4
"""Cycles from there to the write of the scratchpad."""

FRONT, SUMS = 6, 2
"""Cycles of it in front of the residuals, and from there to the tap."""

_RETURNS = FRONT - 2
"""Cycles of it until the constants of a tile's last rows are given back."""

READER = READ_LATENCY + 4
"""Cycles from a start to the first word of a wide matrix."""

QUEUED = 128
"""Words of a wide matrix that are read ahead."""

DRAIN = 6
"""Cycles from when the sums of a tile are whole to its first result beat."""

CONSTANTS = 5
"""Cycles from a column unit to the constants of its column."""

ROW_CONSTANTS = 6
"""Cycles from a start to the constants of the first row."""

RESULTS = 16
"""Result beats that wait behind the array."""

CONSTANT_WORDS = 16
"""Words of `lanes` columns for whose constants there is room."""

_FLIGHT = FILL - DRAIN  # cycles from the last operands of a tile to its sums
_UNITS = 1  # cycles from a start to when column units are accepted
_BITS = 0xFF  # what is remembered of the cycles before, the last one in bit 0


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
    first
        The cycle in which the epilogue takes the first result.
    """

    end: int
    word: int
    array: int
    weights: int
    drain: int
    tapped: int
    first: int


def product_cycles(op: Instruction, config: AcceleratorConfig, stream, word: int,
                   start: int) -> ProductCycles:
    """Go through a product that starts in a cycle, its payload beginning with a word of the stream.

    `stream` is that of :func:`golden.cycles.stream.stream_of`, and goes on meanwhile.
    """
    steps = _steps(sizes(op, config, start), stream, cursor_of(word, config))
    return ProductCycles(*map(int, steps))


@inlined
def _progress(epilogue):
    active, _, _, _, _, front, _, accepted, left = epilogue
    return active or front, accepted, left


@inlined
def _epilogue(product, epilogue, residuals, constants, issues, cycle):
    # Return the states, whether a result is taken, and whether a column unit would be.
    # Whether results are still to come, those that have, row and place of the next one, place in
    # which its row begins; beats in the stages up to the residuals, and those of them that end a
    # row of tiles, as bits; the cycles in which one last came, and left these stages.
    active, results, row, place, first_place, front, ends, accepted, left = epilogue
    to_ask, promised, spare = residuals
    units, fills, filled, given_back = constants
    results += (issues >> (DRAIN - 2)) & 1
    filled += (fills >> (CONSTANTS - 1)) & 1

    row_words = product.tile_cols // product.lanes
    last_word = (product.n - 1) // product.lanes
    inside = row < product.m and place <= last_word
    known = (filled // product.lanes > place if product.streamed
             else cycle >= product.start + ROW_CONSTANTS)
    accept = (active and known and results > 0
              and (spare > 0 or not inside or not product.residual))
    if (front >> (FRONT - 1)) & 1:
        left = cycle
        if product.residual:
            promised -= 1
    wants_unit = (product.streamed and active and cycle >= product.start + _UNITS
                  and units // product.lanes - given_back != CONSTANT_WORDS
                  and (units % product.tile_cols != 0 or units < product.n))
    if (ends >> (_RETURNS - 1)) & 1:
        given_back += row_words
    front = (front << 1) & ((1 << FRONT) - 1)
    ends = (ends << 1) & ((1 << _RETURNS) - 1)
    if accept:
        results -= 1
        front |= inside
        spare -= inside
        accepted = cycle
        place += 1
        if place % row_words == 0:
            row += 1
            if row == product.tiles * product.tile_rows:
                row, first_place = 0, place
                ends |= 1
                if place > last_word:
                    active = 0
            place = first_place
    return ((active, results, row, place, first_place, front, ends, accepted, left),
            (to_ask, promised, spare), (units, fills, filled, given_back), accept,
            wants_unit)


@inlined
def _ask(residuals, port_free):
    # Words to ask for, asked for and not taken, and of these those for no accepted result.
    to_ask, promised, spare = residuals
    if to_ask and promised < QUEUED and port_free:
        to_ask -= 1
        promised += 1
        spare += 1
    return to_ask, promised, spare


@inlined
def _step_constants(constants, unit_taken):
    # Column units taken, when (as bits), and there; words of columns that are no longer needed.
    units, fills, filled, given_back = constants
    return units + unit_taken, (fills << 1) & _BITS | unit_taken, filled, given_back


@inlined
def _step_array(product, array, finish, accept):
    # Whether sums are on their way, whether a result is issued, whether a tile may end, results
    # of a tile to issue, places left for them; when tiles have ended and results were issued, as
    # bits.
    flying, issue, _, to_issue, room, finishes, issues = array
    capture = (finishes >> (_FLIGHT - 1)) & 1
    finishes = (finishes << 1) & _BITS | int(finish)
    flying = finish or (flying and not capture)
    issues = (issues << 1) & _BITS | issue
    to_issue = product.beats if capture else to_issue - issue
    room += int(accept) - issue
    issue = int(to_issue != 0 and room != 0)
    ready = not flying and to_issue <= _FLIGHT + 1 and room >= to_issue
    return flying, issue, ready, to_issue, room, finishes, issues


@kernel
def _steps(product, stream, cursor):
    # One pass of the loop is one cycle: first what is to be seen in it, then its end.
    beats = BEATS
    weights = cursor[WORD], product.streamed, 0, product.columns
    keys = product.columns, 0, 2, 0, -1, -1, -1, -1
    array = 0, 0, 0, 0, RESULTS, 0, 0
    words = (product.n - 1) // product.lanes + 1
    residuals = (product.m * words if product.residual else 0), 0, 0
    epilogue = 1, 0, 0, 0, 0, 0, 0, 0, 0
    constants = 0, 0, 0, 0
    running = True
    accepted = left = first = 0
    taken = no_weights = no_drain = 0
    cycle = product.start
    while running:
        cycle += 1
        _, _, ready, _, _, _, issues = array
        epilogue, residuals, constants, accept, wants_unit = _epilogue(
            product, epilogue, residuals, constants, issues, cycle)
        if accept and first == 0:
            first = cycle
        moves, d, d_last, read, fresh, wants_column, feeding = feed_beats(product, beats, ready)
        if feeding:
            if not d:
                no_weights += 1
            elif moves[0]:
                taken += 1
            else:
                no_drain += 1
        base, unit_taken, asks_key = 0, False, False
        if product.streamed:
            weights, offered, base, unit_taken = stream_weights(
                product, weights, read, cursor, stream, cycle, wants_column, wants_unit)
        else:
            keys, offered, asks_key = load_keys(product, keys, read, cycle, wants_column, fresh)
        residuals = _ask(residuals, not fresh and not asks_key)
        array = _step_array(product, array, moves[0] and d_last, accept)
        constants = _step_constants(constants, unit_taken)
        beats = step_beats(product, beats, moves, offered, base)
        running, accepted, left = _progress(epilogue)
    end = max(left + EPILOGUE - FRONT + PLACEMENT + 1, accepted + 1)
    return end, cursor[WORD], taken, no_weights, no_drain, left + SUMS, first
