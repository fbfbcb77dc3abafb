"""Compiled kernels of :mod:`golden.product.mac_array`.

A register-blocked integer GEMM: blocks of :data:`ROWS` x :data:`COLS` sums stay in vector
registers while operands stream past, :data:`GROUP` steps of k at a time. Where the processor has
``vpdpbusd`` (AVX-512 VNNI) a group has four steps, activations are bytes without sign, and what is
added to make them so is taken off the start values again. Elsewhere it has two, activations and
weights are widened to 16 bits, for the multiply-and-add-pairs instruction of x86 (``pmaddwd``) or,
on other processors, plain vector arithmetic. All of it is exact modulo 2**32.
"""

from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..common.jit import kernel

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_WORD_BYTES = 4  # the operands of a group, or one sum

ROWS = 6  # of a block; with _VECTORS, 12 sums: what 16 vector registers can hold
_VECTORS = 2  # vectors per row of a block


@dataclass(frozen=True, slots=True)
class Unit:
    """What a processor multiplies with.

    Attributes
    ----------
    lanes
        32-bit lanes of a vector.
    group
        Steps of k that an instruction takes, of so many operands in 32 bits: 2 or 4.
    instruction
        LLVM's name of it; None for plain arithmetic, of groups of 2.
    """

    lanes: int
    group: int
    instruction: str | None


_UNITS = {  # by what a processor must have
    "avx512vnni": Unit(16, 4, "llvm.x86.avx512.vpdpbusd.512"),
    "avx512bw": Unit(16, 2, "llvm.x86.avx512.pmaddw.d.512"),
    "avx2": Unit(8, 2, "llvm.x86.avx2.pmadd.wd"),
    "sse2": Unit(4, 2, "llvm.x86.sse2.pmadd.wd"),
}
PORTABLE = Unit(4, 2, None)


def units() -> list[Unit]:
    """Return those of the processor that numba compiles for, the best first."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return [*(unit for feature, unit in _UNITS.items() if f"+{feature}" in features), PORTABLE]


UNIT = units()[0]
GROUP = UNIT.group
COLS = _VECTORS * UNIT.lanes
WIDE = np.uint8 if GROUP == 4 else np.int16
"""Type of activations as the instruction takes them."""

_BITS = 32 // GROUP
_LOW = (1 << _BITS) - 1
_SIGN = 128  # makes signed bytes unsigned ones


def words(k: int) -> int:
    """Return how many groups `k` steps are."""
    return -(-k // GROUP)


class _BlockBuilder:
    """Writes the LLVM instructions of one block; addresses and strides in bytes."""

    def __init__(self, builder, rows: int, unit: Unit):
        self._builder = builder
        self._rows = rows
        self._unit = unit
        self._sums = ir.VectorType(_I32, unit.lanes)
        self._pairs = ir.VectorType(_I16, 2 * unit.lanes)

    def _address(self, base, stride, count: int):
        return self._builder.add(base, self._builder.mul(stride, _I64(count)))

    def _load(self, address, kind):
        pointer = self._builder.inttoptr(address, kind.as_pointer())
        return self._builder.load(pointer, align=_WORD_BYTES)

    def _vectors(self, base):
        """Addresses of the vectors of one row of a block."""
        size = _I64(_WORD_BYTES * self._unit.lanes)
        return [self._address(base, size, vector) for vector in range(_VECTORS)]

    def _broadcast(self, word):
        """Vector of one group of activations in every lane."""
        undefined = ir.Constant(self._sums, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(_I32, self._unit.lanes), [0] * self._unit.lanes)
        first = self._builder.insert_element(undefined, word, _I32(0))
        return self._builder.shuffle_vector(first, undefined, lanes)

    def _half(self, operands, parity: int):
        """Even or odd operands of a vector, 32 bits wide."""
        picks = ir.Constant(self._sums, list(range(parity, 2 * self._unit.lanes, 2)))
        half = self._builder.shuffle_vector(operands, operands, picks)
        return self._builder.sext(half, self._sums)

    def _call(self, *operands):
        signature = ir.FunctionType(self._sums, [operand.type for operand in operands])
        module, name = self._builder.module, self._unit.instruction
        function = module.globals.get(name) or ir.Function(module, signature, name)
        return self._builder.call(function, operands)

    def _added(self, total, a, w):
        """`total` and, in each lane, the products of a group."""
        if self._unit.group == 4:
            return self._call(total, a, w)
        a, w = (self._builder.bitcast(operand, self._pairs) for operand in (a, w))
        if self._unit.instruction is not None:
            return self._builder.add(total, self._call(a, w))
        products = [self._builder.mul(self._half(a, parity), self._half(w, parity))
                    for parity in range(2)]
        return self._builder.add(total, self._builder.add(*products))

    def write(self, a, a_stride, w, count, start, out, out_stride):
        """Write the loop over `count` groups."""
        builder = self._builder
        rows = [self._address(a, a_stride, row) for row in range(self._rows)]
        first = [self._load(address, self._sums) for address in self._vectors(start)]
        first *= self._rows

        entry = builder.block
        body, done = builder.append_basic_block("body"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        group = builder.phi(_I64)
        sums = [builder.phi(self._sums) for _ in first]
        step = builder.mul(group, _I64(_WORD_BYTES))
        panel = builder.add(w, builder.mul(step, _I64(_VECTORS * self._unit.lanes)))
        weights = [self._load(address, self._sums) for address in self._vectors(panel)]
        activations = [self._broadcast(self._load(builder.add(row, step), _I32)) for row in rows]
        places = [(a, w) for a in activations for w in weights]
        totals = [self._added(total, *place) for total, place in zip(sums, places, strict=True)]
        following = builder.add(group, _I64(1))
        builder.cbranch(builder.icmp_unsigned("<", following, count), body, done)

        for phi, before, after in zip([group, *sums], [_I64(0), *first], [following, *totals],
                                      strict=True):
            phi.add_incoming(before, entry)
            phi.add_incoming(after, body)
        builder.position_at_end(done)
        places = [place for row in range(self._rows)
                  for place in self._vectors(self._address(out, out_stride, row))]
        for total, place in zip(totals, places, strict=True):
            builder.store(total, builder.inttoptr(place, self._sums.as_pointer()),
                          align=_WORD_BYTES)


def block_intrinsic(rows: int, unit: Unit):
    """Return the kernel of one block of `rows`, compiled for a unit.

    ``block(a, a_stride, w, count, start, out, out_stride)``, addresses and strides in bytes:
    `a` has rows of `count` groups, `w` is a panel as :func:`pack_panels` makes them, `start` an
    int32 row of ``2 * lanes``, `out` has int32 rows.
    """
    @intrinsic
    def block(typing_context, a, a_stride, w, count, start, out, out_stride):
        def generate(context, builder, signature, arguments):
            _BlockBuilder(builder, rows, unit).write(*arguments)
            return context.get_dummy_value()

        address, number = types.uintp, types.intp
        return types.void(address, number, address, number, address, address, number), generate

    return block


_block = block_intrinsic(ROWS, UNIT)
_single_row = block_intrinsic(1, UNIT)


@kernel
def _bias(mask, table):
    """Return what is added to activations before they are multiplied."""
    if GROUP == 2:
        return 0
    if table.size:
        return -min(table.min(), 0)
    return _SIGN if mask < 0 else 0


@kernel
def _widen(a, mask, table, bias, wide):
    """Copy rows of activations as the instruction takes them, codes through their table."""
    for row in range(a.shape[0]):
        if table.size:
            for k in range(a.shape[1]):
                wide[row, k] = table[a[row, k] & 15] + bias
        else:
            for k in range(a.shape[1]):
                wide[row, k] = (np.int32(a[row, k]) & np.int32(mask)) + np.int32(bias)


@kernel
def pack_panels(w, panels):
    """Lay out int8 weights (batch, k, n) in panels, int32 (batch, n / COLS, k / GROUP + 1, COLS).

    A word of a panel holds the weights of a group, the first step of k in its lowest bits; k and n
    are padded to whole words and panels. The last row has the sums of the columns.
    """
    for batch in range(panels.shape[0]):
        for panel in range(panels.shape[1]):
            first = panel * COLS
            sums = panels[batch, panel, panels.shape[2] - 1]
            sums[:] = 0
            for word in range(panels.shape[2] - 1):
                row = panels[batch, panel, word]
                row[:] = 0
                for step in range(GROUP):
                    for col in range(COLS):
                        weight = np.int32(w[batch, GROUP * word + step, first + col])
                        sums[col] += weight
                        if step < GROUP - 1:
                            weight &= np.int32(_LOW)
                        row[col] |= weight << np.int32(_BITS * step)


@kernel
def _copy_corner(block, out, row, col):
    """Copy what lies inside `out` of a block at `row`, `col`."""
    for r in range(min(ROWS, out.shape[0] - row)):
        for c in range(min(COLS, out.shape[1] - col)):
            out[row + r, col + c] = block[r, c]


@kernel
def _block_rows(wide, panels, bias, start, first, last, out):
    """Compute rows ``first * ROWS`` up to ``last * ROWS`` of one product."""
    rows, cols = out.shape
    count = panels.shape[1] - 1
    block, begin = np.empty((ROWS, COLS), np.int32), np.empty(COLS, np.int32)
    a_row, out_row, block_row = wide.strides[0], out.strides[0], block.strides[0]
    for panel in range(panels.shape[0]):
        col = panel * COLS
        w_at = panels.ctypes.data + panel * panels.strides[0]
        for c in range(COLS):
            begin[c] = start[col + c] - np.int32(bias) * panels[panel, count, c]
        begin_at = begin.ctypes.data
        for row in range(first * ROWS, last * ROWS, ROWS):
            a_at = wide.ctypes.data + row * a_row
            inside = col + COLS <= cols and (row + ROWS <= rows or rows == 1)
            if inside:
                at, stride = out.ctypes.data + row * out_row + col * out.strides[1], out_row
            else:
                at, stride = block.ctypes.data, block_row
            if rows == 1:
                _single_row(a_at, a_row, w_at, count, begin_at, at, stride)
            else:
                _block(a_at, a_row, w_at, count, begin_at, at, stride)
            if not inside:
                _copy_corner(block, out, row, col)


@kernel
def multiply_share(a, mask, table, panels, start, wide, share, shares, out):
    """Compute the `share`-th of `shares` parts of :func:`multiply`, 0 of 1 being all of it."""
    blocks, bias = -(-a.shape[1] // ROWS), _bias(mask, table)
    total = a.shape[0] * blocks
    low, high = total * share // shares, total * (share + 1) // shares
    for batch in range(low // blocks, -(-high // blocks)):
        first, last = max(low - batch * blocks, 0), min(high - batch * blocks, blocks)
        _widen(a[batch, first * ROWS:last * ROWS], mask, table, bias, wide[batch, first * ROWS:])
        _block_rows(wide[batch], panels[batch], bias, start, first, last, out[batch])


@kernel(parallel=True)
def multiply(a, mask, table, panels, start, wide, shares, out):
    """Multiply a batch of activations by panels, in `shares` parallel parts.

    a : int8 (batch, m, k), to be masked by `mask` once wider: 255 if unsigned, -1 if signed;
    table : int16, 16 operands of codes or none, the largest at most 255 above the smallest and
    above 0 where WIDE has 8 bits; panels : of :func:`pack_panels`; start : int32 (n / COLS *
    COLS,); out : int32 (batch, m, n); wide : WIDE (batch, m / ROWS * ROWS, k / GROUP * GROUP), for
    activations.
    """
    for share in prange(shares):
        multiply_share(a, mask, table, panels, start, wide, share, shares, out)
