"""Write the Verilog of the accelerator's units.

    python -m rtl.export --config 8x16 --out build/verilog
    python -m rtl.export requant exp2

Each unit becomes one file, ``vernier_UNIT.v``, with a top module of the same name. Ports: ``clk``,
synchronous active-high ``rst``, and for each stream ``S`` of the unit ``S__payload``,
``S__valid`` and ``S__ready``; a payload is one vector, its first field in the low bits.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import Const, Value
from amaranth.lib.wiring import Component

from golden.common.config import CORES, AcceleratorConfig
from golden.common.config_file import load_config

from .cli import Parser, command, printable
from .common.exp2 import Exp2
from .core.core import Core
from .fpga.files import write_whole
from .prediction.range_unit import RangeUnit
from .prediction.scale_unit import ScaleUnit
from .product.mac_array import MacArray
from .results.gelu import Gelu
from .results.requant import Requant
from .rows.layernorm import LayerNorm
from .rows.softmax import Softmax

PROG = "python -m rtl.export"

UNITS: dict[str, Callable[[AcceleratorConfig], Component]] = {
    "range_unit": RangeUnit,
    "scale_unit": ScaleUnit,
    "mac_array": MacArray,
    "requant": Requant,
    "exp2": lambda config: Exp2(),
    "layernorm": LayerNorm,
    "softmax": Softmax,
    "gelu": Gelu,
    "core": Core,
}
"""How each unit is made from a configuration."""

PREFIX = "vernier_"


def unit_verilog(unit: str, config: AcceleratorConfig) -> str:
    """Return the Verilog of a unit in :data:`UNITS`; its top module is ``vernier_UNIT``.

    Raises
    ------
    ValueError
        If there is no core of this configuration (see :meth:`AcceleratorConfig.check_core`).
    """
    text = verilog.convert(UNITS[unit](config), name=PREFIX + unit, emit_src=False,
                           strip_internal_attrs=True)
    return _header(unit, config) + text


def ports_of(unit: Component) -> dict:
    """Return the ports of a unit, for Amaranth's back ends.

    What is constant, like `ready` of some streams, is none.
    """
    ports = {"__".join(map(str, path)): (Value.cast(value), None)
             for path, _, value in unit.signature.flatten(unit)}
    return {name: port for name, port in ports.items() if not isinstance(port[0], Const)}


def _header(unit: str, config: AcceleratorConfig) -> str:
    try:
        release = version("vernier")
    except PackageNotFoundError:  # run from a source tree that was never installed
        release = "from source"
    choices = [f"{name} = {value}" for name, value in asdict(config).items()]
    return "\n".join([f"// vernier {release}: {unit} (SPDX-License-Identifier: Apache-2.0)",
                      *(f"//   {', '.join(choices[at:at + 5])}"
                        for at in range(0, len(choices), 5)), ""])


def _config(text: str) -> AcceleratorConfig:
    if text in CORES:
        return CORES[text]
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(CORES)} or a TOML file, not {text!r}")
    try:
        return load_config(Path(text))
    except (OSError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise argparse.ArgumentTypeError(f"cannot use {text}: {message}") from None


def _unit(text: str) -> str:
    if text not in UNITS:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(UNITS)}, not {text!r}")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("units", nargs="*", type=_unit, metavar="UNIT",
                        help=f"what to write, among {', '.join(UNITS)} (all)")
    parser.add_argument("--config", type=_config, default="8x16", metavar="NAME|FILE",
                        help=f"configuration: {', '.join(CORES)}, or a TOML file with a table "
                             "[accelerator] (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/verilog"), metavar="DIR",
                        help="directory to write to (%(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        sources = {args.out / f"{PREFIX}{unit}.v": unit_verilog(unit, args.config).encode()
                   for unit in args.units or UNITS}
    except ValueError as error:
        parser.error(f"cannot make the units of this configuration: {error}")
    for path, source in sources.items():
        write_whole(path, source)
        print(printable(f"{path}  {len(source):,} bytes"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
