import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.common.formats import Mode
from sim import estimate as command
from sim.estimation.costs import SCALES, Options
from sim.estimation.estimate_options import DEFAULTS
from sim.estimation.generic_estimator import estimate, fitted
from sim.estimation.workload import Vector
from tests.cases.workloads import DEIT_T_MACS, made_of, product, traced

ROOT = Path(__file__).parents[2]
CONFIG = CORES["8x16"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line with traces kept between tests; returns status, stdout, stderr.

    The mapping is the generic one; that of programs has tests/sim/estimation/test_program_costs.py.
    """
    def call(*argv):
        status = command.main(list(argv))
        return status, *capsys.readouterr()

    monkeypatch.setattr(command, "workload_of", traced)
    monkeypatch.setitem(DEFAULTS, "mapping", "generic")
    monkeypatch.setenv("COLUMNS", "80")
    return call


def totals(run, *argv):
    status, out, err = run(*argv, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)["totals"]


def deit(bits=Mode.W8A8, config=CONFIG, **options):
    return estimate(traced("deit_t"), config, Options(bits, **options))


# The library function.

def test_layers_add_up():
    result = deit()
    assert result.macs == 1_253_683_200
    assert sum(layer.cycles for layer in result.layers) == result.cycles
    assert sum(layer.cycles for layer in result.groups) == result.cycles
    assert sum(layer.energy.total for layer in result.layers) == pytest.approx(result.energy.total)
    assert {layer.role: layer.macs for layer in result.groups if layer.macs} == DEIT_T_MACS
    assert result.fps == pytest.approx(100e6 / result.cycles)
    assert result.tops_per_watt == pytest.approx(
        2 * result.macs / 1e12 / (result.energy.total * 1e-12))


def test_the_array_is_busy_and_narrow_operands_are_faster():
    wide, narrow = deit(), deit(Mode.W4A4)
    assert wide.utilisation > 0.9
    assert wide.cycles > 3 * narrow.cycles
    assert narrow.cycles < deit(Mode.W4A8).cycles < wide.cycles
    ideal = wide.macs / 128
    assert wide.utilisation == pytest.approx(ideal / wide.cycles)


@pytest.mark.parametrize("tech", ["28nm", "22nm", "7nm"])
@pytest.mark.parametrize("bits", Mode)
def test_energy_of_deit_tiny_is_plausible(bits, tech):
    assert 0.1 < deit(bits, tech=tech).energy.total / 1e9 < 3


def test_energy_range_is_that_of_external_memory():
    result = deit(scales="static")
    low, high = result.energy_range
    rest = result.energy.total - result.energy.dram
    assert low == pytest.approx(rest + result.energy.dram / 2)
    assert high == pytest.approx(rest + result.energy.dram * 14 / 8)


def test_prediction_is_nearly_free_and_measuring_is_not():
    static, predicted, jit = (deit(scales=kind) for kind in SCALES)
    assert static.scale_cycles_share == static.scale_energy_share == 0
    assert 0 < predicted.scale_cycles_share < 0.001
    assert 0 < predicted.scale_energy_share < 0.001
    assert jit.scale_cycles_share > 0.05
    assert jit.scale_energy_share > 0.05
    assert predicted.cycles - static.cycles == predicted.sum("cycles", "scales")
    assert jit.cycles - static.cycles == jit.sum("cycles", "scales")


def test_measuring_reads_every_site_again():
    jit = deit(scales="jit")
    passes = [layer for layer in jit.layers if layer.kind == "scales"]
    sites = [site for site in jit.workload.sites if not site.fixed]
    assert [layer.elements for layer in passes] == [site.elements for site in sites]
    assert all(layer.traffic.scratchpad == 4 * layer.elements for layer in passes)
    assert sum(layer.cycles for layer in passes) > sum(site.elements for site in sites) / 8


def test_default_predictor_of_deit_tiny():
    result = deit()
    assert (result.tap.tokens, result.tap.channels, result.tap.groups) == (197, 192, 192)
    assert result.predictor.sites == 11 * 7 + 1
    assert deit(scales="static").predictor is None


def test_nothing_to_predict_in_a_network_of_one_block():
    assert estimate(made_of(product(8, 8, 8))).predictor is None


def test_slow_memory_makes_the_array_wait():
    fast, slow = deit(), deit(dram_gb_s=0.01)
    assert slow.cycles > fast.cycles
    assert slow.stall > fast.stall
    # Every product whose weights take longer to come than to use takes as long as they come.
    for layer in slow.layers:
        if layer.kind == "product":
            assert layer.cycles == max(layer.busy, layer.traffic.dram * 10)


def test_memory_is_no_faster_than_the_bus():
    assert deit(dram_gb_s=100.0).cycles == deit().cycles


def test_a_small_scratchpad_spills():
    small, large = (deit(config=replace(CONFIG, sram_kib=kib)) for kib in (128, 384))
    assert large.spilled_bytes == 0
    assert small.spilled_bytes > 1e6
    assert small.traffic.dram - large.traffic.dram == small.spilled_bytes
    assert small.energy.dram > large.energy.dram
    assert small.peak_bytes > 128 * 1024


def test_weights_cross_the_bus_once():
    config = replace(CONFIG, sram_kib=384)  # so that nothing else has to
    weights = traced("deit_t").weights
    dram = deit(config=config, scales="static").traffic.dram
    assert weights < dram < 1.06 * weights  # image, constants per channel, ragged tiles
    assert deit(Mode.W4A4, config=config, scales="static").traffic.dram < 0.6 * dram


def test_softmax_at_the_end_of_a_network_cannot_hide():
    chain = made_of(product(8, 64, 16, wide=True),
                    Vector(name="v", role="softmax", reads=(0,), elements=128, rows=8, length=16))
    vector = estimate(chain).layers[1]
    assert vector.cycles == vector.busy == 3 * 8 * 2


def test_limits_are_raised_to_what_the_model_needs():
    workload = made_of(product(10, 5000, 10))
    result = estimate(workload, CONFIG)
    assert result.raised == {"max_k": 5000}
    assert fitted(CONFIG, traced("deit_t")) == CONFIG


def test_refuses_what_no_configuration_holds():
    with pytest.raises(ValueError, match="max_k must keep w8a8 sums within 32 bits"):
        estimate(made_of(product(10, 60_000, 10)), CONFIG)


@pytest.mark.parametrize(("options", "message"), [
    ({"clock_mhz": 0}, "clock_mhz must be a positive number, not 0"),
    ({"dram_gb_s": -1.0}, "dram_gb_s must be a positive number, not -1.0"),
    ({"dram_gb_s": float("nan")}, "dram_gb_s must be a positive number"),
    ({"scales": "dynamic"}, "scales must be one of static, predicted, jit, not 'dynamic'"),
    ({"tech": "5nm"}, "tech must be one of")])
def test_refuses_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


@pytest.mark.parametrize("name", ["deit_s", "vit_b", "swin_t", "vit_small_patch14_dinov2",
                                  "mixer_s16_224", "xcit_tiny_12_p16_224"])
@pytest.mark.parametrize("config", [CORES["4x4"], CONFIG, AcceleratorConfig.for_array(32, 32)],
                         ids=["4x4", "8x16", "32x32"])
def test_every_model_fits_every_array(name, config):
    workload = traced(name)
    results = [estimate(workload, config, Options(Mode.W4A4, scales=kind)) for kind in SCALES]
    assert all(0 < result.utilisation < 1 for result in results)
    assert results[0].cycles < results[1].cycles < results[2].cycles


# The command line.

def test_table_of_deit_tiny(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "1,253,683,200" in out
    for role in DEIT_T_MACS:
        assert role in out
    for text in ("softmax", "layer norm", "gelu", "requantize", "range unit", "scale unit",
                 "197x192x576", "frames/s", "TOPS/W", "range + scale unit", "ASIC-equivalent"):
        assert text in out
    assert "\x1b" not in out


@pytest.mark.parametrize("argv", [
    [], ["--layers"], ["--bits", "w4a4", "--scales", "jit"], ["--array", "32x32"],
    ["--model", "swin_t"], ["--model", "swin_t", "--layers"],
    ["--model", "vit_small_patch14_dinov2", "--layers"],
    ["--model", "vit_b", "--layers", "--array", "4x4"],
    ["--compat", "scalesim", "--model", "swin_t"]])
def test_tables_fit_80_columns(run, argv):
    status, out, _ = run(*argv)
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert ".." not in out


def test_long_names_are_cut_to_the_width(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    out = run("--model", "swin_t", "--layers")[1]
    assert "\n..mple.reduction  784x384x192 " in out
    assert "…" not in out.partition("Beside")[0]


def test_every_layer_is_shown_on_request(run):
    grouped, layers = run()[1], run("--layers")[1]
    assert "blocks.11.mlp.fc2" not in grouped
    assert "blocks.11.mlp.fc2" in layers
    assert "blocks.11.attn scores" in layers
    assert "blocks.11.attn x V" in layers


@pytest.mark.parametrize(("argv", "key", "change"), [
    (["--model", "deit_s"], "macs", 4_598_882_304 / 1_253_683_200),
    (["--array", "16x16"], "cycles", 0.52),
    (["--array", "16x32"], "cycles", 0.272),
    (["--bits", "w4a8"], "cycles", 0.53),
    (["--bits", "W4A4"], "cycles", 0.32),
    (["--clock", "200"], "fps", 2.0),
    (["--dram-bandwidth", "0.02"], "stall_cycles", 936.0),
    (["--tech", "45nm"], "energy_mj", 1.585),
    (["--tech", "7nm"], "energy_mj", 0.763),
    (["--scales", "jit"], "cycles", 1.145),
    (["--scales", "static"], "scale_cycles_share", 0.0)])
def test_every_option_counts(run, argv, key, change):
    assert totals(run, *argv)[key] == pytest.approx(totals(run)[key] * change, rel=0.03)


def test_json_holds_everything(run):
    status, out, _ = run("--json")
    document = json.loads(out)
    assert status == 0
    assert {"model", "config", "options", "totals", "operations", "layers", "predictor",
            "energy_constants", "assumptions"} <= set(document)
    assert document["options"]["bits"] == "w8a8"
    operations = {row["operation"]: row["macs"] for row in document["operations"] if row["macs"]}
    assert operations == DEIT_T_MACS
    assert len(document["layers"]) > len(document["operations"])
    assert document["energy_constants"]["dram"]["status"] == "cited"
    assert document["totals"]["energy_mj"] == pytest.approx(
        sum(row["energy_pj"] for row in document["layers"]) / 1e9)


def test_files_are_written_beside_the_table(run, tmp_path):
    table, document = tmp_path / "layers.csv", tmp_path / "all.json"
    status, out, _ = run("--csv", str(table), "--json", str(document))
    assert status == 0
    assert "Matrix products" in out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert sum(int(row["macs"]) for row in rows) == 1_253_683_200
    assert rows[2]["name"] == "blocks.0.attn.qkv"
    assert rows[2]["shape"] == "197x192x576"
    assert json.loads(document.read_text())["totals"]["macs"] == 1_253_683_200


def test_csv_can_be_printed(run):
    out = run("--csv", "-")[1]
    assert sum(int(row["macs"]) for row in csv.DictReader(out.splitlines())) == 1_253_683_200


@pytest.mark.parametrize(("array", "dataflow", "cycles"), [
    ("16x16", "os", "5,953,720"), ("16x16", "ws", "6,123,442"), ("16x16", "is", "6,200,950"),
    ("32x32", "os", "1,838,114"), ("32x32", "ws", "1,861,750"), ("32x32", "is", "1,972,714")])
def test_scalesim_cycles(run, array, dataflow, cycles):
    status, out, _ = run("--compat", "scalesim", "--array", array, "--dataflow", dataflow)
    assert status == 0
    assert f"compute cycles {cycles}, MACs 1,253,683,200" in out


def test_scalesim_as_json_and_csv(run, tmp_path):
    path = tmp_path / "s.csv"
    document = json.loads(run("--compat", "scalesim", "--array", "16x16", "--json", "--csv",
                              str(path))[1])
    assert document["cycles"] == 5_953_720
    assert document["dataflow"] == "output stationary"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert sum(int(row["cycles"]) for row in rows) == 5_953_720


# The configuration file.

@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return str(path)
    return write


def test_config_file_gives_options(run, config_file):
    path = config_file("""
        [estimate]
        model = "deit_s"
        array = "16x16"
        bits = "w4a8"
        clock = 250
        dram-bandwidth = 0.5
        tech = "22nm"
        scales = "static"
    """)
    document = json.loads(run("--config", path, "--json")[1])
    assert document["model"] == "deit_s"
    assert document["config"]["rows"] == 16
    assert document["options"] == {"bits": "w4a8", "clock_mhz": 250.0, "dram_gb_s": 0.5,
                                   "tech": "22nm", "scales": "static"}


def test_config_file_gives_output_options(run, config_file, tmp_path):
    path = config_file(f"""
        [estimate]
        layers = true
        csv = '{tmp_path / "x.csv"}'
        json = '{tmp_path / "x.json"}'
    """)
    assert "blocks.11.mlp.fc2" in run("--config", path)[1]
    assert (tmp_path / "x.csv").exists()
    assert (tmp_path / "x.json").exists()


def test_config_file_gives_the_compatible_mapping(run, config_file):
    path = config_file('[estimate]\ncompat = "scalesim"\ndataflow = "ws"\narray = "16x16"\n')
    assert "6,123,442" in run("--config", path)[1]


def test_typed_options_come_first(run, config_file):
    path = config_file('[estimate]\nbits = "w4a8"\nclock = 250\n')
    options = json.loads(run("--config", path, "--bits", "w4a4", "--json")[1])["options"]
    assert (options["bits"], options["clock_mhz"]) == ("w4a4", 250.0)


def test_config_file_gives_the_accelerator(run, config_file):
    path = config_file("[accelerator]\nrows = 16\ncols = 24\nsram_kib = 512\nbus_bytes = 8\n")
    config = json.loads(run("--config", path, "--json")[1])["config"]
    assert (config["rows"], config["cols"], config["lanes"]) == (16, 24, 24)
    assert (config["sram_kib"], config["bus_bytes"]) == (512, 8)
    config = json.loads(run("--config", path, "--array", "8x8", "--json")[1])["config"]
    assert (config["rows"], config["cols"], config["sram_kib"]) == (8, 8, 512)


# Bad input: one line, status 2, nothing written.

@pytest.mark.parametrize(("argv", "message"), [
    (["--model", "deit_x"], "no model is called 'deit_x'; did you mean"),
    (["--array", "0x3"], "argument --array: must be ROWSxCOLS or one of 4x4, "),
    (["--array", "8xfoo"], "argument --array: must be ROWSxCOLS"),
    (["--array", "8x1000"], "argument --array: cols must be within 1..256, not 1000"),
    (["--bits", "w3a3"], "argument --bits: must be one of w8a8, w4a8, w4a4, not 'w3a3'"),
    (["--clock", "-5"], "argument --clock: must be a positive number, not '-5'"),
    (["--clock", "fast"], "argument --clock: must be a positive number, not 'fast'"),
    (["--dram-bandwidth", "0"], "argument --dram-bandwidth: must be a positive number, not '0'"),
    (["--tech", "5nm"], "argument --tech: must be one of 45nm, 28nm, 22nm, 7nm, not '5nm'"),
    (["--scales", "dynamic"], "argument --scales: must be one of static, predicted, jit"),
    (["--compat", "timeloop"], "argument --compat: must be one of scalesim, not 'timeloop'"),
    (["--dataflow", "ws"], "--dataflow needs --compat scalesim"),
    (["--compat", "scalesim", "--dataflow", "rs"], "argument --dataflow: must be one of os, ws"),
    (["--compat", "scalesim", "--bits", "w4a4"], "--bits has no meaning with --compat"),
    (["--compat", "scalesim", "--layers"], "--layers has no meaning with --compat"),
    (["--memory", "icebreaker"], "argument --memory: must be one of ulx3s, not 'icebreaker'"),
    (["--memory", "ulx3s", "--latency", "3"], "--latency has no meaning with --memory"),
    (["--memory", "ulx3s", "--mapping", "generic"], "--mapping generic has no meaning with"),
    (["--memory", "ulx3s", "--clock", "180"], "--clock with --memory ulx3s: clock must be within"),
    (["--memory", "ulx3s", "--model", "mixer_s16_224"], "--memory needs a compiled program"),
    (["--config", "missing.toml"], "cannot read missing.toml: No such file"),
    (["--csv", "missing/x.csv"], "cannot write missing/x.csv: No such file"),
    (["--json", "missing/x.json"], "cannot write missing/x.json: No such file"),
    (["--colour"], "unrecognized arguments: --colour")])
def test_bad_options_are_one_line(run, argv, message):
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m sim.estimate: error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("text", "message"), [
    ("[estimate", "is not TOML"),
    ("[estimates]\n", "may have tables [accelerator] and [estimate], not 'estimates'"),
    ("model = 'deit_t'\n", "may have tables [accelerator] and [estimate], not 'model'"),
    ("[estimate]\nbit = 'w8a8'\n", "options must be among array, bits, clock, compat, csv"),
    ("[estimate]\nbits = 'w3a3'\n", "bits must be one of w8a8, w4a8, w4a4, not 'w3a3'"),
    ("[estimate]\nclock = [1]\n", "clock must be text or a number, not [1]"),
    ("[estimate]\nclock = true\n", "clock must be text or a number, not True"),
    ("[estimate]\nlayers = 1\n", "layers must be true or false, not 1"),
    ("[accelerator]\nrow = 8\n", "accelerator choices must be among rows, cols"),
    ("[accelerator]\nrows = 0\n", "rows must be"),
    ("[accelerator]\nrows = 'x'\n", "rows must be an integer, not 'x'"),
    ("[accelerator]\nlanes = 3\n", "lanes must divide cols, but 3 does not divide 16"),
    ("[accelerator]\nmax_statistics = 1\n", "cannot estimate deit_t: statistics must be")])
def test_bad_config_files_are_one_line(run, config_file, text, message):
    status, out, err = run("--config", config_file(text))
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_one_file_that_cannot_be_written_leaves_no_other(run, tmp_path):
    path = tmp_path / "x.json"
    status, _, err = run("--json", str(path), "--csv", str(tmp_path / "missing" / "x.csv"))
    assert status == 2
    assert "cannot write" in err
    assert not list(tmp_path.iterdir())


def test_a_process_of_its_own_says_the_same():
    process = subprocess.run([sys.executable, "-m", "sim.estimate", "--model", "deit_t"],
                             cwd=ROOT, capture_output=True, text=True, check=True)
    assert "1,253,683,200" in process.stdout
    assert process.stderr == ""
