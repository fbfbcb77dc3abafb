"""Checks of what components are made with."""

from golden.common.config import AcceleratorConfig

__all__ = ["check_config"]


def check_config(config: AcceleratorConfig, *, core: bool = False) -> None:
    """Raise :exc:`TypeError` if `config` is no configuration.

    With `core`, raise :exc:`ValueError`, too, unless it is one of a whole core.
    """
    if not isinstance(config, AcceleratorConfig):
        raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
    if core:
        config.check_core()
