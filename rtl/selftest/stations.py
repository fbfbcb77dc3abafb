"""Test stations: a unit between beats of pattern words and single results.

A station makes the operands of its unit from pattern words exactly as
:mod:`golden.selftest.stations` does, and turns what the unit gives into one number a cycle. All
have the interface of :class:`Station`, and are back in their first state after the beats of one
check.
"""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common import formats
from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.prediction import scale_unit
from golden.results.requant import OUT
from golden.selftest import stations
from golden.selftest.pattern import WORD_BITS, Field

from ..common.checks import check_config
from ..common.operands import TileActivation, TileMode
from ..common.shapes import shape_of
from ..prediction.range_unit import RangeUnit, normalisation_layout
from ..prediction.scale_unit import ScaleUnit, coefficient_layout
from ..product.mac_array import MacArray
from ..results.requant import Requant
from .pattern import words_layout

__all__ = ["STATIONS", "Station"]


class Station(wiring.Component):
    """A unit under test.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Configuration of the unit.
    words : int
        Pattern words per beat.

    Members
    -------
    i : ``In(stream.Signature(words_layout(words)))``
        Pattern.
    o : ``Out(stream.Signature(WORD_BITS))``
        Results, in the order of :class:`golden.selftest.stations.Check`, sign-extended or cut to 32
        bits.
    """

    def __init__(self, config: AcceleratorConfig, words: int):
        check_config(config)
        integer("words", words, 1)
        self._config = config
        super().__init__({
            "i": In(stream.Signature(words_layout(words))),
            "o": Out(stream.Signature(WORD_BITS)),
        })

    def _field(self, field: Field) -> Value:
        """Return the number that `field` finds in the beat at the input."""
        bits = self.i.p[field.word][field.low:field.low + field.bits]
        return (bits.as_signed() if field.signed else bits) + field.offset


class _Serializer(wiring.Component):
    """Give the elements of each payload one after another, the first in the same cycle."""

    def __init__(self, shape, elements: int):
        self._elements = elements
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(shape, elements))),
            "o": Out(stream.Signature(WORD_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        element = Signal(range(self._elements))
        last = element == self._elements - 1
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(self.i.p[element]),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += element.eq(Mux(last, 0, element + 1))
        return m


class _Replay(wiring.Component):
    """Give constant payloads one after another, over and over."""

    def __init__(self, shape, payloads: list):
        self._memory = memory.MemoryData(shape=shape, depth=len(payloads), init=payloads)
        super().__init__({"o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = constants = memory.Memory(self._memory)
        read = constants.read_port()
        at = Signal(range(self._memory.depth))
        m.d.comb += [
            read.addr.eq(at),
            read.en.eq(~self.o.valid | self.o.ready),
            self.o.payload.eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += [
                self.o.valid.eq(1),
                at.eq(Mux(at == self._memory.depth - 1, 0, at + 1)),
            ]
        return m


class RangeStation(Station):
    """:class:`RangeUnit` on one tensor after another."""

    def elaborate(self, platform):
        m = Module()
        shapes = stations.range_shapes(self._config)
        normalisation = [{"mean": int(mean), "gain": int(gain)} for shape in shapes
                         for mean, gain in zip(*stations.range_normalisation(shape), strict=True)]
        m.submodules.unit = unit = RangeUnit(self._config)
        m.submodules.shapes = shape = _Replay(
            unit.shape.shape(), [item.registers(self._config) for item in shapes])
        m.submodules.normalisation = constants = _Replay(normalisation_layout, normalisation)
        connect(m, constants.o, unit.normalisation)
        m.d.comb += [
            unit.shape.eq(shape.o.payload),
            shape.o.ready.eq(unit.o.valid & unit.o.ready & unit.o.p.last),
            unit.i.valid.eq(self.i.valid & shape.o.valid),
            self.i.ready.eq(unit.i.ready & shape.o.valid),
            *(unit.i.p[lane].eq(self._field(field))
              for lane, field in enumerate(stations.range_fields(self._config))),
            self.o.valid.eq(unit.o.valid),
            self.o.payload.eq(unit.o.p.value),
            unit.o.ready.eq(self.o.ready),
        ]
        return m


class ScaleStation(Station):
    """:class:`ScaleUnit` on one predictor after another."""

    def elaborate(self, platform):
        m = Module()
        predictors = stations.scale_predictors()
        coefficients = [beat for item in predictors
                        for beat in scale_unit.pack(item, self._config).tolist()]
        m.submodules.unit = unit = ScaleUnit(self._config)
        m.submodules.predictors = predictor = _Replay(
            unit.predictor.shape(), [item.registers() for item in predictors])
        m.submodules.coefficients = constants = _Replay(coefficient_layout(self._config),
                                                        coefficients)
        m.submodules.serializer = serializer = _Serializer(WORD_BITS, 2)
        connect(m, constants.o, unit.coefficients)
        connect(m, serializer.o, flipped(self.o))

        count = Signal(range(max(item.shape.statistics for item in predictors)))
        last = count == predictor.o.p.statistics - 1
        loading = Signal(init=1)  # else the scales are still coming
        finished = unit.o.valid & unit.o.ready & unit.o.p.last
        m.d.comb += [
            unit.predictor.eq(predictor.o.payload),
            predictor.o.ready.eq(finished),
            unit.statistics.valid.eq(self.i.valid & loading & predictor.o.valid),
            self.i.ready.eq(unit.statistics.ready & loading & predictor.o.valid),
            unit.statistics.p.value.eq(self._field(stations.SCALE_STATISTIC)),
            unit.statistics.p.last.eq(last),
            serializer.i.valid.eq(unit.o.valid),
            serializer.i.p[0].eq(unit.o.p.exponent),
            serializer.i.p[1].eq(unit.o.p.multiplier.as_value()),
            unit.o.ready.eq(serializer.i.ready),
        ]
        with m.If(unit.statistics.valid & unit.statistics.ready):
            m.d.sync += [count.eq(Mux(last, 0, count + 1)), loading.eq(~last)]
        with m.Elif(finished):
            m.d.sync += loading.eq(1)
        return m


class ArrayStation(Station):
    """:class:`MacArray` on a tile of every mode and kind of activation."""

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        m.submodules.unit = unit = MacArray(self._config)
        m.submodules.tiles = tile = _Replay(
            data.StructLayout({"mode": TileMode, "activation": TileActivation}),
            [{"mode": TileMode[mode.name], "activation": TileActivation[activation.name]}
             for mode, activation in stations.ARRAY_TILES])
        m.submodules.serializer = serializer = _Serializer(shape_of(formats.ACC), lanes)
        m.d.comb += [
            unit.tile.valid.eq(tile.o.valid),
            tile.o.ready.eq(unit.tile.ready),
            unit.tile.p.mode.eq(tile.o.p.mode),
            unit.tile.p.activation.eq(tile.o.p.activation),
            *(start.eq(stations.array_start(column))
              for column, start in enumerate(unit.tile.p.start)),
            *(entry.eq(operand)
              for entry, operand in zip(unit.codebook, stations.CODEBOOK, strict=True)),
            serializer.i.valid.eq(unit.o.valid),
            serializer.i.p.eq(unit.o.p["values"]),
            unit.o.ready.eq(serializer.i.ready),
        ]
        self._operands(m, unit)
        connect(m, serializer.o, flipped(self.o))
        return m

    def _operands(self, m, unit):
        """Feed the array bytes of the pattern, and mark the last of each tile."""
        rows, cols = stations.array_fields(self._config)
        k = Signal(range(stations.ARRAY_K))
        last = k == stations.ARRAY_K - 1
        m.d.comb += [
            unit.i.valid.eq(self.i.valid),
            self.i.ready.eq(unit.i.ready),
            unit.i.p.last.eq(last),
            *(unit.i.p.activations[row].eq(self._field(field)) for row, field in enumerate(rows)),
            *(unit.i.p.weights[col].eq(stations.weight_byte(self._field(field)))
              for col, field in enumerate(cols)),
        ]
        with m.If(unit.i.valid & unit.i.ready):
            m.d.sync += k.eq(Mux(last, 0, k + 1))


class RequantStation(Station):
    """:class:`Requant` with constant limits."""

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        m.submodules.unit = unit = Requant(self._config)
        m.submodules.serializer = serializer = _Serializer(shape_of(OUT), lanes)
        m.d.comb += [
            unit.low.eq(stations.REQUANT_LOW),
            unit.high.eq(stations.REQUANT_HIGH),
            unit.i.valid.eq(self.i.valid),
            self.i.ready.eq(unit.i.ready),
        ]
        for lane in range(lanes):
            acc, mantissa, shift = map(self._field, stations.requant_fields(lane))
            m.d.comb += [
                unit.i.p[lane].acc.eq(acc),
                unit.i.p[lane].multiplier.mantissa.eq(mantissa),
                unit.i.p[lane].multiplier.shift.eq(shift),
            ]
        connect(m, unit.o, serializer.i)
        connect(m, serializer.o, flipped(self.o))
        return m


STATIONS = {"range": RangeStation, "scale": ScaleStation, "array": ArrayStation,
            "requant": RequantStation}
"""Station of each check, by name."""
