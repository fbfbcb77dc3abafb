"""The area model, held against the syntheses it is fitted to and against those left out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from golden.common.config import CORES
from rtl.utilisation import Row, Utilisation
from sim.exploration import area, syntheses
from sim.exploration.cores_file import read

HELD_OUT = list(read(Path(__file__).with_name("held_out.json"), "syntheses", "units").items())
"""Five cores, made by ``python -m sim.exploration.syntheses CORE... --file held_out.json``."""

EACH = pytest.mark.parametrize("number", range(len(area.synthesised())))


@EACH
def test_multipliers_and_block_rams_are_exact(number):
    config, units = area.synthesised()[number]
    assert area.multipliers(config) == sum(unit["MULT18X18D"] for unit in units.values())
    assert area.block_rams(config) == sum(unit["DP16KD"] for unit in units.values())


@EACH
def test_luts_and_flip_flops_are_within_two_per_cent(number):
    config, units = area.synthesised()[number]
    found = area.area_of(config)
    assert found.luts == pytest.approx(sum(unit["LUT4"] for unit in units.values()), rel=0.02)
    assert found.ffs == pytest.approx(sum(unit["FF"] for unit in units.values()), rel=0.02)


def test_the_error_is_that_of_a_core_left_out():
    errors = area.error()
    assert len(errors) == len(area.synthesised())
    assert 0 < max(map(abs, errors.values())) < 0.05


@pytest.mark.parametrize("number", range(len(HELD_OUT)))
def test_a_core_that_it_is_not_fitted_to(number):
    config, units = HELD_OUT[number]
    assert config not in dict(area.synthesised())
    found = area.area_of(config)
    used = {kind: sum(unit[kind] for unit in units.values())
            for kind in ("LUT4", "FF", "MULT18X18D", "DP16KD")}
    assert (found.multipliers, found.block_rams) == (used["MULT18X18D"], used["DP16KD"])
    assert found.luts == pytest.approx(used["LUT4"], rel=0.02)
    assert found.ffs == pytest.approx(used["FF"], rel=0.02)


def test_the_core_of_the_documents_is_among_them():
    known = dict(area.synthesised())
    made = known[replace(CORES["8x16"], max_channels=1024)]  # as it was when it was synthesised
    assert sum(unit["LUT4"] for unit in made.values()) == 61_080


def test_larger_is_not_smaller():
    config = CORES["8x16"]
    base = area.area_of(config)
    wider = area.area_of(replace(config, rows=16, lanes=16))
    assert wider.luts > base.luts
    assert wider.multipliers > base.multipliers
    assert area.area_of(replace(config, sram_kib=608)).block_rams > base.block_rams
    assert area.area_of(replace(config, stream_words=8192)).block_rams > base.block_rams


def test_a_synthesis_is_kept_beside_the_others(monkeypatch, tmp_path):
    asked = []

    def synthesise(config, out):
        asked.append(config)
        return Utilisation((Row("scratchpad", {"LUT4": 5}), Row("core", {"LUT4": 7})))

    monkeypatch.setattr(syntheses, "synthesise", synthesise)
    path = tmp_path / "syntheses.json"
    given = ["--file", str(path), "--out", str(tmp_path / "out")]
    assert syntheses.main(["8x16:sram_kib=96", "4x8:stream_words=1024", *given]) == 0
    kept = json.loads(path.read_text())["syntheses"]
    assert [(one["config"]["rows"], one["config"]["stream_words"]) for one in kept] == [
        (4, 1024), (8, 2048)]
    assert kept[0]["units"] == {"core": {"LUT4": 7}, "scratchpad": {"LUT4": 5}}
    assert syntheses.main(given) == 0
    assert asked[2:] == [asked[1], asked[0]]  # all again


@pytest.mark.parametrize("text", ["8", "8x16:sram", "3x3", "8x16:beauty=3", "8x16:sram_kib=0"])
def test_a_core_that_there_is_not_is_one_line(text, capsys, tmp_path):
    with pytest.raises(SystemExit) as exit:
        syntheses.main([text, "--file", str(tmp_path / "x.json")])
    assert exit.value.code == 2
    assert capsys.readouterr().err.startswith(
        "python -m sim.exploration.syntheses: error: argument CORE: ")


def test_a_file_of_something_else_is_one_line_and_stays(tmp_path, capsys):
    path = tmp_path / "syntheses.json"
    for text in ("{", "{}", '{"syntheses": [{"config": {"rows": 4}}]}', "[1]"):
        path.write_text(text)
        assert syntheses.main(["4x4", "--file", str(path)]) == 2
        said = capsys.readouterr().err
        assert f"{path} is no file of syntheses: " in said
        assert said.count("\n") == 1
        assert path.read_text() == text
