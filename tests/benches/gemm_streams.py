"""Matrix products as the streams of :class:`rtl.product.mac_array.MacArray`, in packed integers."""

from dataclasses import dataclass

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.product.mac_array import Activation, gemm
from golden.product.operand_bytes import pack_activations, pack_weights, start_values
from golden.product.tiling import drain_cycles, tiles
from rtl.common.operands import TileActivation, TileMode
from rtl.product.mac_array import operand_beat_layout, tile_layout
from rtl.product.tile_drain import accumulators_layout


@dataclass(frozen=True)
class Product:
    """A matrix product (m, k) x (k, n) with the start values of its columns."""

    a: np.ndarray
    w: np.ndarray
    mode: Mode
    activation: Activation = Activation.SIGNED
    start: np.ndarray | None = None

    def name(self) -> str:
        (m, k), n = self.a.shape, self.w.shape[1]
        return f"{self.mode.value} {self.activation.value} {m}x{k}x{n}"

    def tiles(self, config: AcceleratorConfig) -> list[int]:
        """Packed payloads of the stream `tile`."""
        layout = tile_layout(config)
        starts = start_values(self.w, self.mode, self.activation, self.start, config)
        size = config.tile_cols(self.mode)
        unused = [0] * (layout["start"].shape.length - size)
        padded = np.append(starts, np.zeros(size, starts.dtype))
        return [layout.const({
            "mode": TileMode[self.mode.name],
            "activation": TileActivation[self.activation.name],
            "start": [*padded[col:col + size].tolist(), *unused],
        }).as_bits() for _, col in self._corners(config)]

    def beats(self, config: AcceleratorConfig) -> list[int]:
        """Packed payloads of the stream `i`."""
        layout = operand_beat_layout(config)
        places = [layout[name].offset for name in ("activations", "weights", "last")]
        beats = []
        for row, col in self._corners(config):
            a = self.a[row:row + config.tile_rows(self.mode)]
            w = self.w[:, col:col + config.tile_cols(self.mode)]
            a = pack_activations(a, self.mode, self.activation, config)
            w = pack_weights(w, self.mode, config)
            beats += [_joined(places, (_little(a[k]), _little(w[k]), k == len(a) - 1))
                      for k in range(len(a))]
        return beats

    def expected(self, config: AcceleratorConfig, codebook):
        """Result of the golden model."""
        return gemm(self.a, self.w, self.mode, self.activation,
                    codebook if self.activation is Activation.CODE else None, self.start, config)

    def beat_count(self, config: AcceleratorConfig) -> int:
        """Payloads of the stream `o`."""
        return len(self._corners(config)) * drain_cycles(self.mode, config)

    def result(self, beats: list[int], config: AcceleratorConfig):
        """Put the payloads of the stream `o` together, and check the marks of the last ones."""
        values, lasts = _split_results(beats, config)
        rows, cols = config.tile_rows(self.mode), config.tile_cols(self.mode)
        (m, _), n = self.a.shape, self.w.shape[1]
        corners = self._corners(config)
        out = np.zeros((m + rows, n + cols), np.int64)
        for (row, col), tile in zip(corners, values.reshape(len(corners), rows, cols), strict=True):
            out[row:row + rows, col:col + cols] = tile
        per_tile = drain_cycles(self.mode, config)
        assert lasts == [n % per_tile == per_tile - 1 for n in range(len(beats))]
        return out[:m, :n]

    def _corners(self, config):
        return list(tiles(len(self.a), self.w.shape[1], self.mode, config))


def _little(row) -> int:
    return int.from_bytes(row.tobytes(), "little")


def _joined(places, values) -> int:
    return sum(int(value) << place for place, value in zip(places, values, strict=True))


def _split_results(beats, config):
    """Return the values (beats, lanes) and marks of packed result payloads."""
    layout = accumulators_layout(config)
    values, last = layout["values"], layout["last"]
    size = values.shape.size // 8
    joined = b"".join(((bits >> values.offset) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
                      for bits in beats)
    return (np.frombuffer(joined, "<i4").reshape(len(beats), config.lanes),
            [bool(bits >> last.offset & 1) for bits in beats])


def check_products(products, beats, config, codebook):
    """Compare the payloads of the stream `o` with the golden model, product after product."""
    position = 0
    for number, product in enumerate(products):
        count = product.beat_count(config)
        actual = product.result(beats[position:position + count], config)
        position += count
        expected = product.expected(config, codebook)
        wrong = np.argwhere(actual != expected)
        assert not len(wrong), (
            f"#{number} {product.name()}, {len(wrong)} wrong: at {tuple(wrong[0].tolist())} "
            f"{actual[tuple(wrong[0])]} != {expected[tuple(wrong[0])]} (expected)")
    assert position == len(beats)
