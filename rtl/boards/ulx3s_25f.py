"""ULX3S with an LFE5U-25F: ECP5, 25 MHz, serial port and programmer behind one USB plug."""

from amaranth_boards.ulx3s import ULX3S_25F_Platform

from golden.common.config import CONFIGS

from .board import Board, Resource

BOARD = Board(
    name="ulx3s_25f",
    description="ULX3S, Lattice ECP5 LFE5U-25F",
    platform=ULX3S_25F_Platform,
    config=CONFIGS["4x4"],
    synthesis_options="-abc9",
    bitstream="bit",
    load="openFPGALoader -b ulx3s {}",
    resources=(Resource("LUTs", "TRELLIS_COMB"),
               Resource("flip-flops", "TRELLIS_FF"),
               Resource("multipliers", "MULT18X18D"),
               Resource("block RAMs", "DP16KD")),
)
