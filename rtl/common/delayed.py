"""Registers in a row."""

from amaranth.hdl import Signal

__all__ = ["delayed"]


def delayed(m, value, name: str, cycles: int, attrs: dict | None = None):
    """Return `value` as it was `cycles` cycles ago; zero before. The registers have `attrs`."""
    for cycle in range(cycles):
        register = Signal.like(value, name=f"{name}_{cycle}", attrs=attrs)
        m.d.sync += register.eq(value)
        value = register
    return value
