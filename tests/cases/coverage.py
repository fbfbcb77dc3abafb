"""What random programs have covered: bins, counted from instructions, golden values and runs.

All bins are known beforehand, so that what is missing can be told.
"""

from contextlib import contextmanager
from itertools import product
from unittest import mock

import numpy as np

from golden.common import formats
from golden.common.formats import ACC, ACT16, STATISTIC, Mode
from golden.core import machine as golden_machine
from golden.core.isa import OPERANDS, Instruction, Layout, Opcode, Path, Source
from golden.core.machine import Machine
from golden.core.program import Program, payload_bytes, tile_column_words
from golden.core.rules import Span, spans
from golden.memory import scratchpad
from golden.memory.scratchpad import read_wide, stride_of
from golden.prediction.scale_predictor import HIGHEST
from golden.results.curves import GELU, OFFSETS, SLOPE
from golden.results.gelu import RESULT
from golden.rows import layernorm
from sim.harness.verilator import Result
from tests.cases.programs import OPCODES, PRODUCTS

ENDS = ("low", "inside", "high", "tie")
CORNERS = ("1", "tile - 1", "tile", "tile + 1", "2 tiles or more", "odd")
STALLS = ("weights", "drain", "fetch", "transfer", "norm", "softmax", "predict", "reads", "writes")
PLACES = ("below the table", "in the table", "above the table", "zero", "saturated")
FLAGS = ("residual", "residual in place", "tap", "gelu", "rows", "offset")


def _allowed(flag: str, weights: Source, path: Path) -> bool:
    return {"residual": path is not Path.DIRECT, "residual in place": path is Path.WIDE,
            "tap": path is not Path.DIRECT, "gelu": path is Path.SITE,
            "rows": weights is not Source.STREAM, "offset": path is not Path.WIDE}[flag]


def _bins() -> dict[str, list[str]]:
    """Return the names of all bins of each group: every combination that is legal."""
    modes = [mode.value for mode in Mode]
    sources = [each.name.lower() for each in Source]
    return {
        "opcodes": [opcode.name for opcode in OPCODES],
        "products": [_name(*kind) for kind in PRODUCTS],
        "flags of products": [_name(weights, path, flag) for weights, path, flag in
                              product(Source, Path, FLAGS) if _allowed(flag, weights, path)],
        "rows of products": [_name(*each) for each in product(modes, CORNERS)],
        "columns of products": [_name(*each) for each in product(modes, CORNERS)],
        "lengths of products": [_name(*each) for each in product(
            sources, ("1", "2", "odd", "even", "longest"))],
        "strides": [_name(*each) for each in product(
            ("source", "weights_address", "residual_address", "dest"),
            ("as needed", "larger"))],
        "layouts": [_name(layout, *each) for layout in Layout for each in product(
            ("odd rows", "odd columns", "over older data", "at the end"))]
        + [_name(layout, "within a tile") for layout in OPERANDS],
        "requantization": [_name(*each) for each in product(
            ("wide", "site", "direct", "to site", "norm"), ENDS)],
        "requantization by rows": ["low", "inside", "high"],
        "sums": [_name(*each) for each in product(("residual", "bias"), ("low", "high"))],
        "gelu": [_name(*each) for each in product(
            ("plain", "coarse"), PLACES)]
        + ["no coarse columns", "coarse columns", "all columns coarse"],
        "tables": [_name(*each) for each in product(
            ("loaded", "wide loaded"), (*PLACES, "coarse columns"))]
        + ["no offset", "largest offset", "steepest", "before another"],
        "softmax": [_name(*each) for each in product(
            ("exponentials", "codes"),
            ("one key", "all equal", "odd keys", "last code or zero", "one row"))]
        + ["step 1", "largest step", "longest rows"],
        "norm": ["zero variance", "no epsilon", "largest epsilon", "accumulator low",
                 "accumulator high", "one word", "most channels", "operand8", "operand4", "wide",
                 "weight8", "weight4", "no coarse channels", "coarse channels",
                 "all channels coarse"],
        "taps": [_name(*each) for each in product(
            ("whole", "groups", "channels"), ("one chunk", "chunks", "ragged chunk"))]
        + ["nothing above zero", "nothing below zero"],
        "predictors": [_name(*each) for each in product(
            ("degree 1", "degree 2", "degree 3"), ("projected", "not projected"))]
        + ["statistic low", "statistic high", "lambda high", "one site", "odd sites"],
        "patches": ["class token only", "grid 1", "grid", "one run", "runs", "one row of patches",
                    "rows of patches", "at the same place"],
        "transfers": [_name(*each) for each in product(("LOAD", "STORE"),
                                                       ("1 word", "odd", "even"))],
        "scales": [f"n % 4 = {rest}" for rest in range(4)] + ["lowest", "highest"],
        "exits": [_name(*each) for each in product(
            ("ends", "goes on"), ("at the threshold or next to it", "far from it"))]
        + ["ends with a full ring", "after several rows", "after codes"],
        "exponents": ["below the least", "above the most", "subtracted", "added"],
        "ring": ["wraps", "column longer than half of it", "column as long as it"],
        "latency": ["1", "2 to 9", "10 to 39", "40 or more"],
        "bandwidth": ["a beat per cycle", "less", "half or less"],
        "counters": list(STALLS),
    }


def _name(*parts) -> str:
    return " ".join(part if isinstance(part, str) else
                    part.value if isinstance(part, Mode) or not hasattr(part, "name") or
                    isinstance(part.value, str) else part.name.lower() for part in parts)


def _places(curve, values) -> dict[str, bool]:
    """Return where values lie in the table of an activation, by :data:`PLACES`."""
    there = (values <= -curve.end, abs(values) < curve.end, values >= curve.end, values == 0,
             values > RESULT.max - curve.offset)
    return {place: found.any() for place, found in zip(PLACES, there, strict=True)}


class Coverage:
    """Counts of all bins."""

    def __init__(self):
        self.counts = {group: dict.fromkeys(bins, 0) for group, bins in _bins().items()}

    def hit(self, group: str, name: str, wanted=True) -> None:
        """Count a bin, which must be known, if `wanted`."""
        if name not in self.counts[group]:
            raise KeyError(f"{group} has no bin {name!r}")
        self.counts[group][name] += bool(wanted)

    def missing(self) -> list[tuple[str, str]]:
        """Return group and name of each bin that was never hit."""
        return [(group, name) for group, bins in self.counts.items()
                for name, count in bins.items() if not count]

    def table(self) -> list[str]:
        """Return lines of a table, 80 columns at most."""
        lines = [f"{'group':<24} {'bins':>5} {'hit':>5} {'%':>6} {'hits':>9}  fewest", "-" * 80]
        for group, (count, hit, hits, fewest) in self._rows():
            lines.append(f"{group:<24} {count:>5} {hit:>5} {100 * hit / count:>6.1f} {hits:>9}  "
                         f"{fewest[:25]}".rstrip())
        return lines + [f"missing: {group}: {name}" for group, name in self.missing()]

    def markdown(self) -> list[str]:
        """Return the lines of the same table in Markdown."""
        lines = ["| Group | Bins | Hit | Hits | Fewest |", "| :-- | --: | --: | --: | :-- |"]
        for group, (count, hit, hits, fewest) in self._rows():
            lines.append(f"| {group} | {count} | {hit} | {hits} | {fewest} |")
        return lines + [f"Missing: {group}: {name}" for group, name in self.missing()]

    def _rows(self):
        whole = {f"{group}: {name}": count for group, bins in self.counts.items()
                 for name, count in bins.items()}
        for group, bins in (*self.counts.items(), ("all", whole)):
            least = min(bins, key=bins.__getitem__)
            yield group, (len(bins), sum(map(bool, bins.values())), sum(bins.values()),
                          f"{bins[least]} of {least}")

    def add(self, program: Program, result: Result | None = None, *, latency: int = 0,
            bandwidth: float = 0) -> None:
        """Count what a program covers, and the run of it on the RTL if there was one."""
        self._stream(program)
        _Observer(self, program).run()
        if result is None:
            return
        self.hit("latency", "1" if latency < 2 else "2 to 9" if latency < 10 else
                 "10 to 39" if latency < 40 else "40 or more")
        part = bandwidth / program.config.bus_bytes
        self.hit("bandwidth", "a beat per cycle" if part >= 1 else
                 "less" if part > 0.5 else "half or less")
        for name in STALLS:
            self.hit("counters", name, result.counters[name])

    def _stream(self, program: Program) -> None:
        config = program.config
        for address, op in program.instructions():
            size = payload_bytes(op, config)
            last = (address + size - program.stream.address) // config.cols
            first = (address - program.stream.address) // config.cols
            self.hit("ring", "wraps", last // config.stream_words > first // config.stream_words)
            if op.opcode is Opcode.GEMM and op.weights == Source.STREAM:
                words = tile_column_words(op)
                self.hit("ring", "column longer than half of it", 2 * words > config.stream_words)
                self.hit("ring", "column as long as it", words == config.stream_words)


class _Observer:
    """Carries a program out, and looks at what goes through the golden functions."""

    def __init__(self, coverage: Coverage, program: Program):
        self.hit, self.program = coverage.hit, program
        self.machine, self.config = Machine(program), program.config
        self.tabled = False
        self.older = np.zeros(self.config.scratchpad_words, bool)

    def run(self) -> None:
        for _, op in self.program.instructions():
            if self.machine.done:
                break
            with self._watching():
                before = self._operands(op)
                self.machine.step()
            self.hit("opcodes", op.opcode.name)
            self._places(op)
            look = getattr(self, f"_{op.opcode.name.lower()}", None)
            if look is not None:
                look(op, before)

    @contextmanager
    def _watching(self):
        """Note what is requantized, looked up and measured."""
        self.requants, self.looked_up, self.measured, self.exponents = [], [], [], []
        self.columns = None
        functions = {name: getattr(golden_machine, name)
                     for name in ("requant", "curve_columns", "layer_norm")}
        statistics, weights = golden_machine.range_unit.statistics, self.machine._weights
        multipliers = golden_machine._multipliers

        def requant(acc, mantissa, shift, low, high):
            self.requants.append((np.asarray(acc, np.int64), mantissa, shift, low, high))
            return functions["requant"](acc, mantissa, shift, low, high)

        def layer_norm(x, gamma, beta, epsilon, coarse):
            self.coarse = np.asarray(coarse)
            return functions["layer_norm"](x, gamma, beta, epsilon, coarse)

        def curve_columns(curve, t, coarse):
            self.looked_up.append((curve, t, np.asarray(coarse, bool)))
            return functions["curve_columns"](curve, t, coarse)

        def measure(*args):
            self.measured.append((args[0], statistics(*args)))
            return self.measured[-1][1]

        def columns(op, mode):
            made, self.columns = weights(op, mode)
            return made, self.columns

        def exponents(values):
            self.exponents.append(values)
            return multipliers(values)

        with (mock.patch.object(golden_machine, "requant", requant),
              mock.patch.object(golden_machine, "layer_norm", layer_norm),
              mock.patch.object(golden_machine, "curve_columns", curve_columns),
              mock.patch.object(golden_machine, "_multipliers", exponents),
              mock.patch.object(golden_machine.range_unit, "statistics", measure),
              mock.patch.object(self.machine, "_weights", columns)):
            yield

    def _operands(self, op: Instruction) -> dict[str, np.ndarray]:
        """Return the wide matrices that an instruction reads."""
        return {span.what: read_wide(self.machine.scratchpad, span.address, span.stride,
                                     span.rows, span.cols)
                for span in spans(op, self.config)[0] if span.layout is Layout.WIDE}

    def _places(self, op: Instruction) -> None:
        reads, writes = spans(op, self.config)
        if op.opcode is Opcode.GEMM:
            for span in (*reads, *writes):
                least = stride_of(span.layout, span.rows, span.cols, self.config)
                self.hit("strides", _name(span.what, "larger" if span.stride > least
                                          else "as needed"))
        for span in writes:
            if op.opcode is not Opcode.LOAD:
                self._written(span)
                if op.opcode is Opcode.GEMM and op.first_row:
                    self.hit("layouts", f"{span.layout.name.lower()} within a tile")
            words = slice(span.address, span.address + span.words(self.config))
            self.older[words] = True

    def _written(self, span: Span) -> None:
        end = span.address + span.words(self.config)
        layout = span.layout.name.lower()
        self.hit("layouts", f"{layout} odd rows", span.rows % 2)
        self.hit("layouts", f"{layout} odd columns", span.cols % 2)
        self.hit("layouts", f"{layout} over older data", self.older[span.address:end].all())
        self.hit("layouts", f"{layout} at the end", end == self.config.scratchpad_words)

    def _corners(self, group: str, mode: Mode, size: int, tile: int) -> None:
        corner = {1: "1", tile - 1: "tile - 1", tile: "tile", tile + 1: "tile + 1"}.get(
            size, "2 tiles or more" if size >= 2 * tile else None)
        if corner:
            self.hit(group, _name(mode, corner))
        self.hit(group, _name(mode, "odd"), size % 2)

    def _gemm(self, op: Instruction, before: dict) -> None:
        mode, config = op.mode_of, self.config
        weights, path, layout = Source(op.weights), Path(op.path), Layout(op.layout)
        self.hit("products", _name(mode, op.activation_of, weights, path, layout))
        place = (op.residual_address, op.residual_stride) == (op.dest, op.dest_stride)
        flags = {"residual": op.residual and not (place and path is Path.WIDE),
                 "residual in place": op.residual and place and path is Path.WIDE,
                 **{name: getattr(op, name) for name in ("tap", "gelu", "rows", "offset")}}
        for flag, value in flags.items():
            if value:
                self.hit("flags of products", _name(weights, path, flag))
        self._corners("rows of products", mode, op.m, config.tile_rows(mode))
        self._corners("columns of products", mode, op.n, config.tile_cols(mode))
        self._length(op, weights)
        self._multiplier(op)
        if op.tap:
            self._tap(op)

        name = path.name.lower()
        if op.rows:
            hits = self._ends(*self.requants[0])
            for end in ENDS[:3]:
                self.hit("requantization by rows", end, hits[end])
        else:
            self._requant(name, self.requants[0])
        if path is Path.SITE:
            self._requant("to site", self.requants[1])
        if path is not Path.DIRECT:
            self._sums(before.get("residual_address"))
        for curve, values, coarse in self.looked_up:
            self._gelu(curve, values, coarse)

    def _gelu(self, curve, t, coarse) -> None:
        if curve is not GELU:
            self._loaded(curve, t, coarse)
            return
        for kind, values in (("plain", t[:, ~coarse]), ("coarse", t[:, coarse])):
            for place, found in _places(curve, values).items():
                self.hit("gelu", f"{kind} {place}", found)
        self.hit("gelu", "no coarse columns", not coarse.any())
        self.hit("gelu", "coarse columns", coarse.any() and not coarse.all())
        self.hit("gelu", "all columns coarse", coarse.all())

    def _loaded(self, curve, t, coarse) -> None:
        kind = "wide loaded" if curve.wide else "loaded"
        for place, found in _places(curve, t[:, ~coarse]).items():
            self.hit("tables", f"{kind} {place}", found)
        self.hit("tables", f"{kind} coarse columns", coarse.any())

    def _length(self, op: Instruction, weights: Source) -> None:
        config, group, name = self.config, "lengths of products", weights.name.lower()
        if op.k <= 2:
            self.hit(group, f"{name} {op.k}")
        self.hit(group, f"{name} {'odd' if op.k % 2 else 'even'}")
        longest = (op.k == config.max_k or tile_column_words(op) == config.stream_words
                   if weights is Source.STREAM else op.k == config.key_words)
        self.hit(group, f"{name} longest", longest)

    def _multiplier(self, op: Instruction) -> None:
        for exponents in self.exponents:
            self.hit("exponents", "below the least", (exponents < formats.EXPONENT.min).any())
            self.hit("exponents", "above the most", (exponents > formats.EXPONENT.max).any())
        self.hit("exponents", "subtracted" if op.subtract_b else "added")

    @staticmethod
    def _ends(acc, mantissa, shift, low, high) -> dict[str, bool]:
        """Return which limits results reach, and whether one lies between two integers."""
        mantissa, shift = np.asarray(mantissa)[:acc.shape[-1]], np.asarray(shift)
        if acc.shape[-1] != mantissa.size:
            acc = acc.T
        exact = acc * mantissa
        rounded = (((exact << 1) >> shift) + 1) >> 1
        rest = exact - ((exact >> shift) << shift)
        return {"low": (rounded < low).any(), "high": (rounded > high).any(),
                "inside": ((rounded > low) & (rounded < high)).any(),
                "tie": ((shift > 0) & (2 * rest == 1 << np.minimum(shift, 62))).any()}

    def _requant(self, name: str, call) -> None:
        for end, found in self._ends(*call).items():
            self.hit("requantization", f"{name} {end}", found)

    def _sums(self, residual) -> None:
        acc, mantissa, shift, low, high = self.requants[0]
        first = golden_machine.requant(acc, mantissa, shift, low, high).astype(np.int64)
        bias = np.asarray(self.columns["bias"], np.int64)
        if first.shape[-1] != bias.size:
            first = first.T
        first = first.reshape(-1, bias.size)
        biased = first + bias
        self.hit("sums", "bias low", (biased < ACT16.min).any())
        self.hit("sums", "bias high", (biased > ACT16.max).any())
        if residual is not None and first.shape == residual.shape:
            total = biased + residual
            self.hit("sums", "residual low", (total < ACT16.min).any())
            self.hit("sums", "residual high", (total > ACT16.max).any())

    def _tap(self, op: Instruction) -> None:
        kind = "channels" if op.per_channel else "whole" if op.chunk_entries == 1 else "groups"
        ragged = op.m % (op.last_chunk_token + 1) != 0
        chunks = "one chunk" if not op.last_chunk else "ragged chunk" if ragged else "chunks"
        self.hit("taps", f"{kind} {chunks}")

    def _predict(self, op: Instruction, before: dict) -> None:
        (stream, statistics), = self.measured
        self.hit("taps", "nothing above zero", (stream <= 0).all())
        self.hit("taps", "nothing below zero", (stream >= 0).all())
        self.hit("predictors", f"degree {op.degree} {'' if op.projected else 'not '}projected")
        self.hit("predictors", "statistic low", (statistics == STATISTIC.min).any())
        self.hit("predictors", "statistic high", (statistics == STATISTIC.max).any())
        made = self.machine.scales[op.scale_a:op.scale_a + op.sites]
        self.hit("predictors", "lambda high", (made == HIGHEST).any())
        self.hit("predictors", "one site", op.sites == 1)
        self.hit("predictors", "odd sites", op.sites % 2)

    def _norm(self, op: Instruction, before: dict) -> None:
        x = before["source"]
        self.hit("norm", "zero variance", op.epsilon == 0 and (x == x[:, :1]).all(axis=1).any())
        self.hit("norm", "no epsilon", op.epsilon == 0)
        self.hit("norm", "largest epsilon", op.epsilon == layernorm.EPSILON.max)
        acc = self.requants[0][0]
        self.hit("norm", "accumulator low", (acc == ACC.min).any())
        self.hit("norm", "accumulator high", (acc == ACC.max).any())
        self.hit("norm", "one word", op.n == self.config.lanes)
        self.hit("norm", "most channels", op.n == min(self.config.max_channels,
                                                      layernorm.HIGHEST_CHANNELS))
        self.hit("norm", "no coarse channels", not self.coarse.any())
        self.hit("norm", "coarse channels", self.coarse.any() and not self.coarse.all())
        self.hit("norm", "all channels coarse", self.coarse.all())
        self.hit("norm", Layout(op.layout).name.lower())
        self._requant("norm", self.requants[0])
        self._multiplier(op)

    def _softmax(self, op: Instruction, before: dict) -> None:
        self.last_softmax = op
        x = before["source"]
        kind = "codes" if op.step else "exponentials"
        values = scratchpad.read_operand(self.machine.scratchpad, op.dest, op.dest_stride, op.m,
                                         op.n, Layout.OPERAND8, signed=False)
        self.hit("softmax", f"{kind} one key", op.n == 1)
        self.hit("softmax", f"{kind} all equal", op.n > 1 and (x == x[:, :1]).all(axis=1).any())
        self.hit("softmax", f"{kind} odd keys", op.n % 2)
        self.hit("softmax", f"{kind} one row", op.m == 1)
        self.hit("softmax", f"{kind} last code or zero",
                 (values == (formats.CODE.max if op.step else 0)).any())
        self.hit("softmax", "step 1", op.step == 1)
        self.hit("softmax", "largest step", op.step == 2047)
        self.hit("softmax", "longest rows", op.n > 100)

    def _exit(self, op: Instruction, before: dict) -> None:
        above = self.machine._last_exponent - op.exponent
        ends = self.machine.exited is not None
        self.hit("exits", f"{'ends' if ends else 'goes on'} "
                 f"{'at the threshold or next to it' if above in (0, 1) else 'far from it'}")
        left = self.program.stream.address + self.program.stream.size - self.machine._cursor
        self.hit("exits", "ends with a full ring",
                 ends and left >= self.config.stream_words * self.config.cols)
        self.hit("exits", "after several rows", self.last_softmax.m > 1)
        self.hit("exits", "after codes", self.last_softmax.step)

    def _patches(self, op: Instruction, before: dict) -> None:
        self.hit("patches", "class token only", op.m == 1)
        self.hit("patches", "grid 1" if op.grid == 1 else "grid", op.m > 1)
        self.hit("patches", "one run" if op.k == op.run_bytes else "runs", op.m > 1)
        self.hit("patches", "one row of patches" if op.m - 1 == op.grid else "rows of patches",
                 op.m > 1)
        self.hit("patches", "at the same place", op.m > 1 and not op.image_row_bytes)

    def _load(self, op: Instruction, before: dict) -> None:
        name = op.opcode.name
        self.hit("transfers", f"{name} 1 word", op.words == 1)
        self.hit("transfers", f"{name} {'odd' if op.words % 2 else 'even'}")

    _store = _load

    def _table(self, op: Instruction, before: dict) -> None:
        curve = self.machine._curve
        self.hit("tables", "no offset", not curve.offset)
        self.hit("tables", "largest offset", curve.offset == OFFSETS.max)
        self.hit("tables", "steepest", SLOPE.min in curve.table.slopes
                 or SLOPE.max in curve.table.slopes)
        self.hit("tables", "before another", self.tabled)
        self.tabled = True

    def _scales(self, op: Instruction, before: dict) -> None:
        self.hit("scales", f"n % 4 = {op.n % 4}")
        values = self.machine.scales[op.scale_a:op.scale_a + op.n]
        self.hit("scales", "lowest", (values < -32000).any())
        self.hit("scales", "highest", (values > 32000).any())
