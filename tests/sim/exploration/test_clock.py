"""The clock model, held against the placements it is fitted to and against those left out."""

import json
from dataclasses import replace

import pytest

from golden.common.config import CORES
from rtl.build import BuildError
from sim.exploration import clock, placements


@pytest.mark.parametrize("number", range(len(clock.placed())))
def test_a_core_that_was_placed(number):
    config, mhz = clock.placed()[number]
    assert clock.clock_of(config) == pytest.approx(mhz, rel=0.1)


def test_the_error_is_that_of_a_core_left_out():
    errors = clock.error()
    assert len(errors) == len(clock.placed())
    assert 0 < max(map(abs, errors.values())) < 0.2


def test_larger_is_slower():
    config = CORES["8x16"]
    clocks = [clock.clock_of(replace(config, rows=rows, lanes=rows, cols=cols, sram_kib=304))
              for rows, cols in ((4, 4), (8, 8), (8, 16), (16, 16))]
    assert clocks == sorted(clocks, reverse=True)


def test_a_placement_is_kept_beside_the_others(monkeypatch, tmp_path):
    asked = []

    def placed_mhz(netlist, seed, frequency):
        asked.append((netlist.name, seed))
        return 50.0 + seed

    monkeypatch.setattr(placements, "synthesise", lambda unit, config, out: out / f"{config.rows}")
    monkeypatch.setattr(placements, "placed_mhz", placed_mhz)
    path = tmp_path / "placements.json"
    given = ["--file", str(path), "--out", str(tmp_path / "out")]
    assert placements.main(["8x16:sram_kib=96", "4x8", "--seeds", "2", *given]) == 0
    kept = json.loads(path.read_text())["placements"]
    assert [one["config"]["rows"] for one in kept] == [4, 8]
    assert kept[0]["mhz"] == {"1": 51.0, "2": 52.0}
    assert asked == [("8", 1), ("8", 2), ("4", 1), ("4", 2)]


def test_a_failure_loses_nothing_of_what_was_kept(monkeypatch, tmp_path, capsys):
    path = tmp_path / "placements.json"
    path.write_bytes(clock.PLACEMENTS.read_bytes())

    def synthesise(*_):
        raise BuildError("yosys failed")

    monkeypatch.setattr(placements, "synthesise", synthesise)
    assert placements.main(["--file", str(path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{placements.PROG}: error: yosys failed\n"
    assert path.read_bytes() == clock.PLACEMENTS.read_bytes()
