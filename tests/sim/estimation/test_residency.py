import pytest

from sim.estimation.residency import Spill, bands, space, spills
from sim.estimation.workload import Vector
from tests.cases.workloads import made_of, product, traced

# Each value of a chain is 100 bytes; the third operation reads the first one's again.
CHAIN = made_of(
    product(10, 1, 10),
    product(10, 10, 10, reads=(0,)),
    product(10, 10, 10, reads=(1,)),
    product(10, 10, 10, reads=(0, 2), left=(2,), extra=(0,)),
    image=50)
SIZES = [100, 100, 100, 100, 50]


def test_nothing_moves_where_everything_fits():
    result, peak = spills(CHAIN, SIZES, [0] * 4, 300)
    assert result == [Spill()] * 4
    assert peak == 300  # the first value, and the operand and result of the third operation


def test_the_value_needed_last_is_pushed_out():
    result, peak = spills(CHAIN, SIZES, [0] * 4, 250)
    assert result == [Spill(), Spill(), Spill(written=50), Spill(read=50)]
    assert peak == 300


def test_what_is_larger_than_the_memory_lives_outside():
    one = made_of(product(10, 1, 10), product(10, 10, 1, reads=(0,)), image=0)
    result, _ = spills(one, [100, 10, 0], [0, 0], 60)
    assert result == [Spill(written=40), Spill(written=10, read=40, left=40)]


def test_kept_memory_is_not_for_values():
    assert spills(CHAIN, SIZES, [0] * 4, 300, kept=50)[0] == spills(CHAIN, SIZES, [0] * 4, 250)[0]


def test_the_image_is_a_value():
    result, peak = spills(CHAIN, [*SIZES[:4], 500], [0] * 4, 1000)
    assert result == [Spill()] * 4
    assert peak == 600
    assert spills(CHAIN, [*SIZES[:4], 500], [0] * 4, 300)[0][0].read == 200


def test_the_new_residual_stream_takes_the_place_of_the_old():
    first, second = product(10, 1, 10), product(10, 10, 10, reads=(0,))
    added = product(10, 10, 10, reads=(0, 1), left=(1,), extra=(0,))
    multiplied = product(10, 10, 10, reads=(0, 1), left=(0, 1))
    sizes = [100, 100, 100, 0]
    assert spills(made_of(first, second, added), sizes, [0] * 3, 300)[1] == 200
    assert spills(made_of(first, second, multiplied), sizes, [0] * 3, 300)[1] == 300


def test_a_vector_operation_works_in_place():
    rows = Vector(name="v", role="softmax", reads=(0,), elements=100, rows=10, length=10)
    chain = made_of(product(10, 1, 10), rows, image=0)
    assert spills(chain, [200, 100, 0], [0, 0], 200)[1] == 200


def test_scratch_that_does_not_fit_goes_both_ways():
    result, peak = spills(made_of(product(10, 1, 10)), [100, 0], [70], 150)
    assert result == [Spill(written=20, read=20)]
    assert peak == 170


@pytest.mark.parametrize(("size", "parts", "capacity", "at_a_time", "count"), [
    (1000, 1, 100, 1000, 1),  # cannot be cut
    (1000, 2, 10_000, 1000, 1),
    (1000, 10, 1000, 200, 1),  # two of ten
    (1000, 10, 100, 50, 4)])  # two of ten, in quarters that fill half of 100
def test_parts_pass_through(size, parts, capacity, at_a_time, count):
    assert space(size, parts, capacity) == at_a_time
    assert bands(size, parts, capacity) == count


def test_spilling_a_value_in_parts_moves_all_of_it():
    parts = made_of(product(10, 1, 10, count=10, parts=10), product(1, 10, 1, reads=(0,)), image=0)
    result, _ = spills(parts, [1000, 1, 0], [0, 0], 40)
    assert result[0].written == 0  # bands of rows fit
    result, _ = spills(parts, [1000, 1, 0], [0, 0], 40, kept=25)
    assert result[0].written == 1000 * (20 - 15) // 20


def test_deit_tiny_fits_the_default_scratchpad():
    workload = traced("deit_t")
    sizes = [op.elements * (2 if op.wide else 1) for op in workload.operations]
    result, peak = spills(workload, [*sizes, 3 * 224 * 224], [0] * len(sizes), 384 * 1024)
    assert not any(spill.written or spill.read for spill in result)
    assert 300 * 1024 < peak < 384 * 1024
