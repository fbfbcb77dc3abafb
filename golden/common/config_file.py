"""The accelerator of a TOML file: its table ``[accelerator]`` names what differs from a core."""

from dataclasses import replace
from pathlib import Path

from .config import CORES, LIMITS, AcceleratorConfig
from .text import read_toml


def load_config(path: Path, base: AcceleratorConfig = CORES["8x16"]) -> AcceleratorConfig:
    """Return `base` changed by the ``[accelerator]`` table of the TOML file `path`.

    As in a core, ``lanes`` are as many as ``rows`` unless the table names them.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no TOML, or names a choice that does not exist or makes no sense.
    TypeError
        If a choice is no integer.
    """
    table = read_toml(path).get("accelerator", {})
    return config_from_table(_with_lanes(table, base), base)


def load_core(path: Path, base: AcceleratorConfig = CORES["8x16"]) -> AcceleratorConfig:
    """Return the core `base` changed by the ``[accelerator]`` table of the TOML file `path`.

    Raises what :func:`load_config` does, and :exc:`ValueError` if it would be no core.
    """
    return _core(load_config(path, base))


def config_from_table(table: dict, base: AcceleratorConfig = CORES["8x16"]) -> AcceleratorConfig:
    """Return `base` with the choices named in `table` replaced."""
    if not isinstance(table, dict):
        raise ValueError(f"accelerator must be a table, not {table!r}")
    unknown = sorted(set(table) - set(LIMITS))
    if unknown:
        raise ValueError(f"accelerator choices must be among {', '.join(LIMITS)}, "
                         f"not {unknown[0]!r}")
    return replace(base, **table)


def core_from_table(table: dict, base: AcceleratorConfig = CORES["8x16"]) -> AcceleratorConfig:
    """Return the core `base` with the choices named in `table` replaced.

    A core has as many lanes as rows, so that these need not be named.
    """
    return _core(config_from_table(_with_lanes(table, base), base))


def _with_lanes(table, base: AcceleratorConfig):
    """Return `table` with as many lanes as rows, if it names none."""
    return {"lanes": table.get("rows", base.rows), **table} if isinstance(table, dict) else table


def _core(config: AcceleratorConfig) -> AcceleratorConfig:
    config.check_core()
    return config
