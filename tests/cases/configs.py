"""Named configurations that tests run with, on either side of the simulator boundary."""

from dataclasses import replace

import pytest

from golden.common.config import CORES, AcceleratorConfig

TEST_CONFIGS = {
    "uneven": AcceleratorConfig(3, 5, lanes=1, scale_lanes=3, max_k=600),
    "two-lanes": replace(CORES["4x4"], lanes=2, max_projected=8),
    "8x16": CORES["8x16"],
}
"""Of single units: but for that of a core, none has a core's name."""

VERILOG_CONFIGS = ("uneven", pytest.param("8x16", marks=pytest.mark.long))
"""Of those, what is simulated as Verilog, too: the smallest one and the default."""
