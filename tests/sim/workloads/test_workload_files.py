"""Workloads of files: SCALE-Sim's topologies and ONNX, read and written."""

import csv
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from golden.common.config import CORES
from sim import estimate as command
from sim.cli import UserError
from sim.compiler.blank import shape_of
from sim.estimation import scalesim
from sim.estimation.generic_estimator import estimate
from sim.estimation.workload import IMAGE
from sim.workloads.product_lines import product_lines, topology
from sim.workloads.workload_files import read_workload
from tests.cases.workloads import traced
from tests.sim.estimation.test_program_costs import MACS, program_of

CONVOLUTIONS = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 224, 224, 7, 7, 3, 64, 2,
Conv2, 10, 8, 3, 1, 4, 6, 3, 2,

DP3, 16, 16, 3, 3, 5, 1, 1,
"""


def written(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def shapes(workload):
    return [(op.m, op.k, op.n, op.count) for op in workload.products]


def test_convolutions_have_the_sizes_that_scale_sim_gives_them(tmp_path):
    workload = read_workload(written(tmp_path, CONVOLUTIONS))
    # (224 - 7 + 2) / 2 = 109.5, rounded up; (10 - 3 + 3) / 3 and (8 - 1 + 2) / 2 too.
    assert shapes(workload) == [(110 * 110, 147, 64, 1), (4 * 5, 12, 6, 1), (14 * 14, 9, 1, 5)]
    assert [op.left_elements for op in workload.products] == [224 * 224 * 3, 320, 1280]
    assert [op.reads for op in workload.products] == [(IMAGE,), (0,), (1,)]
    assert workload.input_shape == (224 * 224 * 3,)


def test_products_go_out_as_they_came_in(tmp_path):
    text = "Layer, M, N, K,\nfc1, 197, 768, 192,\nfc2, 197, 192, 768,\n"
    workload = read_workload(written(tmp_path, text))
    assert shapes(workload) == [(197, 192, 768, 1), (197, 768, 192, 1)]
    assert topology(product_lines(workload)) == text
    assert scalesim.network_cycles(workload, 8, 16, "os") == sum(
        scalesim.product_cycles(*op.shape, 8, 16, "os") for op in workload.products)


def test_dense_is_the_only_sparsity(tmp_path):
    dense = "Layer, M, N, K, Sparsity,\nfc, 4, 5, 6, 4:4,\n"
    assert shapes(read_workload(written(tmp_path, dense))) == [(4, 6, 5, 1)]
    with pytest.raises(UserError, match="line 2: layers must be dense, not 2:4"):
        read_workload(written(tmp_path, dense.replace("4:4", "2:4")))


@pytest.mark.parametrize(("text", "message"), [
    ("", "must have a header and at least one layer"),
    ("Layer, M, N, K,\n", "must have a header and at least one layer"),
    ("Layer, M, N, K,\nfc, 4, 5,\n", "line 2: a product must have a name, M, N and K, not 3"),
    ("Layer, M, N, K,\nfc, 4, 0, 5,\n", "line 2: M, N and K must be integers of 1 or more"),
    ("Layer, M, N, K,\nfc, 4, x, 5,\n", "line 2: M, N and K must be integers of 1 or more"),
    (CONVOLUTIONS + "C, 2, 8, 3, 3, 4, 5, 1,\n", "line 6: a filter of 3 x 3 must fit its input"),
    (CONVOLUTIONS + "C, 8, 8, 3, 3, 4, 5,\n", "line 6: a convolution must have a name, six sizes")])
def test_a_wrong_topology_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_workload(written(tmp_path, text))


# ONNX.

def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def saved(tmp_path, nodes, weights, inputs, output):
    constants = [numpy_helper.from_array(np.zeros(shape, np.float32), name)
                 for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def test_an_attention_block_in_onnx(tmp_path):
    """Patches by convolution, two heads of attention, a layer behind it."""
    node = helper.make_node
    path = saved(tmp_path, [
        node("Conv", ["x", "w"], ["p"], "/patch/Conv", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", ["p", "tokens"], ["t0"]), node("Transpose", ["t0"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["t", "wq"], ["q0"], "/q"), node("MatMul", ["t", "wk"], ["k0"], "/k"),
        node("Reshape", ["q0", "heads"], ["q1"]),
        node("Transpose", ["q1"], ["q"], perm=[0, 2, 1, 3]),
        node("Reshape", ["k0", "heads"], ["k1"]),
        node("Transpose", ["k1"], ["kt"], perm=[0, 2, 3, 1]),
        node("MatMul", ["q", "kt"], ["s"], "/scores"), node("Softmax", ["s"], ["a"]),
        node("ReduceMean", ["a"], ["m"], axes=[1, 2], keepdims=0),
        node("Transpose", ["wt"], ["turned"], perm=[1, 0]),
        node("Gemm", ["m", "turned"], ["y"], "/head", transB=1)],
        {"w": (8, 3, 4, 4), "wq": (8, 8), "wk": (8, 8), "wt": (16, 10)},
        [value("x", "batch", 3, 16, 16)], value("y", 1, 10))
    model = onnx.load(path)
    model.opset_import[0].version = 13
    for name, numbers in (("tokens", [1, 8, 16]), ("heads", [1, 16, 2, 4])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(numbers), name))
    onnx.save(model, path)
    workload = read_workload(path)
    assert shapes(workload) == [(16, 48, 8, 1), (16, 8, 8, 1), (16, 8, 8, 1), (16, 4, 16, 2),
                                (1, 16, 10, 1)]
    scores = workload.products[3]
    assert (scores.name, scores.left, scores.right) == ("scores", (1,), (2,))
    assert [op.left for op in workload.products] == [(IMAGE,), (0,), (0,), (1,), (3,)]
    assert workload.left_out == {"Reshape": 3, "Transpose": 3, "Softmax": 1, "ReduceMean": 1}
    assert workload.input_shape == (3 * 16 * 16,)
    result = estimate(workload, CORES["8x16"])
    assert result.macs == workload.macs == 16 * 48 * 8 + 2 * 16 * 8 * 8 + 2 * 16 * 4 * 16 + 160


def test_grouped_convolutions_and_weights_on_the_left(tmp_path):
    node = helper.make_node
    path = saved(tmp_path, [
        node("Conv", ["x", "w"], ["c"], "c", group=2), node("MatMul", ["l", "c"], ["y"], "m")],
        {"w": (6, 2, 3, 3), "l": (5, 7)}, [value("x", 1, 4, 9, 9)], value("y", 1, 6, 5, 7))
    convolution, product = read_workload(path).products
    assert (convolution.shape, convolution.count) == ((49, 18, 3), 2)
    assert product.macs == 5 * 7 * 7 * 6
    assert (product.left, product.right) == ((0,), ())


def test_a_network_without_sizes_is_one_line(tmp_path):
    path = saved(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], "fc")], {"w": (3, 4)},
                 [value("x", 1, "tokens", 3)], value("y", 1, "tokens", 4))
    with pytest.raises(UserError, match="'x' of MatMul 'fc' has no known size"):
        read_workload(path)
    for content in (b"", b"\xff\xff no", b"PK"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="network.onnx"):
            read_workload(path)


# What goes out.

def test_lines_of_a_program_are_its_products():
    result = command.estimate_program(program_of())
    lines = product_lines(result)
    assert len({line.name for line in lines}) == len(lines)
    gemms = [row for row in result.costs if row.kind == "GEMM"]
    assert [line.cycles for line in lines] == [row.cycles for row in gemms]
    assert sum(line.energy_pj for line in lines) == pytest.approx(
        sum(row.energy.total for row in gemms))
    # The row of the class token before the patches, and what pixels have beside colours, count.
    assert sum(line.m * line.n * line.k for line in lines) > MACS


def test_lines_of_layers_add_up():
    result = estimate(traced("deit_t"), CORES["8x16"])
    lines = product_lines(result)
    assert len(lines) == sum(op.count for op in traced("deit_t").products)
    assert len({line.name for line in lines}) == len(lines)
    assert sum(line.cycles for line in lines) == result.sum("cycles", "product")
    assert sum(line.m * line.n * line.k for line in lines) == result.macs


def test_the_command_reads_and_writes(tmp_path, capsys):
    source = written(tmp_path, CONVOLUTIONS)
    out, costs = tmp_path / "out.csv", tmp_path / "costs.csv"
    assert command.main(["--workload", str(source), "--json", "--bits", "w4a4", "--topology",
                         str(out), "--products", str(costs)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["options"]["scales"] == "static"
    assert not any("head" in line for line in document["assumptions"])
    rows = list(csv.DictReader(costs.read_text().splitlines()))
    assert [int(row["LayerID"]) for row in rows] == list(range(7))
    assert sum(int(row["macs"]) for row in rows) == document["totals"]["macs"]
    again = read_workload(out)
    assert [op.name for op in again.products] == [row["name"] for row in rows]
    assert again.macs == document["totals"]["macs"]
    assert command.main(["--workload", str(out), "--compat", "scalesim", "--array", "8x8",
                         "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cycles"] == scalesim.network_cycles(
        again, 8, 8, "os")


@pytest.mark.parametrize(("argv", "message"), [
    (["--workload", "x.txt"], "x.txt must be a topology (.csv) or a network (.onnx)"),
    (["--workload", "nowhere.csv"], "cannot read nowhere.csv: No such file or directory"),
    (["--workload", "nowhere.onnx"], "cannot read nowhere.onnx: No such file or directory"),
    (["--workload", "x.csv", "--scales", "jit"], "--scales has no meaning with --workload"),
    (["--workload", "x.csv", "--model", "deit_t"], "--model has no meaning with --workload"),
    (["--scales", "all", "--topology", "x"], "--topology has no meaning with --scales all"),
    (["--compat", "scalesim", "--products", "x"], "--products has no meaning with --compat")])
def test_mistakes_are_one_line(argv, message, capsys):
    assert command.main(argv) == 2
    assert capsys.readouterr().err == f"python -m sim.estimate: error: {message}\n"


def test_deit_tiny_goes_out_and_comes_back(tmp_path):
    assert shape_of("deit_t").depth == 12
    path = written(tmp_path, topology(product_lines(traced("deit_t"))))
    assert read_workload(path).macs == traced("deit_t").macs
