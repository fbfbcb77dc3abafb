"""Monomials of the scale unit: generated once per image, then read by the sums."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import round_shift
from golden.prediction import scale_unit
from golden.prediction.scale_predictor import MAX_DEGREE

from ..common.checks import check_config
from ..common.multiplier import Multiplier
from ..common.shapes import shape_of
from .scale_sums import rounded_layout

__all__ = ["Monomials"]

# A monomial is stored as the operand it will be, shifted left by ALIGN of its degree. That leaves
# the same number of bits to drop from the products of all degrees, and none to shift afterwards.
(_DROP,) = {scale_unit.DROP[degree] + scale_unit.ALIGN[degree - 1] - scale_unit.ALIGN[degree]
            for degree in range(2, MAX_DEGREE + 1)}


class Monomials(wiring.Component):
    """Store variables, generate their monomials, and serve them.

    The variables are accepted one per cycle. After the last one, degree by degree, one monomial is
    issued per cycle; a degree begins when the one below it has been written. `done` is high for
    the cycle after the last one is written. Then the monomials can be read until the first
    variable of the next image arrives.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the largest number of variables and monomials.

    Members
    -------
    variables, degree : ``In``
        Number of variables and largest degree; stable from the first variable until `done`.
    i : ``In(stream.Signature(rounded_layout(STATISTIC)))``
        Variables, the last one marked.
    done : ``Out(1)``
        All monomials can be read.
    address, enable : ``In``
        Read port, in the order of :func:`golden.prediction.scale_predictor.monomials_of`.
    operand : ``Out(ALIGNED)``
        Monomial, shifted left by :data:`golden.prediction.scale_unit.ALIGN`, in the cycle after
        `enable`.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "variables": In(range(config.max_projected + 1)),
            "degree": In(range(MAX_DEGREE + 1)),
            "i": In(stream.Signature(rounded_layout(formats.STATISTIC))),
            "done": Out(1),
            "address": In(range(config.max_monomials)),
            "enable": In(1),
            "operand": Out(shape_of(scale_unit.ALIGNED)),
        })

    def elaborate(self, platform):
        m = Module()
        shape = shape_of(scale_unit.ALIGNED)
        m.submodules.memory = stored = memory.Memory(
            shape=shape, depth=self._config.max_monomials, init=[])
        m.submodules.variables = variables = memory.Memory(
            shape=shape_of(formats.STATISTIC), depth=self._config.max_projected, init=[])
        m.submodules.order = order = _Order(self._config)
        m.submodules.product = product = _Product()
        write, read = stored.write_port(), stored.read_port()
        variable_write, variable_read = variables.write_port(), variables.read_port()

        multiplying = Signal()
        degree = Signal.like(self.degree)  # of the monomials that are multiplied
        count = Signal(range(self._config.max_monomials + 1))  # of the monomials written
        m.d.comb += [
            order.variables.eq(self.variables),
            read.addr.eq(Mux(multiplying, order.parent, self.address)),
            read.en.eq(multiplying | self.enable),
            self.operand.eq(read.data),
            variable_read.addr.eq(order.factor),
            variable_write.addr.eq(count),
            variable_write.data.eq(self.i.p.value),
            variable_write.en.eq(self.i.valid & self.i.ready),
            product.parent.eq(read.data),
            product.factor.eq(variable_read.data),
            product.issue.eq(order.step),
            product.issue_last.eq(order.last),
            write.addr.eq(count),
            write.en.eq(variable_write.en | product.valid),
            write.data.eq(Mux(product.valid, product.value,
                              self.i.p.value << scale_unit.ALIGN[1])),
        ]
        m.d.sync += self.done.eq(0)
        with m.If(write.en):
            m.d.sync += count.eq(count + 1)

        def finish_degree(reached):
            with m.If(self.degree == reached):
                m.d.sync += [self.done.eq(1), count.eq(0)]
                m.next = "FILL"
            with m.Else():
                m.d.sync += degree.eq(reached + 1)
                m.d.comb += [order.start.eq(1), order.highest.eq(reached == MAX_DEGREE - 1)]
                m.next = "MULTIPLY"

        with m.FSM():
            with m.State("FILL"):  # the variables arrive
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid & self.i.p.last):
                    finish_degree(1)
            with m.State("MULTIPLY"):  # the monomials of a degree are issued
                m.d.comb += [multiplying.eq(1), order.step.eq(1)]
                with m.If(order.last):
                    m.next = "WRITE"
            with m.State("WRITE"), m.If(product.valid & product.last):  # all are written
                finish_degree(degree)
        return m


class _Order(wiring.Component):
    """Parent and factor of each monomial of a degree, in lexicographic order.

    A monomial of degree 2 or 3 has the indices i <= j <= k; k is that of the factor, and those
    before it make the parent. In degree 2, i stays at its end. The parents are all monomials of
    the degree below, one after another, so their address runs on through both degrees.

    Members
    -------
    variables : ``In``
        Number of variables.
    start, highest : ``In(1)``
        The next cycle is the first of a degree; it is the highest, degree 3.
    step : ``In(1)``
        The next monomial is wanted.
    parent, factor : ``Out``
        Addresses of the operands.
    last : ``Out(1)``
        It is the last monomial of the degree.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "variables": In(range(config.max_projected + 1)),
            "start": In(1),
            "highest": In(1),
            "step": In(1),
            "parent": Out(range(config.max_monomials)),
            "factor": Out(range(config.max_projected)),
            "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        i, j, k, top = (Signal(range(self._config.max_projected), name=name)
                        for name in ("i", "j", "k", "top"))
        m.d.comb += [
            top.eq(self.variables - 1),
            self.factor.eq(k),
            self.last.eq((i == top) & (j == top) & (k == top)),
        ]
        with m.If(self.start):
            m.d.sync += [j.eq(0), k.eq(0), i.eq(Mux(self.highest, 0, top))]
            with m.If(~self.highest):
                m.d.sync += self.parent.eq(0)
        with m.Elif(self.step):
            with m.If(k != top):
                m.d.sync += k.eq(k + 1)
            with m.Else():
                m.d.sync += self.parent.eq(self.parent + 1)
                with m.If(j != top):
                    m.d.sync += [j.eq(j + 1), k.eq(j + 1)]
                with m.Else():
                    m.d.sync += [i.eq(i + 1), j.eq(i + 1), k.eq(i + 1)]
        return m


class _Product(wiring.Component):
    """Product of a monomial and a variable that were addressed when it was issued, rounded.

    Latency of :attr:`LATENCY` cycles, throughput of one product per cycle. It never stalls.
    """

    LATENCY = Multiplier.LATENCY + 2

    issue: In(1)
    issue_last: In(1)
    parent: In(shape_of(scale_unit.ALIGNED))
    factor: In(shape_of(formats.STATISTIC))
    valid: Out(1)
    last: Out(1)
    value: Out(shape_of(scale_unit.ALIGNED))

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(scale_unit.ALIGNED, formats.STATISTIC)

        # Stage r: operands read; x and p: registers of the multiplier; the output: rounded, and
        # within its format as golden.prediction.scale_predictor promises.
        r_valid, x_valid, p_valid = Signal(), Signal(), Signal()
        r_last, x_last, p_last = Signal(), Signal(), Signal()
        m.d.comb += [
            multiplier.a.eq(self.parent),
            multiplier.b.eq(self.factor),
        ]
        m.d.sync += [
            r_valid.eq(self.issue),
            r_last.eq(self.issue_last),
            x_valid.eq(r_valid),
            x_last.eq(r_last),
            p_valid.eq(x_valid),
            p_last.eq(x_last),
            self.valid.eq(p_valid),
            self.last.eq(p_last),
            self.value.eq(round_shift(multiplier.product, _DROP)),
        ]
        return m
