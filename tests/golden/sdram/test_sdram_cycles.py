import numpy as np
import pytest

from golden.sdram import sdram_cycles
from golden.sdram.sdram import CHIPS, Schedule
from golden.sdram.sdram_cycles import SdramCycles

CHIP = CHIPS["MT48LC16M16A2"]
AT_80_MHZ = Schedule(CHIP.timing(80_000_000))


def along(count, start=0):
    return np.zeros(count, int), start + 4 * np.arange(count), np.zeros(count, int)


def bandwidth(chip, hertz, writes=0):
    """Words per cycle of a long run of neighbours."""
    offered, addresses, _ = along(100_000)
    _, answered = SdramCycles(chip, Schedule(chip.timing(hertz))).serve_all(
        offered, addresses, np.full(offered.size, writes))
    return 2 * (offered.size - 1) / (answered[-1] - answered[0])


def test_first_request_worked_out_by_hand():
    """PRECHARGE at 6, REFRESH 2 later, ACTIVATE 6 after that, READ 2 later, an answer 5 later."""
    assert SdramCycles(CHIP, AT_80_MHZ).serve(0, 0) == (0, 6 + 2 + 6 + 2 + 5)


def test_open_rows_are_used_and_others_opened():
    run = SdramCycles(CHIP, AT_80_MHZ)
    run.serve(0, 0)
    assert run.serve(100, 8) == (100, 103 + 5)  # READ at 103
    assert run.serve(120, 4096) == (120, 123 + 2 + 2 + 5)  # PRECHARGE at 123
    assert run.serve(140, 1024) == (140, 143 + 2 + 5)  # ACTIVATE at 143


def test_directions_change_and_writes_recover():
    run = SdramCycles(CHIP, AT_80_MHZ)
    run.serve(0, 0)
    assert run.serve(100, 4) == (100, 108)  # READ at 103
    assert run.serve(101, 8, True) == (102, 108 + 5)  # WRITE 5 later: both words, and one free
    assert run.serve(103, 12) == (104, 110 + 5)  # READ 2 later
    assert run.serve(110, 16, True) == (110, 115 + 5)
    assert run.serve(112, 4096) == (112, 118 + 2 + 2 + 5)  # PRECHARGE 3 after WRITE


def test_a_row_costs_a_stream_nothing():
    offered, addresses, writes = along(280)
    _, answered = SdramCycles(CHIP, AT_80_MHZ).serve_all(offered, addresses, writes)
    assert set(np.diff(answered)) == {2}  # with the first refresh behind it, before the second
    offered, addresses, writes = along(100, start=1024 - 60)  # too near the end to be seen
    _, answered = SdramCycles(CHIP, AT_80_MHZ).serve_all(offered, addresses, writes)
    assert set(np.diff(answered)) == {2}


def test_a_row_that_comes_unseen_costs():
    offered, addresses, writes = along(10, start=1024 - 8)
    _, answered = SdramCycles(CHIP, AT_80_MHZ).serve_all(offered, addresses, writes)
    assert np.diff(answered).tolist() == [2, 4, *[2] * 7]


@pytest.mark.parametrize("hertz", [25_000_000, 50_000_000, 80_000_000, 100_000_000, 133_333_333])
@pytest.mark.parametrize("name", CHIPS)
def test_neighbours_take_hardly_more_than_a_cycle_a_word(name, hertz):
    assert bandwidth(CHIPS[name], hertz) >= 0.96
    assert bandwidth(CHIPS[name], hertz, writes=1) >= 0.95


def test_compiled_and_interpreted_are_the_same(monkeypatch):
    rng = np.random.default_rng(1)
    requests = (np.cumsum(rng.integers(0, 9, 300)), rng.integers(0, 2048, 300) * 4,
                rng.integers(0, 2, 300))
    compiled = SdramCycles(CHIP, AT_80_MHZ).serve_all(*requests)
    for name in "_serve_all", "serve", "_access", "_open", "_refresh":
        monkeypatch.setattr(sdram_cycles, name, getattr(sdram_cycles, name).py_func)
    np.testing.assert_array_equal(compiled, SdramCycles(CHIP, AT_80_MHZ).serve_all(*requests))


def test_one_by_one_is_as_all_at_once():
    rng = np.random.default_rng(2)
    offered = np.cumsum(rng.integers(0, 30, 200))
    addresses, writes = rng.integers(0, 4096, 200) * 4, rng.integers(0, 2, 200)
    together = SdramCycles(CHIP, AT_80_MHZ).serve_all(offered, addresses, writes)
    run, earliest, single = SdramCycles(CHIP, AT_80_MHZ), 0, []
    for at, address, write in zip(offered.tolist(), addresses.tolist(), writes.tolist(),
                                  strict=True):
        single.append(run.serve(max(at, earliest), address, bool(write)))
        earliest = single[-1][0] + 1
    np.testing.assert_array_equal(np.array(single).T, together)


def test_cycles_of_requests_do_not_depend_on_later_ones():
    offered, addresses, writes = along(300, start=512)
    addresses[::7] += 1 << 14
    short = SdramCycles(CHIP, AT_80_MHZ).serve_all(*(each[:200] for each in (
        offered, addresses, writes)))
    long = SdramCycles(CHIP, AT_80_MHZ).serve_all(offered, addresses, writes)
    np.testing.assert_array_equal(short, np.array(long)[:, :200])


@pytest.mark.parametrize(("arguments", "message"), [
    ((-1, 0), "offered must be 0 or more, not -1"),
    ((0, 1 << 25), r"address must be within 0\.\.33554431, not 33554432")])
def test_requests_that_there_are_not_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SdramCycles(CHIP, AT_80_MHZ).serve(*arguments)
