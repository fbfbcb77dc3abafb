"""The rule of who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
