"""iCEBreaker: iCE40UP5K, 12 MHz, serial port and programmer behind one USB plug."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from golden.config import AcceleratorConfig

from .board import Board, Resource

BOARD = Board(
    name="icebreaker",
    description="iCEBreaker, Lattice iCE40UP5K",
    platform=ICEBreakerPlatform,
    config=AcceleratorConfig(2, 2, lanes=1, scale_lanes=1, sram_kib=16, max_k=256,
                             max_tokens=64, max_channels=32, range_entries=32, max_statistics=16,
                             max_projected=4, max_monomials=16, max_sites=32),
    synthesis_options="-dsp -abc9",
    bitstream="bin",
    load="iceprog {}",
    resources=(Resource("LUTs", "ICESTORM_LC", "SB_LUT4"),
               Resource("flip-flops", "ICESTORM_LC", "SB_DFF"),
               Resource("logic cells", "ICESTORM_LC"),
               Resource("multipliers", "ICESTORM_DSP"),
               Resource("block RAMs", "ICESTORM_RAM")),
    untimed_ns=12.0,  # SB_MAC16 without registers: 8.6 ns in IceStorm's timing data, and a margin
)
