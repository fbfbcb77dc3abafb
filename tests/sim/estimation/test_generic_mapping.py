import random

import pytest

from golden.common.config import CORES
from golden.common.formats import Mode
from golden.prediction.range_shape import range_cycles
from golden.prediction.scale_cycles import scale_cycles
from golden.product.tiling import gemm_cycles
from sim.estimation import generic_mapping as mapping
from sim.estimation.traffic import Traffic
from sim.estimation.workload import Vector
from sim.prediction.default_shapes import predictor_shape, tap_shape
from tests.cases.workloads import product

CONFIG = CORES["8x16"]


def vector(role, rows, length):
    return Vector(name=role, role=role, reads=(0,), elements=rows * length, rows=rows,
                  length=length)


@pytest.mark.parametrize(("role", "bits", "mode"), [
    ("fc1", Mode.W4A4, Mode.W4A4), ("fc1", Mode.W4A8, Mode.W4A8), ("fc1", Mode.W8A8, Mode.W8A8),
    ("head", Mode.W4A4, Mode.W8A8), ("patch embedding", Mode.W4A8, Mode.W8A8),
    ("attention x V", Mode.W4A4, Mode.W4A8), ("scores", Mode.W4A4, Mode.W4A4)])
def test_precision_of_each_product(role, bits, mode):
    assert mapping.mode_of(product(1, 1, 1, role=role), bits) is mode


@pytest.mark.parametrize("mode", Mode)
def test_heads_run_one_after_the_other(mode):
    op = product(197, 64, 197, count=3)
    assert mapping.product_cycles(op, mode, CONFIG) == (
        3 * gemm_cycles(197, 64, 197, mode, CONFIG))


@pytest.mark.parametrize(("role", "cycles"), [
    ("softmax", 3 * 10 * 3), ("layer norm", 2 * 10 * 3), ("RMS norm", 2 * 10 * 3),
    ("group norm", 2 * 22), ("mean", 22)])
def test_vector_operations_take_passes(role, cycles):
    """10 rows of 17 elements on 8 lanes: 3 words a row, or 22 for all."""
    assert mapping.vector_cycles(vector(role, 10, 17), CONFIG) == cycles


def test_stream_rounds_up():
    assert [mapping.stream_cycles(size, 4.0) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert mapping.stream_cycles(10, 0.4) == 25


def simulate_rows(vector, before, after, tiles):
    """Cycles that tiles wait for, in the order in which everything happens."""
    array, unit = tiles * before, 0
    for tile in range(tiles):
        unit = max(unit, (tile + 1) * before) + vector
        array = max(array, unit) + after
    return array - tiles * (before + after)


def simulate_heads(vector, scores, values, heads):
    order = [("scores", 0)]
    for head in range(1, heads):
        order += [("scores", head), ("values", head - 1)]
    order.append(("values", heads - 1))
    array, unit, done = 0, 0, {}
    for kind, head in order:
        if kind == "scores":
            array += scores
            unit = done[head] = max(unit, array) + vector
        else:
            array = max(array, done[head]) + values
    return array - heads * (scores + values)


@pytest.mark.parametrize(("formula", "simulated"), [
    (mapping.rows_exposed, simulate_rows), (mapping.softmax_exposed, simulate_heads)])
def test_exposed_cycles_are_those_of_the_schedule(formula, simulated):
    rng = random.Random(1)
    hidden = 0
    for _ in range(5000):
        case = [rng.randrange(30) for _ in range(3)] + [rng.randint(1, 12)]
        assert formula(*case) == simulated(*case), case
        hidden += formula(*case) == 0
    assert 500 < hidden < 4500


def test_traffic_of_weights():
    op = product(17, 100, 33)  # 3 tile rows, 3 tile columns of 16
    traffic = mapping.product_traffic(op, Mode.W8A8, CONFIG)
    assert traffic == Traffic(scratchpad=3 * 17 * 100, buffer=3 * 1600 * (1 + 3),
                              dram=3 * 1600 + 33 * mapping.CHANNEL_BYTES)


def test_traffic_of_4_bit_weights():
    op = product(17, 100, 33)  # 2 tile rows of 16, 2 tile columns of 32
    traffic = mapping.product_traffic(op, Mode.W4A4, CONFIG)
    assert traffic == Traffic(2 * 17 * 50, 2 * 1600 * (1 + 2),
                              2 * 1600 + 33 * mapping.CHANNEL_BYTES)


def test_traffic_of_two_activations_stays_on_chip():
    op = product(17, 100, 16, reads=(0, 1), right=(1,), count=3)
    once = mapping.product_traffic(op, Mode.W8A8, CONFIG)
    assert once == Traffic(3 * (1700 + 1600), 3 * 1600 * (1 + 3), 0)
    banded = mapping.product_traffic(op, Mode.W8A8, CONFIG, bands=4)
    assert banded == Traffic(3 * (1700 + 4 * 1600), 3 * 1600 * (4 + 3), 0)


def test_traffic_of_a_vector_operation_grows_with_its_passes():
    assert mapping.vector_traffic(vector("softmax", 10, 17)).scratchpad == 3 * 2 * 170
    assert mapping.vector_traffic(vector("mean", 10, 17)).scratchpad == 2 * 170


def test_prediction_of_deit_tiny_takes_a_thousandth_of_its_cycles():
    tap = tap_shape(197, 192, CONFIG)
    predictor = predictor_shape(tap, 78, CONFIG)
    watched = 197 * 24
    assert mapping.flush_cycles(tap, CONFIG) == range_cycles(tap, CONFIG) - watched
    total = mapping.flush_cycles(tap, CONFIG) + scale_cycles(predictor, CONFIG)
    assert total < 1_253_683_200 / 128 / 1000


def test_a_measuring_pass_reads_the_tensor_again():
    flush = mapping.jit_cycles(8, CONFIG) - 1
    assert mapping.jit_cycles(197 * 192, CONFIG) == 197 * 24 + flush
    assert 0 < flush < 64
