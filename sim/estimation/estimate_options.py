"""Options of ``sim.estimate``, typed or from a TOML file."""

import argparse
import re
from pathlib import Path

from golden.common.config import CORES, AcceleratorConfig
from golden.common.formats import Mode
from golden.common.text import read_toml
from golden.cycles.memory_model import USUAL
from golden.network.precision import LAYERS
from golden.soc.boards import BOARDS

from ..cli import UserError, one_line, one_of, positive, positive_float, widths
from . import scalesim
from .costs import SCALES
from .energy import NODES

STDOUT = "-"
ALL = "all"
DEFAULTS = {"model": "deit_t", "array": "8x16", "bits": "w8a8", "clock": 100.0, "tech": "28nm",
            "scales": "predicted", "dataflow": "os", "mapping": "auto"}
_ONLY_OURS = ("bits", "clock", "dram_bandwidth", "tech", "scales", "mapping", "latency",
              "memory", "layers")
_OF_FILES = ("model", "image_size", "program", "latency", "memory", "mapping", "scales",
             "trace_events")
"""Options that have no meaning for a file of products."""

_OF_MODELS = ("model", "image_size", "array", "bits", "scales", "mapping", "compat", "dataflow")


def _array(text: str) -> str:
    if text in CORES:
        return text
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if size is None:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLS or one of {', '.join(CORES)}, not {text!r}")
    try:
        AcceleratorConfig.for_array(int(size[1]), int(size[2]))
    except ValueError as error:
        raise argparse.ArgumentTypeError(one_line(error)) from None
    return text


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong with the options in one line."""

    def error(self, message):
        raise UserError(message)


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=prog, description=description)
    add = parser.add_argument
    add("--model", metavar="NAME",
        help="short name (deit_t, deit_s, vit_b, swin_t, ...) or any timm model (default: deit_t)")
    add("--image-size", type=positive, metavar="N",
        help="images of N x N pixels (default: as the model takes them)")
    add("--program", type=Path, metavar="DIR",
        help="what sim.compile has written, instead of a model: cycles of the RTL")
    add("--exited", action="store_true",
        help="with --program of a cascade: the run of an image that its first network answers")
    add("--workload", type=Path, metavar="FILE",
        help="the products of a SCALE-Sim topology (.csv) or of a network in ONNX (.onnx) instead "
             "of a model: a generic mapping, static scales")
    add("--latency", type=positive, metavar="CYCLES",
        help=f"of the external memory; generic mappings know none (default: {USUAL.latency})")
    add("--memory", type=one_of(*BOARDS), metavar="BOARD",
        help=f"external memory, of a board, to the cycle: {', '.join(BOARDS)}")
    add("--mapping", type=one_of("auto", "generic"), metavar="KIND",
        help="generic: of layer shapes; auto: as compiled, where that is possible (default: auto)")
    add("--array", type=_array, metavar="RxC",
        help=f"multipliers, rows x columns, or one of {', '.join(CORES)} (default: 8x16)")
    add("--bits", type=widths(*(mode.value for mode in Mode)), metavar="BITS",
        help="w8a8, w4a8 or w4a4, and what differs behind it, like w4a4,0=w8a8,3-4.fc1=w4a8: "
             "blocks, and layers among " + ", ".join(LAYERS) + " (default: w8a8)")
    add("--clock", type=positive_float, metavar="MHZ", help="clock in MHz (default: 100)")
    add("--dram-bandwidth", type=positive_float, metavar="GB/S",
        help="of the external memory, at most what the bus carries (default: as much)")
    add("--tech", type=one_of(*NODES), metavar="NODE",
        help=f"process of the energies: {', '.join(NODES)} (default: 28nm)")
    add("--scales", type=one_of(*SCALES, ALL), metavar="KIND",
        help="static, predicted, jit (measured per image at every site), or all of them side by "
             "side (default: predicted)")
    add("--layers", action="store_true", default=None,
        help="show every layer instead of adding up those alike")
    add("--config", type=Path, metavar="FILE",
        help="TOML file with tables [accelerator] and [estimate]; options here come first")
    add("--json", nargs="?", const=STDOUT, metavar="FILE",
        help="write everything as JSON; without FILE, print it instead of the tables")
    add("--csv", metavar="FILE", help="write a line per layer; -: print them instead")
    add("--topology", type=Path, metavar="FILE",
        help="write the products as a SCALE-Sim topology (-i gemm), a line each")
    add("--products", type=Path, metavar="FILE",
        help="write what each line of the topology costs, as CSV with SCALE-Sim's LayerID")
    add("--trace-events", type=Path, metavar="FILE",
        help="write when each unit is at work, as a trace for Perfetto or chrome://tracing")
    add("--compat", type=one_of("scalesim"), metavar="TOOL",
        help="scalesim: map as SCALE-Sim 3.0.0 does")
    add("--dataflow", type=one_of(*scalesim.DATAFLOWS), metavar="FLOW",
        help="os, ws or is, with --compat scalesim (default: os)")
    return parser


def _read_config(path: Path) -> dict:
    """Return the tables of a configuration file."""
    try:
        tables = read_toml(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {one_line(error)}") from None
    for name, table in tables.items():
        if name not in ("accelerator", "estimate") or not isinstance(table, dict):
            raise UserError(f"{path} may have tables [accelerator] and [estimate], not {name!r}")
    return tables


def _file_options(path: Path, table: dict, parser: argparse.ArgumentParser) -> dict:
    """Return the options in the ``[estimate]`` table of `path`, checked like those typed."""
    actions = {action.dest: action for action in parser._actions
               if action.dest not in ("help", "config")}
    options = {}
    for key, value in table.items():
        action = actions.get(key.replace("-", "_"))
        if action is None:
            known = ", ".join(sorted(actions))
            raise UserError(f"{path}: options must be among {known}, not {key!r}")
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"{path}: {key} must be true or false, not {value!r}")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{path}: {key} must be text or a number, not {value!r}")
        else:
            try:
                value = (action.type or str)(str(value))
            except argparse.ArgumentTypeError as error:
                raise UserError(f"{path}: {key} {error}") from None
        options[action.dest] = value
    return options


def _check_trace(args) -> None:
    """Refuse a trace of what has no cycles, or of more than one program."""
    for given, what in ((args.mapping == "generic", "mapping generic"), (args.compat, "compat"),
                        (args.scales == ALL, "scales all")):
        if given:
            raise UserError(f"--trace-events has no meaning with --{what}")


def resolve(argv: list[str] | None, prog: str, description: str) -> tuple[argparse.Namespace, dict]:
    """Return the options, typed ones before those of the file, and the accelerator's choices.

    An array that was typed comes before the rows and columns of the file.

    Raises
    ------
    UserError
        If an option, or the file, is wrong.
    """
    parser = _parser(prog, description)
    args = parser.parse_args(argv)
    tables = _read_config(args.config) if args.config else {}
    typed_array = args.array is not None
    options = _file_options(args.config, tables.get("estimate", {}), parser)
    for name, value in options.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.compat:
        given = [name for name in _ONLY_OURS if getattr(args, name)]
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} has no meaning with --compat")
    elif args.dataflow:
        raise UserError("--dataflow needs --compat scalesim")
    if args.exited and not args.program:
        raise UserError("--exited needs --program")
    if args.program:
        given = [name for name in _OF_MODELS if getattr(args, name)]
        if given or tables.get("accelerator"):
            what = f"--{given[0].replace('_', '-')}" if given else "[accelerator]"
            raise UserError(f"{what} has no meaning with --program")
    if args.workload:
        given = [name for name in _OF_FILES if getattr(args, name)]
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} has no meaning with --workload")
        args.scales, args.mapping = "static", "generic"
    if args.scales == ALL and (args.topology or args.products):
        given = "topology" if args.topology else "products"
        raise UserError(f"--{given} has no meaning with --scales all")
    if args.compat and args.products:
        raise UserError("--products has no meaning with --compat")
    if args.memory:
        given = [name for name in ("latency", "dram_bandwidth") if getattr(args, name)]
        if given or args.mapping == "generic":
            what = given[0].replace("_", "-") if given else "mapping generic"
            raise UserError(f"--{what} has no meaning with --memory")
        args.clock = args.clock or BOARDS[args.memory].clock_hz / 1e6
    if args.trace_events:
        _check_trace(args)
    if args.json == args.csv == STDOUT:
        parser.error("--json and --csv cannot both be printed; name a file for one of them")
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    choices = {key: value for key, value in tables.get("accelerator", {}).items()
               if not (typed_array and key in ("rows", "cols"))}
    return args, choices
