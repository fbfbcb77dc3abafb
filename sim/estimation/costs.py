"""Results of a generic estimate: the cost of each layer, and their totals."""

from dataclasses import dataclass, replace
from functools import cached_property

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.prediction.range_shape import RangeShape
from golden.prediction.scale_predictor import PredictorShape

from .energy import DRAM_RANGE, Energy, EnergyTable
from .traffic import Traffic
from .workload import Workload

SCALES = ("static", "predicted", "jit")


@dataclass(frozen=True, slots=True)
class Options:
    """How a network is run.

    Attributes
    ----------
    bits
        Precision; the first layer and the head stay at W8A8, see
        :func:`sim.estimation.generic_mapping.mode_of`.
    clock_mhz
        Clock of the accelerator.
    dram_gb_s
        Bandwidth of the external memory, 10**9 bytes/s; None: what the bus carries at the clock.
    tech
        Process of the energy table.
    scales
        ``static``; ``predicted`` from one tap after the first block; ``jit``: measured at every
        site before it is quantized.
    """

    bits: Mode = Mode.W8A8
    clock_mhz: float = 100.0
    dram_gb_s: float | None = None
    tech: str = "28nm"
    scales: str = "predicted"

    def __post_init__(self):
        for name in ("clock_mhz", "dram_gb_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number, not {value!r}")
        if self.scales not in SCALES:
            raise ValueError(f"scales must be one of {', '.join(SCALES)}, not {self.scales!r}")
        EnergyTable.of(self.tech)

    def bytes_per_cycle(self, config: AcceleratorConfig) -> float:
        """Bytes that cross the external memory port in a cycle."""
        if self.dram_gb_s is None:
            return float(config.bus_bytes)
        return min(config.bus_bytes, self.dram_gb_s * 1000 / self.clock_mhz)


@dataclass(frozen=True, slots=True)
class Layer:
    """Cost of an operation, or of several alike.

    Attributes
    ----------
    kind
        ``product`` (on the array), ``vector`` (beside it) or ``scales`` (range and scale unit).
    shape, count
        ``(m, k, n)`` or ``(rows, length)``, and how many of it.
    mode
        Precision of a product, else None.
    busy
        Cycles of the unit that does it.
    cycles
        Cycles it takes of the frame: with waiting for memory, without what other work hides.
    """

    name: str
    role: str
    kind: str
    shape: tuple[int, ...]
    count: int
    mode: Mode | None
    macs: int
    elements: int
    busy: int
    cycles: int
    traffic: Traffic
    energy: Energy

    @property
    def alike(self) -> tuple:
        """Equal for layers that differ in their place only."""
        return self.kind, self.role, self.shape, self.mode

    def __add__(self, other: "Layer") -> "Layer":
        return replace(self, name=self.role, count=self.count + other.count,
                       macs=self.macs + other.macs, elements=self.elements + other.elements,
                       busy=self.busy + other.busy, cycles=self.cycles + other.cycles,
                       traffic=self.traffic + other.traffic, energy=self.energy + other.energy)


@dataclass(frozen=True)
class Estimate:
    """Cost of one frame."""

    workload: Workload
    config: AcceleratorConfig
    options: Options
    layers: tuple[Layer, ...]
    pointwise: dict[str, int]  # elements by kind, done on the way from the array to memory
    peak_bytes: int  # most activations ever live at a time
    spilled_bytes: int  # moved because they do not fit, or the weights again on their behalf
    tap: RangeShape | None
    predictor: PredictorShape | None
    raised: dict[str, int]  # limits of the configuration that the model exceeded
    measured_energy: Energy = Energy()  # of a frame, at the activity of images

    @cached_property
    def groups(self) -> tuple[Layer, ...]:
        """Layers, those alike added up, in the order of their first."""
        groups: dict[tuple, Layer] = {}
        for layer in self.layers:
            first = groups.get(layer.alike)
            groups[layer.alike] = layer if first is None else first + layer
        return tuple(groups.values())

    def sum(self, field: str, *kinds: str) -> int:
        """Total of a field of the layers of these kinds; of all if there are none."""
        return sum(getattr(layer, field) for layer in self.layers
                   if layer.kind in kinds or not kinds)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.sum("macs")

    @property
    def elements(self) -> int:
        """Elements that vector and element operations work on."""
        return self.sum("elements", "vector") + sum(self.pointwise.values())

    @property
    def energy_table(self) -> EnergyTable:
        """Energies per operation."""
        return EnergyTable.of(self.options.tech)

    @cached_property
    def cycles(self) -> int:
        """Cycles from a frame to the next."""
        return self.sum("cycles")

    @property
    def stall(self) -> int:
        """Cycles in which the array waits for external memory."""
        return self.sum("cycles", "product") - self.sum("busy", "product")

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.options.clock_mhz * 1e6 / self.cycles

    @cached_property
    def energy(self) -> Energy:
        """Energy of a frame, in pJ."""
        return sum((layer.energy for layer in self.layers), Energy())

    @property
    def energy_range(self) -> tuple[float, float]:
        """Total energy in pJ with the cheapest and the dearest external memory published."""
        table = self.energy_table
        low, high = (self.energy.total + 8 * self.traffic.dram * (per_bit - table["dram"])
                     for per_bit in DRAM_RANGE)
        return low, high

    @cached_property
    def traffic(self) -> Traffic:
        """Bytes moved for a frame."""
        return sum((layer.traffic for layer in self.layers), Traffic())

    @property
    def tops_per_watt(self) -> float:
        """Two operations per multiply-accumulate, over the energy."""
        return 2 * self.macs / self.energy.total

    @property
    def utilisation(self) -> float:
        """Share of the frame in which the multipliers do useful work, 0..1."""
        ideal = sum(layer.macs / layer.mode.macs for layer in self.layers if layer.mode)
        return ideal / self.config.multipliers / self.cycles

    def layer_utilisation(self, layer: Layer) -> float:
        """Share of a product's cycles in which the multipliers do useful work, 0..1."""
        return layer.macs / layer.mode.macs / self.config.multipliers / layer.cycles

    @property
    def scale_cycles_share(self) -> float:
        """Share of range unit and scale unit in the cycles, 0..1."""
        return self.sum("cycles", "scales") / self.cycles

    @property
    def scale_energy_share(self) -> float:
        """Share of range unit and scale unit in the energy, 0..1."""
        return self.energy.scale / self.energy.total
