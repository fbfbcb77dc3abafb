"""ULX3S with an LFE5U-25F: ECP5, 25 MHz, serial port and programmer behind one USB plug."""

from dataclasses import replace

from amaranth_boards.ulx3s import ULX3S_25F_Platform

from golden.common.config import CORES

from ..fpga.ecp5 import RESOURCES
from .board import SelfTestBoard

BOARD = SelfTestBoard(
    name="ulx3s_25f",
    description="ULX3S, Lattice ECP5 LFE5U-25F",
    platform=ULX3S_25F_Platform,
    config=replace(CORES["4x4"], lanes=2, max_projected=8),
    synthesis_options="-abc9",
    bitstream="bit",
    load="openFPGALoader -b ulx3s {}",
    resources=RESOURCES,
)
