"""iCEBreaker: iCE40UP5K, 12 MHz, serial port and programmer behind one USB plug."""

from amaranth_boards.icebreaker import ICEBreakerPlatform

from golden.common.config import AcceleratorConfig

from ..fpga.resource import Resource
from .board import SelfTestBoard

# Multiplier blocks are scarce: only factors of 10 bits or more go to one. (synth_ice40 -dsp draws
# the line at products of 11 bits, and makes two blocks of 12 x 18 bits.)
_WIDE = 10
_MULTIPLIERS = f"""
hierarchy -top top
proc
flatten
opt
wreduce t:$mul
techmap -map +/mul2dsp.v -map +/ice40/dsp_map.v -D DSP_NAME=$__MUL16X16 \
    -D DSP_A_MAXWIDTH=16 -D DSP_A_MINWIDTH={_WIDE} \
    -D DSP_B_MAXWIDTH=16 -D DSP_B_MINWIDTH={_WIDE} -D DSP_Y_MINWIDTH={_WIDE}
setattr -unset mul2dsp a:mul2dsp
opt_expr -fine
wreduce
chtype -set $mul t:$__soft_mul
"""

BOARD = SelfTestBoard(
    name="icebreaker",
    description="iCEBreaker, Lattice iCE40UP5K",
    platform=ICEBreakerPlatform,
    config=AcceleratorConfig(2, 1, lanes=1, scale_lanes=1, sram_kib=16, max_k=32, max_tokens=16,
                             max_channels=8, range_entries=8, max_statistics=8, max_projected=2,
                             max_monomials=16, max_sites=8),
    synthesis_script=_MULTIPLIERS,
    synthesis_options="-abc9 -device u",
    bitstream="bin",
    load="iceprog {}",
    resources=(Resource("LUTs", "ICESTORM_LC", "SB_LUT4"),
               Resource("flip-flops", "ICESTORM_LC", "SB_DFF"),
               Resource("logic cells", "ICESTORM_LC"),
               Resource("multipliers", "ICESTORM_DSP"),
               Resource("block RAMs", "ICESTORM_RAM")),
    untimed_ns=12.0,  # SB_MAC16 without registers: 8.6 ns in IceStorm's timing data, and a margin
)
