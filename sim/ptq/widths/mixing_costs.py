"""What widths of layers cost on a core, from compiled programs without weights, to the cycle."""

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import USUAL
from golden.cycles.timing import cycles
from golden.network.precision import AnyPrecision, Mixed, Precision
from golden.network.shape import VitShape

from ...compiler import compile_network
from ...compiler.blank import blank_network


class Costs:
    """Cycles of a frame with static scales; a layer's are found once for all blocks alike.

    Raises
    ------
    DoesNotFit
        If a network cannot be compiled for the core.
    """

    def __init__(self, shape: VitShape, core: AcceleratorConfig, narrow: Precision, *,
                 norm_pre: bool = False, qk_norm: bool = False):
        self._shape, self._core = shape, core
        self._norms = {"norm_pre": norm_pre, "qk_norm": qk_norm}
        self.narrow, self._least, self._known = narrow, self.frame(narrow), {}

    def frame(self, precision: AnyPrecision) -> int:
        """Return the cycles of a network."""
        made = blank_network(self._shape, precision, **self._norms)
        return sum(cycles(compile_network(made, self._core), USUAL))

    def more(self, block: int, layer: str, precision: Precision) -> int:
        """Return the cycles that a layer's widths add to those of the narrow network."""
        alike = self._shape.blocks[block], block in self._shape.merges, layer, precision
        if alike not in self._known:
            mixed = Mixed(self.narrow, ((block, layer, precision),))
            self._known[alike] = self.frame(mixed) - self._least
        return self._known[alike]

    @property
    def least(self) -> int:
        """Cycles of the narrow network."""
        return self._least
