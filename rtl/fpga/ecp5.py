"""What syntheses for the LFE5U-85F have in common."""


class Ecp5:
    """All that units ask of a platform."""

    device = "LFE5U-85F"


UNCHECKED_READS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"
"""Command of yosys: no user of a memory needs what is being written, which yosys takes from
attributes only where it reads Verilog.
"""
