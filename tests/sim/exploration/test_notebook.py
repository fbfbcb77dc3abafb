"""docs/explore.ipynb: it runs from top to end, and shows what it says."""

import base64
import io
import json
import re
from dataclasses import fields
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from golden.common.config import CORES
from golden.cycles.memory_model import MemoryModel
from golden.cycles.timing import timing
from sim.compiler import compile_network
from sim.exploration import evaluate
from sim.exploration.evaluate import Setting
from sim.exploration.grid import Design
from sim.inputs.model_lookup import open_model

ROOT = Path(__file__).parents[3]
PATH = ROOT / "docs" / "explore.ipynb"
SECONDS = 300  # for a cell, on a machine that does much else
LAST = """
import json
print(json.dumps({"cycles": estimate.cycles, "layers": int(layers["cycles"].sum()),
                  "table": len(table), "fits": int(table["fits"].sum()),
                  "reasons": sorted(set(table["reason"]) - {""}),
                  "front": json.loads(front.to_json(orient="records"))}))
"""
"""What is added to the notebook to be told what its names stand for."""


def read():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Execute it in an empty folder; what each cell has put out, by the name of the cell."""
    notebook, folder = read(), tmp_path_factory.mktemp("notebook")
    notebook.cells.append(nbformat.v4.new_code_cell(LAST, id="last"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3",
                       resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "build" / "explore.jsonl").is_file()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def text(outputs, cell):
    """What a cell has printed, or its result as text."""
    return "".join(one["text"] if one.output_type == "stream" else one.data["text/plain"]
                   for one in outputs[cell])


@pytest.fixture(scope="module")
def names(outputs):
    """Values of its names at the end."""
    return json.loads(text(outputs, "last"))


def test_it_is_kept_without_what_it_puts_out():
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert len(cells) > 5
    assert not [cell.id for cell in cells if cell.outputs or cell.execution_count is not None]


def test_nothing_in_it_complains(outputs):
    assert not [one["text"] for cell in outputs.values() for one in cell
                if one.get("name") == "stderr"]


def test_the_estimate_is_that_of_the_shipped_model(outputs, names):
    program = compile_network(open_model("vit_cifar10:w8a8").network, CORES["8x16"])
    cycles = timing(program, MemoryModel(20, 4)).cycles
    assert f"{cycles:,} cycles, " in text(outputs, "estimate")
    assert names["cycles"] == names["layers"] == cycles


def test_layers_and_units_are_shown(outputs):
    shown = text(outputs, "layers")
    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
        assert f"blocks.0.{layer} " in shown
    shares = dict(re.findall(r"^(\w.*?) +([\d.]+)%$", text(outputs, "trace"), re.M))
    assert float(shares["instruction"]) == 100
    assert 50 < float(shares["array"]) < 100


def test_the_front_is_of_designs_that_cost_that_much_alone(outputs, names):
    assert 0 < len(names["front"]) < names["fits"] < names["table"]
    assert names["reasons"]
    assert all(reason in text(outputs, "explore") for reason in names["reasons"])
    setting = Setting("vit_cifar10", open_model("vit_cifar10:w8a8").network.shape, "",
                      CORES["8x16"], 100.0, "28nm")
    for row in names["front"]:
        design = Design(**{field.name: row[field.name] for field in fields(Design)})
        alone, = evaluate.evaluate(setting, [design])
        assert alone == {name: pytest.approx(row[name]) for name in alone}
        assert row["fps"] >= 50


@pytest.mark.parametrize("cell", ["where", "pareto"])
def test_figures_are_drawn(outputs, cell):
    image, = (one.data["image/png"] for one in outputs[cell] if "image/png" in one.get("data", {}))
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(image))).convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
