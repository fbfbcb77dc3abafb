"""Instructions of a network's layers: what is quantized, to which scale, and where to.

Scales that are measured just in time, image by image and of queries, keys and values head by head,
need what is to be quantized whole: it is stored with 16 bits, measured, and read once more. Such
programs are for the golden machine, and need a larger scratchpad.

Predicted scales get slots of their own in the scale file for each tap, so that a site that a deeper
tap predicts once more simply moves on to another slot.
"""

from collections.abc import Callable

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, LAMBDA, IntFormat, Mode
from golden.core import isa
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.rules import operand_layout, predictor_units
from golden.network.network import Linear, Network, Norm, Tap, parts_of
from golden.network.precision import HEAD, Precision, site_format
from golden.prediction import scale_unit
from golden.prediction.range_shape import RangeShape
from golden.product.mac_array import Activation
from golden.results.curves import CURVES, GELU
from golden.rows.layernorm import fraction_of

from .builder import Builder, Matrix
from .limits import DoesNotFit
from .payloads import numbers_of, units_of, weights_of
from .plan import Plan

_ONE = LAMBDA.one


class LayerBuilder(Builder):
    """Takes layers, one after the other, as a plan says; `made` keeps payloads from one plan of
    the network to the next.
    """

    def __init__(self, network: Network, config: AcceleratorConfig, jit: bool,
                 plan: Plan | None = None, made: dict | None = None):
        super().__init__(config)
        self.network, self.jit, self.plan = network, jit, plan or Plan()
        self.stream = network.streams[0]  # formats of the residual stream, now
        self._made = {} if made is None else made
        self.slots = np.arange(1, network.shape.sites + 1)  # of each site, now
        self.free_slot = network.shape.sites + 1

    def once(self, key, make: Callable):
        """Return what is made once for all plans of the network."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def begin(self) -> None:
        """Set the scales, and slot 0, whatever a program before has left there, to zero; load the
        table of the activation, unless it is GELU.
        """
        scales = [0, *self.network.scales.tolist()]
        self.emit(Opcode.SCALES, numbers_of(scales, isa.SCALES, self.config), n=len(scales))
        curve = CURVES[self.network.shape.activation]
        if curve is not GELU:
            self.emit(Opcode.TABLE, numbers_of(curve.values, isa.TABLE, self.config),
                      n=len(curve.values), low=-curve.offset, wide=int(curve.wide))

    def check_slots(self) -> None:
        """Raise :exc:`DoesNotFit` if the scale file is too small."""
        if self.free_slot > self.config.max_sites:
            raise DoesNotFit(f"the scale file must have {self.free_slot} slots or more for this "
                             f"network, but max_sites is {self.config.max_sites}")

    def norm(self, name: str, x: Matrix, norm: Norm, site: int, rows: int, mode: Mode,
             beside: int = 1, *, first: int = 0, out: tuple[Matrix, int] | None = None,
             epsilon: int | None = None, layout: Layout | None = None,
             of_stream: bool = True) -> Matrix:
        """LayerNorm of rows of the residual stream from `first` on, quantized to a site: `rows` of
        them, or of one row the `beside` ones it is put together from. `out` is where to, a matrix
        and the words before it, if not a matrix of its own, of operands or of `layout`. Of
        patches in line `epsilon` is that of their merge; what is not `of_stream`, but queries or
        keys, has one of its own, and no coarse channels.
        """
        point = fraction_of(x.cols) + norm.point
        coarse = self.stream.coarse if of_stream else None
        line = x.cols // coarse.size if coarse is not None else 1
        payload = self._channels(norm, None if coarse is None else np.tile(coarse, line))
        plain = {"m": rows, "n": x.cols,
                 "epsilon": self.stream.epsilon if epsilon is None else epsilon}
        if self.jit:
            wide, places = self.wide(name, rows, beside * x.cols), self.wide_point(site)
            for row in range(beside):
                self.emit(Opcode.NORM, payload, {"source": (x, row * x.stride)},
                          {"dest": (wide, row * x.cols // self.config.lanes)},
                          exponent=(places - point) * _ONE, low=ACT16.min, high=ACT16.max, **plain)
            return self.measured(name, wide, site, places, operand_layout(mode))
        fmt = self.site_format(site)
        layout = operand_layout(mode) if layout is None else layout
        made, offset = out or (self.matrix(name, layout, rows, beside * x.cols), 0)
        for row in range(beside):
            self.emit(Opcode.NORM, payload, {"source": (x, (first + row) * x.stride)},
                      {"dest": (made, offset + row * x.cols // 2)}, exponent=-point * _ONE,
                      scale_b=self.slots[site], subtract_b=1, low=fmt.min, high=fmt.max, **plain)
        return made

    def begun(self, x: Matrix, first: int, rows: int, out: tuple[Matrix, int]) -> None:
        """LayerNorm of embedded tokens from row `first` on, to a place of the residual stream."""
        network, norm = self.network, self.network.norm_pre
        point = network.residual_point - fraction_of(x.cols) - norm.point
        self.emit(Opcode.NORM, self._channels(norm, None), {"source": (x, first * x.stride)},
                  {"dest": out}, m=rows, n=x.cols, epsilon=network.epsilon_pre,
                  exponent=point * _ONE, low=ACT16.min, high=ACT16.max)

    def _channels(self, norm: Norm, coarse: np.ndarray | None) -> bytes:
        coarse = np.zeros(norm.gamma.size, int) if coarse is None else coarse
        return self.once(("norm", id(norm)), lambda: units_of(
            [{"gamma": int(g), "beta": int(b), "coarse": int(flag)} for g, b, flag in
             zip(norm.gamma, norm.beta, coarse, strict=True)], isa.CHANNEL, self.config))

    def wide(self, name: str, rows: int, cols: int) -> Matrix:
        """Return a matrix for the 16-bit values of a tensor, named like ``3.q.wide.0``."""
        tensor, _, head = name.rpartition(".")
        name = f"{tensor}.wide.{head}" if head.isdecimal() else f"{name}.wide"
        return self.matrix(name, Layout.WIDE, rows, cols)

    def wide_point(self, site: int) -> int:
        """Return fractional bits that give a site's values twice the room of their static scale."""
        largest = self.network.scales[site] / _ONE + np.log2(self.site_format(site).max)
        return int(np.floor(np.log2(ACT16.max) - 1 - largest))

    def measured(self, name: str, wide: Matrix, site: int, point: int, layout: Layout,
                 *, offset: int = 0, gelu: int = 0, coarse: np.ndarray | None = None) -> Matrix:
        """Measure a wide matrix with `point` fractional bits, and quantize it to a site."""
        fmt, slot = self.site_format(site), self.slots[site]
        flags = [] if coarse is None else coarse.tolist()
        columns = units_of([{"coarse": flag} for flag in flags], isa.COLUMN, self.config)
        size = {"m": wide.rows, "n": wide.cols, "gelu": gelu, "words": len(flags)}
        self.emit(Opcode.MEASURE, columns, {"source": (wide, 0)}, scale_a=slot,
                  exponent=-point * _ONE - round(_ONE * np.log2(fmt.max)), **size)
        out = self.matrix(name, layout, wide.rows, wide.cols, signed=bool(fmt.signed or offset))
        self.emit(Opcode.QUANTIZE, columns, {"source": (wide, 0)}, {"dest": (out, 0)},
                  exponent_out=-point * _ONE, scale_out=slot, low=fmt.min, high=fmt.max,
                  offset=offset, **size)
        return out

    def linear(self, name: str, a: Matrix, layer: Linear, sites: tuple[int, int], mode: Mode,
               point: int, layout: Layout, cols: slice = slice(None), *, gelu: int = 0,
               offset: int = 0, coarse: np.ndarray | None = None,
               out: tuple[Matrix, int] | None = None) -> Matrix:
        """Multiply, and quantize the result with `point` fractional bits to the second site.

        `coarse` says which columns have less of them, for GELU. `out` is where to, a matrix and
        the words before it, if not a matrix of its own.
        """
        if self.jit:
            wide = self.wide(name, a.rows, layer.weight[:, cols].shape[1])
            self.product(a, layer, sites[0], mode, writes={"dest": (wide, 0)}, cols=cols,
                         path=Path.WIDE)
            return self.measured(name, wide, sites[1], point, layout, offset=offset, gelu=gelu,
                                 coarse=None if coarse is None else coarse[cols])
        fmt = self.site_format(sites[1])
        made, before = out or (self.matrix(name, layout, a.rows, layer.weight[:, cols].shape[1],
                                           signed=bool(fmt.signed or offset)), 0)
        self.product(a, layer, sites[0], mode, writes={"dest": (made, before)}, cols=cols,
                     gelu=gelu, coarse=coarse, offset=offset,
                     path=Path.SITE, exponent_out=-point * _ONE, scale_out=self.slots[sites[1]],
                     low=fmt.min, high=fmt.max)
        return made

    def widths(self, block: int, layer: str) -> Precision:
        """Return the widths of a layer of a block."""
        return self.network.precision.of(block, layer)

    def site_format(self, site: int) -> IntFormat:
        """Return the format of a site's values."""
        return site_format(self.network.shape, self.network.precision, site)

    def parts(self, layer: Linear, parts: list[slice]) -> list[Linear]:
        """Return the layers of some parts of a layer's inputs."""
        return self.once(("parts", id(layer)), lambda: (layer, parts_of(layer, parts)))[1]

    def product(self, a: Matrix, layer: Linear, site: int | None, mode: Mode, reads=None,
                writes=None, cols: slice = slice(None), activation=Activation.SIGNED,
                rows: int | None = None, coarse: np.ndarray | None = None, **fields) -> None:
        """Multiply by weights of the stream; `site` gives the scale of `a`."""
        weight = layer.weight[:, cols]
        _, payload = self.once(  # beside the layer, so that no other gets its identity
            (id(layer), mode, activation, cols.start, cols.stop),
            lambda: (layer, weights_of(layer, mode, activation, cols, self.config, coarse)))
        self.emit(Opcode.GEMM, payload,
                  {"source": (a, 0), **(reads or {})}, writes, mode=mode, activation=activation,
                  weights=Source.STREAM, m=a.rows if rows is None else rows, k=weight.shape[0],
                  n=weight.shape[1], scale_a=0 if site is None else self.slots[site], **fields)

    def onto(self, x: Matrix, name: str, a: Matrix, layer: Linear, site: int | None, mode: Mode,
             taps: list[Tap], activation=Activation.SIGNED, *, first: int = 0,
             source: tuple[Matrix, int] | None = None, rows: int | None = None,
             alone: bool = False) -> None:
        """Multiply and add to the residual stream from row `first` on, in place; predict scales of
        what has become. `source` is where the `rows` of `a` begin, if there are others before.
        Without a name, what the residual stream is has none yet; `alone`, it has been nothing yet.
        """
        tap = {}
        if taps:
            shape = RangeShape(x.rows, x.cols, taps[0].chunk_tokens, taps[0].groups,
                               self.config.tile_cols(mode) // self.config.lanes)
            tap = {"tap": 1, **shape.registers(self.config)}
        place = (x, first * x.stride)
        sums = {} if alone else {"residual_address": place}
        self.product(a, layer, site, mode, {"source": source or (a, 0), **sums}, {"dest": place},
                     activation=activation, path=Path.WIDE, residual=len(sums), rows=rows, **tap)
        if name:
            self.version(x, name)
        if taps:
            self.predict(taps[0])

    def classify(self, a: Matrix, address: int) -> Matrix:
        """Multiply by the head, store the logits, and return where they are."""
        network, shape = self.network, self.network.shape
        last, parts = shape.sites - 1, shape.classified_parts
        out = self.matrix("logits", Layout.WIDE, 1, shape.classes)
        for part, layer in zip(parts, self.parts(network.head, parts), strict=True):
            sums = {"residual_address": (out, 0)} if part.start else {}
            self.product(a, layer, last, HEAD.mode, {"source": (a, part.start // 2), **sums},
                         {"dest": (out, 0)}, path=Path.WIDE, residual=int(part.start > 0))
        self.emit(Opcode.STORE, reads={"source": (out, 0)}, address=address, words=out.words,
                  logits=1)
        return out

    def watch(self, x: Matrix, name: str, tap: Tap) -> None:
        """Let a tap see the residual stream that has come about in blocks, and predict scales: it
        is added to a product with a weight of zero.
        """
        a, nothing = self._nothing(x.rows, x.cols)
        self.onto(x, name, a, nothing, None, HEAD.mode, [tap])

    def quantized(self, x: Matrix, first: int, rows: int, site: int,
                  out: tuple[Matrix, int]) -> None:
        """Quantize rows of the residual stream as they are, from row `first` on, to a site: they
        are added to a product with a weight of zero.
        """
        a, nothing = self._nothing(rows, x.cols)
        fmt = self.site_format(site)
        self.product(a, nothing, None, HEAD.mode, {"residual_address": (x, first * x.stride)},
                     {"dest": out}, path=Path.SITE, residual=1, scale_out=self.slots[site],
                     exponent_out=-self.stream.point * _ONE, low=fmt.min, high=fmt.max)
        self.need(0)  # no product either

    def _nothing(self, rows: int, cols: int) -> tuple[Matrix, Linear]:
        """Return operands of any value, and a weight of zero for them."""
        nothing = self.once(("nothing", cols), lambda: Linear(
            np.zeros((1, cols), np.int8), np.zeros(cols, np.int32), np.zeros(cols, np.int16)))
        a = self.matrix("nothing", Layout.OPERAND8, rows, 1)
        a.first = a.written = a.last = len(self.steps)
        return a, nothing

    def predict(self, tap: Tap) -> None:
        """Predict the scales of a tap's sites, into slots of their own."""
        shape, config = tap.predictor.shape, self.config
        numbers = numbers_of(scale_unit.pack(tap.predictor, config), isa.PREDICTOR, config)
        payload = numbers_of(np.stack((tap.mean, tap.gain), 1), isa.STATISTICS, config) + numbers
        self.emit(Opcode.PREDICT, payload, scale_a=self.free_slot, **shape.registers(),
                  words=predictor_units(shape, config))
        self.slots[tap.sites] = self.free_slot + np.arange(len(tap.sites))
        self.free_slot += len(tap.sites)
