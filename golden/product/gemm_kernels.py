"""Compiled kernels of :mod:`golden.product.mac_array`.

A register-blocked integer GEMM: blocks of :data:`ROWS` x :data:`COLS` sums stay in vector
registers while operands widened to 16 bits stream past, two steps of k at a time, through the
multiply-and-add-pairs instruction of x86 (``pmaddwd``), which is exact for operands this small.
Other processors compute the same sums in plain vector arithmetic.
"""

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from ..common.jit import kernel

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_PAIR_BYTES = 4  # two operands, or one sum

ROWS = 6  # of a block; with _VECTORS, 12 sums: what 16 vector registers can hold
_VECTORS = 2  # vectors per row of a block

_MULTIPLY_PAIRS = {  # CPU feature: 32-bit lanes, instruction
    "avx512bw": (16, "llvm.x86.avx512.pmaddw.d.512"),
    "avx2": (8, "llvm.x86.avx2.pmadd.wd"),
    "sse2": (4, "llvm.x86.sse2.pmadd.wd"),
}
PORTABLE = (4, None)


def _vector_unit() -> tuple[int, str | None]:
    """Lanes and instruction for the processor that numba compiles for."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return next((unit for feature, unit in _MULTIPLY_PAIRS.items() if f"+{feature}" in features),
                PORTABLE)


LANES, INSTRUCTION = _vector_unit()
COLS = _VECTORS * LANES


class _BlockBuilder:
    """Writes the LLVM instructions of one block; addresses and strides in bytes."""

    def __init__(self, builder, rows: int, lanes: int, instruction: str | None):
        self._builder = builder
        self._rows = rows
        self._lanes = lanes
        self._instruction = instruction
        self._sums = ir.VectorType(_I32, lanes)
        self._operands = ir.VectorType(_I16, 2 * lanes)

    def _address(self, base, stride, count: int):
        return self._builder.add(base, self._builder.mul(stride, _I64(count)))

    def _load(self, address, kind):
        pointer = self._builder.inttoptr(address, kind.as_pointer())
        return self._builder.load(pointer, align=_PAIR_BYTES)

    def _vectors(self, base):
        """Addresses of the vectors of one row of a block."""
        size = _I64(_PAIR_BYTES * self._lanes)
        return [self._address(base, size, vector) for vector in range(_VECTORS)]

    def _broadcast(self, pair):
        """Vector of one pair of activations in every lane."""
        undefined = ir.Constant(self._sums, ir.Undefined)
        lanes = ir.Constant(ir.VectorType(_I32, self._lanes), [0] * self._lanes)
        first = self._builder.insert_element(undefined, pair, _I32(0))
        return self._builder.bitcast(self._builder.shuffle_vector(first, undefined, lanes),
                                     self._operands)

    def _half(self, operands, parity: int):
        """Even or odd operands of a vector, 32 bits wide."""
        picks = ir.Constant(self._sums, list(range(parity, 2 * self._lanes, 2)))
        half = self._builder.shuffle_vector(operands, operands, picks)
        return self._builder.sext(half, self._sums)

    def _multiply_pairs(self, a, w):
        """Sums of two neighbouring products each."""
        if self._instruction is None:
            products = [self._builder.mul(self._half(a, parity), self._half(w, parity))
                        for parity in range(2)]
            return self._builder.add(*products)
        signature = ir.FunctionType(self._sums, [self._operands] * 2)
        module = self._builder.module
        function = module.globals.get(self._instruction) or ir.Function(
            module, signature, self._instruction)
        return self._builder.call(function, [a, w])

    def write(self, a, a_stride, w, pairs, start, out, out_stride):
        """Write the loop over `pairs` pairs of k."""
        builder = self._builder
        rows = [self._address(a, a_stride, row) for row in range(self._rows)]
        first = [self._load(address, self._sums) for address in self._vectors(start)]
        first *= self._rows

        entry = builder.block
        body, done = builder.append_basic_block("body"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        pair = builder.phi(_I64)
        sums = [builder.phi(self._sums) for _ in first]
        step = builder.mul(pair, _I64(_PAIR_BYTES))
        weights = [self._load(address, self._operands) for address in
                   self._vectors(builder.add(w, builder.mul(step, _I64(_VECTORS * self._lanes))))]
        activations = [self._broadcast(self._load(builder.add(row, step), _I32)) for row in rows]
        products = [self._multiply_pairs(a, w) for a in activations for w in weights]
        totals = [builder.add(total, product)
                  for total, product in zip(sums, products, strict=True)]
        following = builder.add(pair, _I64(1))
        builder.cbranch(builder.icmp_unsigned("<", following, pairs), body, done)

        for phi, before, after in zip([pair, *sums], [_I64(0), *first], [following, *totals],
                                      strict=True):
            phi.add_incoming(before, entry)
            phi.add_incoming(after, body)
        builder.position_at_end(done)
        places = [place for row in range(self._rows)
                  for place in self._vectors(self._address(out, out_stride, row))]
        for total, place in zip(totals, places, strict=True):
            builder.store(total, builder.inttoptr(place, self._sums.as_pointer()),
                          align=_PAIR_BYTES)


def block_intrinsic(rows: int, lanes: int, instruction: str | None):
    """Return the kernel of one block of `rows`, compiled for vectors of `lanes` sums.

    ``block(a, a_stride, w, pairs, start, out, out_stride)``, addresses and strides in bytes:
    `a` has int16 rows, `w` is a panel as :func:`pack_panels` makes them, `start` an int32 row of
    ``2 * lanes``, `out` has int32 rows.
    """
    @intrinsic
    def block(typing_context, a, a_stride, w, pairs, start, out, out_stride):
        def generate(context, builder, signature, arguments):
            _BlockBuilder(builder, rows, lanes, instruction).write(*arguments)
            return context.get_dummy_value()

        address, count = types.uintp, types.intp
        return types.void(address, count, address, count, address, address, count), generate

    return block


_block = block_intrinsic(ROWS, LANES, INSTRUCTION)
_single_row = block_intrinsic(1, LANES, INSTRUCTION)


@kernel
def _widen(a, mask, table, wide):
    """Copy rows of activations to 16 bits, codes through their table."""
    for row in range(a.shape[0]):
        if table.size:
            for k in range(a.shape[1]):
                wide[row, k] = table[a[row, k] & 15]
        else:
            for k in range(a.shape[1]):
                wide[row, k] = a[row, k] & mask


@kernel
def pack_panels(w, panels):
    """Widen int8 weights (batch, k, n) to panels, int32 (batch, n / COLS, k / 2, COLS).

    A word of a panel holds the weights of two steps of k, the first in its low half; k and n
    are padded to whole words and panels.
    """
    for batch in range(panels.shape[0]):
        for panel in range(panels.shape[1]):
            first = panel * COLS
            for pair in range(panels.shape[2]):
                for col in range(COLS):
                    low, high = w[batch, 2 * pair, first + col], w[batch, 2 * pair + 1, first + col]
                    panels[batch, panel, pair, col] = high << 16 | low & 0xffff


@kernel
def _copy_corner(block, out, row, col):
    """Copy what lies inside `out` of a block at `row`, `col`."""
    for r in range(min(ROWS, out.shape[0] - row)):
        for c in range(min(COLS, out.shape[1] - col)):
            out[row + r, col + c] = block[r, c]


@kernel
def _block_rows(wide, panels, start, first, last, out):
    """Compute rows ``first * ROWS`` up to ``last * ROWS`` of one product."""
    rows, cols = out.shape
    pairs = panels.shape[1]
    block = np.empty((ROWS, COLS), np.int32)
    a_row, out_row, block_row = wide.strides[0], out.strides[0], block.strides[0]
    for panel in range(panels.shape[0]):
        col = panel * COLS
        w_at = panels.ctypes.data + panel * panels.strides[0]
        start_at = start.ctypes.data + col * start.strides[0]
        for row in range(first * ROWS, last * ROWS, ROWS):
            a_at = wide.ctypes.data + row * a_row
            inside = col + COLS <= cols and (row + ROWS <= rows or rows == 1)
            if inside:
                at, stride = out.ctypes.data + row * out_row + col * out.strides[1], out_row
            else:
                at, stride = block.ctypes.data, block_row
            if rows == 1:
                _single_row(a_at, a_row, w_at, pairs, start_at, at, stride)
            else:
                _block(a_at, a_row, w_at, pairs, start_at, at, stride)
            if not inside:
                _copy_corner(block, out, row, col)


@kernel
def multiply_share(a, mask, table, panels, start, wide, share, shares, out):
    """Compute the `share`-th of `shares` parts of :func:`multiply`, 0 of 1 being all of it."""
    blocks = -(-a.shape[1] // ROWS)
    total = a.shape[0] * blocks
    low, high = total * share // shares, total * (share + 1) // shares
    for batch in range(low // blocks, -(-high // blocks)):
        first, last = max(low - batch * blocks, 0), min(high - batch * blocks, blocks)
        _widen(a[batch, first * ROWS:last * ROWS], mask, table, wide[batch, first * ROWS:])
        _block_rows(wide[batch], panels[batch], start, first, last, out[batch])


@kernel(parallel=True)
def multiply(a, mask, table, panels, start, wide, shares, out):
    """Multiply a batch of activations by panels, in `shares` parallel parts.

    a : int8 (batch, m, k), to be masked by `mask` once wider: 255 if unsigned, -1 if signed;
    table : int16, 16 operands of codes or none; panels : of :func:`pack_panels`;
    start : int32 (n / COLS * COLS,); out : int32 (batch, m, n);
    wide : int16 (batch, m / ROWS * ROWS, k / 2 * 2), for widened activations.
    """
    for share in prange(shares):
        multiply_share(a, mask, table, panels, start, wide, share, shares, out)
