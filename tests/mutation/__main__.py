"""Mutants of golden and rtl, chosen over all their units, and which of them the tests notice.

``python -m tests.mutation --seed 1 --count 100`` prints a line for each and the survivors last;
exit status 1 if more than one in twenty survives. With ``--out FILE`` it goes on where it was
stopped. Takes a minute or two for each mutant, more for those that live long.
"""

import argparse
import json
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from tests.mutation.mutants import Mutant, choose
from tests.mutation.runs import ROOT, Copy, Verdict

SHARE = 0.95
"""Of the mutants, so many must be caught."""

APART = ("rtl/boards", "rtl/fpga", "rtl/build.py", "rtl/export.py", "rtl/utilisation.py",
         "rtl/cli.py")
"""Command lines and tables of pins: not what a core does."""


def units() -> list[Path]:
    """Return the files of golden and rtl that hold a unit."""
    return [file for package in ("golden", "rtl") for file in (ROOT / package).rglob("*.py")
            if file.name != "__init__.py"
            and not file.relative_to(ROOT).as_posix().startswith(APART)]


def _read(path: Path | None) -> list[Verdict]:
    if path is None or not path.exists():
        return []
    lines = map(json.loads, path.read_text().splitlines())
    return [Verdict(Mutant(**line.pop("mutant")), **line) for line in lines]


def run(chosen: list[Mutant], jobs: int, out: Path | None) -> list[Verdict]:
    """Try mutants, `jobs` at a time; print a line for each that is done, and keep it in a file."""
    wanted = set(chosen)
    verdicts = [one for one in _read(out) if one.mutant in wanted]
    done = {one.mutant for one in verdicts}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copies = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(Path(folder) / str(number)))

        def attempt(mutant: Mutant) -> Verdict:
            copy, start = copies.get(), time.monotonic()
            try:
                return Verdict(mutant, copy.noticed(mutant), time.monotonic() - start)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(jobs) as pool:
            for job in as_completed([pool.submit(attempt, one) for one in chosen
                                     if one not in done]):
                verdicts.append(job.result())
                print(verdicts[-1], flush=True)
                if out is not None:
                    with out.open("a") as file:
                        file.write(json.dumps(asdict(verdicts[-1])) + "\n")
    return verdicts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the choice (default: %(default)s)")
    parser.add_argument("--count", type=int, default=100,
                        help="mutants, evenly over all units (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file of verdicts, one JSON object a line")
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    args = parser.parse_args(argv)
    chosen = choose(ROOT, units(), args.seed, args.count)
    if args.list:
        print(*chosen, sep="\n")
        return 0
    verdicts = run(chosen, args.jobs, args.out)
    survivors = [one.mutant for one in verdicts if one.noticed is None]
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} mutants caught, over "
          f"{len({one.mutant.path for one in verdicts})} files")
    print(*survivors, sep="\n")
    return 0 if len(survivors) <= (1 - SHARE) * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
