# amaranth: UnusedElaboratable=no
"""Write the Verilog of the accelerator's units, or of a whole core at a bus.

    python -m rtl.export --config 8x16 --out build/verilog
    python -m rtl.export requant exp2
    python -m rtl.export --core 8x16 --bus axi4 --out build/axi4

Each unit becomes one file, ``vernier_UNIT.v``, with a top module of the same name. Ports: ``clk``,
synchronous active-high ``rst``, and for each stream ``S`` of the unit ``S__payload``,
``S__valid`` and ``S__ready``; a payload is one vector, its first field in the low bits.

With ``--bus`` there is one file ``vernier_BUS.v``, with the registers beside it (a C header, a
Python file, a CMSIS-SVD file and a page of text) and a driver in C (docs/integration.md). Ports of
``axi4`` are ``m_axi_*`` (AXI4), ``s_axi_*`` (AXI4-Lite), ``aclk``, active-low ``aresetn`` and
``irq``; of ``wishbone`` ``m_wb_*``, ``s_wb_*``, ``clk``, ``rst`` and ``irq``; of ``neutral`` those
of :class:`.soc.controlled_core.ControlledCore`, behind which 64 requests at most may await their
answers.
"""

import argparse
import re
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
from golden.soc.register_files import FILES
from golden.soc.system import ADDRESS_BITS, MOST_HERTZ, MOST_MEMORY, System

from .bus.accelerator import FLIGHT, AxiAccelerator, WishboneAccelerator
from .cli import Parser, command, printable
from .common.exp2 import Exp2
from .core.core import Core
from .fpga.files import write_whole
from .integration.drivers import drivers
from .prediction.range_unit import RangeUnit
from .prediction.scale_unit import ScaleUnit
from .product.mac_array import MacArray
from .results.gelu import Gelu
from .results.requant import Requant
from .rows.layernorm import LayerNorm
from .rows.softmax import Softmax
from .soc.controlled_core import ControlledCore

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

BUSES: dict[str, Callable[[System], Component]] = {
    "axi4": AxiAccelerator,
    "wishbone": WishboneAccelerator,
    "neutral": lambda system: ControlledCore(system, flight=FLIGHT),
}
"""How a core is made at each bus."""

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


def bus_files(bus: str, system: System) -> dict[str, str]:
    """Return the files of a core at a bus in :data:`BUSES`, by their names.

    Raises
    ------
    ValueError
        If there is no such core, or its memory cannot be at the bus.
    """
    made = BUSES[bus](system)
    ports = made.ports() if hasattr(made, "ports") else ports_of(made)
    text = attributed(verilog.convert(made, name=PREFIX + bus, emit_src=False,
                                      strip_internal_attrs=True, ports=ports), ports)
    attributes = "; its attributes were not run in Vivado" if bus == "axi4" else ""
    return {f"{PREFIX}{bus}.v": _header(bus, system.config, attributes) + text,
            **{name: file(system) for name, file in FILES.items()}, **drivers(bus)}


def attributed(text: str, ports: dict) -> str:
    """Return Verilog whose ports have their own attributes: yosys gives those that are the same
    constant the attributes of one of them.
    """
    for name, (port, _) in ports.items():
        attributes = getattr(port, "attrs", {})
        lines = "".join(f'  (* {key} = "{value}" *)\n' for key, value in attributes.items())
        text = re.sub(rf"(?:^ *\(\*.*\*\)\n)*(^ +(?:in|out)put (?:\[.*?\] )?{name};)",
                      lambda found, lines=lines: lines + found[1], text, count=1,
                      flags=re.MULTILINE)
    return text


def ports_of(unit: Component) -> dict:
    """Return the ports of a unit, for Amaranth's back ends.

    What is constant, like `ready` of some streams, is none.
    """
    ports = {"__".join(map(str, path)): (Value.cast(value), None)
             for path, _, value in unit.signature.flatten(unit)}
    return {name: port for name, port in ports.items() if not isinstance(port[0], Const)}


def _header(unit: str, config: AcceleratorConfig, more: str = "") -> str:
    try:
        release = version("vernier")
    except PackageNotFoundError:  # run from a source tree that was never installed
        release = "from source"
    choices = [f"{name} = {value}" for name, value in asdict(config).items()]
    return "\n".join([f"// vernier {release}: {unit} (SPDX-License-Identifier: Apache-2.0){more}",
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


def _within(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be within {low}..{high}, not {text!r}")
        return int(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("units", nargs="*", type=_unit, metavar="UNIT",
                        help=f"what to write, among {', '.join(UNITS)} (all)")
    parser.add_argument("--config", "--core", type=_config, default="8x16", metavar="NAME|FILE",
                        help=f"configuration: {', '.join(CORES)}, or a TOML file with a table "
                             "[accelerator] (%(default)s)")
    parser.add_argument("--bus", choices=BUSES, metavar="BUS",
                        help=f"write a whole core at a bus instead: {', '.join(BUSES)}")
    parser.add_argument("--address-bits", type=_within(*ADDRESS_BITS), default=64, metavar="N",
                        help="width of addresses of the bus that memory is on (%(default)s)")
    parser.add_argument("--clock-hz", type=_within(0, MOST_HERTZ), default=0, metavar="HZ",
                        help="what the register CLOCK_HZ says; 0 if not known (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/verilog"), metavar="DIR",
                        help="directory to write to (%(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.units and args.bus:
        parser.error("argument --bus: must not be given with units")
    try:
        if args.bus:
            sources = bus_files(args.bus, System(args.config, args.clock_hz, MOST_MEMORY,
                                                 args.address_bits))
        else:
            sources = {f"{PREFIX}{unit}.v": unit_verilog(unit, args.config)
                       for unit in args.units or UNITS}
    except ValueError as error:
        parser.error(f"cannot make the units of this configuration: {error}")
    for name, source in sources.items():
        path, content = args.out / name, source.encode()
        write_whole(path, content)
        print(printable(f"{path}  {len(content):,} bytes"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
