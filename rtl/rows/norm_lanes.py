"""Second pass of LayerNorm: deviations, normalised values and the affine, lane by lane."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACC, IntFormat, round_shift
from golden.rows.layernorm import BETA, CHANNELS, COARSE, DEVIATION, GAMMA, NORMALIZED, ROOT, SCALED

from ..common.checks import check_config
from ..common.multiplier import lent_signature
from ..common.shapes import saturated, shape_of
from ..memory.scratchpad import UNCHECKED
from .norm_root import row_scale_layout
from .norm_rows import replay_layout, word_index

__all__ = ["Affine", "Normalize", "affine_constants_layout", "affine_layout", "normalized_layout"]

_LIFT = SCALED.frac + 1  # one bit more, for the rounding
_TWICE = IntFormat(SCALED.bits + 1)
_PRODUCT = IntFormat(NORMALIZED.bits + SCALED.frac + ROOT.frac - NORMALIZED.frac)
_SUM = IntFormat(ACC.bits + 1)

affine_constants_layout = data.StructLayout({"gamma": shape_of(GAMMA), "beta": shape_of(BETA)})
"""Factor and offset of a channel."""


def normalized_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A word of normalised values, its number, and whether it is the last of its row."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(NORMALIZED), config.lanes),
        "word": word_index(config),
        "last": 1,
    })


def affine_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A word of accumulators, and whether it is the last of its row."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(ACC), config.lanes),
        "last": 1,
    })


def _per_lane(shape, lanes, name):
    return [Signal(shape_of(shape), name=f"{name}_{lane}", reset_less=True)
            for lane in range(lanes)]


class Normalize(wiring.Component):
    """Normalise the values of a word by the scale of their row.

    Seven-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one word per
    cycle; two multipliers a lane. Backpressure stalls all stages at once.

    Members
    -------
    channels : ``In(CHANNELS)``
        Stable while a word is inside.
    i : ``In(stream.Signature(replay_layout(config)))``
    o : ``Out(stream.Signature(normalized_layout(config)))``
    products : ``Out(lent_signature).array(2 * lanes)``
    """

    LATENCY = 7

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "channels": In(shape_of(CHANNELS)),
            "i": In(stream.Signature(replay_layout(config))),
            "o": Out(stream.Signature(normalized_layout(config))),
            "products": Out(lent_signature).array(2 * config.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        valids = Signal(self.LATENCY - 1)
        place, scale, scales = Cat(self.i.p.word, self.i.p.last), self.i.p.scale, []

        # Stages x, p, d, t, s, m: value, its product, deviation, shifted with one fractional bit
        # left for the rounding, rounded, product with the root. Registers of the multipliers are
        # x and p, and s and m.
        p_product = _per_lane(DEVIATION, lanes, "p_product")
        d_deviation = _per_lane(DEVIATION, lanes, "d_deviation")
        t_twice = _per_lane(_TWICE, lanes, "t_twice")
        m_product = _per_lane(_PRODUCT, lanes, "m_product")

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += Cat(valids, self.o.valid).eq(Cat(self.i.valid, valids))
            for stage in "xpdtsm":
                stage_place = Signal(len(place), name=f"{stage}_place")
                stage_scale = Signal(row_scale_layout, name=f"{stage}_scale", reset_less=True)
                m.d.sync += [stage_place.eq(place), stage_scale.eq(scale)]
                place, scale = stage_place, stage_scale
                scales.append(scale)
            _, p_scale, d_scale, t_scale, _, _ = scales
            m.d.sync += Cat(self.o.p.word, self.o.p.last).eq(place)
            for lane in range(lanes):
                m.d.sync += [
                    d_deviation[lane].eq(p_product[lane] - p_scale.sum),
                    t_twice[lane].eq((d_deviation[lane] << _LIFT) >> d_scale.exponent),
                    self.o.p.values[lane].eq(
                        round_shift(m_product[lane], _PRODUCT.bits - NORMALIZED.bits)),
                ]
        for lane in range(lanes):
            channels, root = self.products[lane], self.products[lanes + lane]
            m.d.comb += [
                channels.a.eq(self.i.p.values[lane]),
                channels.b.eq(Mux(self.i.p.coarse[lane], self.channels << COARSE, self.channels)),
                p_product[lane].eq(channels.product),
                root.a.eq(round_shift(t_twice[lane], 1)),
                root.b.eq(t_scale.root),
                m_product[lane].eq(root.product),
                *(product.enable.eq(self.i.ready) for product in (channels, root)),
            ]
        return m


class Affine(wiring.Component):
    """Multiply every channel by a factor of its own and add an offset, both held here.

    Five-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one word per
    cycle; a multiplier a lane. Backpressure stalls all stages at once.

    Members
    -------
    load : ``In(1)``
        Take constants, from the first channel on; only while no word is inside.
    last_word : ``In(word_index(config))``
        Stable while constants are loaded.
    constants : ``In(stream.Signature(affine_constants_layout))``
        One channel after the other; none beyond the last is taken.
    i : ``In(stream.Signature(normalized_layout(config)))``
    o : ``Out(stream.Signature(affine_layout(config)))``
        ``n * gamma + beta``, saturated.
    products : ``Out(lent_signature).array(lanes)``
    """

    LATENCY = 5

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "load": In(1),
            "last_word": In(word_index(config)),
            "constants": In(stream.Signature(affine_constants_layout)),
            "i": In(stream.Signature(normalized_layout(config))),
            "o": Out(stream.Signature(affine_layout(config))),
            "products": Out(lent_signature).array(config.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self._config.lanes
        valids = Signal(self.LATENCY - 1)
        advance = self.i.ready
        constants = data.ArrayLayout(affine_constants_layout, lanes)
        m.submodules.constants = store = memory.Memory(
            shape=constants, depth=len(word_index(self._config)), init=[], attrs=UNCHECKED)
        read = store.read_port()
        self._load(m, store.write_port())

        # Stage c: constants, in the register of their memory.
        c_last = Signal()
        c_value = _per_lane(NORMALIZED, lanes, "c_value")

        # Stage r: factors in the registers of the multipliers; offsets.
        r_last = Signal()
        r_betas = Signal(data.ArrayLayout(shape_of(BETA), lanes), reset_less=True)

        # Stage p: products; offsets.
        p_betas = Signal.like(r_betas, reset_less=True)
        p_last = Signal()
        p_product = _per_lane(IntFormat(NORMALIZED.bits + GAMMA.bits), lanes, "p_product")

        # Stage a: exact sum.
        a_last = Signal()
        a_sum = _per_lane(_SUM, lanes, "a_sum")

        # Stage o: saturated. The output stream itself is the stage register.
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            read.en.eq(advance),
            read.addr.eq(self.i.p.word),
        ]
        with m.If(advance):
            m.d.sync += [
                Cat(valids, self.o.valid).eq(Cat(self.i.valid, valids)),
                Cat(c_last, r_last, p_last, a_last, self.o.p.last).eq(
                    Cat(self.i.p.last, c_last, r_last, p_last, a_last)),
                p_betas.eq(r_betas),
            ]
            for lane in range(lanes):
                m.d.sync += [
                    c_value[lane].eq(self.i.p.values[lane]),
                    r_betas[lane].eq(read.data[lane].beta),
                    a_sum[lane].eq(p_product[lane] + p_betas[lane]),
                    self.o.p.values[lane].eq(saturated(a_sum[lane], ACC.min, ACC.max)),
                ]
        for lane, product in enumerate(self.products):
            m.d.comb += [
                product.a.eq(c_value[lane]),
                product.b.eq(read.data[lane].gamma),
                product.enable.eq(advance),
                p_product[lane].eq(product.product),
            ]
        return m

    def _load(self, m, write):
        """Gather the constants of a word, lane after lane, and write it."""
        lanes = self._config.lanes
        word, lane, full = Signal(word_index(self._config)), Signal(range(lanes)), Signal()
        taken = Signal()
        gathered = Signal((lanes - 1) * affine_constants_layout.size, reset_less=True)
        values = Cat(gathered, self.constants.payload)
        m.d.comb += [
            self.constants.ready.eq(self.load & ~full),
            taken.eq(self.constants.valid & self.constants.ready),
            write.addr.eq(word),
            write.data.eq(values),
            write.en.eq(taken & (lane == lanes - 1)),
        ]
        with m.If(taken):
            m.d.sync += [gathered.eq(values[affine_constants_layout.size:]), lane.eq(lane + 1)]
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), word.eq(word + 1), full.eq(word == self.last_word)]
        with m.If(~self.load):
            m.d.sync += [lane.eq(0), word.eq(0), full.eq(0)]
