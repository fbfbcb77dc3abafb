"""The self-test of each unit: its operands, made from pattern words, and its right results.

Operands come from the same fields of the same words, and constants from the same functions, as in
:mod:`rtl.selftest.stations`; the results are what the golden functions make of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import comb, prod

import numpy as np

from ..common.config import AcceleratorConfig
from ..common.formats import ACC, ACT16, INT8, LOG2, MANTISSA, OPERAND, STATISTIC, Mode
from ..prediction.range_shape import RangeShape
from ..prediction.range_unit import statistics
from ..prediction.scale_predictor import ScalePredictor
from ..prediction.scale_unit import predict, scales
from ..product.mac_array import CODES, Activation, gemm
from ..results.requant import requant
from .pattern import Field, stimulus, words_for


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one unit: `beats` beats of `words` pattern words in, `results` out."""

    name: str
    words: int
    beats: int
    results: tuple[int, ...]


# range unit: one tensor after another, each with a normalisation of its own.


def range_fields(config: AcceleratorConfig) -> list[Field]:
    """Return the activation of each lane."""
    return [Field.packed(lane, ACT16.bits, signed=True) for lane in range(config.lanes)]


def range_shapes(config: AcceleratorConfig) -> tuple[RangeShape, ...]:
    """Return the runs: whole tensor, groups, and single channels, with ragged edges."""
    lanes = config.lanes
    return (RangeShape(7, 3 * lanes - lanes // 2, 3, tile_words=2),
            RangeShape(6, 2 * lanes, 4, groups=2),
            RangeShape(5, 2 * lanes, 2, groups=2 * lanes))


def range_normalisation(shape: RangeShape) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and gain of each statistic: those of extremes of uniform numbers, varied."""
    index = np.arange(shape.statistics)
    expected = 13 if shape.per_channel else 14
    return expected * LOG2.one + 37 * index % 512, 200 + 41 * index % 300


def _tensor(beats: np.ndarray, shape: RangeShape, config: AcceleratorConfig) -> np.ndarray:
    """Return beats in their order of arrival as the tensor (tokens, channels) they make up."""
    words = shape.words(config)
    step = shape.tile_words or words
    tiles = []
    for start in range(0, words, step):
        count = shape.tokens * min(step, words - start)
        tiles.append(beats[:count].reshape(shape.tokens, -1))
        beats = beats[count:]
    return np.hstack(tiles)[:, :shape.channels]


def _range_check(config: AcceleratorConfig) -> Check:
    fields = range_fields(config)
    shapes = range_shapes(config)
    counts = [shape.tokens * shape.words(config) for shape in shapes]
    words = words_for(fields)
    beats = np.array([[field(beat) for field in fields] for beat in stimulus(words, sum(counts))])
    results = []
    for shape, part in zip(shapes, np.split(beats, np.cumsum(counts)[:-1]), strict=True):
        results += statistics(_tensor(part, shape, config), shape.chunk_tokens, shape.groups,
                              *range_normalisation(shape)).tolist()
    return Check("range", words, sum(counts), tuple(results))


# scale unit: with and without a projection.

SCALE_STATISTIC = Field(0, 0, STATISTIC.bits - 1, signed=True)
_SCALE_NUMBER = Field(0, 0, 14, signed=True)  # small enough for PredictorShape's error limit


@lru_cache
def scale_predictors() -> tuple[ScalePredictor, ...]:
    """Return the predictors, one per image."""
    numbers = (_SCALE_NUMBER(beat) for beat in stimulus(1, 1 << 12))

    def array(*shape):
        return np.array([next(numbers) for _ in range(prod(shape))]).reshape(shape)

    def predictor(sites, variables, degree, **projection):
        counts = [comb(variables + d - 1, d) for d in range(1, degree + 1)]
        return ScalePredictor(array(sites), tuple(array(sites, count) for count in counts),
                              **projection)

    return (predictor(5, 2, 3, projection=array(2, 6), bias=array(2)), predictor(3, 2, 2))


def _scale_check(config: AcceleratorConfig) -> Check:
    predictors = scale_predictors()
    counts = [predictor.shape.statistics for predictor in predictors]
    values = [SCALE_STATISTIC(beat) for beat in stimulus(1, sum(counts))]
    results = []
    for count, predictor in zip(counts, predictors, strict=True):
        lambdas = predict(values[:count], predictor)
        mantissa, shift = scales(lambdas)
        values = values[count:]
        results.append(np.stack((lambdas, mantissa + (shift << MANTISSA.bits)), axis=1))
    return Check("scale", 1, sum(counts), tuple(np.concatenate(results).ravel().tolist()))


# MAC array: a tile of every mode and kind of activation.

ARRAY_K = 16
ARRAY_TILES = ((Mode.W8A8, Activation.SIGNED), (Mode.W8A8, Activation.UNSIGNED),
               (Mode.W8A8, Activation.CODE), (Mode.W4A8, Activation.SIGNED),
               (Mode.W4A8, Activation.UNSIGNED), (Mode.W4A8, Activation.CODE),
               (Mode.W4A4, Activation.SIGNED))
CODEBOOK = tuple(37 * code * code % (2 * OPERAND.max + 1) + OPERAND.min for code in range(CODES))


def array_fields(config: AcceleratorConfig) -> tuple[list[Field], list[Field]]:
    """Return the activation byte of each PE row and the byte that gives each column's weights."""
    fields = [Field.packed(index, 8) for index in range(config.rows + config.cols)]
    return fields[:config.rows], fields[config.rows:]


def weight_byte(byte):
    """Return `byte` with nibbles of -8, which 4-bit weights never are, made -7.

    Works on Python integers and on Amaranth values.
    """
    low, high = byte & 15, (byte >> 4) & 15
    return (low | (low == 8)) | ((high | (high == 8)) << 4)


def array_start(column: int) -> int:
    """Return the start value of a logical column."""
    return 37 * (column + 1) * (-1) ** column


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    half = 1 << (bits - 1)
    return ((values + half) & (2 * half - 1)) - half


def _nibbles(values: np.ndarray) -> np.ndarray:
    """Return bytes (k, n) as their signed nibbles (k, 2 * n), the low one first."""
    return _signed(np.stack((values & 15, values >> 4), axis=-1), 4).reshape(len(values), -1)


def _operands(activations, weights, mode: Mode, activation: Activation):
    """Return the operand values (m, k) and (k, n) that bytes (k, rows) and (k, cols) stand for."""
    if mode is Mode.W4A4:
        a = _nibbles(activations)
    elif activation is Activation.CODE:
        a = activations & (CODES - 1)
    else:
        a = _signed(activations, 8) if activation is Activation.SIGNED else activations
    return a.T, _signed(weights, 8) if mode is Mode.W8A8 else _nibbles(weights)


def _array_check(config: AcceleratorConfig) -> Check:
    rows, cols = array_fields(config)
    words = words_for(rows + cols)
    beats = stimulus(words, ARRAY_K * len(ARRAY_TILES))
    activations = np.array([[field(beat) for field in rows] for beat in beats])
    weights = np.array([[weight_byte(field(beat)) for field in cols] for beat in beats])
    results = []
    for index, (mode, activation) in enumerate(ARRAY_TILES):
        part = slice(index * ARRAY_K, (index + 1) * ARRAY_K)
        a, w = _operands(activations[part], weights[part], mode, activation)
        results += gemm(a, w, mode, activation, CODEBOOK if activation is Activation.CODE else None,
                        [array_start(column) for column in range(w.shape[1])],
                        config).ravel().tolist()
    return Check("array", words, len(beats), tuple(results))


# requant: about half the results saturate.

REQUANT_BEATS = 256
REQUANT_LOW, REQUANT_HIGH = INT8.min, INT8.max


def requant_fields(lane: int) -> tuple[Field, Field, Field]:
    """Return accumulator, mantissa and shift of one lane."""
    return (Field(2 * lane, 0, ACC.bits, signed=True),
            Field(2 * lane + 1, 0, MANTISSA.frac, offset=MANTISSA.one),
            Field(2 * lane + 1, MANTISSA.bits, 3, offset=36))


def _requant_check(config: AcceleratorConfig) -> Check:
    words = 2 * config.lanes
    results = []
    for beat in stimulus(words, REQUANT_BEATS):
        acc, mantissa, shift = zip(*([field(beat) for field in requant_fields(lane)]
                                     for lane in range(config.lanes)), strict=True)
        results += requant([acc], mantissa, shift, REQUANT_LOW, REQUANT_HIGH)[0].tolist()
    return Check("requant", words, REQUANT_BEATS, tuple(results))


CHECKS: dict[str, Callable[[AcceleratorConfig], Check]] = {
    "range": _range_check, "scale": _scale_check, "array": _array_check,
    "requant": _requant_check,
}
"""How the check of each unit is computed, in the order in which they run."""


def checks(config: AcceleratorConfig) -> tuple[Check, ...]:
    """Return the checks of all units, in the order in which they run."""
    return tuple(check(config) for check in CHECKS.values())
