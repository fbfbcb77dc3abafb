import pytest

from sim.estimation.scalesim import network_cycles, product_cycles
from tests.cases.workloads import traced


@pytest.mark.parametrize(("size", "dataflow", "cycles"), [
    (8, "os", 21_265_028), (8, "ws", 21_889_486),
    (12, "os", 10_098_174), (12, "ws", 10_494_486),
    (16, "os", 5_953_720), (16, "ws", 6_123_442), (16, "is", 6_200_950),
    (32, "os", 1_838_114), (32, "ws", 1_861_750), (32, "is", 1_972_714)])
def test_deit_tiny_takes_as_many_cycles_as_scalesim_reports(size, dataflow, cycles):
    assert network_cycles(traced("deit_t"), size, size, dataflow) == cycles


@pytest.mark.parametrize(("dataflow", "cycles"), [
    ("os", 2 * 3 * (5 + 4 + 8 - 2) - 1),  # 2 x 3 folds of the 7 x 20 result
    ("ws", 2 * 3 * (7 + 8 + 8 - 2) - 1),  # 2 x 3 folds of the 5 x 20 weights
    ("is", 2 * 1 * (20 + 8 + 8 - 2) - 1)])  # 2 x 1 folds of the 7 x 5 inputs
def test_rows_and_columns_of_an_oblong_array(dataflow, cycles):
    assert product_cycles(7, 5, 20, 4, 8, dataflow) == cycles


def test_refuses_an_unknown_dataflow():
    with pytest.raises(ValueError, match="dataflow must be one of os, ws, is, not 'rs'"):
        product_cycles(1, 1, 1, 1, 1, "rs")
