"""Payloads of instructions, as they lie in the stream: constants in units, weights in tiles."""

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import UNIT_BYTES
from golden.core.program import align
from golden.network.network import Linear
from golden.product.mac_array import Activation
from golden.product.operand_bytes import pack_weights, start_values


def units_of(units, layout: dict, config: AcceleratorConfig) -> bytes:
    """Return units as a part of a payload."""
    data = b"".join(pack(unit, layout).to_bytes(UNIT_BYTES, "little") for unit in units)
    return data.ljust(align(len(data), config), b"\0")


def numbers_of(values, layout: dict, config: AcceleratorConfig) -> bytes:
    """Return numbers as a part of a payload, as many to a unit as `layout` has fields."""
    flat = np.asarray(values, np.int64).reshape(-1)
    rows = np.pad(flat, (0, -flat.size % len(layout))).reshape(-1, len(layout))
    return units_of([dict(zip(layout, row, strict=True)) for row in rows.tolist()], layout, config)


def weights_of(layer: Linear, mode: Mode, activation: Activation, cols: slice,
               config: AcceleratorConfig, coarse: np.ndarray | None = None) -> bytes:
    """Return the payload of a product: tile column after tile column.

    `coarse` says of each output whether its column is, as in :mod:`golden.results.gelu`.
    """
    weight = layer.weight[:, cols].astype(np.int64)
    start = start_values(weight, mode, activation, config=config)
    exponent, bias = layer.exponent[cols], layer.bias[cols]
    flags = np.zeros_like(start) if coarse is None else coarse[cols]
    tile, parts = config.tile_cols(mode), []
    for first in range(0, weight.shape[1], tile):
        part = slice(first, first + tile)
        units = [{"exponent": int(e), "bias": int(b), "start": int(s), "coarse": int(flag)}
                 for e, b, s, flag in zip(exponent[part], bias[part], start[part], flags[part],
                                          strict=True)]
        parts += [units_of(units + [{}] * (tile - len(units)), isa.COLUMN, config),
                  pack_weights(weight[:, part], mode, config).tobytes()]
    return b"".join(parts)
