"""Predictions of the core to the cycle: range unit and scale unit, fed by the stream.

:func:`golden.prediction.range_unit.range_cycles` and :func:`golden.prediction.scale_unit.cycles`
say what they take if nothing makes them wait. Here the statistics' normalisations and the
coefficients come through the stream, and the range unit has begun when the tensor that it watched
was over.
"""

import numpy as np

from ..common.config import AcceleratorConfig
from ..common.jit import kernel
from ..core.isa import Instruction
from ..prediction.scale_predictor import PredictorShape
from ..prediction.scale_unit import DEGREE_LATENCY
from .stream import LEFT, WORD, command, cursor_of, gives_unit, step_cursor

EXTREMES, LOG, NORMALISE = 3, 7, 4
"""Stages of the range unit: a visit of the extremes, the logarithm, and the statistic."""

SUMS = 4
"""Cycles from a coefficient beat in the scale unit to the sums of its block."""

ROUND = 3
"""Cycles from the sum of a variable to the variable."""

SCALE = 6
"""Cycles from the sum of a site to its scale."""


def prediction_cycles(op: Instruction, tap: Instruction, config: AcceleratorConfig, stream,
                      word: int, tapped: int, start: int) -> tuple[int, int]:
    """Return the last cycle of a prediction that starts in a cycle, and the stream word behind it.

    `tap` is the product whose results were watched, the last one in cycle `tapped`.
    """
    shape = PredictorShape(op.statistics, op.variables, op.sites, op.degree, bool(op.projected))
    products = sum(shape.monomials_of_degree(degree) + DEGREE_LATENCY
                   for degree in range(2, shape.degree + 1))
    numbers = (tap.last_chunk + 1, tap.chunk_entries, tap.per_channel, tap.last_lane + 1,
               config.lanes, (config.lanes - 1).bit_length(), shape.statistics, shape.projected,
               shape.variables, shape.sites, shape.monomials, products, config.scale_lanes,
               op.words)
    cursor = cursor_of(word, config)
    end = _steps(*stream, cursor, np.array(numbers, np.int64), tapped, start)
    return int(end), int(cursor[WORD])


@kernel
def _enter(stages, what):
    for stage in range(stages.size - 1, 0, -1):
        stages[stage] = stages[stage - 1]
    stages[0] = what


@kernel
def _steps(state, arrived, freed, cursor, numbers, tapped, start):
    # One pass of the loop is one cycle: first what is to be seen in it, then its end.
    (chunks, entries, per_channel, last_lanes, lanes, levels, statistics, projected, variables,
     sites, monomials, products, width, words) = numbers
    # Range unit, stage by stage: 0 nothing, 1 a visit, 2 the last of a group, 3 of all groups.
    visits, chunk, entry = np.zeros(EXTREMES, np.int64), 0, 0
    tree = np.zeros(max(levels, 1), np.int64)
    whole, given = 0, 0
    logs, normal = np.zeros(LOG, np.int64), np.zeros(NORMALISE, np.int64)
    # Units: whether the predictor has been asked for, units of statistics to come, and what is left
    # of a unit in the two splitters.
    asked, means, mean_parts, coefficients = False, 0, 0, 0
    # Scale unit: what is fed (0 nothing, 1 variables, 2 sites), results left to feed, and the beat;
    # stage by stage, what a beat is for, and the results of a block with its last one; results that
    # are given one by one; when the monomials are there.
    kind, to_feed, term = 0, 0, 0
    kinds, held = np.zeros(SUMS + 1, np.int64), np.zeros(SUMS + 1, np.int64)
    splitting, splitting_kind = 0, 0
    split = statistics_seen = 0
    expanded = -1

    cycle = tapped
    while True:
        cycle += 1
        running = cycle > start

        # Range unit, from its end on.
        log_moves = logs[LOG - 1] == 0 or mean_parts > 0
        takes_mean = mean_parts > 0 and logs[LOG - 1] != 0
        statistic = normal[NORMALISE - 1] != 0
        gives = given > 0 and log_moves
        takes_whole = given == 0 or (given == 1 and gives)
        whole_moves = whole == 0 or takes_whole
        tree_moves = tree[levels - 1] == 0 or whole_moves
        lanes_move = whole_moves if per_channel else tree_moves
        visit = visits[EXTREMES - 1]
        visits_move = visit == 0 or lanes_move
        _enter(normal, takes_mean)
        if log_moves:
            _enter(logs, gives)
        if gives:
            given -= 1
        if whole and takes_whole:
            last = last_lanes if whole == 3 else lanes
            given = 2 * last if per_channel else 2
        to_sums = visit if per_channel else tree[levels - 1]
        if whole_moves:
            whole = to_sums if to_sums > 1 else 0
        if not per_channel and tree_moves:
            _enter(tree, visit)
        if visits_move:
            _enter(visits, 0)
            if entry < entries:
                visits[0] = 1
                chunk += 1
                if chunk == chunks:
                    chunk = 0
                    entry += 1
                    visits[0] = 2 if entry < entries else 3

        # Scale unit, from its end on.
        if splitting and splitting_kind == 2:
            split += 1
            if split == sites:
                return cycle + SCALE + 1
        elif splitting:
            split += 1
            if split == variables:
                split = 0
                expanded = cycle + ROUND + products + 1
        can_split = splitting <= 1
        sums_move = held[SUMS] == 0 or can_split
        splitting = max(splitting - 1, 0)
        if can_split and held[SUMS]:
            splitting, splitting_kind = held[SUMS], kinds[SUMS]
        feeds = kind != 0 and coefficients > 0 and (kinds[0] == 0 or sums_move)
        if sums_move:
            _enter(held, 0)
            _enter(kinds, 0)
        if feeds:
            final = term == (statistics if kind == 1 else monomials)
            kinds[0], held[0] = kind, 0
            term += 1
            if final:
                held[0] = min(to_feed, width)
                term = 0
                to_feed -= width
                if to_feed <= 0:
                    kind = 0
        if expanded == cycle:
            kind, to_feed, term = 2, sites, 0
        if statistic:
            statistics_seen += 1
            if statistics_seen == statistics:
                if projected:
                    kind, to_feed, term = 1, variables, 0
                else:
                    expanded = cycle + products + 1

        # Units of the stream.
        if cycle == start:
            means = (statistics + 1) // 2
            command(cursor, means)
        if not running:
            continue
        first = means > 0
        mean_free = mean_parts == 0 or (mean_parts == 1 and takes_mean)
        coefficient_free = coefficients == 0 or (coefficients == 1 and feeds)
        accepted = gives_unit(cursor) and (mean_free if first else coefficient_free)
        mean_parts -= takes_mean
        coefficients -= feeds
        if accepted and first:
            mean_parts = 2
            means -= 1
        elif accepted:
            coefficients = 4 // width
        asks = cursor[LEFT] == 0 and not asked
        if step_cursor(cursor, state, arrived, freed, cycle, accepted, False):
            freed[cursor[WORD] - 1] = cycle
        if asks:
            command(cursor, words)
            asked = True
