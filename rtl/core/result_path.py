"""Result path: from accumulators to results in the scratchpad."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.core.isa import Layout, Opcode, Path, Source

from ..common.checks import check_config
from ..common.shapes import joined, shape_of
from ..common.unit_splitter import UNIT_BITS
from ..memory.placement import Placement, placed_layout
from ..memory.scratchpad import write_signature
from ..product.tile_drain import accumulators_layout
from ..results.epilogue import Epilogue
from ..results.gelu import curve_layout, entry_layout
from ..results.result_constants import BASE, row_exponents_signature
from ..rows.layernorm import affine_layout
from .instruction import decoded, instruction_layout

__all__ = ["ResultPath"]


class ResultPath(wiring.Component):
    """Make results of the accumulators of products and of LayerNorm, and place all results.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    instruction, start
        ``In(instruction_layout)``, ``In(1)``: a product or NORM begins with `start`.
    base, base_out : ``In(BASE)``
        Exponents of the instruction's multipliers.
    units : ``In(stream.Signature(64))``
        Column units of a product.
    curve, entry
        As in :class:`.epilogue.Epilogue`.
    products : ``In(stream.Signature(accumulators_layout(config)))``
    norms : ``In(stream.Signature(affine_layout(config)))``
        Accumulators of either.
    codes : ``In(stream.Signature(placed_layout(config), always_ready=True))``
        Results of SOFTMAX, ready to be placed.
    residuals, announced, taps, row_exponents
        As in :class:`.epilogue.Epilogue`.
    write : ``Out(write_signature(config))``
        Scratchpad.
    done : ``Out(1)``
        All results of the product or NORM are in the scratchpad.
    placed : ``Out(1)``
        All results that have come are.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        wide = stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))
        super().__init__({
            "instruction": In(instruction_layout), "start": In(1),
            "base": In(BASE), "base_out": In(BASE),
            "units": In(stream.Signature(UNIT_BITS)),
            "curve": In(curve_layout), "entry": In(entry_layout),
            "products": In(stream.Signature(accumulators_layout(config))),
            "norms": In(stream.Signature(affine_layout(config))),
            "codes": In(stream.Signature(placed_layout(config), always_ready=True)),
            "residuals": In(wide), "announced": In(1),
            "taps": Out(stream.Signature(wide.members["payload"].shape, always_ready=True)),
            "row_exponents": Out(row_exponents_signature),
            "write": Out(write_signature(config)),
            "done": Out(1), "placed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        op = self.instruction
        product, norm, softmax = (decoded(m, op, each) for each in (
            Opcode.GEMM, Opcode.NORM, Opcode.SOFTMAX))
        columns, path, layout = Signal(), Signal.like(op.path), Signal.like(op.layout)
        m.d.sync += [layout.eq(Mux(softmax, Layout.OPERAND8, op.layout)),
                     columns.eq(product & (op.weights == Source.STREAM)),
                     path.eq(Mux(norm, Path.DIRECT, op.path))]
        m.submodules.epilogue = epilogue = Epilogue(self._config)
        m.submodules.placement = placement = Placement(self._config)
        connect(m, flipped(self.units), epilogue.units)
        connect(m, flipped(self.residuals), epilogue.residuals)
        m.d.comb += [epilogue.announced.eq(self.announced), epilogue.curve.eq(self.curve),
                     epilogue.entry.eq(self.entry)]
        connect(m, epilogue.taps, flipped(self.taps))
        connect(m, epilogue.row_exponents, flipped(self.row_exponents))
        connect(m, placement.write, flipped(self.write))
        m.d.comb += [
            *joined(epilogue.run, op, "mode", "m", "n", "low", "high", "offset"),
            *(epilogue.run[name].eq(op[name] & product)
              for name in ("gelu", "residual", "tap")),
            epilogue.run.per_row.eq(op.rows & product),
            epilogue.run.by_tiles.eq(product),
            epilogue.run.columns.eq(columns),
            epilogue.run.path.eq(path),
            epilogue.run.base.eq(self.base),
            epilogue.run.base_out.eq(self.base_out),
            epilogue.start.eq(self.start & (product | norm)),

            epilogue.i.valid.eq(Mux(norm, self.norms.valid, self.products.valid)),
            epilogue.i.p["values"].eq(Mux(norm, self.norms.p["values"].as_value(),
                                          self.products.p["values"].as_value())),
            epilogue.i.p.last.eq(self.products.p.last),
            self.products.ready.eq(epilogue.i.ready & ~norm),
            # Nothing makes the epilogue of NORM wait: no residual, no tap, one multiplier, which
            # is there long before the first row. To ask it would tie its whole row path to that.
            self.norms.ready.eq(1),

            placement.run.layout.eq(layout),
            *joined(placement.run, op, "dest", "dest_stride", "m", "n", "first_row"),
            placement.i.valid.eq(Mux(softmax, self.codes.valid, epilogue.o.valid)),
            placement.i.payload.eq(Mux(softmax, self.codes.payload.as_value(),
                                       epilogue.o.payload.as_value())),
            self.done.eq(epilogue.done & placement.idle),
            self.placed.eq(placement.idle),
        ]
        return m
