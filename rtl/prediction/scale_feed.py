"""Feed of the scale unit: brings statistics, monomials and coefficients together."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.prediction import scale_unit
from golden.prediction.scale_predictor import register_limits

from ..common.checks import check_config
from ..common.shapes import shape_of
from .range_unit import statistic_layout
from .scale_sums import coefficient_beat_layout

__all__ = ["ScaleFeed", "coefficient_layout", "predictor_layout"]


def predictor_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the hardware is told of a predictor: :meth:`ScalePredictor.registers`."""
    return data.StructLayout({name: range(limit + 1)
                              for name, limit in register_limits(config).items()})


def coefficient_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """One beat of coefficients."""
    return data.ArrayLayout(shape_of(scale_unit.WORD), config.scale_lanes)


class ScaleFeed(wiring.Component):
    """Buffer the statistics of an image, then give every operand with its coefficients.

    Four phases: the statistics arrive; they are multiplied by the projection; the monomials are
    awaited; and these are multiplied by the coefficients of the sites. Without a projection the
    statistics are passed on as variables and the second phase is skipped. Throughput of one
    beat per cycle, latency of one cycle.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes and the largest predictor.

    Members
    -------
    predictor : ``In(predictor_layout(config))``
        Stable from the first statistic of an image to its last coefficients.
    statistics : ``In(stream.Signature(statistic_layout))``
        As many as `predictor` says, the last one marked.
    coefficients : ``In(stream.Signature(coefficient_layout(config)))``
        Beats in the order of :func:`golden.prediction.scale_unit.pack`.
    variables : ``Out(stream.Signature(statistic_layout))``
        The statistics, if there is no projection.
    expanded : ``In(1)``
        High for a cycle when the monomials of the image can be read.
    address, enable, monomial
        Read port of the monomials; the data come in the cycle after `enable`.
    o : ``Out(stream.Signature(coefficient_beat_layout(config)))``
        Beats of a block: one per statistic or monomial, then the constants.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "predictor": In(predictor_layout(config)),
            "statistics": In(stream.Signature(statistic_layout)),
            "coefficients": In(stream.Signature(coefficient_layout(config))),
            "variables": Out(stream.Signature(statistic_layout)),
            "expanded": In(1),
            "address": Out(range(config.max_monomials)),
            "enable": Out(1),
            "monomial": In(shape_of(scale_unit.ALIGNED)),
            "o": Out(stream.Signature(coefficient_beat_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, predictor = self._config, self.predictor
        m.submodules.memory = stored = memory.Memory(
            shape=shape_of(formats.STATISTIC), depth=config.max_statistics, init=[])
        write, read = stored.write_port(), stored.read_port()

        site = Signal()  # coefficients are those of the sites
        term = Signal(range(max(config.max_statistics, config.max_monomials) + 1))
        left = Signal(range(max(config.max_projected, config.max_sites) + 1))  # results to feed
        first, final = Signal(), Signal()  # beat of its block
        last = Signal()  # block of its kind
        step = Signal()  # stage r takes a beat
        m.d.comb += [
            first.eq(term == 0),
            final.eq(term == Mux(site, predictor.monomials, predictor.statistics)),
            last.eq(left <= config.scale_lanes),
            write.addr.eq(term),
            write.data.eq(self.statistics.p.value),
            self.variables.payload.eq(self.statistics.payload),
            read.addr.eq(term),
            self.address.eq(term),
            read.en.eq(step),
            self.enable.eq(step),
        ]
        with m.If(step):
            m.d.sync += term.eq(term + 1)
            with m.If(final):
                m.d.sync += [term.eq(0), left.eq(left - config.scale_lanes)]
        feeding = self._phases(m, write.en, site, term, left, step & final & last)
        free, r = self._stage(m, step, read.data)
        m.d.comb += [
            self.coefficients.ready.eq(feeding & free),
            step.eq(self.coefficients.valid & self.coefficients.ready),
        ]
        with m.If(step):
            m.d.sync += [
                r.coefficients.eq(self.coefficients.payload),
                r.first.eq(first),
                r.final.eq(final),
                r.block.site.eq(site),
                r.block.count.eq(Mux(last, left, config.scale_lanes)),
                r.block.last.eq(last),
            ]
        return m

    def _phases(self, m, load, site, term, left, end):
        """Go from phase to phase, the `end` of those that feed; return whether one does."""
        predictor = self.predictor
        feeding = Signal()
        with m.FSM():
            with m.State("LOAD"):
                m.d.comb += [
                    self.variables.valid.eq(self.statistics.valid & ~predictor.projected),
                    self.statistics.ready.eq(self.variables.ready | predictor.projected),
                    load.eq(self.statistics.valid & self.statistics.ready),
                ]
                with m.If(load):
                    m.d.sync += term.eq(term + 1)
                    with m.If(self.statistics.p.last):
                        m.d.sync += [term.eq(0), left.eq(predictor.sites)]
                        m.next = "EXPAND"
                        with m.If(predictor.projected):
                            m.d.sync += left.eq(predictor.variables)
                            m.next = "PROJECT"
            with m.State("PROJECT"):
                m.d.comb += feeding.eq(1)
                with m.If(end):
                    m.d.sync += left.eq(predictor.sites)
                    m.next = "EXPAND"
            with m.State("EXPAND"), m.If(self.expanded):
                m.next = "SITES"
            with m.State("SITES"):
                m.d.comb += [feeding.eq(1), site.eq(1)]
                with m.If(end):
                    m.next = "LOAD"
        return feeding

    def _stage(self, m, step, statistic):
        """Stage r: coefficients, and the operand read from one of the memories.

        Returns whether it can take a beat, and its register. The last beat of a phase needs
        neither memory, so both may be written again while it waits.
        """
        r_valid, free = Signal(), Signal()
        r = Signal(coefficient_beat_layout(self._config))
        m.d.comb += [
            free.eq(~r_valid | self.o.ready),
            self.o.valid.eq(r_valid),
            self.o.payload.eq(r),
            self.o.p.operand.eq(Mux(r.final, scale_unit.ONE,
                                    Mux(r.block.site, self.monomial, statistic))),
        ]
        with m.If(free):
            m.d.sync += r_valid.eq(step)
        return free, r
