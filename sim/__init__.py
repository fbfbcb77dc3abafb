"""Models, recorded activations, estimates: the side of the project that may use floats."""

from rtl.cli import quiet_imports

quiet_imports()
