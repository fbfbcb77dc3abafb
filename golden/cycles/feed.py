"""Cycles of a product in the core: from its start to its last result, operands fetched meanwhile.

The operand feed (:mod:`rtl.product.operand_feed`) brings the operands of one product to the array.
It begins with the weights of the first tile column, :func:`first_beat`; those of the next are
brought while one is multiplied. If they are there in time, which :func:`hidden` tells, that is all
there is to add to :func:`golden.product.tiling.gemm_cycles`; if not, the array waits for them,
and :func:`cycles` goes through feed and array cycle by cycle.
"""

from collections import deque
from dataclasses import dataclass

from ..common.config import AcceleratorConfig
from ..common.formats import Mode
from ..core.isa import UNIT_BYTES, Source, header_words
from ..memory.scratchpad import READ_LATENCY
from ..product.tiling import FILL, SHORTEST, drain_cycles, gemm_cycles

ARRIVAL = READ_LATENCY + 1
"""Cycles from the request for the activations of a beat to that for its weights, at least."""

LATENCY = ARRIVAL + 2
"""Cycles from the request for the activations of a beat to the beat."""

AHEAD = ARRIVAL + 1
"""Beats that may have been asked for, and whose weights have not. Another one is asked for while
they are fewer."""

COMMAND = 2
"""Cycles from the start of a product, or from when the weights of a tile column have been passed,
to the first read of the next column units."""

LOAD = READ_LATENCY + 3
"""Cycles from the read of the last word of keys or values to the tile column being offered, one
less if the word gives one word of weights."""

OFFER = 1
"""Cycles from a tile column being offered to the first request of its activations."""

RELEASE = 2
"""Cycles from the read of the last weights of a tile column to a load in their place."""


def cycles(m: int, k: int, n: int, mode: Mode, weights: Source, config: AcceleratorConfig) -> int:
    """Cycles from the start of an (m, k) x (k, n) product to its last result beat, both included.

    With the activations in the scratchpad and its port the feed's, weights of the stream in the
    ring, and column units and results always taken.
    """
    total = gemm_cycles(m, k, n, mode, config)
    if hidden(m, k, n, mode, weights, config):
        return first_beat(k, mode, weights, config) + total
    return _stepped(m, k, n, mode, weights, config)


def first_beat(k: int, mode: Mode, weights: Source, config: AcceleratorConfig) -> int:
    """Cycles from the start of a product to its first operand beat."""
    if weights is Source.STREAM:
        read = COMMAND + (header_words(mode) - 1) * _per_word(config)
        return read + 1 + OFFER + LATENCY
    words, apart = load_words(k, weights, config)
    read = 1 + (words - 1) * apart
    return read + LOAD - (apart == 1 or k % 2) + OFFER + LATENCY


def hidden(m: int, k: int, n: int, mode: Mode, weights: Source, config: AcceleratorConfig) -> bool:
    """Whether all but the first tile column of weights are certain to be there in time."""
    tiles = -(-m // config.tile_rows(mode))
    if n <= config.tile_cols(mode):
        return True
    if weights is Source.STREAM and k < max(drain_cycles(mode, config), SHORTEST):
        return False  # a beat that waits for the array keeps the units from half of the ring
    if weights is Source.STREAM:  # each word may have to wait for the feed's
        needed = COMMAND + header_words(mode) * (_per_word(config) + 1) + 1 + OFFER
    else:  # so may those of the scratchpad, at each end of a tile
        words, apart = load_words(k, weights, config)
        needed = RELEASE + words * max(apart, 2) + tiles + LOAD + OFFER + LATENCY
    return tiles * max(k, drain_cycles(mode, config), SHORTEST) >= needed


def _per_word(config):
    """Cycles between the reads of two words of column units."""
    return max(1, config.cols // UNIT_BYTES)


def load_words(k: int, weights: Source, config: AcceleratorConfig) -> tuple[int, int]:
    """Words of the scratchpad that a tile column has, and the cycles from one to the next."""
    parts = config.cols // config.rows
    if weights is Source.VALUES and parts == 2:
        return k, 1
    return -(-k // 2) * (parts if weights is Source.KEYS else 1), 2


@dataclass(frozen=True, slots=True)
class _Beat:
    """A beat on its way: the address of its weights, and what it is the last of."""

    weights: int
    odd: bool
    last: bool
    column_last: bool


def _beats(tiles, k, base):
    """Beats of a tile column whose weights begin at address `base`."""
    for tile in range(tiles):
        for index in range(k):
            last = index == k - 1
            yield _Beat(base + index, bool(index % 2), last, last and tile == tiles - 1)


class _Cursor:
    """Column units and weights of the stream by cycles; see :mod:`rtl.memory.weight_buffer`."""

    def __init__(self, k, columns, mode, config):
        self._k, self._columns, self._words = k, columns, header_words(mode)
        self._per_word = _per_word(config)
        self._taking = True  # a command for column units is next, not one for weights
        self._at = 0
        self._left = 0  # words of column units to read
        self._units = 0  # units of the last one to give

    def offer(self):
        """Address of the weights of a tile column, None if they have not been found."""
        return None if self._taking or self._left or not self._columns else self._at

    def step(self, taken, activations, claimed, weights):
        """A cycle, in which the feed takes what is offered and has a beat whose weights can be
        read, `claimed`."""
        self._units = max(0, self._units - 1)
        if taken:
            self._at, self._columns, self._taking = self._at + self._k, self._columns - 1, True
        elif self._taking and self._columns:
            self._left, self._taking = self._words, False
        elif self._left and not self._units and not (
                claimed and (claimed.weights - self._at) % 2 == 0):
            self._at, self._left, self._units = self._at + 1, self._left - 1, self._per_word


class _Loader:
    """Loads of keys or values, cycle by cycle; see :mod:`rtl.product.kv_buffer`."""

    def __init__(self, k, columns, weights, config):
        self._words, self._apart = load_words(k, weights, config)
        self._load = LOAD - (self._apart == 1 or k % 2)
        self._columns = columns
        self._left = 0  # words of the tile column to read
        self._halves = 2  # that are free
        self._rest = 0  # cycles in which no word can be read
        self._loading = []  # cycles until tile columns are offered
        self._releasing = []  # and until halves are free

    def offer(self):
        """Zero if a tile column is there, else None."""
        return 0 if self._loading and self._loading[0] <= 0 else None

    def step(self, taken, activations, claimed, weights):
        """A cycle, in which the feed takes what is offered, reads `activations` or not, and the
        `weights` of a beat."""
        self._loading = [left - 1 for left in self._loading[taken:]]
        self._releasing = [left - 1 for left in self._releasing]
        if weights and weights.column_last:
            self._releasing.append(RELEASE - 1)
        self._rest = max(0, self._rest - 1)
        if not self._rest and not activations and (self._left or (self._columns and self._halves)):
            if not self._left:
                self._left = self._words
                self._columns, self._halves = self._columns - 1, self._halves - 1
            self._left, self._rest = self._left - 1, self._apart
            if not self._left:
                self._loading.append(self._load - 1)
        self._halves += self._releasing.count(0)


def _stepped(m, k, n, mode, weights, config):
    """Cycles of a product whose weights may be late."""
    drain = drain_cycles(mode, config)
    tiles, left = -(-m // config.tile_rows(mode)), -(-n // config.tile_cols(mode))
    source = (_Cursor(k, left, mode, config) if weights is Source.STREAM
              else _Loader(k, left, weights, config))
    column, beat = iter(()), None  # beats of the tile column; the next one
    stages = [None] * (LATENCY - ARRIVAL)  # with their weights, the first one at the array
    ahead = deque()  # those that have been asked for, and when the weights may be
    cycle = earliest = 0  # the last beat of a tile has to wait for the latter
    while True:
        cycle += 1
        free = [stages[0] is None or not stages[0].last or cycle >= earliest]
        for stage in stages[1:]:
            free.append(stage is None or free[-1])
        if free[0] and stages[0] and stages[0].last:
            earliest = cycle + max(drain, SHORTEST)
            if stages[0].column_last and not (left or any(stages[1:]) or ahead or beat):
                return cycle + FILL + drain

        asked = beat if len(ahead) < AHEAD else None
        claimed = ahead[0][0] if ahead and cycle >= ahead[0][1] else None
        going = claimed if free[-1] else None
        if going:
            ahead.popleft()
        offered = source.offer()
        taken = offered is not None and (not beat or (asked is not None and asked.column_last))
        source.step(taken, asked is not None and not asked.odd, claimed, going)

        stages = [after if place else stage for stage, after, place in
                  zip(stages, [*stages[1:], going], free, strict=True)]
        if asked:
            ahead.append((asked, cycle + ARRIVAL))
        if taken:
            column, left = _beats(tiles, k, offered), left - 1
        if taken or asked:
            beat = next(column, None)
