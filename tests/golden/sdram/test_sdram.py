from dataclasses import replace

import pytest

from golden.sdram.sdram import CHIPS, Command, Schedule, Timing, mode

AT_80_MHZ = {
    "MT48LC16M16A2": Timing(2, 2, 4, 6, 2, 6, 2, 2, 2, 625, 8000),
    "IS42S16160G": Timing(2, 2, 3, 5, 2, 5, 2, 2, 2, 625, 8000),
    "M12L2561616A": Timing(2, 2, 4, 6, 2, 6, 2, 2, 2, 625, 16000),
    "AS4C32M16SB": Timing(2, 2, 4, 6, 2, 6, 2, 2, 2, 625, 16000),
}
"""The times of the data sheets in cycles of 12.5 ns, worked out by hand."""


def test_times_in_cycles():
    assert {name: chip.timing(80_000_000) for name, chip in CHIPS.items()} == AT_80_MHZ


def test_times_are_rounded_against_the_controller():
    chip = CHIPS["AS4C32M16SB"]
    assert (chip.timing(100_000_000).rcd, chip.timing(95_000_000).rcd) == (3, 2)  # 21 ns
    assert (chip.timing(99_999_999).interval, chip.timing(100_000_000).interval) == (781, 781)
    assert CHIPS["M12L2561616A"].timing(10_000_000).wr == 2


@pytest.mark.parametrize(("hertz", "cas"), [(100_000_000, 2), (100_000_001, 3), (133_333_333, 3)])
@pytest.mark.parametrize("name", CHIPS)
def test_the_lowest_cas_latency_is_taken(name, hertz, cas):
    assert CHIPS[name].timing(hertz).cas == cas


@pytest.mark.parametrize(("hertz", "message"), [
    (133_333_334, "clock must be within 1000000..133333333, not 133333334"),
    (999_999, "clock must be within 1000000..133333333, not 999999")])
def test_clocks_that_a_chip_does_not_have_are_refused(hertz, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        CHIPS["MT48LC16M16A2"].timing(hertz)


@pytest.mark.parametrize(("name", "size"), [
    ("MT48LC16M16A2", 32 << 20), ("IS42S16160G", 32 << 20), ("M12L2561616A", 32 << 20),
    ("AS4C32M16SB", 64 << 20)])
def test_sizes(name, size):
    assert 1 << CHIPS[name].size_bits == size


def test_addresses_fill_a_row_of_each_bank_then_the_next_row():
    chip = CHIPS["MT48LC16M16A2"]
    assert chip.place(0) == (0, 0, 0)
    assert chip.place(6) == (0, 0, 3)
    assert chip.place(1024) == (1, 0, 0)
    assert chip.place(4096 * 5 + 3 * 1024 + 1022) == (3, 5, 511)
    assert chip.place((32 << 20) - 2) == (3, 8191, 511)
    assert CHIPS["AS4C32M16SB"].place((64 << 20) - 2048) == (3, 8191, 0)


def test_each_word_has_its_own_place():
    chip = replace(CHIPS["IS42S16160G"], row_bits=3)
    places = {chip.place(address) for address in range(0, 1 << chip.size_bits, 2)}
    assert len(places) == 8 * 4 * 512


@pytest.mark.parametrize(("cas", "burst", "bits"), [
    (2, 2, 0b010_0_001), (3, 2, 0b011_0_001), (2, 4, 0b010_0_010), (3, 8, 0b011_0_011)])
def test_mode_register(cas, burst, bits):
    assert mode(cas, burst) == bits


def test_commands_are_those_of_the_truth_table():
    """RAS#, CAS# and WE#, as all data sheets have them."""
    assert {command.name: f"{command:03b}".replace("0", "L").replace("1", "H")
            for command in Command} == {
        "NOP": "HHH", "ACTIVATE": "LHH", "READ": "HLH", "WRITE": "HLL", "STOP": "HHL",
        "PRECHARGE": "LHL", "REFRESH": "LLH", "MODE": "LLL"}


@pytest.mark.parametrize(("make", "message"), [
    (lambda timing: Schedule(timing, 1), "burst must be 2, 4 or 8 words, not 1"),
    (lambda timing: Schedule(timing, 16), "burst must be 2, 4 or 8 words, not 16"),
    (lambda timing: Schedule(timing, 2, -1), r"capture must be within 0\.\.1, not -1"),
    (lambda timing: Schedule(replace(timing, interval=40)),
     "clock must leave more than 24 cycles between refreshes, not 24"),
])
def test_schedules_that_cannot_be_kept_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(AT_80_MHZ["MT48LC16M16A2"])


@pytest.mark.parametrize(("changes", "message"), [
    ({"column_bits": 11}, r"column bits must be within 5\.\.10, not 11"),
    ({"row_bits": 14}, r"row bits must be within 1\.\.13, not 14")])
def test_chips_that_there_are_not_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(CHIPS["IS42S16160G"], **changes)
