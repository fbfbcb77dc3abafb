"""The operand feed of a product to the cycle: order of the beats, and where weights come from.

Kernels of :mod:`golden.cycles.product_cycles`. Each goes through a part of one cycle; it is given
what it knew in a tuple, whose entries it names first, and returns it as it is in the next cycle.
"""

from typing import NamedTuple

from ..common.config import AcceleratorConfig
from ..common.jit import inlined
from ..core.isa import Instruction, Source
from ..product.tiling import drain_cycles
from . import feed
from .stream import GIVING, LEFT, WORD, command, gives_unit, step_cursor, words_there


class Product(NamedTuple):
    """What of a product and its core the cycles follow from."""

    m: int
    k: int
    n: int
    streamed: bool  # weights come through the stream, not out of the scratchpad
    residual: bool
    tiles: int  # in a column of tiles
    columns: int  # of tiles
    tile_rows: int
    tile_cols: int
    lanes: int
    beats: int  # of the results of a tile
    header: int  # words of a tile column in front of its weights
    load_words: int  # of the scratchpad, for the keys of a tile column
    apart: int  # cycles between two of these words
    start: int  # cycle in which the instruction starts


def sizes(op: Instruction, config: AcceleratorConfig, start: int) -> Product:
    """Return what the cycles of `op` follow from; it starts in cycle `start`."""
    mode = op.mode_of
    rows, cols = config.tile_rows(mode), config.tile_cols(mode)
    load_words, apart = feed.load_words(op.k, Source(op.weights), config)
    return Product(*map(int, (
        op.m, op.k, op.n, op.weights == Source.STREAM, op.residual != 0, -(-op.m // rows),
        -(-op.n // cols), rows, cols, config.lanes, drain_cycles(mode, config),
        feed.header_words(mode), load_words, apart, start)))


BEATS = (1, 0, 0, 0, 0, 0, 0, 0, *feed.AHEAD * (0,), *2 * (0,), *2 * (0,))
"""State of the beats before the first one."""

_LAST, _COLUMN_LAST, _FINAL = 1, 2, 4  # a beat ends its tile, its column, the product
_FLAGS = 3  # bits; above them, the word of its weights
_COMING = (1 << (feed.ARRIVAL - 1)) - 1  # asks of which nothing is there yet


@inlined
def feed_beats(product, beats, ready):
    """Return what moves at the end of the cycle: d into the array, c, and the next beat.

    Then whether d holds a beat, the last one of a tile; whether the feed reads a word of weights,
    which, whether it is the last of its column, and whether it could be read if the array were
    ready; whether it reads the first of two words of
    activations; whether it would have the weights of the next column; whether beats are left.
    `ready` says whether the array may end a tile.
    """
    (feeding, there, _, step, tile, column, ahead, asks, first, _, _, _, _, c, _, d, d_what) = beats
    d_last = d_what & _LAST != 0
    taken = d and (ready or not d_last)
    c_free = not c or not d or taken
    coming = 0
    for age in range(feed.ARRIVAL - 1):
        coming += asks >> age & 1
    claims = ahead > coming
    reads = c_free and claims
    go = there and ahead < feed.AHEAD
    column_last = step == product.k - 1 and tile == product.tiles - 1
    wants_column = column < product.columns and (not there or (go and column_last))
    return ((taken, c_free, go, reads), d, d_last,
            (reads, first >> _FLAGS, first & _COLUMN_LAST != 0, claims), go and step % 2 == 0,
            wants_column, feeding)


@inlined
def step_beats(product, beats, moves, offered, new_base):
    """Return the beats of the next cycle; a column's weights are `offered` from `new_base` on."""
    # Whether any is left, whether the weights of the column are there and at which word, and the
    # next beat. How many have been asked for, in which of the cycles before (as bits), and these,
    # the first one first: the word of their weights and what they are the last of. Stages c and d:
    # whether a beat is there, and what it is the last of.
    (feeding, there, base, step, tile, column, ahead, asks, first, second, third, fourth, fifth, c,
     c_what, d, d_what) = beats
    taken, c_free, go, reads = moves
    last = step == product.k - 1
    column_last = last and tile == product.tiles - 1
    if taken and d_what & _FINAL:
        feeding = 0
    if not d or taken:
        d, d_what = c, c_what
    if c_free:
        c, c_what = int(reads), first
    if reads:
        first, second, third, fourth, fifth = second, third, fourth, fifth, 0
        ahead -= 1
    asks = (asks << 1 | int(go)) & _COMING
    if go:
        asked = ((base + step) << _FLAGS | (_LAST if last else 0)
                 | (_COLUMN_LAST if column_last else 0)
                 | (_FINAL if column_last and column == product.columns else 0))
        if ahead == 0:
            first = asked
        elif ahead == 1:
            second = asked
        elif ahead == 2:
            third = asked
        elif ahead == 3:
            fourth = asked
        else:
            fifth = asked
        ahead += 1
        step += 1
        if last:
            step = 0
            tile += 1
        if column_last:
            tile = there = 0
    if offered:
        there, base = 1, new_base
        column += 1
    return (feeding, there, base, step, tile, column, ahead, asks, first, second, third, fourth,
            fifth, c, c_what, d, d_what)


@inlined
def stream_weights(product, weights, read, cursor, stream, cycle, wants_column, wants_unit):
    """Go through a cycle of weights that come through the stream; `read` is as of `feed_beats`.

    Return their state, whether a column is offered, from which word on, and whether a column unit
    is taken.
    """
    # The first word held, whether the header of a column is being taken or its weights are passed
    # over, columns to take.
    first_held, taking, skipping, to_take = weights
    state, arrived, freed = stream
    reads, b_word, b_end, claims = read
    base, offered, unit_taken = cursor[WORD], False, False
    if skipping and cursor[LEFT] == 0 and wants_column:
        offered = words_there(state, arrived, freed, cycle) - base >= product.k
    if cursor[LEFT] or cursor[GIVING]:
        unit_taken = wants_unit and gives_unit(cursor)
        step_cursor(cursor, state, arrived, freed, cycle, unit_taken,
                    claims and (b_word - base) % 2 == 0)
    if offered:
        cursor[WORD] += product.k
        skipping, taking = 0, to_take > 0
    elif taking and cursor[LEFT] == 0:
        taking, skipping = 0, 1
        command(cursor, product.tile_cols)
        to_take -= 1
    if reads and b_end:
        behind = first_held + product.header + product.k
        for held in range(first_held, behind):
            freed[held] = cycle + 1
        first_held = behind
    return (first_held, taking, skipping, to_take), offered, base, unit_taken


@inlined
def load_keys(product, keys, read, cycle, wants_column, fresh):
    """Go through a cycle of the buffer for keys and values; `read` is as of :func:`feed_beats`.

    Return its state, whether a column is offered, and whether a word is asked for: it has to wait
    in a `fresh` cycle, in which activations are read.
    """
    # Tile columns to load, words left of one, free halves of the buffer, cycles until the next
    # word; when the next two columns are offered, and the next two halves released.
    to_load, loading, halves, rest, offer, second_offer, release, second_release = keys
    reads, _, b_end, _ = read
    offered = wants_column and 0 <= offer <= cycle
    if rest:
        rest -= 1
    if release == cycle:
        halves += 1
        release = -1
    if second_release == cycle:
        halves += 1
        second_release = -1
    asks = rest == 0 and (loading > 0 or (to_load > 0 and halves > 0))
    if asks and not fresh:
        if loading == 0:
            loading = product.load_words
            to_load -= 1
            halves -= 1
        loading -= 1
        rest = product.apart
        if loading == 0:
            there = cycle + feed.LOAD - (1 if product.apart == 1 or product.k % 2 else 0)
            if offer >= 0:
                second_offer = there
            else:
                offer = there
    if offered:
        offer, second_offer = second_offer, -1
    if reads and b_end:
        if release >= 0:
            second_release = cycle + feed.RELEASE
        else:
            release = cycle + feed.RELEASE
    return ((to_load, loading, halves, rest, offer, second_offer, release, second_release), offered,
            asks)
