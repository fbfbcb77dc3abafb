"""Cores for tests."""

from golden.common.config import AcceleratorConfig

SMALLEST = AcceleratorConfig(4, 8, lanes=4, scale_lanes=1, sram_kib=8, bus_bytes=8, max_k=64,
                             max_tokens=64, max_channels=64, range_entries=64,
                             max_statistics=64, max_projected=4, max_monomials=8, max_sites=64,
                             stream_words=256, key_words=32)
"""As little as the networks of :mod:`.networks` need: it is built in a fraction of the time."""
