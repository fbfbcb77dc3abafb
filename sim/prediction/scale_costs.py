"""What the scales of a quantized network cost the core, image by image.

Cycles are those that a frame takes longer than with static scales: both are programs, of networks
without weights, that :mod:`golden.cycles.timing` goes through with external memory as usual. The
core is the one with 8x16 multipliers, with memories for any predictor; how large they are takes no
cycles. Scales that are measured just in time take two passes of each tensor, which the RTL does not
have.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from golden.common.config import CORES, AcceleratorConfig
from golden.cycles import memory_model, timing
from golden.network.network import Network, Tap
from golden.network.precision import AnyPrecision
from golden.network.shape import BLOCK_SITES, MERGED, VitShape
from golden.prediction.scale_cycles import multiply_accumulates

from ..compiler import DoesNotFit, compile_with_room
from ..compiler.blank import blank_network

CORE = replace(CORES["8x16"], range_entries=1 << 16, max_statistics=1 << 14, max_projected=64,
               max_monomials=1 << 12, max_sites=1 << 12, max_tokens=1 << 16, max_channels=1 << 14)
"""The default core, with memories that hold any predictor."""


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
        Added to a frame; None likewise, and where no program for the core exists.
    least
        Whether hardware would need more than `operations` and `cycles`: to sort values, or to
        search for scales.
    """

    parameters: int = 0
    operations: int | None = 0
    cycles: int | None = 0
    least: bool = False


def site_elements(shape: VitShape) -> list[int]:
    """Return the values of each site of an image."""
    elements = []
    for index, block in enumerate(shape.blocks):
        if index in shape.merges:  # as many as before, of MERGED times the channels
            elements.append(block.tokens * MERGED * block.dim // 2)
        elements += [block.tokens * (block.hidden if name == "fc2" else block.dim)
                     for name in BLOCK_SITES]
    pooled = [] if shape.classified else [shape.blocks[-1].grid**2 * shape.last_dim]
    return [*elements, *pooled, shape.classified_dim]


@lru_cache
def _static(shape: VitShape, precision: AnyPrecision, core: AcceleratorConfig) -> int:
    return _frame(blank_network(shape, precision), core)


def _frame(network: Network, core: AcceleratorConfig, *, jit: bool = False) -> int:
    """Return the cycles of a frame."""
    return sum(timing.cycles(compile_with_room(network, core, jit=jit), memory_model.USUAL))


def _added(network: Network, core: AcceleratorConfig, taps: tuple[Tap, ...] = (), *,
           jit: bool = False) -> int | None:
    """Return the cycles that a frame takes longer with taps, or with scales that are measured."""
    shape, precision = network.shape, network.precision
    try:
        made = replace(blank_network(shape, precision), taps=taps)
        return _frame(made, core, jit=jit) - _static(shape, precision, core)
    except DoesNotFit:
        return None


def _parameters(tap: Tap) -> int:
    predictor = tap.predictor
    numbers = [tap.mean, tap.gain, *predictor.coefficients]
    if predictor.projection is not None:
        numbers += [predictor.projection, predictor.bias]
    return sum(one.size for one in numbers)


def predicted(network: Network, core: AcceleratorConfig = CORE) -> Cost:
    """Return the cost of a network's taps; nothing without any."""
    taps, shape = network.taps, network.shape
    if not taps:
        return Cost()
    operations = 0
    for tap in taps:
        watched = shape.behind(tap.after)
        compared = 2 * watched.tokens * watched.dim  # with the maximum and with the minimum
        operations += multiply_accumulates(tap.predictor) + compared
    return Cost(sum(map(_parameters, taps)), operations, _added(network, core, taps))


def just_in_time(network: Network, rule: str, core: AcceleratorConfig = CORE) -> Cost:
    """Return the cost of measuring every site before it is quantized.

    Each value is compared twice, and read twice more. Rules other than ``minmax`` need more than
    that.
    """
    return Cost(operations=2 * sum(site_elements(network.shape)),
                cycles=_added(network, core, jit=True), least=rule != "minmax")
