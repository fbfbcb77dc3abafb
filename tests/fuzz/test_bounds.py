"""Golden's kernels with numba's bounds checks on: nothing beyond an array, and equal results."""

import subprocess

import numpy as np
import pytest

from tests.fuzz import bounds

FAULT = """
import numba
import numpy as np
from tests.fuzz import bounds

bounds.sequential()
from golden.rows import layernorm

@numba.njit
def beyond(x, epsilon, out):
    for c in range(x.size):
        out[c] = x[c + 1]

layernorm.normalize_kernel = beyond
layernorm.normalize(np.zeros((2, 12), int), 1)
"""
"""A LayerNorm that reads one element beyond its row."""


@pytest.mark.long
def test_kernels_stay_within_their_arrays(capsys):
    assert bounds.compare(seed=1, programs=2, mutants=40) == 0, capsys.readouterr()
    assert capsys.readouterr().out == "11 results within bounds\n"


def test_other_results_are_noticed(monkeypatch, capsys):
    def checked(out, cache, *options):
        np.savez(out, a=np.zeros(2), b=np.ones(2))
        (cache / "x.nbc").touch()
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(bounds, "checked", checked)
    monkeypatch.setattr(bounds, "results", lambda *options: {"a": np.zeros(2), "b": np.zeros(2)})
    assert bounds.compare(seed=1, programs=0, mutants=0) == 1
    assert capsys.readouterr().out == "differs with bounds checks: b\n"


def test_a_kernel_that_reads_beyond_is_noticed(tmp_path):
    done = bounds.checked(tmp_path / "x.npz", tmp_path, before=FAULT)
    assert done.returncode != 0
    assert "IndexError: index is out of bounds" in done.stderr, done.stderr[-2000:]
    assert not (tmp_path / "x.npz").exists()
