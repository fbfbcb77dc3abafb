"""What a program costs, and the command that says it."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.utils import flop_counter

from golden.common.config import CORES
from golden.core.isa import Opcode, make
from golden.cycles import timing
from golden.cycles.memory_model import MemoryModel
from golden.network.precision import Precision
from sim import estimate as command
from sim.compiler import compile_network
from sim.compiler.blank import (
    _model,
    begins_with_norm,
    blank_network,
    default_tap,
    has_qk_norm,
    shape_of,
)
from sim.estimation.energy import measured_factors
from sim.estimation.program_costs import estimate_program, role_of
from sim.estimation.program_report import to_pandas
from sim.inputs import models
from tests.cases import vits
from tests.cases.networks import network, with_qk_norm
from tests.cases.workloads import traced
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

DEIT_TINY_MACS = 1_253_683_200
MACS = SHAPE.patches * SHAPE.patch_values * SHAPE.dim + SHAPE.tokens * (
    SHAPE.depth * (4 * SHAPE.dim**2 + 2 * SHAPE.tokens * SHAPE.dim
                     + 2 * SHAPE.dim * SHAPE.hidden)) + SHAPE.dim * SHAPE.classes


def program_of(bits="w8a8", core="4x4", tap=True):
    made = network(Precision.parse(bits), shape=SHAPE)
    return compile_network(with_tap(made, SHAPE) if tap else made, CORES[core])


@pytest.fixture
def run(capsys, monkeypatch):
    def call(*argv):
        status = command.main(list(argv))
        return status, *capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "80")
    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("program")
    program_of().save(path)
    return str(path)


def test_an_estimate_is_a_table():
    result = estimate_program(program_of())
    table = to_pandas(result)
    assert list(table["cycles"]) == [row.cycles for row in result.costs]
    assert table["energy_pj"].sum() == pytest.approx(result.energy.total)


def test_every_instruction_has_a_row_and_they_add_up():
    program = program_of()
    result = estimate_program(program, MemoryModel(7, 3))
    assert [row.cycles for row in result.costs] == timing.cycles(program, MemoryModel(7, 3))
    for rows in (result.kinds, result.roles, result.layers):
        assert sum(row.cycles for row in rows) == result.cycles
        assert sum(row.count for row in rows) == len(result.costs)
        assert sum(row.energy.total for row in rows) == pytest.approx(result.energy.total)
    assert result.sum("macs") == MACS
    assert 0 < result.utilisation < result.busy < 1
    assert 0 < result.scale_share < 0.05
    assert result.fps == pytest.approx(1e8 / result.cycles)


def test_what_pixels_have_beside_colours_is_not_counted():
    shape = dataclasses.replace(SHAPE, patch=2, prefix=3)
    program = compile_network(blank_network(shape, Precision(8, 8)), CORES["4x4"])
    cost, = (row for row in estimate_program(program).costs if row.name == "embedding")
    assert cost.macs == 64 * 12 * SHAPE.dim
    tile = 4 * 4
    assert cost.array >= 66 * 16 * SHAPE.dim / tile > cost.macs / tile == cost.ideal


def test_rows_have_the_names_of_tensors():
    program = program_of()
    rows = estimate_program(program).costs
    names = [(row.kind, row.name) for row in rows]
    assert names[:4] == [("SCALES", "scales"), ("LOAD", "load"), ("PATCHES", "patches"),
                         ("GEMM", "embedding")]
    assert names[-4:] == [("NORM", "head"), ("GEMM", "logits"), ("STORE", "logits"),
                          ("END", "end")]
    assert ("PREDICT", "0.x") in names
    block = [each for each in names if each[1].startswith("1.")]
    head = [("GEMM", f"1.{part}.0") for part in ("q", "k", "v", "scores")]
    assert block[:7] == [("NORM", "1.qkv"), *head, ("SOFTMAX", "1.probs.0"), ("GEMM", "1.proj")]
    assert role_of("1.scores.0") == "scores"
    assert role_of("11.fc1") == "fc1"
    assert role_of("second.3.q.0") == "second.q"
    assert role_of("logits") == "logits"


def test_bytes_are_those_of_the_program():
    program = program_of()
    result = estimate_program(program)
    shape = SHAPE
    image = (shape.tokens - 1) * shape.patch_values
    known = program.stream.size + image + program.logits.size
    assert result.traffic.dram == known + 2 * shape.tokens * shape.dim
    fc1, = (row for row in result.layers if row.name == "1.fc2")
    tiles, columns = -(-shape.tokens // 4), -(-shape.hidden // 4)
    assert fc1.traffic.scratchpad == (8 * tiles * columns * shape.dim // 2
                                      + shape.tokens * shape.hidden)
    assert fc1.traffic.buffer == 4 * columns * (2 * 8 + (tiles + 1) * shape.dim)


def test_narrow_operands_and_fast_memory_are_faster():
    wide, narrow = (estimate_program(program_of(bits)) for bits in ("w8a8", "w4a4"))
    assert narrow.cycles < wide.cycles
    assert narrow.energy.mac < wide.energy.mac
    assert narrow.traffic.dram < wide.traffic.dram
    slow = estimate_program(program_of(), MemoryModel(20, 0.5))
    assert slow.cycles > wide.cycles
    assert slow.sum("weights") > wide.sum("weights")
    assert slow.energy == wide.energy


def test_tables(run, folder):
    status, out, err = run("--program", folder)
    assert (status, err) == (0, "")
    found = estimate_program(program_of())
    for text in ("w8a8 on a 4x4 core, 100 MHz", "Instructions", "SOFTMAX", "fc2 GEMM", "frames/s",
                 f"{found.cycles:,}", f"{found.sum('macs'):,}", "20 cycles of latency"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80
    assert "1.fc2 GEMM" not in out
    layers = run("--program", folder, "--layers")[1]
    assert "1.fc2 GEMM" in layers
    assert "blocks.1.mlp.fc1" in layers


def test_json_and_csv(run, folder):
    document = json.loads(run("--program", folder, "--latency", "3", "--dram-bandwidth", "0.2",
                              "--clock", "200", "--json")[1])
    found = estimate_program(program_of(), MemoryModel(3, 1.0), 200.0)
    assert document["mapping"] == "program"
    assert document["totals"]["cycles"] == found.cycles
    assert document["totals"]["fps"] == pytest.approx(found.fps)
    assert [row["cycles"] for row in document["layers"]] == [row.cycles for row in found.costs]
    assert document["options"]["bytes_per_cycle"] == 1.0
    rows = list(csv.DictReader(run("--program", folder, "--csv", "-")[1].splitlines()))
    assert sum(int(row["macs"]) for row in rows) == MACS


@pytest.mark.parametrize(("argv", "message"), [
    (["--bits", "w4a4"], "--bits has no meaning with --program"),
    (["--model", "deit_t"], "--model has no meaning with --program"),
    (["--compat", "scalesim"], "--compat has no meaning with --program"),
    (["--latency", "0"], "argument --latency: must be a positive integer, not '0'"),
    (["--latency", "100000"],
     "--latency, --dram-bandwidth: latency must be within 1..10000, not 100000"),
    (["--dram-bandwidth", "1e-5"],
     "--latency, --dram-bandwidth: bytes per cycle must be 1/1000 or more, not 0.0001")])
def test_mistakes_are_one_line(run, folder, argv, message):
    status, out, err = run("--program", folder, *argv)
    assert (status, out) == (2, "")
    assert err == f"python -m sim.estimate: error: {message}\n"


def test_other_mistakes_are_one_line_too(run, tmp_path):
    status, _, err = run("--program", str(tmp_path / "none"))
    assert status == 2
    assert "No such file or directory; sim.compile makes programs" in err
    (tmp_path / "memory.bin").write_bytes(b"")
    (tmp_path / "program.json").write_text("{}")
    assert "is not a program, or is damaged" in run("--program", str(tmp_path))[2]
    program = program_of()
    at = program.instructions()[2][0]
    broken = bytearray(program.memory)
    broken[at:at + 8] = make(Opcode.LOAD, address=2, words=1).encode()[:8]
    dataclasses.replace(program, memory=bytes(broken)).save(tmp_path)
    assert "instruction 2 at 0x" in run("--program", str(tmp_path))[2]
    config = tmp_path / "config.toml"
    config.write_text("[accelerator]\nrows = 16\n")
    assert "[accelerator] has no meaning with --program" in run(
        "--program", "x", "--config", str(config))[2]


# Models by name.

@pytest.mark.parametrize(("bits", "cycles"), [("w8a8", 10_418_746), ("w4a4", 3_396_151),
                                              ("w4a4,0=w8a8", 3_981_367),
                                              ("w4a4,5.fc1=w4a8", 3_451_422)])
def test_deit_tiny_is_compiled_without_its_weights(run, bits, cycles):
    status, out, err = run("--bits", bits, "--scales", "static", "--json")
    document = json.loads(out)
    assert (status, err, document["mapping"]) == (0, "", "program")
    assert document["totals"]["cycles"] == cycles
    assert document["totals"]["macs"] == DEIT_TINY_MACS
    assert document["totals"]["scale_cycles_share"] == 0


@pytest.mark.parametrize(("argv", "reason"), [
    (["--bits", "w4a4,12=w8a8"], "blocks of a precision must be 0 to 11, not 12"),
    (["--bits", "w4a4,0=w8a8", "--mapping", "generic"], "needs a compiled program"),
])
def test_mixed_precisions_need_a_compiled_program(run, argv, reason):
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert reason in err


@pytest.mark.parametrize("name", ["deit_t", "deit_tiny_distilled_patch16_224"])
def test_macs_are_those_that_torch_counts(name):
    model = models.meta_model(name)
    with flop_counter.FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 224, 224, device="meta"))
    if name == "deit_t":
        assert counter.get_total_flops() == 2 * DEIT_TINY_MACS
    program = compile_network(blank_network(shape_of(name), Precision(8, 8)), CORES["8x16"])
    assert 2 * estimate_program(program).sum("macs") == counter.get_total_flops()


def test_images_of_another_size(run, folder):
    small, usual = (json.loads(run(*words, "--json")[1])["totals"]
                    for words in (["--image-size", "160"], []))
    assert small["cycles"] < usual["cycles"]
    tokens = 10**2 + 1
    wanted = 100 * 768 * 192 + 12 * tokens * (12 * 192**2 + 2 * tokens * 192) + 192_000
    assert small["macs"] == wanted
    assert "--image-size has no meaning with --program" in run(
        "--program", folder, "--image-size", "160")[2]
    generic = json.loads(run("--mapping", "generic", "--image-size", "160", "--json")[1])
    assert generic["totals"]["macs"] == wanted


def test_predicted_scales_cost_a_prediction(run):
    static, predicted = (json.loads(run("--scales", kind, "--json")[1])
                         for kind in ("static", "predicted"))
    one, = (row for row in predicted["instructions"] if row["instruction"] == "PREDICT")
    added = predicted["totals"]["cycles"] - static["totals"]["cycles"]
    assert added == pytest.approx(one["cycles"], abs=10)
    assert 0 < predicted["totals"]["scale_cycles_share"] < 0.001
    assert predicted["totals"]["scale_energy_share"] < 0.002


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_just_in_time_scales_cost_passes_and_room(run, bits):
    static, jit = (json.loads(run("--bits", bits, "--scales", kind, "--json")[1])
                   for kind in ("static", "jit"))
    assert jit["mapping"] == "program"
    passes = [row for row in jit["instructions"] if row["instruction"] in ("MEASURE", "QUANTIZE")]
    assert [row["count"] for row in passes] == [12 * (4 + 3 * 3) + 1] * 2
    added = jit["totals"]["cycles"] - static["totals"]["cycles"]
    assert added == pytest.approx(sum(row["cycles"] for row in passes), rel=0.01)
    words = 12 * 197 * (6 * 192 + 768) // 8
    assert all(words < row["cycles"] < 1.05 * words for row in passes)
    assert jit["config"]["sram_kib"] > static["config"]["sram_kib"]
    assert jit["totals"]["scale_cycles_share"] > 0.09
    assert jit["totals"]["scale_energy_share"] > 0.05
    out = " ".join(run("--bits", bits, "--scales", "jit")[1].split())
    assert f"the scratchpad has {jit['config']['sram_kib']} KiB instead of" in out
    assert "MEASURE and QUANTIZE are for the golden machine: their cycles are a model." in out


def test_all_kinds_of_scales_side_by_side(run):
    status, out, err = run("--bits", "w4a4", "--scales", "all")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(run("--bits", "w4a4", "--scales", "all", "--json")[1])
    rows = {row["scales"]: row for row in document["scales"]}
    assert list(rows) == ["static", "predicted", "jit"]
    for kind, row in rows.items():
        alone = json.loads(run("--bits", "w4a4", "--scales", kind, "--json")[1])["totals"]
        assert document["programs"][kind]["totals"] == alone
        for name in ("cycles", "sram_bytes", "dram_bytes", "energy_mj"):
            assert row[name] == alone[name]
        assert f"{row['cycles']:,}" in out
    assert rows["static"]["more_cycles"] == 0 < rows["predicted"]["more_cycles"] < 0.001
    assert rows["jit"]["scratchpad_bytes"] > rows["static"]["scratchpad_bytes"]
    lines = run("--scales", "all", "--csv", "-")[1].splitlines()
    assert [line.partition(",")[0] for line in lines] == ["scales", *rows]


@pytest.mark.parametrize("argv", [["--mapping", "generic"], ["--model", "mixer_s16_224"]])
def test_scales_are_compared_of_compiled_programs_only(run, argv):
    status, out, err = run("--scales", "all", *argv)
    assert (status, out) == (2, "")
    assert "--scales all needs a compiled program" in err


def test_a_large_array_has_a_core_of_its_own(run):
    document = json.loads(run("--array", "16x32", "--json")[1])
    assert (document["mapping"], document["config"]["lanes"]) == ("program", 16)
    assert document["totals"]["cycles"] < 10_418_746 / 3


@pytest.mark.parametrize(("argv", "reason"), [
    (["--array", "4x4"], "keys mixed at once must be 128 (key_words) or fewer, not 197"),
    (["--array", "8x24"], "cols must be rows or twice as many in a core, not 24"),
    (["--model", "mixer_s16_224"], ("only timm's VisionTransformer, Beit and SwinTransformer are "
                                    "supported, not MlpMixer")),
    (["--model", "vit_huge_patch14_224"], "dim must be within 1..1024, not 1280"),
    (["--config", "tiny.toml"], "the scratchpad must have")])
def test_what_cannot_be_compiled_has_the_generic_mapping(run, argv, reason, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "workload_of", traced)
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text("[accelerator]\nsram_kib = 32\n")
    document = json.loads(run(*argv, "--json")[1])
    assert document["mapping"] == "generic"
    assert reason in document["not_compiled"]
    out = run(*argv)[1]
    assert f"Not compiled: {reason}" in " ".join(out.split())
    assert "Generic mapping" in out
    document = json.loads(run(*argv, "--mapping", "generic", "--json")[1])
    assert document["not_compiled"] is None


def test_a_model_that_there_is_not_is_one_line(run):
    status, _, err = run("--model", "deit_x")
    assert status == 2
    assert "no model is called 'deit_x'" in err


def test_a_blank_network_takes_as_long_as_any_other():
    made = network(Precision.parse("w4a4"), shape=SHAPE)
    blank = blank_network(SHAPE, made.precision)
    times = [timing.cycles(compile_network(one, CORES["4x4"])) for one in (made, blank)]
    assert times[0] == times[1]
    tapped = blank_network(SHAPE, made.precision, default_tap(SHAPE, CORES["8x16"]))
    assert estimate_program(compile_network(tapped, CORES["8x16"])).scale_share > 0


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "vit_base_patch16_clip_224"])
def test_a_norm_before_the_blocks_is_in_the_estimate(model):
    shape = dataclasses.replace(shape_of(model), depth=1, dim=192, heads=3, hidden=768)
    assert begins_with_norm(model) == ("clip" in model)
    core = dataclasses.replace(CORES["8x16"], sram_kib=608)
    plain, normed = (estimate_program(compile_network(
        blank_network(shape, Precision(8, 8), norm_pre=given), core)) for given in (False, True))
    rows = shape.tokens * 192 // CORES["8x16"].lanes
    assert normed.cycles > plain.cycles + rows
    assert any(row.layer == "norm_pre" for row in normed.costs)


def test_norms_of_queries_and_keys_are_in_the_estimate(monkeypatch):
    monkeypatch.setattr(models, "meta_model", lambda *_: vits.model(qk_norm=True, num_heads=2))
    monkeypatch.setattr(models, "preprocessing", lambda _: vits.preprocessing())
    _model.cache_clear()
    assert has_qk_norm("it")
    shape, core = shape_of("it"), CORES["4x4"]
    _model.cache_clear()
    blank, made = (compile_network(one, core) for one in (
        blank_network(shape, Precision(4, 4), qk_norm=True),
        with_qk_norm(network(Precision(4, 4), shape=shape))))
    assert timing.cycles(blank) == timing.cycles(made)
    found = estimate_program(blank)
    plain = estimate_program(compile_network(blank_network(shape, Precision(4, 4)), core))
    rows = 2 * shape.tokens * shape.dim // core.lanes * shape.depth
    assert found.cycles > plain.cycles + rows
    norms = {f"blocks.{block}.attn.{name}" for block in (0, 1) for name in ("q_norm", "k_norm")}
    assert norms <= {row.layer for row in found.costs}


@pytest.mark.parametrize(("bits", "share"), [("w8a8", "mac w8a8"), ("w4a4", None)])
def test_measured_activity_changes_arithmetic_and_nothing_else(bits, share):
    result = estimate_program(program_of(bits, tap=False), tech="22nm")
    published, measured = result.energy, result.measured_energy
    assert (measured.dram, measured.sram) == (published.dram, published.sram)
    assert 0.5 < measured.vector / published.vector < 1.5
    assert measured.vector != published.vector
    factors = [factor for name, factor in measured_factors().items() if name.startswith("mac")]
    assert min(factors) < measured.mac / published.mac < max(factors) or share
    if share:
        assert measured.mac == pytest.approx(published.mac * measured_factors()[share])


def test_energy_is_said_as_published_and_as_measured(run, folder):
    _, out, _ = run("--program", folder, "--tech", "22nm")
    _, text, _ = run("--program", folder, "--tech", "22nm", "--json")
    document = json.loads(text)
    measured, totals = document["measured"], document["totals"]
    assert f"{totals['energy_mj']:.3f} mJ" in out
    assert f"with measured activity: {measured['energy_mj']:.3f} mJ" in out
    low, high = measured["clock_mj"]
    assert f"clock tree {low:.3f} to {high:.3f} mJ, leakage " in out
    assert measured["energy_mj"] < totals["energy_mj"]
    dram = document["energy_constants"]["dram"]["value"] * 8 * totals["dram_bytes"] / 1e9
    assert measured["on_chip_mj"] == pytest.approx(measured["energy_mj"] - dram)
    assert measured["total_mj"] == pytest.approx([measured["on_chip_mj"] / 0.75,
                                                  measured["on_chip_mj"] / 0.30])
    assert measured["factors"] == measured_factors()
