"""Output-stationary MAC array, bit-exact with :func:`golden.product.mac_array.gemm`."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.product.tiling import FILL

from ..common.checks import check_config
from ..common.delayed import delayed
from ..common.multiplier import Multiplier, lent_signature
from ..common.operands import BYTE, OperandEdge, TileActivation, TileMode, codebook_layout
from .processing_element import ProcessingElement
from .tile_drain import TileDrain, accumulators_layout, starts_layout

__all__ = ["MacArray", "operand_beat_layout", "tile_layout"]


_NEAR = 4  # columns that have activations out of the same registers


def tile_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What holds for all operands of a tile, and where its accumulators start."""
    return data.StructLayout({
        "mode": TileMode,
        "activation": TileActivation,
        "start": starts_layout(config),
    })


def operand_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Operand bytes of one cycle, and whether they are the last of a tile."""
    return data.StructLayout({
        "activations": data.ArrayLayout(BYTE, config.rows),
        "weights": data.ArrayLayout(BYTE, config.cols),
        "last": 1,
    })


class MacArray(wiring.Component):
    """Multiply tiles of activations by tiles of weights, ``rows * cols`` multipliers at a time.

    Throughput of one operand beat and one result beat per cycle; the results of a tile come out
    while the next one is computed, the first of them :attr:`LATENCY` cycles after the last operand
    beat. Accepted operands run through without a stall: only the last beat of a tile waits, for
    the tile before to be all but out. See :func:`golden.product.tiling.gemm_cycles`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Array shape, lanes and accumulator widths.
    lends : int
        Multipliers that can be lent, whole columns of them first.

    Members
    -------
    tile : ``In(stream.Signature(tile_layout(config)))``
        One payload per tile, taken with its last operand beat.
    i : ``In(stream.Signature(operand_beat_layout(config)))``
        Bytes of :func:`golden.product.operand_bytes.pack_activations` and `~.pack_weights`.
    codebook : ``In(codebook_layout)``
        Operand of each code; stable while operands are accepted and a cycle longer.
    o : ``Out(stream.Signature(accumulators_layout(config)))``
        Logical rows in order, in a row logical columns in order, ``config.lanes`` per beat.
    lend : ``In(1)``
        The multipliers are lent; only while no operands are offered and all results are out.
        Operands may be offered as soon as it is low again. Only if it `lends`.
    lent : ``In(lent_signature).array(lends)``
        Only if it `lends`.
    """

    LATENCY = FILL

    def __init__(self, config: AcceleratorConfig, lends: int = 0):
        check_config(config)
        self._config = config
        self._lends = integer("lends", lends, 0, config.multipliers)
        borrower = {"lend": In(1), "lent": In(lent_signature).array(lends)}
        super().__init__({
            "tile": In(stream.Signature(tile_layout(config))),
            "i": In(stream.Signature(operand_beat_layout(config))),
            "codebook": In(codebook_layout),
            "o": Out(stream.Signature(accumulators_layout(config))),
            **(borrower if lends else {}),
        })

    def elaborate(self, platform):
        m = Module()
        flight = OperandEdge.LATENCY + Multiplier.LATENCY
        m.submodules.edge = edge = OperandEdge(
            self._config, -(-self._config.cols // _NEAR))
        m.submodules.drain = drain = TileDrain(self._config, flight)
        connect(m, drain.o, flipped(self.o))
        last = self.i.payload.last
        m.d.comb += [
            self.i.ready.eq(self.tile.valid & (drain.ready | ~last)),
            self.tile.ready.eq(self.i.valid & last & drain.ready),

            edge.valid.eq(self.i.valid & self.i.ready),
            edge.mode.eq(self.tile.payload.mode),
            edge.activation.eq(self.tile.payload.activation),
            edge.activation_bytes.eq(self.i.payload.activations),
            edge.weight_bytes.eq(self.i.payload.weights),
            edge.codebook.eq(self.codebook),

            drain.finish.eq(self.tile.valid & self.tile.ready),
            drain.mode.eq(self.tile.payload.mode),
            drain.start.eq(self.tile.payload.start),
        ]
        ahead = [delayed(m, value, name, flight - 1) for value, name in (
            (drain.finish, "last"), (self.tile.payload.mode, "mode"))]
        m.d.comb += drain.captures.eq(ahead[0])
        self._elements(m, edge, drain, *ahead)
        return m

    def _elements(self, m, edge, drain, last, mode):
        """Broadcast operands to the processing elements, and give their sums to the drain.

        `last` and `mode` are those of the next cycle: each column has a register of its own.
        """
        count = self._config.rows
        rows = [[ProcessingElement(self._config, col * count + row < self._lends, row < count - 1)
                 for col in range(self._config.cols)] for row in range(count)]
        lent = Signal()  # a product of who borrows multipliers may come in the next cycle
        if self._lends:
            since = Signal(Multiplier.LATENCY - 1)
            m.d.sync += since.eq(Cat(self.lend, since))
            m.d.comb += lent.eq(self.lend | since.any())
        for index in range(self._lends):
            col, row = divmod(index, count)
            m.d.comb += rows[row][col].lend.eq(self.lend)
            connect(m, flipped(self.lent[index]), rows[row][col].lent)
        for col in range(self._config.cols):
            its_mode, its_last = (delayed(m, value, f"{name}_{col}", 1, attrs={"keep": 1})
                                  for value, name in ((mode, "mode"), (last, "last")))
            fresh = Signal(init=1, name=f"fresh_{col}", attrs={"keep": 1})
            m.d.sync += fresh.eq(last | lent if col * count < self._lends else last)
            for row, elements in enumerate(rows):
                m.submodules[f"pe_{row}_{col}"] = element = elements[col]
                m.d.comb += [
                    element.activation.eq(edge.activations[row][col // _NEAR]),
                    element.weight.eq(edge.weights[col]),
                    element.mode.eq(its_mode),
                    element.last.eq(its_last),
                    element.fresh.eq(fresh),
                ]
                if row == 0:
                    connect(m, element.sums, drain.sums[col])
                else:
                    connect(m, element.sums, rows[row - 1][col].behind)
                    m.d.comb += rows[row - 1][col].move.eq(drain.move[col])
