"""ULX3S with an LFE5U-85F: the whole accelerator, with SDRAM and a serial line."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from golden.common.config import CORES
from golden.soc.boards import BOARDS

from ..fpga.ecp5 import RESOURCES, prepared
from .board import AcceleratorBoard

BOARD = AcceleratorBoard(
    name="ulx3s_85f",
    description="ULX3S, Lattice ECP5 LFE5U-85F",
    platform=ULX3S_85F_Platform,
    config=CORES["8x8"],
    memory=BOARDS["ulx3s"],
    asked_hz=62_500_000,  # the tools stop early where they are asked for less
    synthesis_script=prepared("top"),
    synthesis_options="-abc9",
    placement_options="--placer static --router router2",  # docs/board.md
    seed=3,
    bitstream="bit",
    load="openFPGALoader -b ulx3s {}",
    resources=RESOURCES,
)
