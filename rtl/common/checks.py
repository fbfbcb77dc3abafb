"""Checks of what components are made with."""

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory
from golden.soc.system import System

__all__ = ["check_config", "check_memory", "check_system"]


def check_config(config: AcceleratorConfig, *, core: bool = False) -> None:
    """Raise :exc:`TypeError` if `config` is no configuration.

    With `core`, raise :exc:`ValueError`, too, unless it is one of a whole core.
    """
    if not isinstance(config, AcceleratorConfig):
        raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
    if core:
        config.check_core()


def check_memory(memory: SdramMemory) -> None:
    """Raise :exc:`TypeError` if `memory` is none of a board."""
    if not isinstance(memory, SdramMemory):
        raise TypeError(f"memory must be an SdramMemory, not {memory!r}")


def check_system(system: System) -> None:
    """Raise :exc:`TypeError` if `system` is none."""
    if not isinstance(system, System):
        raise TypeError(f"system must be a System, not {system!r}")
