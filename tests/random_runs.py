"""Random programs on the RTL, checked after every instruction, and what they have covered.

``python -m tests.random_runs --seed 1 --instructions 4000`` runs them on several cores and prints
the coverage, with ``--markdown`` as docs/verification.md has it. A program of a given seed is the
same again with ``--seed SEED --instructions 1 --core NAME``.
"""

import argparse
import sys
import time

import numpy as np

from golden.common.config import CORES, AcceleratorConfig
from sim.harness import verilator
from sim.harness.disturbance import REGULAR, Disturbance
from tests.cases.coverage import Coverage
from tests.cases.programs import random_program

CORE_4X8 = AcceleratorConfig(4, 8, lanes=4, scale_lanes=2, sram_kib=64)
CONFIGS = {
    "4x4": CORES["4x4"],
    "4x8": CORE_4X8,
    "4x8-small": AcceleratorConfig(4, 8, lanes=4, scale_lanes=2, sram_kib=32, bus_bytes=8,
                                   stream_words=256, key_words=24),
    "8x16": CORES["8x16"],
}
"""Cores by name; the small one has a short ring and few keys, and a wider port."""

LATENCIES = (1, 2, 5, 20, 70)
BANDWIDTHS = (0.5, 1, 3, 4, 16)
INSTRUCTIONS = 40
"""Random instructions of a program."""


def memory_of(seed: int) -> dict:
    """Return latency and bandwidth of external memory for the program of a seed."""
    draw = np.random.default_rng([seed, 1])
    return {"latency": int(draw.choice(LATENCIES)), "bandwidth": float(draw.choice(BANDWIDTHS))}


def disturbance_of(seed: int) -> Disturbance:
    """Return what disturbs external memory for the program of a seed: nothing, every other time."""
    draw = np.random.default_rng([seed, 2])
    if draw.random() < 0.5:
        return REGULAR
    interval = int(draw.integers(20, 400))
    refresh = (interval, int(draw.integers(1, interval // 2)))
    return [Disturbance(seed), Disturbance(None, *refresh),
            Disturbance(seed, *refresh)][draw.integers(3)]


def run(name: str, seed: int, coverage: Coverage, instructions: int = INSTRUCTIONS) -> int:
    """Run the program of a seed on a core; return its instructions.

    Raises
    ------
    AssertionError
        If RTL and golden differ: says where, and which seed it was.
    """
    program = random_program(seed, CONFIGS[name], instructions)
    memory = memory_of(seed)
    disturbance = disturbance_of(seed)
    result = verilator.run(program, check=True, disturbance=disturbance, **memory)
    assert result.ok, (f"seed {seed} on {name}, {memory}, {disturbance}: "
                       f"{result.message or result.outcome}")
    coverage.add(program, result, **memory)
    return len(program.instructions())


def run_all(names, seed: int, instructions: int, coverage: Coverage) -> int:
    """Run programs on one core after the other, at least so many instructions in all."""
    done = 0
    while done < instructions:
        for name in names:
            done += run(name, seed, coverage)
        seed += 1
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.random_runs", description=(
        "Run random programs on the RTL and print what they covered."))
    parser.add_argument("--seed", type=int, metavar="N", default=None,
                        help="of the first program (default: the time)")
    parser.add_argument("--instructions", type=int, metavar="N", default=8000,
                        help="at least so many (default: %(default)s)")
    parser.add_argument("--core", choices=CONFIGS, action="append",
                        help="on this core only; may be given several times")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    return parser


def main(argv=None) -> int:
    """Run the command; its status is 1 if a bin was missed."""
    args = _parser().parse_args(argv)
    seed = int(time.time()) if args.seed is None else args.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    coverage = Coverage()
    done = run_all(args.core or CONFIGS, seed, args.instructions, coverage)
    print("\n".join(coverage.markdown() if args.markdown else coverage.table()))
    print(f"{done} instructions, seed {seed}", file=sys.stderr)
    return 1 if coverage.missing() else 0


if __name__ == "__main__":
    sys.exit(main())
