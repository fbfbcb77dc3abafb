"""What models of timm's cost on one core: cycles, frames per second, utilisation, traffic, plan.

Each is estimated by ``python -m sim.estimate`` in a process of its own: exactly, as compiled, where
the core can run it; otherwise by the generic mapping, and what is missing is named.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from golden.soc.boards import BOARDS
from sim.cli import UserError, command, positive, progress, whole_file
from sim.common.tables import show, table_of
from sim.compiler.plan import plan_line

PROG = "python -m benchmarks.models"

MODELS = (
    "deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224",
    "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "vit_tiny_patch16_224",
    "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224",
    "vit_base_patch32_224", "vit_tiny_patch16_384", "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2", "beit_base_patch16_224", "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224", "swin_base_patch4_window7_224", "vit_base_patch16_clip_224",
    "vit_base_patch16_siglip_224")

COLUMNS = ["model", "bits", "GMAC", "Mcycles", "fps", "array", "MB", "mapping"]


def estimated(model: str, bits: str, options: list[str]) -> dict:
    """Return a row of the table.

    Raises
    ------
    UserError
        If there is no estimate: why.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "estimate.json"
        call = [sys.executable, "-m", "sim.estimate", "--model", model, "--bits", bits, "--scales",
                "static", "--json", str(out)]
        run = subprocess.run([*call, *options], capture_output=True, text=True)
        if run.returncode and "needs a compiled program" in run.stderr:
            run = subprocess.run([*call, *_without_memory(options)], capture_output=True, text=True)
        if run.returncode:
            said = run.stderr.strip().splitlines() or [f"ended with status {run.returncode}"]
            raise UserError(f"{model} {bits}: {said[-1]}")
        found = json.loads(out.read_text())
    totals = found["totals"]
    plan = found.get("program", {}).get("plan")
    mapping = (f"generic: {found['not_compiled']}" if found["mapping"] == "generic"
               else plan_line(plan) if plan else "as a whole")
    return {"model": model, "bits": bits, "macs": totals["macs"], "cycles": totals["cycles"],
            "fps": totals["fps"], "array_utilisation": totals["array_utilisation"],
            "dram_bytes": totals["dram_bytes"], "mapping": mapping}


def _without_memory(options: list[str]) -> list[str]:
    """Return options for the generic estimate, which knows no memory of a board: its clock."""
    if "--memory" not in options:
        return options
    at = options.index("--memory")
    clock = [] if "--clock" in options else [
        "--clock", f"{BOARDS[options[at + 1]].clock_hz / 1e6:g}"]
    return options[:at] + options[at + 2:] + clock


def cells(row: dict) -> list[str]:
    """Return a row as text, in the order of :data:`COLUMNS`."""
    return [row["model"], row["bits"].upper(), f"{row['macs'] / 1e9:.2f}",
            f"{row['cycles'] / 1e6:#.4g}", f"{row['fps']:.2f}",
            f"{100 * row['array_utilisation']:.1f} %", f"{row['dram_bytes'] / 1e6:,.1f}",
            row["mapping"]]


def markdown(rows: list[dict]) -> str:
    """Return a table for a document."""
    lines = [COLUMNS, ["---"] * 2 + ["---:"] * 5 + ["---"], *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measure(models: list[str], bits: list[str], options: list[str], workers: int,
            progress: Callable) -> tuple[list[dict], UserError | None]:
    """Return the rows of all models, for all widths; and the first error, if there are some: a
    model that has none keeps no other from having its rows.
    """
    jobs = [(model, width) for model in models for width in bits]
    rows, first = [], None
    with ThreadPoolExecutor(workers) as pool:
        results = [pool.submit(estimated, *job, options) for job in jobs]
        for one in progress(results, "Estimating"):
            try:
                rows.append(one.result())
            except UserError as error:
                first = first or error
    return rows, first


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME")
    parser.add_argument("--bits", default="w8a8,w4a4", metavar="LIST", help="widths, by commas")
    parser.add_argument("--array", default="8x16", help="the core (%(default)s)")
    parser.add_argument("--memory", metavar="BOARD", help="external memory of a board")
    parser.add_argument("--clock", type=float, metavar="MHZ")
    parser.add_argument("--workers", type=positive, default=1, metavar="N",
                        help="estimates at a time (%(default)s); large models take some GB each")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    options = ["--array", args.array]
    for name in ("memory", "clock"):
        if getattr(args, name) is not None:
            options += [f"--{name}", str(getattr(args, name))]
    rows, error = measure(args.models, args.bits.split(","), options, args.workers, progress)
    if not rows:
        raise error
    for path, text in ((args.json, json.dumps(rows, indent=2) + "\n"),
                       (args.markdown, markdown(rows))):
        if path is not None:
            with whole_file(path) as temporary:
                temporary.write_text(text)
    console = Console(highlight=False)
    show(console, table_of("Models", COLUMNS, [cells(row) for row in rows], console.width,
                           [[7], [6], [2], [4]]))
    if error is not None:
        raise error
    return 0


if __name__ == "__main__":
    sys.exit(main())
