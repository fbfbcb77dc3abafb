"""Estimates what a workload costs that no program exists for, operation by operation.

The machine and its schedule are those of :mod:`sim.estimation.generic_mapping`, memory is managed
as in :mod:`sim.estimation.residency`, and energies are those of :mod:`sim.estimation.energy`.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, replace

from golden.common.config import CORES, AcceleratorConfig
from golden.prediction import scale_unit
from golden.prediction.range_shape import RangeShape
from golden.prediction.scale_cycles import multiply_accumulates, scale_cycles
from golden.prediction.scale_predictor import PredictorShape

from ..prediction.default_shapes import predictor_shape, tap_shape
from . import generic_mapping as mapping
from . import residency
from .costs import Estimate, Layer, Options
from .energy import Energy, EnergyTable
from .traffic import Traffic
from .workload import IMAGE, Product, Site, Vector, Workload

COEFFICIENT_BYTES = scale_unit.WORD.bits // 8


def estimate(workload: Workload, config: AcceleratorConfig = CORES["8x16"],
             options: Options | None = None) -> Estimate:
    """Estimate a frame of `workload` on the array of `config`, with the default options if None.

    Limits of `config` that a generator would set to what the model needs (longest dot product,
    tokens, channels, sites) are raised where the model exceeds them; see :func:`fitted`.

    Raises
    ------
    ValueError
        If no configuration can hold the model.
    """
    needed = fitted(config, workload)
    raised = {field.name: value for field in fields(needed)
              if (value := getattr(needed, field.name)) != getattr(config, field.name)}
    options = options or Options()
    measured = _Estimator(workload, needed, options, measured=True).run(raised).energy
    return replace(_Estimator(workload, needed, options).run(raised), measured_energy=measured)


def fitted(config: AcceleratorConfig, workload: Workload) -> AcceleratorConfig:
    """Return `config` with limits raised to what `workload` needs."""
    tokens, channels = _rows_and_channels(workload)
    needs = {"max_k": max(op.k for op in workload.products), "max_tokens": tokens,
             "max_channels": channels, "max_sites": len(workload.sites)}
    return replace(config, **{name: max(need, getattr(config, name))
                              for name, need in needs.items()})


def _rows_and_channels(workload):
    """Shape of the tensor that the range unit watches."""
    tapped = workload.operations[workload.tap]
    if isinstance(tapped, Vector):
        return tapped.shape
    return tapped.m, tapped.n * tapped.count


class _Estimator:
    def __init__(self, workload, config, options, *, measured=False):
        self._workload = workload
        self._config = config
        self._capacity = config.sram_kib * 1024
        self._options = options
        self._energies = EnergyTable.of(options.tech, measured=measured)
        self._bytes_per_cycle = options.bytes_per_cycle(config)
        self._modes = {number: mapping.mode_of(op, options.bits)
                       for number, op in enumerate(workload.operations)
                       if isinstance(op, Product)}
        self._bits = self._stored_bits()
        self._sizes = [-(-op.elements * bits // 8) for op, bits
                       in zip(workload.operations, self._bits, strict=True)]
        self._sizes.append(math.prod(workload.input_shape))  # the image, a byte each

    def run(self, raised: dict[str, int]) -> Estimate:
        operations = self._workload.operations
        spilled, peak = self._placed([0] * len(operations))
        layers = []
        pointwise = Counter()
        for number, (op, size) in enumerate(zip(operations, spilled, strict=True)):
            if isinstance(op, Product):
                layers.append(self._product(number, op, size))
                pointwise["requantize"] += op.elements
            else:
                layers.append(self._vector(number, op, size))
            for kind, elements in op.pointwise:
                pointwise[kind] += elements
        tap = predictor = None
        sites = [site for site in self._workload.sites if not site.fixed]
        if self._options.scales == "jit":
            layers += self._jit(sites, spilled)
        deeper = [site for site in sites if site.operation > self._workload.tap]
        if self._options.scales == "predicted" and deeper:
            tap = tap_shape(*_rows_and_channels(self._workload), self._config)
            predictor = predictor_shape(tap, len(deeper), self._config)
            layers += self._predicted(tap, predictor)
        return Estimate(self._workload, self._config, self._options, tuple(layers),
                        dict(pointwise), peak, sum(spilled), tap, predictor, raised)

    def _stored_bits(self) -> list[int]:
        """Width in which each value is stored: that of its most demanding consumer."""
        bits = [16 if op.wide else 0 for op in self._workload.operations]
        for number, op in enumerate(self._workload.operations):
            if isinstance(op, Product):
                for value in (*op.left, *op.right):
                    if value != IMAGE:
                        width = (self._modes[number].activation_bits if value in op.left
                                 else self._modes[number].weight.bits)
                        bits[value] = max(bits[value], width)
        return [width or 16 for width in bits]

    def _placed(self, scratch) -> tuple[list[int], int]:
        """Bytes each operation moves for want of space, and the most that are live at a time.

        Where anything does not fit, an eighth, a quarter or half of the scratchpad is kept for
        passing it through, whichever moves least.
        """
        spills, peak = residency.spills(self._workload, self._sizes, scratch, self._capacity)
        if not any(spill.written for spill in spills):
            return [spill.read for spill in spills], peak
        candidates = []
        for kept in (self._capacity // share for share in (8, 4, 2)):
            spills, _ = residency.spills(self._workload, self._sizes, scratch, self._capacity, kept)
            candidates.append([spill.written + spill.read + self._again(number, spill.left, kept)
                               for number, spill in enumerate(spills)])
        return min(candidates, key=sum), peak

    def _again(self, number, left, kept) -> int:
        """Bytes that stream again because `left` bytes of a product's activations are not on chip.

        Either these come once per tile column, or the weights once per band of rows that fits
        `kept`; whichever is less.
        """
        op = self._workload.operations[number]
        if not left or op.right:
            return 0
        mode = self._modes[number]
        columns = mapping.tile_count(op, mode, self._config)[1]
        weights = mapping.product_traffic(op, mode, self._config).dram
        return min(left * (columns - 1), weights * -(-left // kept))

    def _finish(self, number, op, traffic, spilled, compute, **layer) -> Layer:
        """Add what products and vector operations have in common: results, spills, energy."""
        stored = self._sizes[number] + sum(self._sizes[value] for value in op.extra)
        image = self._sizes[IMAGE] if IMAGE in op.reads else 0
        traffic += Traffic(stored, 0, spilled + image)
        element_pj = sum(elements * self._energies["add" if kind in ("add", "multiply")
                                                   else "function"]
                         for kind, elements in op.pointwise)
        if isinstance(op, Product):
            element_pj += op.elements * self._energies["requantize"]
            mac = op.macs * self._energies.mac(layer["mode"])
        else:
            passes = mapping.PASSES.get(op.role, 1)
            element_pj += passes * op.rows * op.length * self._energies["vector pass"]
            mac = 0.0
        energy = Energy(mac, self._sram_pj(traffic), traffic.dram * self._energies.dram_byte,
                        element_pj)
        cycles = max(compute, mapping.stream_cycles(traffic.dram, self._bytes_per_cycle))
        return Layer(name=op.name, role=op.role, shape=op.shape, cycles=cycles, traffic=traffic,
                     energy=energy, **layer)

    def _sram_pj(self, traffic) -> float:
        buffer_kib = mapping.buffer_bytes(self._config) / 1024
        return (traffic.scratchpad * self._energies.sram_byte(self._config.sram_kib)
                + traffic.buffer * self._energies.sram_byte(buffer_kib))

    def _product(self, number, op, spilled) -> Layer:
        mode = self._modes[number]
        busy = mapping.product_cycles(op, mode, self._config)
        traffic = mapping.product_traffic(op, mode, self._config, self._bands(number, op))
        return self._finish(number, op, traffic, spilled, busy, kind="product", count=op.count,
                            mode=mode, macs=op.macs, elements=op.elements, busy=busy)

    def _bands(self, number, op) -> int:
        """Bands of rows in which a product of two activations is done."""
        values = [number, *op.left] if op.right else []
        return max((residency.bands(self._sizes[value], self._workload.operations[value].parts,
                                    self._capacity) for value in values if value != IMAGE),
                   default=1)

    def _vector(self, number, op, spilled) -> Layer:
        busy = mapping.vector_cycles(op, self._config)
        return self._finish(number, op, mapping.vector_traffic(op), spilled,
                            self._exposed(number, op, busy), kind="vector", count=1, mode=None,
                            macs=0, elements=op.rows * op.length, busy=busy)

    def _exposed(self, number, op, busy) -> int:
        """Cycles of a vector operation that the products before and after do not hide."""
        before = self._neighbour(range(number - 1, -1, -1))
        after = self._neighbour(range(number + 1, len(self._workload.operations)))
        if before and after and before[0].right and before[0].count == after[0].count:
            heads = before[0].count
            return mapping.softmax_exposed(-(-busy // heads), *(
                mapping.product_cycles(p, mode, self._config) // heads
                for p, mode in (before, after)), heads)
        columns = [mapping.column_cycles(*neighbour, self._config) if neighbour else 0
                   for neighbour in (before, after)]
        mode = (after or before)[1]
        tiles = -(-op.rows // self._config.tile_rows(mode))
        return mapping.rows_exposed(-(-busy // tiles), *columns, tiles)

    def _neighbour(self, numbers: Iterable[int]):
        """First product among the operations `numbers`, with its mode; None if there is none."""
        return next(((self._workload.operations[i], self._modes[i]) for i in numbers
                     if i in self._modes), None)

    def _scales_layer(self, role, shape, busy, elements, traffic, logic_pj, count=1) -> Layer:
        energy = Energy(scale=logic_pj + self._sram_pj(traffic)
                        + traffic.dram * self._energies.dram_byte)
        return Layer(role, role, "scales", shape, count, None, 0, elements, busy, busy, traffic,
                     energy)

    def _predicted(self, tap: RangeShape, predictor: PredictorShape) -> list[Layer]:
        watched = tap.tokens * tap.channels
        coefficients = (predictor.statistics * predictor.variables * predictor.projected
                        + predictor.sites * (predictor.monomials + 1))
        size = COEFFICIENT_BYTES * coefficients
        flush = mapping.flush_cycles(tap, self._config)
        macs = multiply_accumulates(predictor)
        return [
            self._scales_layer("range unit", (tap.tokens, tap.channels), flush, watched, Traffic(),
                               watched * self._energies["watch"]),
            self._scales_layer("scale unit", (predictor.statistics, predictor.sites),
                               scale_cycles(predictor, self._config), macs,
                               Traffic(2 * size, 0, size), macs * self._energies["scale mac"]),
        ]

    def _jit(self, sites: list[Site], spilled) -> list[Layer]:
        """One layer per site: its tensor written in 16 bits, measured, read again, requantized."""
        scratch = [0] * len(self._workload.operations)
        for site in sites:
            bits = self._modes[site.operation].activation_bits
            scratch[site.value] += site.elements * (8 * mapping.WIDE_BYTES - bits) // 8
        outside = max(0, sum(self._placed(scratch)[0]) - sum(spilled))
        elements = sum(site.elements for site in sites)
        layers = []
        for site in sites:
            dram = outside * site.elements // elements
            traffic = Traffic(2 * site.elements * mapping.WIDE_BYTES, 0, dram)
            pj = site.elements * (self._energies["watch"] + self._energies["requantize"])
            busy = (mapping.jit_cycles(site.elements, self._config)
                    + mapping.stream_cycles(dram, self._bytes_per_cycle))
            layers.append(self._scales_layer("measuring pass", (site.elements,), busy,
                                             site.elements, traffic, pj))
        return layers
