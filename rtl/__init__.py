"""The accelerator's units in Amaranth, bit-exact with the functions of the same names in golden."""

from .cli import quiet_imports

quiet_imports()
