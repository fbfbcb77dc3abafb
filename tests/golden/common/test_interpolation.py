import pytest

from golden.common.formats import IntFormat
from golden.common.interpolation import Table

COUNT = 33


def rising(step):
    return tuple(1000 + step * index for index in range(COUNT))


@pytest.mark.parametrize(("step", "slope"), [
    (1, IntFormat(1, signed=False)), (7, IntFormat(3, signed=False)),
    (8, IntFormat(4, signed=False)), (-1, IntFormat(1)), (-8, IntFormat(4)), (-9, IntFormat(5)),
])
def test_the_slope_format_is_the_narrowest_that_holds_every_slope(step, slope):
    table = Table(rising(step), rest_bits=5)
    assert table.slope == slope
    assert set(table.slopes) == {step}


def test_a_function_that_rises_and_falls_has_signed_slopes():
    samples = tuple(min(100 * index, 3000) - index for index in range(COUNT))
    table = Table(samples, rest_bits=5)
    assert table.slope == IntFormat(8)
    assert (min(table.slopes), max(table.slopes)) == (-1, 99)


def test_slopes_lead_from_each_value_to_the_next_and_to_the_last_sample():
    table = Table(rising(-3), rest_bits=5)
    ends = [value + slope for value, slope in zip(table.values, table.slopes, strict=True)]
    assert ends == [*table.values[1:], table.samples[-1]]


def test_the_value_format_leaves_out_the_last_sample():
    assert Table((*range(32), 1 << 10), rest_bits=5).value == IntFormat(5, signed=False)


def test_more_index_bits_take_more_samples():
    assert len(Table(tuple(range(65)), rest_bits=6, index_bits=6).values) == 64


@pytest.mark.parametrize(("count", "options", "want"), [
    (32, {}, 33), (34, {}, 33), (33, {"index_bits": 6}, 65)])
def test_refuses_another_number_of_samples(count, options, want):
    with pytest.raises(ValueError, match=f"samples must be {want}, not {count}"):
        Table(tuple(range(count)), rest_bits=5, **options)
