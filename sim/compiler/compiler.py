"""From a quantized network to a program of the core: instructions, payloads, and a place for all.

Per block: LayerNorm; of each head queries, keys and values, scores, softmax and mixing; projection
onto the residual stream in place; LayerNorm, and the two layers of the MLP, the second one in
place. Each matrix has an interval of instructions in which it is needed; :func:`_allocate` gives
those that are alive together places of their own. Everything stays in the scratchpad: what does
not fit is refused, and how much is missing is said.

Scales that are measured just in time, image by image and of queries, keys and values head by head,
need what is to be quantized whole: it is stored with 16 bits, measured, and read once more. Such
programs are for the golden machine, and need a larger scratchpad.

Predicted scales get slots of their own in the scale file for each tap, so that a site that a deeper
tap predicts once more simply moves on to another slot.
"""

from dataclasses import dataclass, field

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, LAMBDA, Mode
from golden.core import isa
from golden.core.isa import UNIT_BYTES, Layout, Opcode, Path, Source
from golden.core.program import Program, Region, Tensor, align
from golden.core.rules import operand_layout, predictor_units, verify, weight_layout
from golden.memory.scratchpad import stride_of, words_of
from golden.network.network import GELU_POINT, HEAD, Block, Linear, Network, Norm, Tap
from golden.prediction import range_unit, scale_unit
from golden.product.mac_array import Activation, pack_weights, start_values
from golden.rows import softmax
from golden.rows.layernorm import NORMALIZED

_ONE = LAMBDA.one
_SCORE = softmax.SCORE.frac * _ONE
_PAGE = 64  # parts of external memory begin at multiples of it


class DoesNotFit(ValueError):
    """A network that a core has no room or no means for.

    Attributes
    ----------
    sram_kib : int or None
        The scratchpad that would do, if that is all.
    """

    def __init__(self, message: str, sram_kib: int | None = None):
        super().__init__(message)
        self.sram_kib = sram_kib


@dataclass(eq=False)
class _Matrix:
    """A matrix of the scratchpad; the address comes last."""

    name: str
    layout: Layout
    rows: int
    cols: int
    signed: bool
    stride: int
    words: int
    first: int = -1
    written: int = -1
    last: int = -1
    address: int = 0
    versions: list["_Matrix"] = field(default_factory=list)


@dataclass(eq=False)
class _Step:
    """An instruction whose addresses are still matrices: (matrix, words behind its beginning)."""

    opcode: Opcode
    fields: dict
    places: dict[str, tuple[_Matrix, int]]
    payload: bytes


class _Builder:
    def __init__(self, network: Network, config: AcceleratorConfig, jit: bool):
        self.network, self.config, self.jit = network, config, jit
        self.steps: list[_Step] = []
        self.matrices: list[_Matrix] = []
        self.slots = np.arange(1, network.shape.sites + 1)  # of each site, now
        self.free_slot = network.shape.sites + 1

    def matrix(self, name: str, layout: Layout, rows: int, cols: int, *, signed=True) -> _Matrix:
        stride = stride_of(layout, rows, cols, self.config)
        made = _Matrix(name, layout, rows, cols, signed, stride,
                       words_of(layout, rows, cols, stride, self.config))
        self.matrices.append(made)
        return made

    def emit(self, opcode: Opcode, payload: bytes = b"", reads=None, writes=None, **fields) -> None:
        """Add an instruction; `reads` and `writes` have (matrix, offset) by name of the field."""
        index = len(self.steps)
        for name, (matrix, _) in (reads or {}).items():
            matrix.last = index
            if name != "weights_address" and name != "residual_address":
                fields["source_stride"] = matrix.stride
            else:
                fields[name.replace("address", "stride")] = matrix.stride
        for matrix, _ in (writes or {}).values():
            matrix.first = index if matrix.first < 0 else matrix.first
            matrix.written = matrix.last = index
            fields |= {"dest_stride": matrix.stride, "layout": matrix.layout}
        allowed = isa.fields_of(opcode)
        fields = {name: value for name, value in fields.items()
                  if name in allowed or not name.endswith(("_stride", "layout"))}
        self.steps.append(_Step(opcode, fields, {**(reads or {}), **(writes or {})}, payload))

    def units(self, units, layout: dict) -> bytes:
        """Return units as a part of a payload."""
        data = b"".join(isa.pack(unit, layout).to_bytes(UNIT_BYTES, "little") for unit in units)
        return data.ljust(align(len(data), self.config), b"\0")

    def numbers(self, values, layout: dict) -> bytes:
        """Return numbers as a part of a payload, as many to a unit as `layout` has fields."""
        flat = np.asarray(values, np.int64).reshape(-1)
        rows = np.pad(flat, (0, -flat.size % len(layout))).reshape(-1, len(layout))
        return self.units([dict(zip(layout, row, strict=True)) for row in rows.tolist()], layout)

    def weights(self, layer: Linear, mode: Mode, activation: Activation, cols: slice) -> bytes:
        """Return the payload of a product: tile column after tile column."""
        weight = layer.weight[:, cols].astype(np.int64)
        start = start_values(weight, mode, activation)
        exponent, bias = layer.exponent[cols], layer.bias[cols]
        tile, parts = self.config.tile_cols(mode), []
        for first in range(0, weight.shape[1], tile):
            part = slice(first, first + tile)
            units = [{"exponent": int(e), "bias": int(b), "start": int(s)} for e, b, s in
                     zip(exponent[part], bias[part], start[part], strict=True)]
            parts += [self.units(units + [{}] * (tile - len(units)), isa.COLUMN),
                      pack_weights(weight[:, part], mode, self.config).tobytes()]
        return b"".join(parts)

    def norm(self, name: str, x: _Matrix, norm: Norm, site: int, rows: int, mode: Mode) -> _Matrix:
        """LayerNorm of the first rows of the residual stream, quantized to a site."""
        units = [{"gamma": int(g), "beta": int(b)} for g, b in
                 zip(norm.gamma, norm.beta, strict=True)]
        point = NORMALIZED.frac + norm.point
        payload = self.units(units, isa.CHANNEL)
        plain = {"m": rows, "n": x.cols, "epsilon": self.network.epsilon}
        if self.jit:
            wide, places = self.wide(name, rows, x.cols), self.wide_point(site)
            self.emit(Opcode.NORM, payload, {"source": (x, 0)}, {"dest": (wide, 0)},
                      exponent=(places - point) * _ONE, low=ACT16.min, high=ACT16.max, **plain)
            return self.measured(name, wide, site, places, operand_layout(mode))
        fmt = self.site_format(site)
        out = self.matrix(name, operand_layout(mode), rows, x.cols)
        self.emit(Opcode.NORM, payload, {"source": (x, 0)}, {"dest": (out, 0)},
                  exponent=-point * _ONE, scale_b=self.slots[site], subtract_b=1, low=fmt.min,
                  high=fmt.max, **plain)
        return out

    def wide(self, name: str, rows: int, cols: int) -> _Matrix:
        """Return a matrix for the 16-bit values of a tensor, named like ``3.q.wide.0``."""
        tensor, _, head = name.rpartition(".")
        name = f"{tensor}.wide.{head}" if head.isdecimal() else f"{name}.wide"
        return self.matrix(name, Layout.WIDE, rows, cols)

    def wide_point(self, site: int) -> int:
        """Return fractional bits that give a site's values twice the room of their static scale."""
        largest = self.network.scales[site] / _ONE + np.log2(self.site_format(site).max)
        return int(np.floor(np.log2(ACT16.max) - 1 - largest))

    def measured(self, name: str, wide: _Matrix, site: int, point: int, layout: Layout,
                 *, offset: int = 0, gelu: int = 0) -> _Matrix:
        """Measure a wide matrix with `point` fractional bits, and quantize it to a site."""
        fmt, slot = self.site_format(site), self.slots[site]
        size = {"m": wide.rows, "n": wide.cols, "gelu": gelu}
        self.emit(Opcode.MEASURE, b"", {"source": (wide, 0)}, scale_a=slot,
                  exponent=-point * _ONE - round(_ONE * np.log2(fmt.max)), **size)
        out = self.matrix(name, layout, wide.rows, wide.cols, signed=bool(fmt.signed or offset))
        self.emit(Opcode.QUANTIZE, b"", {"source": (wide, 0)}, {"dest": (out, 0)},
                  exponent_out=-point * _ONE, scale_out=slot, low=fmt.min, high=fmt.max,
                  offset=offset, **size)
        return out

    def linear(self, name: str, a: _Matrix, layer: Linear, sites: tuple[int, int], mode: Mode,
               point: int, layout: Layout, cols: slice = slice(None), *, gelu: int = 0,
               offset: int = 0) -> _Matrix:
        """Multiply, and quantize the result with `point` fractional bits to the second site."""
        if self.jit:
            wide = self.wide(name, a.rows, layer.weight[:, cols].shape[1])
            self.product(a, layer, sites[0], mode, writes={"dest": (wide, 0)}, cols=cols,
                         path=Path.WIDE)
            return self.measured(name, wide, sites[1], point, layout, offset=offset, gelu=gelu)
        fmt = self.site_format(sites[1])
        out = self.matrix(name, layout, a.rows, layer.weight[:, cols].shape[1],
                          signed=bool(fmt.signed or offset))
        self.product(a, layer, sites[0], mode, writes={"dest": (out, 0)}, cols=cols, gelu=gelu,
                     offset=offset, path=Path.SITE, exponent_out=-point * _ONE,
                     scale_out=self.slots[sites[1]], low=fmt.min, high=fmt.max)
        return out

    def site_format(self, site: int):
        shape = self.network.shape
        kind = shape.kind(site)
        return (HEAD if kind == "head" else self.network.precision).site(kind)

    def product(self, a: _Matrix, layer: Linear, site: int | None, mode: Mode, reads=None,
                writes=None, cols: slice = slice(None), activation=Activation.SIGNED,
                rows: int | None = None, **fields) -> None:
        """Multiply by weights of the stream; `site` gives the scale of `a`."""
        weight = layer.weight[:, cols]
        self.emit(Opcode.GEMM, self.weights(layer, mode, activation, cols),
                  {"source": (a, 0), **(reads or {})}, writes, mode=mode, activation=activation,
                  weights=Source.STREAM, m=a.rows if rows is None else rows, k=weight.shape[0],
                  n=weight.shape[1], scale_a=0 if site is None else self.slots[site], **fields)

    def onto(self, x: _Matrix, name: str, a: _Matrix, layer: Linear, site: int | None, mode: Mode,
             taps: list[Tap], activation=Activation.SIGNED) -> None:
        """Multiply and add to the residual stream, in place; predict scales of what has become."""
        tap = {}
        if taps:
            shape = range_unit.RangeShape(x.rows, x.cols, taps[0].chunk_tokens, taps[0].groups,
                                          self.config.tile_cols(mode) // self.config.lanes)
            tap = {"tap": 1, **shape.registers(self.config)}
        self.product(a, layer, site, mode, {"residual_address": (x, 0)}, {"dest": (x, 0)},
                     activation=activation, path=Path.WIDE, residual=1, **tap)
        self.version(x, name)
        if taps:
            self.predict(taps[0])

    def version(self, x: _Matrix, name: str) -> None:
        """Give what the residual stream is now a name."""
        now = len(self.steps) - 1
        if x.versions:
            x.versions[-1].last = now
        x.versions.append(_Matrix(name, x.layout, x.rows, x.cols, True, x.stride, x.words,
                                  now, now, now))

    def predict(self, tap: Tap) -> None:
        shape, config = tap.predictor.shape, self.config
        numbers = self.numbers(scale_unit.pack(tap.predictor, config), isa.PREDICTOR)
        payload = self.numbers(np.stack((tap.mean, tap.gain), 1), isa.STATISTICS) + numbers
        self.emit(Opcode.PREDICT, payload, scale_a=self.free_slot, **shape.registers(),
                  words=predictor_units(shape, config))
        self.slots[tap.sites] = self.free_slot + np.arange(len(tap.sites))
        self.free_slot += len(tap.sites)


def _attention(build: _Builder, index: int, block: Block, a: _Matrix, sites: dict) -> _Matrix:
    """Attention of a block, head after head; return what the projection takes."""
    network, precision, config = build.network, build.network.precision, build.config
    shape, slots = network.shape, build.slots
    scores_mode, values_mode = precision.score_mode, precision.value_mode
    proj = (build.wide(f"{index}.proj", shape.tokens, shape.dim) if build.jit else
            build.matrix(f"{index}.proj", operand_layout(precision.mode), shape.tokens, shape.dim))
    proj_point = build.wide_point(sites["proj"])
    fmt = precision.site("proj")
    codes = block.step > 0
    for head in range(shape.heads):
        layouts = {"q": operand_layout(scores_mode), "k": operand_layout(scores_mode),
                   "v": weight_layout(values_mode)}
        parts = {}
        for part, (name, layout) in enumerate(layouts.items()):
            first = part * shape.dim + head * shape.head_dim
            parts[name] = build.linear(
                f"{index}.{name}.{head}", a, block.qkv, (sites["qkv"], sites[name]),
                precision.mode, network.qkv_point, layout, slice(first, first + shape.head_dim))
        scores = build.matrix(f"{index}.scores.{head}", Layout.WIDE, shape.tokens, shape.tokens)
        build.emit(Opcode.GEMM, b"",
                   {"source": (parts["q"], 0), "weights_address": (parts["k"], 0)},
                   {"dest": (scores, 0)}, mode=scores_mode, activation=Activation.SIGNED,
                   weights=Source.KEYS, path=Path.WIDE, m=shape.tokens, k=shape.head_dim,
                   n=shape.tokens, exponent=network.score_exponent + _SCORE,
                   scale_a=slots[sites["q"]], scale_b=slots[sites["k"]])
        probs = build.matrix(f"{index}.probs.{head}", Layout.OPERAND8, shape.tokens, shape.tokens,
                             signed=False)
        step, payload = {}, b""
        if codes:
            factor, shift = softmax.reciprocal(block.step)
            step = {"step": block.step, "factor": factor, "shift": shift}
            payload = build.numbers(softmax.codebook(block.step), isa.CODEBOOK)
        build.emit(Opcode.SOFTMAX, payload, {"source": (scores, 0)}, {"dest": (probs, 0)},
                   m=shape.tokens, n=shape.tokens, **step)
        to_proj = ({"path": Path.WIDE, "exponent": proj_point * _ONE} if build.jit else
                   {"path": Path.DIRECT, "scale_b": slots[sites["proj"]], "subtract_b": 1,
                    "low": fmt.min, "high": fmt.max})
        first = head * shape.head_dim
        build.emit(Opcode.GEMM, b"", {"source": (probs, 0), "weights_address": (parts["v"], 0)},
                   {"dest": (proj, first // (config.lanes if build.jit else 2))},
                   mode=values_mode, weights=Source.VALUES, rows=1, m=shape.tokens,
                   activation=Activation.CODE if codes else Activation.UNSIGNED,
                   k=shape.tokens, n=shape.head_dim, scale_a=slots[sites["v"]], **to_proj)
    if build.jit:
        return build.measured(f"{index}.proj", proj, sites["proj"], proj_point,
                              operand_layout(precision.mode))
    return proj


def _network(build: _Builder, image: int, embedding: int, logits: int) -> None:
    """Emit the whole network; the addresses are those of the parts of external memory."""
    network, config = build.network, build.config
    shape, precision = network.shape, network.precision
    mode = precision.mode
    taps = {after: [tap for tap in network.taps if tap.after == after and not build.jit]
            for after in range(shape.depth + 1)}
    for after, there in taps.items():
        if len(there) > 1:
            raise DoesNotFit(f"one tap can follow block {after}, but the network has "
                             f"{len(there)} there")

    scales = [0, *network.scales.tolist()]  # whatever a program before has left in slot 0
    build.emit(Opcode.SCALES, build.numbers(scales, isa.SCALES), n=len(scales))
    x = build.matrix("x", Layout.WIDE, shape.tokens, shape.dim)
    build.emit(Opcode.LOAD, writes={"dest": (x, 0)}, address=embedding, words=x.words)
    patches = build.matrix("patches", Layout.OPERAND8, shape.tokens, shape.patch_values,
                           signed=False)
    build.emit(Opcode.PATCHES, writes={"dest": (patches, 0)}, m=shape.tokens,
               k=shape.patch_values, address=image, run_bytes=3 * shape.patch, grid=shape.grid,
               image_row_bytes=3 * shape.image, patch_row_bytes=3 * shape.image * shape.patch)
    build.onto(x, "embedding", patches, network.patch, None, HEAD.mode, taps[0],
               Activation.UNSIGNED)
    for index, block in enumerate(network.blocks):
        site = {name: shape.site(index, name) for name in
                ("qkv", "q", "k", "v", "proj", "fc1", "fc2")}
        a = build.norm(f"{index}.qkv", x, block.norm1, site["qkv"], shape.tokens, mode)
        a = _attention(build, index, block, a, site)
        build.onto(x, f"{index}.attended", a, block.proj, site["proj"], mode, [])
        a = build.norm(f"{index}.fc1", x, block.norm2, site["fc1"], shape.tokens, mode)
        fc2 = build.linear(f"{index}.fc2", a, block.fc1, (site["fc1"], site["fc2"]), mode,
                           GELU_POINT, operand_layout(mode), gelu=1,
                           offset=int(mode is Mode.W4A4))
        build.onto(x, f"{index}.x", fc2, block.fc2, site["fc2"], mode, taps[index + 1],
                   Activation.UNSIGNED)
    last = shape.sites - 1
    a = build.norm("head", x, network.norm, last, 1, HEAD.mode)
    x.versions[-1].last = x.last
    out = build.matrix("logits", Layout.WIDE, 1, shape.classes)
    build.product(a, network.head, last, HEAD.mode, writes={"dest": (out, 0)}, path=Path.WIDE)
    build.emit(Opcode.STORE, reads={"source": (out, 0)}, address=logits, words=out.words)
    build.emit(Opcode.END)
    if build.free_slot > config.max_sites:
        raise DoesNotFit(f"the scale file must have {build.free_slot} slots or more for this "
                         f"network, but max_sites is {config.max_sites}")


def _allocate(matrices: list[_Matrix], config: AcceleratorConfig) -> None:
    """Give each matrix the lowest place that is free while it is needed.

    Raises
    ------
    DoesNotFit
        If the scratchpad is too small.
    """
    placed: list[_Matrix] = []
    for matrix in sorted(matrices, key=lambda matrix: (matrix.first, -matrix.last)):
        taken = sorted((other.address, other.address + other.words) for other in placed
                       if other.first <= matrix.last and matrix.first <= other.last)
        matrix.address = 0
        for start, end in taken:
            if matrix.address + matrix.words <= start:
                break
            matrix.address = max(matrix.address, end)
        placed.append(matrix)
    highest = max(placed, key=lambda matrix: matrix.address + matrix.words)
    need = -(-(highest.address + highest.words) * config.word_bytes // 1024)
    if need > config.sram_kib:
        raise DoesNotFit(f"the scratchpad must have {need} KiB for this network, and has "
                         f"{config.sram_kib}: {need - config.sram_kib} KiB are missing for "
                         f"{highest.name} beside what else is needed then", need)


def _check(network: Network, config: AcceleratorConfig, jit: bool) -> None:
    """Raise :exc:`DoesNotFit` for what no placement can mend."""
    shape = network.shape
    limits = (("tokens", shape.tokens, "max_tokens"), ("tokens", shape.tokens, "key_words"),
              ("channels of a head", shape.head_dim, "key_words"),
              ("dim", shape.dim, "max_channels"), ("hidden", shape.hidden, "max_k"),
              ("values of a patch", shape.patch_values, "max_k"))
    multiples = (("dim", shape.dim, "lanes", config.lanes),
                 ("channels of a head", shape.head_dim, "2", 2),
                 ("bytes in a row of a patch", 3 * shape.patch, "bus_bytes", config.bus_bytes))
    for what, value, name in limits:
        if value > getattr(config, name):
            raise DoesNotFit(f"{what} must be {getattr(config, name)} ({name}) or fewer, not "
                             f"{value}")
    if jit:
        multiples += (("channels of a head", shape.head_dim, "lanes", config.lanes),)
    for what, value, name, unit in multiples:
        if value % unit:
            raise DoesNotFit(f"{what} must be a multiple of {unit} ({name}), not {value}")


def _embedding(network: Network, config: AcceleratorConfig) -> bytes:
    """Return what is added to the tokens, as LOAD takes it; the class token gets no bias."""
    values = network.embedding.astype(np.int64)
    values[0] -= network.patch.bias
    if not (values[0] >= ACT16.min).all() or not (values[0] <= ACT16.max).all():
        raise DoesNotFit("the class token less the bias of the patch embedding must fit 16 bits")
    stride = stride_of(Layout.WIDE, *values.shape, config)
    padded = np.zeros((len(values), stride * config.lanes), "<i2")
    padded[:, :values.shape[1]] = values
    return padded.tobytes()


def compile_network(network: Network, config: AcceleratorConfig, about: dict | None = None,
                    *, jit: bool = False) -> Program:
    """Return the program that runs a network on a core.

    Parameters
    ----------
    network
        A ViT of any depth and width that the core has room for.
    config
        The core.
    about
        JSON values that the program is to keep.
    jit
        Measure scales just in time; for the golden machine only.

    Returns
    -------
    Program
        Verified (:func:`golden.core.rules.verify`). The golden machine gives it the logits of
        :class:`golden.network.vit.Vit`, unless scales are measured just in time.

    Raises
    ------
    DoesNotFit
        If the core has no room or no means for it: what, and how much is missing.
    ValueError
        If the configuration is no core's.
    """
    config.check_core()
    _check(network, config, jit)
    try:
        return _compiled(network, config, about or {}, jit)
    except DoesNotFit:
        raise
    except ValueError as error:  # a predictor, a field or an instruction that the core has not
        raise DoesNotFit(str(error)) from None


def _compiled(network: Network, config: AcceleratorConfig, about: dict, jit: bool) -> Program:
    shape = network.shape
    regions, end = {}, 0
    sizes = {"image": 3 * shape.image**2,
             "logits": -(-shape.classes // config.lanes) * config.word_bytes,
             "embedding": shape.tokens * stride_of(Layout.WIDE, shape.tokens, shape.dim, config)
             * config.word_bytes}
    for name, size in sizes.items():
        regions[name] = Region(end, size)
        end += -(-size // _PAGE) * _PAGE
    build = _Builder(network, config, jit)
    _network(build, *(regions[name].address for name in ("image", "embedding", "logits")))
    _allocate(build.matrices, config)

    stream = b"".join(_encoded(step, config) for step in build.steps)
    regions["stream"] = Region(end, len(stream))
    memory = bytearray(end)
    place = regions["embedding"]
    memory[place.address:place.address + place.size] = _embedding(network, config)
    memory += stream.ljust(-(-len(stream) // _PAGE) * _PAGE, b"\0")
    program = Program(
        config=config, memory=bytes(memory), stream=regions["stream"], image=regions["image"],
        logits=regions["logits"], side=shape.image, classes=shape.classes,
        logit_point=network.logit_point, tensors=tuple(_tensors(build.matrices)),
        about={"bits": str(network.precision), "scales": "jit" if jit else
               "predicted" if network.taps else "static", **about})
    verify(program)
    return program


def _encoded(step: _Step, config: AcceleratorConfig) -> bytes:
    places = {name: matrix.address + offset for name, (matrix, offset) in step.places.items()}
    code = isa.make(step.opcode, **step.fields, **places).encode()
    return code.ljust(align(len(code), config), b"\0") + step.payload


def _tensors(matrices: list[_Matrix]):
    for matrix in matrices:
        for version in matrix.versions or [matrix]:
            yield Tensor(version.name, matrix.address, matrix.stride, matrix.layout, matrix.rows,
                         matrix.cols, matrix.signed, version.first, version.written, version.last)
