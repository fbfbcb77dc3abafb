"""The benchmarks run, and compare what they say they compare."""

import json

import numba
import pytest
import torch

from benchmarks import gemm, models, vit
from tests.sim.common.test_tables import printed


@pytest.fixture(autouse=True)
def threads_are_put_back():
    before = numba.get_num_threads(), torch.get_num_threads()
    yield
    numba.set_num_threads(before[0])
    torch.set_num_threads(before[1])


def test_gemm_benchmark_covers_the_products_of_one_image(capsys):
    assert gemm.main(["--repeat", "1", "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["threads"] == 1
    assert report["network"]["macs"] == 1_253_683_200
    for result in [*report["products"], report["network"]]:
        assert result["ratio"] == pytest.approx(result["torch"] / result["golden"])


def test_gemm_benchmark_prints_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(gemm, "DEIT_TINY", gemm.DEIT_TINY[-1:])
    assert gemm.main(["--repeat", "1"]) == 0
    assert "1 x 192 x 1000" in capsys.readouterr().out


@pytest.mark.parametrize(("width", "gone"), [(120, 0), (70, 1), (60, 2), (40, 3), (20, 4)])
def test_gemm_benchmark_cuts_no_number(width, gone):
    results = [gemm.Result(product, product.macs / 234.5e9, product.macs / 123.4e9)
               for product in gemm.DEIT_TINY]
    lines = printed(gemm._table(results, 2, width), width)
    kept = [*(["3 x 197 x 64 x 197"] if gone < 2 else []), *(["12"] if not gone else []),
            *(["234.5"] if gone < 4 else []), *(["123.4"] if gone < 3 else []), "1.90"]
    assert any(" ".join(line.split()).endswith(f"res {' '.join(kept)}") for line in lines)
    assert width < 40 or max(map(len, lines[2:])) <= width


@pytest.mark.parametrize(("width", "gone"), [(80, []), (40, ["1 together"])])
def test_vit_benchmark_cuts_no_number(width, gone):
    result = vit.Result([vit.Speed("golden w8a8", {1: 12.34, 8: 23.45})],
                        [vit.Speed("torch, attention written out", {1: 34.56, 8: 45.67})])
    lines = printed(vit._table(result, "Title", width), width)
    golden, torch_ = (" ".join(line.split()) for line in lines[-2:])
    assert golden.endswith("23.4 0.51" if gone else "golden w8a8 12.3 23.4 0.51")
    assert torch_.endswith("45.7" if gone else "torch, attention written out 34.6 45.7")
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("count", ["0", "1000000"])
def test_gemm_benchmark_refuses_threads_it_cannot_have(count, capsys):
    with pytest.raises(SystemExit) as exit_:
        gemm.main(["--threads", count])
    assert exit_.value.code == 2
    assert f"not {count}" in capsys.readouterr().err.replace("'", "")


def test_models_are_compiled_or_what_is_missing_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = ["--models", "deit_t", "mixer_s16_224", "--bits", "w4a4", "--memory", "ulx3s"]
    files = [tmp_path / name for name in ("models.json", "models.md")]
    assert models.main([*words, "--json", str(files[0]), "--markdown", str(files[1])]) == 0
    tiny, mixer = json.loads(files[0].read_text())
    assert (tiny["macs"], tiny["cycles"]) == (1_253_683_200, 3_509_393)
    assert tiny["mapping"] == "as a whole"
    assert mixer["mapping"].endswith("mixing of tokens by an MLP is missing")
    shown = capsys.readouterr().out
    assert " 3.509 " in shown
    assert max(map(len, shown.splitlines())) <= 80
    lines = files[1].read_text().splitlines()
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_a_model_that_there_is_not_is_one_line(capsys):
    assert models.main(["--models", "deit_q", "--bits", "w4a4"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m benchmarks.models: error: deit_q w4a4: ")
    assert len(error.splitlines()) == 1
