"""Named configurations that tests run with, on either side of the simulator boundary."""

from golden.common.config import CONFIGS, AcceleratorConfig

TEST_CONFIGS = {
    "3x5": AcceleratorConfig(3, 5, lanes=1, scale_lanes=3, max_k=600),
    "4x4": CONFIGS["4x4"],
    "8x16": CONFIGS["8x16"],
}
