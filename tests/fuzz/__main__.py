"""Mutants of every kind of file, read as the product reads them.

``python -m tests.fuzz --seed 1 --count 10000`` takes so many of each kind and prints what came of
them. A failing one is the same again with ``--kind NAME --seed SEED --first INDEX --count 1``.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from tests.fuzz.faults import Fault
from tests.fuzz.kinds import KINDS, run


def run_all(names, seed: int, first: int, count: int) -> tuple[dict[str, Counter], list[str]]:
    """Run mutants of each kind; return what came of them, by kind, and the faults."""
    outcomes, faults = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            outcomes[name] = Counter()
            for index in range(first, first + count):
                try:
                    outcome = run(name, seed, index, place)
                except Fault as fault:
                    outcome = "faults"
                    faults.append(str(fault))
                outcomes[name][outcome] += 1
    return outcomes, faults


def main(argv=None) -> int:
    """Run the command; its status is 1 if a mutant is neither refused nor used."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(
        "Damage files and read them."))
    parser.add_argument("--seed", type=int, metavar="N", help="of all mutants (default: the time)")
    parser.add_argument("--count", type=int, metavar="N", default=1000,
                        help="mutants of each kind (default: %(default)s)")
    parser.add_argument("--first", type=int, metavar="N", default=0,
                        help="index of the first (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, action="append",
                        help="this kind only; may be given several times")
    args = parser.parse_args(argv)
    seed = int(time.time()) if args.seed is None else args.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    warnings.simplefilter("error")  # what a reader warns of is printed to the user, too
    outcomes, faults = run_all(args.kind or KINDS, seed, args.first, args.count)
    for name, counted in outcomes.items():
        print(f"{name:<12}" + ", ".join(f"{number} {outcome}"
                                        for outcome, number in sorted(counted.items())))
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
