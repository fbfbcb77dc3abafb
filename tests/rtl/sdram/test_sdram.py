# amaranth: UnusedElaboratable=no
from dataclasses import replace

import numpy as np
import pytest

from golden.sdram.sdram import CHIPS, Violation
from rtl.sdram.sdram import Sdram
from tests.benches.sdram_system import (
    CONFIG,
    Requests,
    SdramSystem,
    checked,
    names,
    run,
    small,
    started,
)
from tests.benches.simulate import simulate
from tests.benches.verilate import run_cocotb
from tests.cases.sdrams import CLOCKS, SYSTEMS

MIXED = [f"{name} {clock}" for at, name in enumerate(CHIPS)
         for clock in list(CLOCKS)[at % 2::2]]
"""Each chip at two clocks, each clock with two chips."""


@pytest.mark.parametrize("name", MIXED)
def test_memory_keeps_what_is_written_in_the_cycles_of_golden(name):
    system = SYSTEMS[name]()
    checked(system, Requests.random(system, 400, seed=1))


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("name", MIXED)
def test_a_million_requests_match_golden(name, tmp_path):
    run_cocotb(SYSTEMS[name](), testbench="tests.rtl.sdram.tb_sdram", build_dir=tmp_path,
               env={"TB_SYSTEM": name, "TB_COUNT": str(1_000_000 // len(MIXED))})


@pytest.mark.parametrize("bus_bytes", [8, 16])
def test_beats_of_longer_bursts(bus_bytes):
    system = SdramSystem(small("IS42S16160G"), 80_000_000,
                         config=replace(CONFIG, bus_bytes=bus_bytes))
    checked(system, Requests.random(system, 300, seed=2))


def test_every_change_of_row_bank_and_direction():
    system = SdramSystem(small("MT48LC16M16A2"), 100_000_000)
    places = [(bank, row, write) for bank in range(4) for row in range(2) for write in range(2)]
    order = [one for first in places for second in places for one in (first, second)]
    bank, row, write = np.array(order).T
    addresses = (row << 12 | bank << 10) + 4 * np.arange(len(order)) % 64
    data = np.random.default_rng(3).integers(0, 256, (len(order), 4), np.uint8)
    checked(system, Requests(np.zeros(len(order), int), addresses, write, data))


def test_requests_at_every_distance_from_a_refresh():
    system = SdramSystem(small("M12L2561616A"), 25_000_000, capture=0)
    due = system.schedule.period
    runs = [Requests(np.array([offset, offset, offset, offset + 3]), np.array([0, 4, 8192, 8]),
                     np.array([0, 1, 0, 1]), np.full((4, 4), offset % 256, np.uint8))
            for offset in range(due - 20, due + 14)]
    checked(system, *runs)


def test_runs_are_alike_whatever_went_before():
    system = SdramSystem(small("M12L2561616A"), 25_000_000, capture=0)
    one = Requests(np.array([0, 0, 9]), np.array([0, 4096, 2044]), np.array([0, 1, 0]),
                   np.zeros((3, 4), np.uint8))
    checked(system, *[one] * 60, pause=11)


def test_sequential_reads_give_a_word_a_cycle():
    system = SdramSystem(small("AS4C32M16SB"), 80_000_000)
    seen = checked(system, Requests.along(system, 3000))
    words = 2 * (len(seen.answered) - 1)
    assert words >= 0.95 * (seen.answered[-1] - seen.answered[0])


def test_latency_to_an_open_row():
    system = SdramSystem(small("MT48LC16M16A2"), 80_000_000)
    once = Requests(np.array([0, 100]), np.array([0, 4]), np.zeros(2, int), np.zeros((2, 4)))
    seen = checked(system, replace(once, data=once.data.astype(np.uint8)))
    assert seen.accepted[1] == 100
    assert seen.answered[1] - seen.accepted[1] == 3 + system.sdram.latency


@pytest.mark.parametrize("name", CHIPS)
def test_initialisation_takes_the_time_of_the_chip(name):
    system = SdramSystem(replace(CHIPS[name], row_bits=2), 20_000_000)
    cycles = []

    async def testbench(ctx):
        while not ctx.get(system.ready):
            await ctx.tick()
            cycles.append(0)
        await run(ctx, system, Requests.along(system, 1))
        assert names(ctx.get(system.violations)) == []

    simulate(system, testbench)
    assert len(cycles) > CHIPS[name].init_us * 20


def test_a_chip_that_is_ready_at_once_is_initialised():
    system = SdramSystem(small("MT48LC16M16A2", init_us=0), 133_000_000)
    checked(system, Requests.along(system, 3))


def test_idle_chip_is_refreshed():
    system = SdramSystem(small("IS42S16160G"), 20_000_000)

    async def testbench(ctx):
        await started(ctx, system)
        for _ in range(4 * system.schedule.timing.interval):
            await ctx.tick()
        assert names(ctx.get(system.violations)) == []

    simulate(system, testbench)


def test_requests_beyond_the_chip_are_errors_and_write_nothing():
    system = SdramSystem(small("MT48LC16M16A2"), 80_000_000)
    size = 1 << system.chip.size_bits
    data = np.arange(20, dtype=np.uint8).reshape(5, 4)
    requests = Requests(np.zeros(5, int), np.array([0, size, size + 4, 0, 1 << 31]),
                        np.array([1, 1, 0, 0, 1]), data)

    async def testbench(ctx):
        await started(ctx, system)
        seen = await run(ctx, system, requests)
        assert seen.errors == [0, 1, 1, 0, 1]
        assert seen.data[3] == int.from_bytes(data[0].tobytes(), "little")
        assert names(ctx.get(system.violations)) == []

    simulate(system, testbench)


@pytest.mark.parametrize(("changes", "violation"), [
    ({"rcd_ns": 1}, Violation.RCD), ({"rp_ns": 1}, Violation.RP), ({"ras_ns": 1}, Violation.RAS),
    ({"rc_ns": 1}, Violation.RC), ({"rrd_ns": 1}, Violation.RRD), ({"rfc_ns": 1}, Violation.RFC),
    ({"wr_ns": 1, "wr_cycles": 1}, Violation.WR), ({"refresh_ms": 128}, Violation.REFRESH_LATE),
    ({"init_us": 0}, Violation.INITIALISATION), ({"cas2_hz": 133_333_333}, Violation.MODE),
], ids=str)
def test_a_controller_that_is_too_fast_for_the_chip_is_noticed(changes, violation):
    chip = small("M12L2561616A")
    system = SdramSystem(chip, 133_000_000, believed=replace(chip, **changes))
    due, last = system.schedule.period, 1024 - 32
    # A refresh comes while a row is to be opened ahead, and a request of another bank as it ends:
    # one is opened right after the other.
    places = np.array([0, 4, 4096, 8192, 0, last, last + 4])
    requests = Requests(np.array([0, 0, 0, 0, 0, due - 40, due + 12]), places,
                        np.array([1, 1, 0, 0, 0, 0, 0]), np.zeros((7, 4), np.uint8))

    async def testbench(ctx):
        await started(ctx, system)
        await run(ctx, system, requests)
        assert violation.name in names(ctx.get(system.violations))

    simulate(system, testbench)


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: Sdram(CONFIG, "MT48LC16M16A2", 50_000_000), TypeError,
     "chip must be a Chip, not 'MT48LC16M16A2'"),
    (lambda: Sdram(replace(CONFIG, bus_bytes=2), CHIPS["IS42S16160G"], 50_000_000), ValueError,
     "burst must be 2, 4 or 8 words, not 1"),
    (lambda: Sdram(CONFIG, CHIPS["IS42S16160G"], 200_000_000), ValueError,
     r"clock must be within 1000000\.\.142857142, not 200000000"),
    (lambda: Sdram(CONFIG, CHIPS["IS42S16160G"], 50_000_000, 2), ValueError,
     r"capture must be within 0\.\.1, not 2"),
])
def test_refuses_what_it_cannot_drive(make, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        make()
