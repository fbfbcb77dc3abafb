"""What SCALE-Sim and ZigZag are told and what is read of them, and that the page says it."""

import json
from pathlib import Path

import pytest

from benchmarks import estimator_tools as tools
from benchmarks import estimators
from benchmarks.estimator_tools import Product
from golden.common.config import CORES
from golden.common.formats import Mode
from golden.core.isa import Source
from golden.cycles import memory_model, timing
from golden.cycles.feed import first_beat
from golden.network.precision import Precision
from golden.product.tiling import gemm_cycles
from sim.cli import UserError
from sim.compiler import compile_network
from sim.estimation.scalesim import product_cycles
from sim.harness import verilator
from tests.cases.workloads import traced

PAGE = Path(__file__).parents[1] / "docs" / "estimators.md"
CORE = CORES["8x16"]
REPORT = """\
LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles, Overall Util %, \
Mapping Efficiency %, Compute Util %,
0, 26118, 21399, 0, 88.37796158699004, 98.5, 88.37383177570072,
1, 31947.0, 28000.0, 51.0, 69.42824430212173, 93.29086538461539, 69.42576028622554,
"""


@pytest.fixture(scope="module")
def program():
    return compile_network(estimators.random_network(Precision.parse("w8a8")), CORE)


@pytest.fixture(scope="module")
def measured():
    return estimators.load(estimators.MEASURED)


def test_products_are_those_of_the_network(program):
    found = {}
    for product in estimators.products(program).values():
        found[product.name] = found.get(product.name, 0) + product.macs
    wanted = {}
    for op in traced("deit_t").products:
        wanted[op.role] = wanted.get(op.role, 0) + op.macs
    wanted["patch embedding"] += 768 * 192  # the class token has a row, of zeros
    assert found.pop("q, k, v of a head") == wanted.pop("qkv")
    assert found.pop("fc1") + found.pop("fc2") == wanted.pop("fc1") + wanted.pop("fc2")
    assert found == wanted


def test_ours_are_the_cycles_of_feed_and_array(program):
    for row in estimators.rows(program, {}):
        product = row.product
        wanted = gemm_cycles(product.m, product.k, product.n, Mode.W8A8, CORE)
        assert row.cycles["closed form"] == product.count * (
            first_beat(product.k, Mode.W8A8, product.weights, CORE) + wanted)


def test_scalesim_has_reported_what_its_closed_form_says(program, measured):
    shapes = {product.shape for product in estimators.products(program).values()}
    for dataflow in estimators.DATAFLOWS:
        assert set(measured["scalesim"]["8x16"][dataflow]) == shapes
    assert not estimators.unlike_scalesim(measured, CORE)
    other = {"scalesim": {"8x16": {"os": {"8x4x16": 26}}}}
    assert estimators.unlike_scalesim(other, CORE) == [
        "8x4x16 os: SCALE-Sim reports 26, not 25"]


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_the_rtl_has_taken_the_cycles_of_golden_timing(bits, measured):
    made = compile_network(estimators.random_network(Precision.parse(bits)), CORE)
    run = measured["rtl"][f"8x16 {bits}"]
    wanted = timing.timing(made, memory_model.MemoryModel(run["latency"], run["bandwidth"])).cycles
    assert sum(run["instructions"]) == wanted


def test_the_rtl_takes_a_few_more_cycles_than_the_closed_form(program, measured):
    for row in estimators.rows(program, measured):
        ratio = row.cycles["RTL"] / row.cycles["closed form"]
        if row.product.name != "head":  # which waits for its weights
            assert 1 < ratio < 1.02


def test_the_page_shows_what_the_benchmark_prints(capsys):
    page = PAGE.read_text()
    for bits in ("w8a8", "w4a4"):
        assert estimators.main(["--bits", bits, "--markdown"]) == 0
        for part in capsys.readouterr().out.split("\n\n"):
            assert part.strip() in page


@pytest.mark.parametrize("width", [80, 40])
def test_prints_tables(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert estimators.main([]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert ("197 x 192 x 768" if width == 80 else "192 x 768") in printed
    assert "SOFTMAX" in printed
    assert max(map(len, printed.splitlines())) <= width
    source, instructions = estimators.instruction_cycles(
        estimators.compile_network(estimators.random_network(estimators.precision("w8a8")),
                                   estimators.CORES["8x16"]), estimators.load(estimators.MEASURED))
    assert f"{round(sum(instructions), -3) // 1000:,}k" in printed.split()


def test_without_measurements_there_are_only_closed_forms(tmp_path, capsys):
    assert estimators.main(["--measured", str(tmp_path / "none"), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith(
        "| closed form | timing | SCALE-Sim os | SCALE-Sim ws |")
    assert "| 10,418,746 | 100.00 % |" in printed
    assert not list(tmp_path.iterdir())


def test_a_run_of_the_rtl_is_kept(tmp_path, capsys, monkeypatch, program):
    class Result:
        ok = True
        instruction_cycles = tuple(range(len(program.instructions()) - 1))
    monkeypatch.setattr(verilator, "run", lambda *_: Result)
    kept = tmp_path / "kept.json"
    assert estimators.main(["--measured", str(kept), "--rtl", "--markdown"]) == 0
    printed = capsys.readouterr().out
    total = sum(Result.instruction_cycles)
    assert f"| {total:,} | 100.00 % |" in printed
    assert estimators.load(kept) == {"rtl": {"8x16 w8a8": {
        "latency": verilator.LATENCY, "bandwidth": verilator.BANDWIDTH,
        "instructions": list(Result.instruction_cycles)}}}
    Result.ok, Result.message = False, "hang"
    assert estimators.main(["--measured", str(kept), "--rtl"]) == 2
    assert "hang" in capsys.readouterr().err


def test_tools_are_for_one_product_per_multiplier(tmp_path, capsys):
    assert estimators.main(["--measured", str(tmp_path / "none"), "--bits", "w4a4",
                            "--zigzag", "python"]) == 2
    assert "need --bits w8a8" in capsys.readouterr().err


def test_a_file_that_is_damaged_is_named(tmp_path, capsys):
    path = tmp_path / "bad.json"
    path.write_text("{")
    assert estimators.main(["--measured", str(path)]) == 2
    assert "bad.json" in capsys.readouterr().err


def test_stalls_are_taken_off_what_scalesim_reports():
    assert tools.compute_cycles(REPORT) == [21_399, 27_949]
    assert product_cycles(197, 192, 64, 8, 16, "os") == 21_399
    assert product_cycles(197, 64, 197, 8, 16, "os") == 27_949


def python(path: Path, script: str) -> Path:
    """Write what is run in place of a Python that has a tool."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_scalesim_is_run_on_each_shape_once(tmp_path):
    stand_in = python(tmp_path / "python", f"""
        if [ "$1" = -c ]; then echo 3.0.0; exit; fi
        mkdir -p out/vernier
        cat > out/vernier/COMPUTE_REPORT.csv <<'END'\n{REPORT}END""")
    products = [Product("q", 197, 192, 64), Product("k", 197, 192, 64, bits=16),
                Product("scores", 197, 64, 197, Source.KEYS)]
    place = tmp_path / "place"
    assert tools.scalesim(stand_in, products, CORE, "os", place) == {
        "version": "3.0.0", "cycles": {"197x192x64": 21_399, "197x64x197": 27_949}}
    assert (place / "products.csv").read_text().splitlines()[1] == "197x192x64, 197, 64, 192,"
    assert "ArrayHeight: 8\nArrayWidth: 16\n" in (place / "scale.cfg").read_text()
    assert "FilterSramSzkB: 32\n" in (place / "scale.cfg").read_text()


def test_a_python_may_be_named_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    python(tmp_path / "bin" / "python", """echo '{"version": "1", "layers": []}' > cycles.json""")
    found = tools.zigzag(Path("bin/python"), [], CORE, Path("place"))
    assert found == {"version": "1", "cycles": {}}


def test_zigzag_is_run_on_each_layer_once(tmp_path):
    stand_in = python(tmp_path / "python", """
        echo '{"version": "3.9.1", "layers": [{"cycles": 1}, {"cycles": 2}]}' > cycles.json""")
    products = [Product("q", 197, 192, 64), Product("k", 197, 192, 64),
                Product("scores", 197, 64, 197, Source.KEYS, 16)]
    place = tmp_path / "place"
    assert tools.zigzag(stand_in, products, CORE, place) == {
        "version": "3.9.1", "cycles": {"197x192x64 stream 8": {"cycles": 1},
                                       "197x64x197 keys 16": {"cycles": 2}}}
    layers = json.loads((place / "layers.json").read_text())
    assert layers[1]["accelerator"] == "weights_from_scratchpad.yaml"
    assert layers[1]["workload"][0]["loop_sizes"] == [197, 197, 64]


@pytest.mark.parametrize("name", CORES)
def test_zigzag_is_told_the_sizes_of_the_core(name):
    config = CORES[name]
    for stream in (True, False):
        memories = tools.zigzag_hardware(config, stream)["memories"]
        assert memories["scratchpad"]["size"] == 8 * 1024 * config.sram_kib
        assert memories["scratchpad"]["ports"][0]["bandwidth_max"] == 16 * config.rows
        assert memories["weight_buffer"]["size"] == 8 * config.cols * (
            config.stream_words if stream else 2 * config.key_words)
        assert ("external" in memories) == stream
        assert ("I2" in memories["scratchpad"]["operands"]) != stream
    assert tools.zigzag_hardware(config, True)["memories"]["external"]["ports"][0][
        "bandwidth_max"] == 8 * config.bus_bytes


def test_a_tool_that_fails_is_named_with_its_last_line(tmp_path):
    stand_in = python(tmp_path / "python", "echo 'No module named scalesim' >&2; exit 1")
    with pytest.raises(UserError, match=r"python ends with status 1: No module named scalesim"):
        tools.scalesim(stand_in, [Product("q", 8, 4, 16)], CORE, "os", tmp_path / "place")
    silent = python(tmp_path / "silent", "echo 'Layout file not found'")
    with pytest.raises(UserError, match="no report: Layout file not found"):
        tools.scalesim(silent, [Product("q", 8, 4, 16)], CORE, "os", tmp_path / "place")
    with pytest.raises(UserError, match="cannot run"):
        tools.zigzag(tmp_path / "missing", [Product("q", 8, 4, 16)], CORE, tmp_path / "place")
