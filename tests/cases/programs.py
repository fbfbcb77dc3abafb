"""Random programs of the core: legal instructions of every opcode, and random data for them."""

from dataclasses import replace
from itertools import cycle

import numpy as np

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import LAMBDA, LOG2, Mode
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import INSTRUCTION_BYTES, OPERANDS, UNIT_BYTES, Layout, Opcode, Path, Source
from golden.core.machine import Machine
from golden.core.program import Program, ProgramError, Region, align
from golden.core.rules import key_layout, operand_layout, weight_layout
from golden.memory.scratchpad import stride_of, words_of
from golden.prediction import scale_unit
from golden.prediction.range_shape import RangeShape
from golden.prediction.scale_predictor import HIGHEST, PredictorShape
from golden.product.mac_array import Activation
from golden.results.curves import CURVES, SLOPE
from golden.rows import softmax, softmax_run
from golden.rows.layernorm import EPSILON, HIGHEST_CHANNELS
from tests.cases.gemm_products import KINDS
from tests.cases.predictors import random_predictor

BLOCK = 2048
"""Bytes of external memory of each kind of data."""

DATA = ("bytes", "small", "wide", "scores", "extreme", "flat", "nibbles", "operands")
"""Kinds of data, in the order in which they lie in external memory."""

RESULTS = len(DATA) * BLOCK
STREAM = RESULTS + 4 * BLOCK
"""Where stores go besides the data, and where the stream begins."""

TO_SITES = (*OPERANDS, Layout.WEIGHT8, Layout.WEIGHT4)

PRODUCTS = [(mode, activation, weights, path, layout) for mode, activation in KINDS
            for weights in Source for path in Path
            for layout in (TO_SITES if path is not Path.WIDE else (Layout.WIDE,))]
"""Every kind of product there is."""

_ONE = LAMBDA.one
_CHANCES = {Opcode.GEMM: 50, Opcode.SOFTMAX: 9, Opcode.NORM: 9, Opcode.LOAD: 8, Opcode.STORE: 6,
            Opcode.PATCHES: 6, Opcode.SCALES: 6, Opcode.PREDICT: 6, Opcode.EXIT: 4,
            Opcode.TABLE: 4}

OPCODES = (*_CHANCES, Opcode.END)
"""The opcodes of the RTL."""


def random_program(seed: int, config: AcceleratorConfig, instructions: int = 40) -> Program:
    """Return a program of random instructions that the golden machine accepts.

    It first loads every kind of data and sets scales; then come as many `instructions`, each tried
    on the golden machine and drawn anew if that refuses it, and a STORE. Some end at an EXIT before
    that, and have more instructions behind it.
    """
    made = _Generator(seed, config)
    made.begin()
    while made.count < instructions:
        made.instruction()
    if made.machine._last_exponent is not None and made.chance(0.3):
        made.leave()
    return made.program()


def external_data(draw: np.random.Generator) -> np.ndarray:
    """Return a block of each kind of data, uint8."""
    count = BLOCK // 2
    limits = formats.ACT16
    extremes = [limits.min, limits.max, 0, 1, -1]
    nibbles = draw.choice([value for value in range(16) if value != 8], (2, BLOCK))
    parts = {
        "bytes": draw.integers(0, 256, BLOCK, dtype=np.uint8),
        "small": draw.integers(-300, 301, count),
        "wide": draw.normal(0, 6000, count).clip(limits.min, limits.max),
        "scores": draw.integers(-3000, 3001, count),
        "extreme": draw.choice(extremes, count),
        "flat": np.repeat(draw.integers(limits.min, limits.max, count // 64), 64),
        "nibbles": (nibbles[0] | nibbles[1] << 4).astype(np.uint8),
        "operands": draw.integers(-9, 10, BLOCK).astype(np.int8),
    }
    return np.concatenate([values.view(np.uint8) if values.itemsize == 1 else
                           values.astype("<i2").view(np.uint8)
                           for values in (parts[name] for name in DATA)])


class _Generator:
    """A golden machine that is given one random instruction after the other."""

    def __init__(self, seed: int, config: AcceleratorConfig):
        self.config, self.draw = config, np.random.default_rng(seed)
        self.seed, self.count, self.stream = seed, 0, b""
        self.data = np.concatenate((external_data(self.draw),
                                    np.zeros(STREAM - RESULTS, np.uint8)))
        self.machine = Machine(self.program())
        self.busy = min(config.scratchpad_words, RESULTS // config.word_bytes)
        self.tap: isa.Instruction | None = None
        # Programs of neighbouring seeds go on with the kinds of products where one has ended.
        kinds = np.random.default_rng(0).permutation(len(PRODUCTS))
        self.kinds = cycle(PRODUCTS[at] for at in np.roll(kinds, -20 * seed))

    def program(self) -> Program:
        """Return what there is so far, a STORE and an END behind it."""
        config = self.config
        words = BLOCK // config.word_bytes
        last = (self._code(isa.make(Opcode.STORE, address=RESULTS, words=words, logits=1))
                + self._code(isa.make(Opcode.END)))
        stream = self.stream + last
        return Program(config, self.data.tobytes() + stream, Region(STREAM, len(stream)),
                       Region(0, 0), Region(RESULTS, BLOCK), 0, BLOCK // 2, 0, (),
                       {"model": "random", "seed": self.seed})

    def _code(self, op: isa.Instruction) -> bytes:
        return op.encode().ljust(align(INSTRUCTION_BYTES, self.config), b"\0")

    def emit(self, opcode: Opcode, payload: bytes = b"", **fields) -> bool:
        """Have the machine carry out an instruction; return whether it did."""
        op = isa.make(opcode, **fields)
        machine, code = self.machine, self._code(op) + payload
        start = machine._cursor
        end = start + len(code)
        if end > machine.memory.size:
            machine.memory = np.pad(machine.memory, (0, end + (1 << 20) - machine.memory.size))
        machine.memory[start:end] = np.frombuffer(code, np.uint8)
        try:
            machine.step()
        except ProgramError:
            machine._cursor = start
            return False
        self.stream += code
        self.count += 1
        if op.tap:
            self.tap = op
        return True

    def begin(self) -> None:
        """Load every kind of data, one behind the other, and set some scales."""
        words = BLOCK // self.config.word_bytes
        for block in range(len(DATA)):
            if (block + 1) * words <= self.config.scratchpad_words:
                self.emit(Opcode.LOAD, address=block * BLOCK, dest=block * words, words=words)
        self.scales(slot=0, count=self.config.max_sites // 2)
        self.count = 0

    def instruction(self) -> None:
        """Add a random instruction, and what it needs before."""
        opcodes = [opcode for opcode in _CHANCES
                   if opcode is not Opcode.PREDICT or self.tap is not None]
        if self.machine._last_exponent is None:
            opcodes.remove(Opcode.EXIT)
        chances = np.array([_CHANCES[opcode] for opcode in opcodes])
        opcode = opcodes[self.draw.choice(len(opcodes), p=chances / chances.sum())]
        getattr(self, {Opcode.GEMM: "product"}.get(opcode, opcode.name.lower()))()

    # Draws.

    def chance(self, of: float) -> bool:
        return bool(self.draw.random() < of)

    def within(self, low: int, high: int) -> int:
        return int(self.draw.integers(low, high + 1))

    def pick(self, values):
        return values[self.within(0, len(values) - 1)]

    def size(self, tile: int, most: int) -> int:
        """Rows or columns: next to the ends of tiles, or any."""
        wanted = self.pick((1, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 1,
                            self.within(1, 3 * tile)))
        return min(max(wanted, 1), most)

    def place(self, words: int) -> int:
        """Address of so many words: where data are, at the end, or anywhere."""
        highest = self.config.scratchpad_words - words
        kind = self.draw.random()
        if kind < 0.06:
            return max(highest, 0)
        if kind < 0.1 or self.busy < words:
            return self.within(0, max(highest, 0))
        return self.within(0, self.busy - words)

    def matrix(self, name: str, layout: Layout, rows: int, cols: int, *, safe=False) -> dict:
        """Address and stride of a matrix; with `safe`, one that has no nibble of -8."""
        stride = stride_of(layout, rows, cols, self.config)
        stride += 0 if self.chance(0.6) else self.within(1, 5)
        words = words_of(layout, rows, cols, stride, self.config)
        address = self.safe_place(words) if safe else self.place(words)
        both = name in ("source", "dest")
        return {name if both else f"{name}_address": address, f"{name}_stride": stride}

    def safe_place(self, words: int) -> int:
        memory = self.machine.scratchpad[:self.busy]
        bad = sum(((memory >> low) & 15) == 8 for low in (0, 4, 8, 12)).any(axis=1)
        before = np.concatenate(([0], np.cumsum(bad)))
        places = np.flatnonzero(before[words:] == before[:-words]) if words <= len(bad) else []
        if not len(places) or self.chance(0.1):
            return self.fresh("nibbles", words)
        return int(self.pick(places))

    def fresh(self, kind: str, words: int) -> int:
        """Load data of a kind to some place, and return the place."""
        most = BLOCK // self.config.word_bytes
        address = self.place(min(words, most))
        offset = self.within(0, max(most - words, 0)) * self.config.word_bytes
        self.emit(Opcode.LOAD, address=DATA.index(kind) * BLOCK + offset, dest=address,
                  words=min(words, most))
        return address

    def multiplier(self, log2: float) -> dict:
        """Fields that make a multiplier of about ``2**log2``, every third time a power of two."""
        scales = self.machine.scales
        a, b = (self.within(0, self.config.max_sites - 1) for _ in range(2))
        subtract = self.within(0, 1)
        total = round(log2) * _ONE if self.chance(1 / 3) else round(log2 * _ONE)
        exponent = total - int(scales[a]) - (-1 if subtract else 1) * int(scales[b])
        if self.chance(0.02):
            exponent = self.within(isa.FIELDS["exponent"].min, isa.FIELDS["exponent"].max)
        return {"exponent": exponent, "scale_a": a, "scale_b": b, "subtract_b": subtract}

    def target(self, bits: int) -> float:
        """log2 of how large results should be: from nothing to far beyond their limits."""
        return float(self.draw.uniform(-2, bits + 2))

    def limits(self, bits: int) -> dict:
        wide = formats.ACT16
        least, most = {4: (-8, 15), 8: (-128, 255), 16: (wide.min, wide.max)}[bits]
        half = 1 << bits - 1
        low, high = self.pick(((-half, half - 1), (0, most), (1 - half, half - 1), (least, most),
                               (-7, 7), sorted((self.within(least, most),
                                                self.within(least, most)))))
        return {"low": low, "high": high, "offset": int(bits < wide.bits and self.chance(0.3))}

    # Instructions.

    def product(self) -> None:
        kind = mode, activation, weights, path, layout = next(self.kinds)
        if activation is Activation.CODE and self.machine._codebook is None:
            self.softmax(step=self.within(1, softmax.STEP.max))
            if self.machine._codebook is None:
                return
        config = self.config
        m = self.size(config.tile_rows(mode), config.max_tokens)
        n = self.size(config.tile_cols(mode), isa.FIELDS["n"].max)
        taps = path is not Path.DIRECT and self.tap is None and self.chance(0.4)
        if taps and self.chance(0.4):
            n = config.lanes * self.pick((2, 4, 6))
        k = self.length(mode, weights)
        if k > 64:
            m, n = min(m, config.tile_rows(mode) + 1), min(n, config.tile_cols(mode) + 1)
        fields = {"mode": mode, "activation": activation, "weights": weights, "path": path,
                  "layout": layout, "m": m, "k": k, "n": n}
        payload = b""
        size = self.expected(mode, activation, k)
        if weights is Source.STREAM:
            payload = self.columns(mode, k, n, size)
        else:
            stored = ((key_layout(mode), n, k) if weights is Source.KEYS
                      else (weight_layout(mode), k, n))
            fields |= self.matrix("weights", *stored, safe=mode is not Mode.W8A8)
            # Row exponents that no SOFTMAX has set are whatever a run before has left.
            fields["rows"] = int(self.chance(0.5) and self.machine.row_exponents[:m].all())
        fields |= self.matrix("source", operand_layout(mode), m, k)
        if layout in OPERANDS and self.chance(0.4):
            fields["first_row"] = self.within(1, config.rows - 1)
        before = fields.get("first_row", 0) * (8 // layout.bits)
        fields |= self.matrix("dest", layout, before + m, n)
        first = 15 if path is not Path.DIRECT else layout.bits - 1
        lambdas = 8 if fields.get("rows") else 0
        fields |= self.multiplier(lambdas - size + self.target(first))
        if path is not Path.DIRECT:
            fields |= self.sums(*kind[2:], m, n)
            if taps:
                fields |= self.tapped(m, n, mode)
        if path is not Path.WIDE:
            fields |= self.limits(layout.bits)
        if path is Path.SITE:
            fields |= self.to_site(layout.bits)
        self.emit(Opcode.GEMM, payload, **fields)

    def length(self, mode: Mode, weights: Source) -> int:
        config = self.config
        most = min(config.max_k, config.key_words)
        if weights is Source.STREAM:
            header = align(UNIT_BYTES * config.tile_cols(mode), config) // config.cols
            most = min(config.max_k, config.stream_words - header)
        if self.chance(0.05):
            return most
        if self.chance(0.05):
            return self.within(1, most)
        return min(self.pick((1, 2, 3, 4, 5, 7, 8, self.within(1, 40))), most)

    @staticmethod
    def expected(mode: Mode, activation: Activation, k: int) -> float:
        """log2 of how large a sum of `k` products is."""
        operand = {4: 4.6, 8: 74 if activation is Activation.SIGNED else 140}[mode.activation_bits]
        return float(np.log2(k**0.5 * operand * (74 if mode is Mode.W8A8 else 4.3)))

    def columns(self, mode: Mode, k: int, n: int, size: float) -> bytes:
        """Payload of a product: what lies beyond `n` is anything."""
        config = self.config
        tile, parts = config.tile_cols(mode), []
        limit = min(isa.COLUMN["start"].max,
                    formats.ACC.max - k * mode.operand.magnitude * mode.weight.magnitude)
        start = self.pick((0, round(2**size), limit))
        bias = self.pick((0, 300, 4000, formats.ACT16.max))
        exact = self.chance(0.3)
        share = self.pick((0, 0, 0.1, 0.7, 1))
        for first in range(0, n, tile):
            exponents = self.draw.integers(-3, 4, tile) * _ONE if exact else self.draw.normal(
                0, 700, tile).astype(int)
            if self.chance(0.02):
                fmt = isa.COLUMN["exponent"]
                exponents = self.draw.integers(fmt.min, fmt.max + 1, tile)
            biases = self.draw.integers(-bias - (bias == formats.ACT16.max), bias + 1, tile)
            starts = self.draw.integers(-start, start + 1, tile)
            coarse = self.draw.random(tile) < share
            units = [dict(zip(isa.COLUMN, map(int, row), strict=True))
                     for row in zip(exponents, biases, starts, coarse, strict=True)]
            parts += [self.units(units, isa.COLUMN), self.weights(mode, k, n - first)]
        return b"".join(parts)

    def weights(self, mode: Mode, k: int, used: int) -> bytes:
        shape = k, self.config.cols
        if mode is Mode.W8A8:
            values = self.draw.integers(0, 256, shape)
            if self.chance(0.2):
                values = self.draw.choice([0, 1, 127, 128, 255], shape)
            return values.astype(np.uint8).tobytes()
        nibbles = self.draw.integers(0, 16, (k, 2 * self.config.cols))
        inside = nibbles[:, :used]
        inside[inside == 8] = self.draw.choice([7, 9])
        return (nibbles[:, ::2] | nibbles[:, 1::2] << 4).astype(np.uint8).tobytes()

    def units(self, units, layout: dict) -> bytes:
        data = b"".join(pack(unit, layout).to_bytes(UNIT_BYTES, "little") for unit in units)
        return data.ljust(align(len(data), self.config), b"\0")

    def sums(self, weights: Source, path: Path, layout: Layout, m: int, n: int) -> dict:
        """A residual, in place or elsewhere, or none."""
        if self.chance(0.5):
            return {}
        residual = self.matrix("residual", Layout.WIDE, m, n)
        if path is Path.WIDE and self.chance(0.5):
            return {"residual": 1, **residual, "dest": residual["residual_address"],
                    "dest_stride": residual["residual_stride"]}
        return {"residual": 1, **residual}

    def tapped(self, m: int, n: int, mode: Mode) -> dict:
        config = self.config
        words = -(-n // config.lanes)
        groups = [1, n, *(count for count in range(2, words) if n % (count * config.lanes) == 0)]
        tile_words = config.tile_cols(mode) // config.lanes
        shape = RangeShape(m, n, self.pick((1, m, self.within(1, m))), self.pick(groups),
                           tile_words)
        try:
            return {"tap": 1, **shape.registers(config)}
        except ValueError:
            return {}

    def to_site(self, bits: int) -> dict:
        gelu = self.chance(0.5)
        if gelu and self.chance(0.2):
            self.table()
        end = self.machine._curve.end
        out = self.within(0, self.config.max_sites - 1)
        log2 = self.target(bits) - np.log2(end if gelu else 1 << self.within(2, 14))
        total = round(log2) * _ONE if self.chance(0.5) else round(log2 * _ONE)
        return {"gelu": int(gelu), "scale_out": out,
                "exponent_out": total + int(self.machine.scales[out])}

    def source(self, layout_rows: int, cols: int) -> dict:
        """A wide matrix, every other time of data just loaded."""
        made = self.matrix("source", Layout.WIDE, layout_rows, cols)
        if self.chance(0.5):
            words = words_of(Layout.WIDE, layout_rows, cols, made["source_stride"], self.config)
            made["source"] = self.fresh(self.pick(DATA), words)
        return made

    def softmax(self, step: int | None = None) -> None:
        config = self.config
        if step is None:
            step = self.pick((0, 0, 0, 1, 512, 1024, softmax.STEP.max,
                              self.within(1, softmax.STEP.max)))
        m = self.size(config.rows, config.max_tokens)
        n = self.pick((1, 2, config.lanes, self.within(1, 3 * config.lanes),
                       self.within(1, 80)))
        if self.chance(0.06):
            m, n = 2, self.within(100, softmax_run.highest_keys(config))
        fields, payload = {"m": m, "n": n}, b""
        if step:
            fields["step"] = step
            fields["factor"], fields["shift"] = softmax.reciprocal(step)
            book = softmax.codebook(step).reshape(2, -1)
            payload = self.units([dict(zip(isa.CODEBOOK, map(int, row), strict=True))
                                  for row in book], isa.CODEBOOK)
        fields |= self.source(m, n)
        fields |= self.matrix("dest", Layout.OPERAND8, m, n)
        self.emit(Opcode.SOFTMAX, payload, **fields)

    def norm(self) -> None:
        config = self.config
        layout = self.pick((*OPERANDS, *OPERANDS, *Layout))
        m = self.size(config.rows * (2 if layout is Layout.OPERAND4 else 1), config.max_tokens)
        n = config.lanes * self.pick((1, 2, 3, self.within(1, 12)))
        if self.chance(0.08):
            m, n = 2, min(config.max_channels, HIGHEST_CHANNELS)
        gamma = self.pick((1, 3, 4000, formats.ACT16.max))
        beta = self.pick((0, 0, 1 << 20, formats.ACC.max))
        gammas = self.draw.integers(-gamma, gamma + 1, n)
        betas = self.draw.integers(-beta - 1, beta + 1, n) if beta else np.zeros(n, int)
        if beta == formats.ACC.max and self.chance(0.5):
            betas = self.draw.choice([formats.ACC.min, formats.ACC.max], n)
        coarse = self.draw.random(n) < self.pick((0, 0, 0.1, 0.7, 1))
        units = [{"gamma": int(g), "beta": int(b), "coarse": int(flag)}
                 for g, b, flag in zip(gammas, betas, coarse, strict=True)]
        epsilon = self.pick((0, 0, 1, self.within(0, 1 << 30), EPSILON.max))
        size = np.log2(max(600 * gamma, beta))
        self.emit(Opcode.NORM, self.units(units, isa.CHANNEL), m=m, n=n, epsilon=epsilon,
                  layout=layout, **self.source(m, n), **self.matrix("dest", layout, m, n),
                  **self.multiplier(self.target(layout.bits - 1) - size),
                  **self.limits(layout.bits))

    def address(self, size: int) -> int:
        """Where `size` bytes of external memory are that are not of the stream."""
        bus = self.config.bus_bytes
        return self.within(0, (STREAM - size) // bus) * bus

    def transfer(self) -> int:
        return self.pick((1, 2, 3, self.within(1, 40), BLOCK // self.config.word_bytes))

    def load(self) -> None:
        words = self.transfer()
        if self.chance(0.5):
            self.fresh(self.pick(DATA), words)
            return
        self.emit(Opcode.LOAD, address=self.address(words * self.config.word_bytes),
                  dest=self.place(words), words=words)

    def store(self) -> None:
        words = self.transfer()
        size = words * self.config.word_bytes
        address = self.address(size) if self.chance(0.2) else (
            RESULTS + self.within(0, (STREAM - RESULTS - size) // self.config.bus_bytes)
            * self.config.bus_bytes)
        self.emit(Opcode.STORE, address=address, source=self.place(words), words=words)

    def patches(self) -> None:
        bus = self.config.bus_bytes
        grid, down = self.within(1, 5), self.within(0, 3)
        m = 1 + grid * down
        run, runs = bus * self.within(1, 5), self.within(1, 4)
        fields = {"m": m, "k": run * runs, "grid": grid, "run_bytes": run,
                  "image_row_bytes": bus * self.pick((0, 1, self.within(0, 40))),
                  "patch_row_bytes": bus * self.within(0, 200)}
        size = (max(down - 1, 0) * fields["patch_row_bytes"] + grid * run
                + (runs - 1) * fields["image_row_bytes"])
        self.emit(Opcode.PATCHES, address=self.address(size), **fields,
                  **self.matrix("dest", Layout.OPERAND8, m, run * runs))

    def scales(self, slot: int | None = None, count: int | None = None) -> None:
        most = self.config.max_sites
        count = self.within(1, 9) if count is None else count
        slot = self.within(0, most - count) if slot is None else slot
        spread = self.pick((300, 3000, LAMBDA.max))
        values = [int(value) for value in self.draw.integers(-spread - 1, spread + 1, count)]
        units = [dict(zip(isa.SCALES, values[at:at + 4], strict=False))
                 for at in range(0, count, 4)]
        self.emit(Opcode.SCALES, self.units(units, isa.SCALES), scale_a=slot, n=count)

    def table(self) -> None:
        """A table of any values that slopes allow, or that of an activation."""
        wide, offset = self.within(0, 1), self.pick((0, 1, 174, 511, self.within(0, 511)))
        most = 16 * offset + 7
        kind = self.draw.random()
        if kind < 0.3:
            curve = CURVES[self.pick(sorted(CURVES))]
            values, offset, wide = curve.values, curve.offset, int(curve.wide)
        elif kind < 0.6:  # up and down as steep as can be, and to zero at the end
            up, down, values = SLOPE.max, -SLOPE.min, [0]
            for left in range(62, -1, -1):
                step = self.pick((up, -down))
                values.append(min(max(values[-1] + step, 0), most, down * (left + 1)))
        else:
            values, last = [0] * 64, 0
            for at in range(63, -1, -1):  # from the end, which is followed by zero
                last = self.within(max(last - SLOPE.max, 0), min(last - SLOPE.min, most))
                values[at] = last
        units = [dict(zip(isa.TABLE, map(int, values[at:at + 4]), strict=True))
                 for at in range(0, 64, 4)]
        self.emit(Opcode.TABLE, self.units(units, isa.TABLE), n=64, low=-offset, wide=wide)

    def exit(self) -> None:
        """An EXIT that does not end the program."""
        doubt = self.machine._last_exponent
        self.emit(Opcode.EXIT, exponent=self.pick((0, doubt - 1, self.within(0, doubt - 1))))

    def leave(self) -> None:
        """An EXIT that does, and some that is never carried out."""
        doubt = self.machine._last_exponent
        self.emit(Opcode.EXIT, exponent=self.pick((doubt, self.within(doubt, LOG2.max), LOG2.max)))
        for _ in range(self.pick((0, 1, self.within(1, 200)))):
            self.stream += self._code(isa.make(Opcode.LOAD, words=1))

    def predict(self) -> None:
        """Predict scales of the last tap."""
        config, tap = self.config, self.tap
        groups = tap.chunk_entries if not tap.per_channel else tap.n
        statistics = 2 * groups
        projected = self.chance(0.5) or statistics > config.max_projected
        variables = self.within(1, min(6, config.max_projected)) if projected else statistics
        degree, sites = self.within(1, 3), self.pick((1, config.scale_lanes, self.within(1, 7)))
        try:
            PredictorShape(statistics, variables, sites, degree, projected).check(config)
        except ValueError:
            return
        predictor = random_predictor(self.draw, variables=variables, degree=degree, sites=sites,
                                     statistics=statistics if projected else None)
        if self.chance(0.2):
            predictor = replace(predictor, constant=np.full(sites, HIGHEST))
        normal = [{"mean0": self.within(0, 15 * _ONE), "gain0": self.pick((0, 200, 900, 65535)),
                   "mean1": self.within(0, 15 * _ONE), "gain1": self.within(0, 900)}
                  for _ in range(-(-statistics // 2))]
        numbers = scale_unit.pack(predictor, config).reshape(-1)
        numbers = np.pad(numbers, (0, -numbers.size % 4)).reshape(-1, 4)
        payload = self.units(normal, isa.STATISTICS) + self.units(
            [dict(zip(isa.PREDICTOR, map(int, row), strict=True)) for row in numbers],
            isa.PREDICTOR)
        slot = self.within(0, config.max_sites - sites)
        if self.emit(Opcode.PREDICT, payload, scale_a=slot, words=len(numbers),
                     **predictor.registers()):
            self.tap = None
