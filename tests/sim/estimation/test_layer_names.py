"""Names of layers: those of the traced model, with the same multiply-accumulates."""

import csv
import json
from collections import Counter

import pytest

from golden.common.config import CORES
from golden.network.precision import Precision
from sim.compiler import compile_network, compile_with_room
from sim.compiler.blank import blank_network, default_tap, shape_of
from sim.estimation import program_report
from sim.estimation.estimate_report import as_csv
from sim.estimation.layer_names import layer_of
from sim.estimation.program_costs import estimate_program
from tests.cases.workloads import traced

CONFIG = CORES["8x16"]


def estimated(kind: str):
    shape = shape_of("deit_t")
    network = blank_network(shape, Precision.parse("w4a4"),
                            default_tap(shape, CONFIG) if kind == "predicted" else None)
    return estimate_program(compile_with_room(network, CONFIG, jit=True) if kind == "jit"
                            else compile_network(network, CONFIG))


@pytest.fixture(scope="module")
def static():
    return estimated("static")


@pytest.fixture(scope="module", params=["static", "predicted", "jit"])
def result(request, static):
    return static if request.param == "static" else estimated(request.param)


def test_layers_are_those_of_the_traced_model(result):
    workload = traced("deit_t")
    expected = Counter()
    for op in workload.operations:
        expected[op.name] += getattr(op, "macs", 0)
    found = Counter()
    for row in result.costs:
        if row.kind not in ("LOAD", "PATCHES", "STORE") and row.layer:
            found[row.layer] += row.macs
    assert found == expected


def test_only_what_timm_has_not_is_without_a_layer(result):
    kinds = {row.kind for row in result.costs if not row.layer}
    assert kinds == {"SCALES", "END"} | {row.kind for row in result.costs if row.kind == "PREDICT"}


@pytest.mark.parametrize(("kind", "tensor", "layer"), [
    ("GEMM", "3.fc2", "blocks.3.mlp.fc1"), ("GEMM", "3.x", "blocks.3.mlp.fc2"),
    ("NORM", "11.fc1", "blocks.11.norm2"), ("GEMM", "0.k.2", "blocks.0.attn.qkv"),
    ("MEASURE", "0.k.wide.2", "blocks.0.attn.qkv"), ("QUANTIZE", "7.qkv.wide", "blocks.7.norm1"),
    ("SOFTMAX", "0.probs.1", "blocks.0.attn"), ("GEMM", "attended", "blocks.*.attn.proj"),
    ("NORM", "head", "norm"), ("GEMM", "logits", "head"), ("LOAD", "load", "pos_embed"),
    ("NORM", "pool", "norm"), ("GEMM", "mean", ""), ("PREDICT", "0.x", ""),
    ("GEMM", "something", ""), ("GEMM", "3.logits.wide.x", ""),
    ("GEMM", "second.3.fc2", "blocks.3.mlp.fc1"), ("NORM", "second.head", "norm"),
    ("EXIT", "probs", ""), ("NORM", "3.q.1", "blocks.3.attn.q_norm"),
    ("NORM", "k.0@64", "blocks.*.attn.k_norm"), ("GEMM", "3.y.q.1@64", "blocks.3.attn.qkv"),
    ("NORM", "0.k.wide.2", "blocks.0.attn.k_norm")])
def test_names(kind, tensor, layer):
    assert layer_of(kind, tensor) == layer


def test_rows_of_documents_have_layers(static):
    document = json.loads(json.dumps(program_report.program_dict(static)))
    assert [row["layer"] for row in document["layers"]] == [row.layer for row in static.costs]
    assert "blocks.*.mlp.fc1" in {row["layer"] for row in document["operations"]}
    rows = list(csv.DictReader(as_csv(document["layers"]).splitlines()))
    fc1 = [row for row in rows if row["layer"] == "blocks.3.mlp.fc1"]
    assert [(row["name"], row["instruction"]) for row in fc1] == [("3.fc2", "GEMM")]


@pytest.mark.parametrize(("kind", "tensor", "layer"), [
    ("GEMM", "3.fc2@64", "layers.1.blocks.1.mlp.fc1"), ("NORM", "0.qkv", "layers.0.blocks.0.norm1"),
    ("LOAD", "11.windows@3", "layers.3.blocks.1.norm1"),
    ("GEMM", "fc2", "layers.*.blocks.*.mlp.fc1"),
    ("LOAD", "4.line@8", "layers.2.downsample.norm"), ("NORM", "merge", "layers.*.downsample.norm"),
    ("GEMM", "10.merged.part0", "layers.3.downsample.reduction"), ("GEMM", "logits", "head.fc"),
    ("LOAD", "9.places.2@3", "layers.2.blocks.5.attn"), ("NORM", "begun@49", "patch_embed.norm")])
def test_names_of_stages(kind, tensor, layer):
    assert layer_of(kind, tensor, (0, 2, 4, 10)) == layer


def test_windows_take_the_multiply_accumulates_of_the_traced_layers():
    """Of layers with weights: torch multiplies what it masks, too."""
    shape = shape_of("swin_t")
    program = compile_network(blank_network(shape, Precision(8, 8), norm_pre=True), CONFIG)
    found = Counter()
    for row in estimate_program(program).costs:
        found[row.layer] += row.macs
    weighted = [op for op in traced("swin_t").operations
                if getattr(op, "macs", 0) and not op.name.endswith(".attn")]
    assert len(weighted) == 4 * shape.depth + len(shape.merges) + 2
    for op in weighted:
        assert found[op.name] == op.macs, op.name
