import pytest

from golden.common.formats import Mode
from sim.estimation.energy import CLOCK_TREE, LEAKAGE, NODES, Chip, Energy, EnergyTable

TABLES = [EnergyTable.of(name) for name in NODES]


@pytest.fixture(params=TABLES, ids=list(NODES))
def table(request):
    return request.param


def test_horowitz_mac_is_multiplication_and_addition():
    assert EnergyTable.of("45nm").mac(Mode.W8A8) == pytest.approx(0.3)


def test_narrow_multiplications_take_less(table):
    assert table.mac(Mode.W4A4) < table.mac(Mode.W4A8) < table.mac(Mode.W8A8)


@pytest.mark.parametrize(("kib", "picojoules"), [(8, 10), (32, 20), (1024, 100)])
def test_sram_of_the_published_sizes(kib, picojoules):
    assert 8 * EnergyTable.of("45nm").sram_byte(kib) == pytest.approx(picojoules)


def test_sram_grows_with_its_size(table):
    energies = [table.sram_byte(kib) for kib in (1, 8, 20, 32, 100, 384, 1024, 4096)]
    assert energies == sorted(energies)
    assert len(set(energies)) == len(energies)


@pytest.mark.parametrize(("name", "factor"), [("28nm", 0.5066), ("22nm", 0.2414)])
def test_scaled_nodes_follow_the_gate_energy(name, factor):
    # From the polynomials by hand: 45 nm at 0.9 V is 0.8443; 32 and 20 nm are 0.5412 and 0.2008
    # at 0.9 V, 0.4570 and 0.1532 at 0.8 V; a third and five sixths of the way.
    assert EnergyTable.of(name).mac(Mode.W8A8) == pytest.approx(0.3 * factor, rel=1e-3)


def test_external_memory_does_not_scale():
    assert {table.dram_byte for table in TABLES} == {64.0}


def test_arithmetic_beside_a_measured_chip():
    # ITA, 22 nm: 0.118 pJ for a multiply-accumulate with all that belongs to it.
    assert 0.118 / 2 < EnergyTable.of("22nm").mac(Mode.W8A8) < 0.118


def test_every_constant_says_where_it_comes_from(table):
    for name, constant in table.constants.items():
        assert constant.value > 0, name
        assert constant.unit in ("pJ", "pJ/bit", "pJ/64 bit"), name
        assert len(constant.source) > 10, name
        assert constant.status in ("cited", "derived", "estimate"), name


@pytest.mark.parametrize("name", ["28nm", "22nm", "7nm"])
def test_only_the_process_of_the_source_is_cited(name):
    assert EnergyTable.of("45nm").constants["sram 32 KiB"].status == "cited"
    assert EnergyTable.of("45nm").constants["mac w8a8"].status == "derived"
    constants = EnergyTable.of(name).constants
    assert {c.status for name, c in constants.items() if name != "dram"} == {"estimate"}


def test_scaled_constants_name_the_scaling():
    assert "Stillmaker" in EnergyTable.of("28nm").constants["mac w8a8"].source


def test_refuses_an_unknown_process():
    with pytest.raises(ValueError, match="tech must be one of 45nm, 28nm, 22nm, 7nm, not '5nm'"):
        EnergyTable.of("5nm")


def test_energies_add_by_part():
    total = Energy(1, 2, 3, 4, 5) + Energy(mac=1)
    assert total == Energy(2, 2, 3, 4, 5)
    assert total.total == 16


def test_a_chip_is_more_than_its_operations_by_hand():
    chip = Chip.around(75.0)
    assert chip.total == pytest.approx((100.0, 250.0))  # 1 - 0.2 - 0.05, 1 - 0.45 - 0.25
    assert chip.clock == pytest.approx((20.0, 112.5))
    assert chip.leakage == pytest.approx((5.0, 62.5))


def test_shares_of_a_chip_say_where_they_come_from():
    assert {one.status for one in CLOCK_TREE} == {"cited"}
    assert {one.status for one in LEAKAGE} == {"estimate"}
    for low, high in (CLOCK_TREE, LEAKAGE):
        assert 0 < low.value < high.value
        assert len(low.source) > 10
