"""What the scales of a quantized network cost the accelerator, image by image.

Cycles are those that a frame takes longer than with static scales, as :mod:`sim.estimation.timing`
counts them: watching a tensor on its way to memory is free, but what comes after its last element
is not.
"""

from dataclasses import dataclass, replace

from golden.common.config import CORES, AcceleratorConfig
from golden.network.network import BLOCK_SITES, Network, Tap, VitShape
from golden.prediction import range_unit, scale_unit

from ..estimation import timing

CONFIG = replace(CORES["8x16"], range_entries=1 << 16, max_statistics=1 << 14, max_projected=64,
                 max_monomials=1 << 12, max_sites=1 << 12, max_tokens=1 << 16,
                 max_channels=1 << 14)
"""The default array, with memories that hold any predictor: their size takes no cycles."""


@dataclass(frozen=True)
class Cost:
    """What the scales of one image cost.

    Attributes
    ----------
    parameters
        Numbers that a predictor has beside the static scales.
    operations
        Multiplications, and comparisons of the range unit; None where hardware is not defined.
    cycles
        Added to a frame; None likewise.
    least
        Whether hardware would need more than `operations` and `cycles`: to sort values, or to
        search for scales.
    """

    parameters: int = 0
    operations: int | None = 0
    cycles: int | None = 0
    least: bool = False

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.operations + other.operations,
                    self.cycles + other.cycles, self.least or other.least)


def site_elements(shape: VitShape) -> list[int]:
    """Return the values of each site of an image."""
    widths = [shape.hidden if name == "fc2" else shape.dim for name in BLOCK_SITES]
    return [shape.tokens * width for width in widths] * shape.depth + [shape.dim]


def _tap(tap: Tap, shape: VitShape, config: AcceleratorConfig) -> Cost:
    watched = range_unit.RangeShape(shape.tokens, shape.dim, tap.chunk_tokens, tap.groups)
    predictor = tap.predictor
    parameters = tap.mean.size + tap.gain.size + sum(one.size for one in predictor.coefficients)
    if predictor.projection is not None:
        parameters += predictor.projection.size + predictor.bias.size
    operations = (scale_unit.multiply_accumulates(predictor)
                  + 2 * shape.tokens * shape.dim)  # with the maximum and with the minimum
    cycles = timing.flush_cycles(watched, config) + scale_unit.cycles(predictor, config)
    return Cost(parameters, operations, cycles)


def predicted(network: Network, config: AcceleratorConfig = CONFIG) -> Cost:
    """Return the cost of a network's taps; nothing without any."""
    return sum((_tap(tap, network.shape, config) for tap in network.taps), Cost())


def just_in_time(shape: VitShape, rule: str, config: AcceleratorConfig = CONFIG) -> Cost:
    """Return the cost of measuring every site before it is quantized.

    Each value is compared twice, and passes the lanes once more. Rules other than ``minmax`` need
    more than that.
    """
    elements = site_elements(shape)
    return Cost(operations=2 * sum(elements),
                cycles=sum(timing.jit_cycles(count, config) for count in elements),
                least=rule != "minmax")
