"""What syntheses for the ECP5 have in common."""

from .resource import Resource


class Ecp5:
    """All that units ask of a platform."""

    device = "LFE5U-85F"


UNCHECKED_READS = "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"
"""Command of yosys: no user of a memory needs what is being written, which yosys takes from
attributes only where it reads Verilog.
"""


KEPT_APART = "setattr -set keep 1 a:keep=1 %ci:+[Q] t:$dff* t:$sdff* %u %i"
"""Command of yosys: registers whose signals are to be kept are not made one with others that have
the same."""


def prepared(top: str) -> str:
    """Return the commands of yosys between reading a design and its synthesis.

    ABC9 mixes up names of wires with its own, and takes ``values[0]`` for a bit of ``values``.
    """
    return "\n".join([f"hierarchy -top {top}", UNCHECKED_READS, "proc", "flatten",
                      KEPT_APART, "rename -hide w:*$* w:*[[]*"])


RESOURCES = (Resource("LUTs", "TRELLIS_COMB"), Resource("flip-flops", "TRELLIS_FF"),
             Resource("multipliers", "MULT18X18D"), Resource("block RAMs", "DP16KD"))
"""What is counted of them."""
