"""Programs of products with activations, and of the tables of these."""

import numpy as np

from golden.common.config import CORES
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import Layout, Opcode, Path, Source, make
from golden.core.program import Program, Region

CONFIG = CORES["4x4"]
DATA = 256
T = [-9000, -4097, -700, -64, 0, 64, 700, 3000]


def units(values, layout):
    """Numbers, four to a unit, as bytes."""
    rows = np.asarray(values).reshape(-1, len(layout)).tolist()
    return b"".join(pack(dict(zip(layout, row, strict=True)), layout).to_bytes(8, "little")
                    for row in rows)


def table(curve, **changed):
    """A TABLE with its payload."""
    op = make(Opcode.TABLE, **{"n": 64, "low": -curve.offset, "wide": int(curve.wide)} | changed)
    return op.encode() + units(curve.values, isa.TABLE)


def product(dest, **fields):
    """A product of zeros, one row of eight columns, whose biases are :data:`T`."""
    op = make(Opcode.GEMM, **{"m": 1, "k": 1, "n": 8, "source_stride": 1, "dest": dest,
                              "dest_stride": 4, "path": Path.SITE, "layout": Layout.OPERAND8,
                              "weights": Source.STREAM, "high": 255, "gelu": 1,
                              "exponent_out": -5 << 10} | fields)
    columns = [[{"bias": t, "exponent": -3 << 10} for t in T[at:at + 4]] for at in (0, 4)]
    payload = b"".join(b"".join(pack(one, isa.COLUMN).to_bytes(8, "little") for one in part)
                       + bytes(4) for part in columns)
    return op.encode() + payload


def program_of(*parts):
    stream = b"".join((*parts, make(Opcode.STORE, words=1).encode(), make(Opcode.END).encode()))
    return Program(CONFIG, bytes(DATA) + stream, Region(DATA, len(stream)), Region(0, 0),
                   Region(0, DATA), 0, 1, 0, (), {})
