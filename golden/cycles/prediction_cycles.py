"""Predictions of the core to the cycle: range unit and scale unit, fed by the stream.

:mod:`golden.prediction.range_shape` and :mod:`golden.prediction.scale_cycles` say what they take if
nothing makes them wait. Here the statistics' normalisations and the coefficients come through the
stream, and the range unit has begun when the tensor that it watched was over.
"""

from typing import NamedTuple

from ..common.config import AcceleratorConfig
from ..common.jit import inlined, kernel
from ..core.isa import Instruction
from ..prediction.scale_cycles import DEGREE_LATENCY
from ..prediction.scale_predictor import PredictorShape
from .stream import LEFT, WORD, command, cursor_of, gives_unit, step_cursor

EXTREMES, LOG, NORMALISE = 3, 7, 4
"""Stages of the range unit: a visit of the extremes, the logarithm, and the statistic."""

SUMS = 4
"""Cycles from a coefficient beat in the scale unit to the sums of its block."""

ROUND = 3
"""Cycles from the sum of a variable to the variable."""

SCALE = 6
"""Cycles from the sum of a site to its scale."""

_STAGE = 4  # bits of a stage of a pipeline, all of which are one number, the first one lowest
_BELOW = (1 << _STAGE) - 1


class _Prediction(NamedTuple):
    # What of a prediction, the tensor that was watched and the core the cycles follow from.
    chunks: int
    entries: int  # of the extremes of a chunk
    per_channel: bool
    last_lanes: int  # lanes of the last word that have a channel
    lanes: int
    levels: int  # of the maximum over the lanes
    statistics: int
    projected: bool
    variables: int
    sites: int
    monomials: int
    products: int  # cycles from the variables to all monomials
    width: int  # lanes of the scale unit
    words: int  # units of coefficients
    start: int  # cycle in which the prediction starts


def prediction_cycles(op: Instruction, tap: Instruction, config: AcceleratorConfig, stream,
                      word: int, tapped: int, start: int) -> tuple[int, int]:
    """Return the last cycle of a prediction that starts in a cycle, and the stream word behind it.

    `tap` is the product whose results were watched, the last one in cycle `tapped`.
    """
    cursor = cursor_of(word, config)
    end = _steps(_sizes(op, tap, config, start), stream, cursor, tapped)
    return int(end), int(cursor[WORD])


def _sizes(op: Instruction, tap: Instruction, config: AcceleratorConfig, start: int) -> _Prediction:
    shape = PredictorShape(op.statistics, op.variables, op.sites, op.degree, bool(op.projected))
    products = sum(shape.monomials_of_degree(degree) + DEGREE_LATENCY
                   for degree in range(2, shape.degree + 1))
    levels = max((config.lanes - 1).bit_length(), 1)
    return _Prediction(*map(int, (
        tap.last_chunk + 1, tap.chunk_entries, tap.per_channel, tap.last_lane + 1, config.lanes,
        levels, shape.statistics, shape.projected, shape.variables, shape.sites, shape.monomials,
        products, config.scale_lanes, op.words, start)))


@inlined
def _stage(stages, index):
    return (stages >> (_STAGE * index)) & _BELOW


@inlined
def _enter(stages, count, what):
    # All of `count` stages move on by one.
    return (stages << _STAGE | what) & ((1 << (_STAGE * count)) - 1)


@inlined
def _visit(prediction, chunk, entry):
    # Return what enters the first stage, and the chunk and the entry that come next.
    if entry == prediction.entries:
        return 0, chunk, entry
    chunk += 1
    if chunk < prediction.chunks:
        return 1, chunk, entry
    entry += 1
    return 2 if entry < prediction.entries else 3, 0, entry


@inlined
def _step_ranges(prediction, ranges, means):
    # Return the state of the range unit, whether half of a unit of `means` is taken, and whether
    # there is a statistic. Stage by stage: 0 nothing, 1 a visit, 2 the last of a group, 3 of all
    # groups; chunk and entry of the next visit; sums that are whole, of which results are given.
    visits, chunk, entry, tree, whole, given, logs, normal = ranges
    levels, per_channel = prediction.levels, prediction.per_channel
    visit, log = _stage(visits, EXTREMES - 1), _stage(logs, LOG - 1)
    log_moves = log == 0 or means > 0
    takes_mean = int(means > 0 and log != 0)
    statistic = _stage(normal, NORMALISE - 1) != 0
    gives = int(given > 0 and log_moves)
    takes_whole = given == gives
    whole_moves = whole == 0 or takes_whole
    tree_moves = _stage(tree, levels - 1) == 0 or whole_moves
    lanes_move = whole_moves if per_channel else tree_moves
    to_sums = visit if per_channel else _stage(tree, levels - 1)

    normal = _enter(normal, NORMALISE, takes_mean)
    if log_moves:
        logs = _enter(logs, LOG, gives)
    given -= gives
    if whole and takes_whole:
        last = prediction.last_lanes if whole == 3 else prediction.lanes
        given = 2 * last if per_channel else 2
    if whole_moves:
        whole = to_sums if to_sums > 1 else 0
    if not per_channel and tree_moves:
        tree = _enter(tree, levels, visit)
    if visit == 0 or lanes_move:
        entered, chunk, entry = _visit(prediction, chunk, entry)
        visits = _enter(visits, EXTREMES, entered)
    return (visits, chunk, entry, tree, whole, given, logs, normal), takes_mean, statistic


@inlined
def _split(prediction, split, kinds, held):
    # Return the state behind the sums, whether they move, whether the variables are whole with
    # this cycle, and the scales. Results of a block that are given one by one, and what they are;
    # how many have been given.
    left, kind, given = split
    moves = _stage(held, SUMS - 1) == 0 or left <= 1
    variables = scales = False
    if left:
        given += 1
        scales = kind == 2 and given == prediction.sites
        variables = kind == 1 and given == prediction.variables
        if variables:
            given = 0
    if left <= 1 and _stage(held, SUMS - 1):
        left, kind = _stage(held, SUMS - 1), _stage(kinds, SUMS - 1)
    else:
        left = max(left - 1, 0)
    return (left, kind, given), moves, variables, scales


@inlined
def _feed(prediction, fed, waiting, kinds, held, moves, coefficients):
    # Return the state in front of the sums, their stages, and whether a beat is taken. What is
    # fed (0 nothing, 1 variables, 2 sites), results left to feed, and the term; what the beat in
    # front of the sums is for and its block, and those of the one kept before it.
    kind, to_feed, term = fed
    beat, block, kept, kept_block = waiting
    feeds = int(kind != 0 and coefficients > 0 and (beat == 0 or kept == 0))
    if moves:
        kinds = _enter(kinds, SUMS, kept if kept else beat)
        held = _enter(held, SUMS, kept_block if kept else block)
    if kept:
        if moves:
            kept = kept_block = 0
    else:
        if not moves:
            kept, kept_block = beat, block
        beat = block = 0
    if feeds:
        beat = kind
        if term < (prediction.statistics if kind == 1 else prediction.monomials):
            term += 1
        else:
            block = min(to_feed, prediction.width)
            term = 0
            to_feed -= prediction.width
            if to_feed <= 0:
                kind = 0
    return (kind, to_feed, term), (beat, block, kept, kept_block), kinds, held, feeds


@inlined
def _step_scales(prediction, scales, coefficients, statistic, cycle):
    # Return the state of the scale unit, whether a beat of coefficients is taken, and whether the
    # last site is summed up. What is fed, what waits and what is split; stage by stage in between,
    # what a beat is for, and the results of a block with its last one; statistics that have come;
    # the cycle in which the monomials are there.
    fed, waiting, split, kinds, held, seen, expanded = scales
    split, moves, variables, done = _split(prediction, split, kinds, held)
    if variables:
        expanded = cycle + ROUND + prediction.products + 1
    fed, waiting, kinds, held, feeds = _feed(prediction, fed, waiting, kinds, held, moves,
                                             coefficients)
    if expanded == cycle:
        fed = 2, prediction.sites, 0
    if statistic:
        seen += 1
        if seen == prediction.statistics:
            if prediction.projected:
                fed = 1, prediction.variables, 0
            else:
                expanded = cycle + prediction.products + 1
    return (fed, waiting, split, kinds, held, seen, expanded), feeds, done


@inlined
def _step_units(prediction, units, stream, cursor, takes_mean, feeds, cycle):
    # Return the state of the units. Units of statistics to come, halves of one that are left, beats
    # left of one of coefficients; whether these have been asked for; units that have been read
    # ahead.
    to_come, means, coefficients, asked, kept = units
    state, arrived, freed = stream
    if cycle < prediction.start:
        return units
    if cycle == prediction.start:
        to_come = (prediction.statistics + 1) // 2
        command(cursor, to_come)
        return to_come, means, coefficients, asked, kept
    taken, last = (takes_mean, means) if to_come else (feeds, coefficients)
    accepted = gives_unit(cursor) and kept < 2
    means -= takes_mean
    coefficients -= feeds
    if kept and last == taken:
        kept -= 1
        if to_come:
            means = 2
            to_come -= 1
        else:
            coefficients = 4 // prediction.width
    kept += int(accepted)
    asks = cursor[LEFT] == 0 and not asked
    if step_cursor(cursor, state, arrived, freed, cycle, accepted, False):
        freed[cursor[WORD] - 1] = cycle
    if asks:
        command(cursor, prediction.words)
        asked = 1
    return to_come, means, coefficients, asked, kept


@kernel
def _steps(prediction, stream, cursor, tapped):
    # One pass of the loop is one cycle: first what is to be seen in it, then its end.
    ranges = 0, 0, 0, 0, 0, 0, 0, 0
    nothing = 0, 0, 0
    scales = nothing, (0, 0, 0, 0), nothing, 0, 0, 0, -1
    units = 0, 0, 0, 0, 0
    done = False
    cycle = tapped
    while not done:
        cycle += 1
        _, means, coefficients, _, _ = units
        ranges, takes_mean, statistic = _step_ranges(prediction, ranges, means)
        scales, feeds, done = _step_scales(prediction, scales, coefficients, statistic, cycle)
        if not done:
            units = _step_units(prediction, units, stream, cursor, takes_mean, feeds, cycle)
    return cycle + SCALE + 1
