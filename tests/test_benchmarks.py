"""The benchmarks run, and compare what they say they compare."""

import json

import numba
import pytest
import torch

from benchmarks import gemm


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


@pytest.mark.parametrize("count", ["0", "1000000"])
def test_gemm_benchmark_refuses_threads_it_cannot_have(count, capsys):
    with pytest.raises(SystemExit) as exit_:
        gemm.main(["--threads", count])
    assert exit_.value.code == 2
    assert f"not {count}" in capsys.readouterr().err.replace("'", "")
