"""From a quantized network to a program of the core."""

from .compiler import compile_network, compile_with_room
from .limits import DoesNotFit

__all__ = ["DoesNotFit", "compile_network", "compile_with_room"]
