"""From a quantized network to a program of the core."""

from .cascade import compile_cascade
from .compiler import compile_network, compile_with_room
from .limits import DoesNotFit

__all__ = ["DoesNotFit", "compile_cascade", "compile_network", "compile_with_room"]
