"""The rule of who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benches.import_graph import import_graph

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "golden": {"rtl", "sim", "tests", "torch", "torchvision", "timm", "amaranth", "cocotb"},
    "rtl": {"sim", "tests", "torch", "torchvision", "timm", "cocotb"},
    "sim": {"tests", "cocotb"},
}


def imported(path: Path) -> set[str]:
    """Top-level packages that the module imports absolutely."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_only_what_it_may(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    assert paths, f"no sources in {package}"
    offenders = {str(path.relative_to(ROOT)): sorted(imported(path) & FORBIDDEN[package])
                 for path in paths if imported(path) & FORBIDDEN[package]}
    assert not offenders


def test_formats_need_neither_numba_nor_numpy():
    assert imported(ROOT / "golden" / "common" / "formats.py") == {"enum", "dataclasses"}


def test_golden_loads_no_framework():
    code = ("import sys, pkgutil, importlib, golden\n"
            "for module in pkgutil.walk_packages(golden.__path__, 'golden.'):\n"
            "    importlib.import_module(module.name)\n"
            "print(*sorted({'torch', 'timm', 'amaranth', 'rtl', 'sim'} & set(sys.modules)))")
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                            check=True)
    assert result.stdout.strip() == ""


def test_a_forbidden_import_is_noticed(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import numpy\nfrom torch.nn import Linear\n")
    assert imported(path) & FORBIDDEN["golden"] == {"torch"}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_every_folder_with_sources_is_a_package(package):
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def cycle(graph: dict[str, list[str]]) -> list[str]:
    """A cycle of a graph, its first node again at the end; empty if there is none."""
    finished, way = set(), []

    def visit(name):
        if name in way:
            return [*way[way.index(name):], name]
        if name in finished:
            return []
        way.append(name)
        for other in graph[name]:
            found = visit(other)
            if found:
                return found
        finished.add(way.pop())
        return []
    return next(filter(None, map(visit, graph)), [])


def test_no_module_imports_itself_through_others():
    graph = import_graph(ROOT)
    assert "sim.inputs.quantized_model" in graph["sim.run"]  # not of an empty graph
    found = cycle(graph)
    assert not found, f"modules import each other in a circle: {' -> '.join(found)}"


@pytest.mark.parametrize(("files", "found"), [
    ({"a": "from .b import f", "b": "def f():\n    from . import c", "c": "import p.a"},
     ["p.a", "p.b", "p.c", "p.a"]),
    ({"__init__": "from .a import f", "a": "from . import g"}, ["p", "p.a", "p"]),
    ({"__init__": "from .a import f", "a": "from .b import f", "b": "from . import c", "c": ""},
     []),
    ({"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b",
      "b": "from . import a"}, []),
    ({"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n"
           "    from . import b", "b": "from . import a"}, ["p.a", "p.b", "p.a"]),
], ids=["lazy", "package", "submodules", "types", "not for types"])
def test_a_cycle_is_found(tmp_path, files, found):
    (tmp_path / "p").mkdir()
    for name, text in ({"__init__": ""} | files).items():
        (tmp_path / "p" / f"{name}.py").write_text(text)
    assert cycle(import_graph(tmp_path, ("p",))) == found


MOST = 16
"""Python files of a folder, besides its __init__: what a reader takes in at a glance."""


def folders(root: Path, package: str) -> dict[Path, list[Path]]:
    """Python files of each folder of a package, besides __init__."""
    return {folder: sorted(set(folder.glob("*.py")) - {folder / "__init__.py"})
            for folder in {path.parent for path in (root / package).rglob("*.py")}}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_folders_are_small_and_say_what_they_hold(package):
    for folder, files in folders(ROOT, package).items():
        assert len(files) <= MOST, f"{folder} has {len(files)} files, more than {MOST}"
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
        first = said.partition("\n")[0]
        assert first.endswith((".", ":")), (
            f"{folder}/__init__.py must say in the first line what lives there, not {first!r}")


def test_files_of_a_folder_are_counted(tmp_path):
    inner = tmp_path / "p" / "inner"
    inner.mkdir(parents=True)
    for path in tmp_path / "p" / "__init__.py", inner / "__init__.py", inner / "a.py":
        path.write_text("")
    assert folders(tmp_path, "p") == {tmp_path / "p": [], inner: [inner / "a.py"]}
