import pytest

from golden.network.precision import Precision
from golden.network.shape import BLOCK_SITES
from sim.recordings.sites import CODED, SITES


def test_sites_are_those_of_the_network_and_the_probabilities():
    assert [name for name in SITES if name != CODED.name] == list(BLOCK_SITES)
    assert list(SITES).index(CODED.name) == list(SITES).index("v") + 1


@pytest.mark.parametrize("name", BLOCK_SITES)
def test_recorded_operands_are_what_the_network_has_there(name):
    """But for GELU's offset, and the lowest of 256 values, which the port takes, too."""
    recorded, wanted = SITES[name].format(4), Precision(4, 4).site(name)
    assert recorded.symmetric == wanted.symmetric
    assert recorded.signed == (wanted.signed or name == "fc2")
    assert SITES[name].format(8).bits == Precision(8, 8).site(name).bits
    assert SITES[name].format(8).min == -128
