"""Files with what was made of cores: what syntheses and placements have in common."""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

from golden.common.config import CORES, AcceleratorConfig
from golden.common.config_file import core_from_table

from ..cli import one_line, whole_file

BASE = "8x16"

Known = dict[AcceleratorConfig, dict]
"""What is known of cores."""


def core(text: str) -> AcceleratorConfig:
    """Argument type: a core like ``4x8:sram_kib=96``, what is not said being that of 8x16."""
    size, *rest = text.split(":")
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    pairs = [re.fullmatch(r"(\w+)=(\d+)", part) for part in rest]
    if match is None or None in pairs:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLS[:CHOICE=NUMBER...], not {text!r}")
    table = {"rows": int(match[1]), "cols": int(match[2])}
    try:
        return core_from_table(table | {pair[1]: int(pair[2]) for pair in pairs}, CORES[BASE])
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(one_line(error)) from None


def read(path: Path, kind: str, what: str) -> Known:
    """Return `what` is said of each core of a file of a kind; nothing if there is no such file."""
    if not path.exists():
        return {}
    return {AcceleratorConfig(**one["config"]): one[what]
            for one in json.loads(path.read_text())[kind]}


def write(path: Path, command: str, kind: str, what: str, known: Known) -> None:
    """Write a file that :func:`read` takes, the smallest array first."""
    rows = [{"config": asdict(config), what: found} for config, found in
            sorted(known.items(), key=lambda item: (item[0].multipliers, item[0].sram_kib))]
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"command": command, kind: rows}, indent=1) + "\n")
