import subprocess

import pytest

from rtl.build import find_tool


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """YoWASP's yosys compiles itself when it is first called: not within the time of a proof."""
    subprocess.run([find_tool("yosys"), "-V"], check=True, capture_output=True)
