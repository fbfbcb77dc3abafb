"""Golden's kernels with numba's bounds checks, in a process of its own.

``python -m tests.fuzz.bounds --checked --seed 1 --programs 3 --mutants 100`` runs networks, random
programs and mutated ones twice, with the checks in a fresh process and without, and compares. With
OUT instead it runs them once and writes what they give to that npz file: the fresh process does,
with ``NUMBA_BOUNDSCHECK=1`` and an empty ``NUMBA_CACHE_DIR`` (a cache that was filled without the
checks would be used as it is).

What runs behind addresses, :func:`golden.product.gemm_kernels._block_rows`, numba cannot check;
its results are compared with numpy's in ``tests/golden/product``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numba
import numpy as np

from golden.common import jit


def checked(out: Path, cache: Path, *options: str, before: str = "") -> subprocess.CompletedProcess:
    """Run this module in a fresh process with the checks on, its cache in an empty folder.

    `before` is run first, in the same process: how a test puts a fault into a kernel.
    """
    code = f"{before}\nimport sys\nfrom tests.fuzz import bounds\nsys.exit(bounds.main())"
    return subprocess.run(
        [sys.executable, "-c", code, str(out), *options], capture_output=True, text=True,
        check=False, cwd=Path(__file__).parents[2],
        env=os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache)})


def sequential() -> None:
    """Have every kernel compiled without threads, where an error would be lost.

    To be called before any other module of golden is imported.
    """
    def kernel(function=None, **options):
        if function is None:
            return lambda function: kernel(function, **options)
        return numba.njit(function, cache=True, **options | {"parallel": False})

    jit.kernel, jit.inlined = kernel, partial(kernel, forceinline=True)


def results(seed: int, programs: int, mutants: int) -> dict[str, np.ndarray]:
    """Return what a network, random programs and mutants of programs leave, by name."""
    from golden.core.machine import Machine
    from golden.network.precision import Precision
    from golden.network.vit import Vit
    from tests.cases import networks
    from tests.cases.programs import random_program
    from tests.fuzz import kinds, networks_and_programs

    found = {}
    small = networks_and_programs.network()
    for name, network in (("w4a4", small), ("codes", networks.network(Precision(4, 8), step=512)),
                          ("w8a8", networks.network(Precision(8, 8)))):
        made = Vit(network).run(networks.pixels(2, network.shape))
        found |= {f"{name} logits": made.logits, f"{name} scales": made.scales}
    for index in range(programs):
        machine = Machine(random_program(seed + index, networks_and_programs.SMALL, 20))
        machine.run()
        found |= {f"program {index} scratchpad": machine.scratchpad,
                  f"program {index} scales": machine.scales}
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [kinds.run("program", seed, index, Path(folder)) for index in range(mutants)]
    return found | {"mutants": np.array(outcomes, "U8")}


def compare(seed: int, programs: int, mutants: int) -> int:
    """Run everything with the checks and without; say what differs, return 1 if something does."""
    with tempfile.TemporaryDirectory() as folder:
        out, cache = Path(folder) / "checked.npz", Path(folder) / "numba"
        cache.mkdir()
        done = checked(out, cache, "--seed", str(seed), "--programs", str(programs),
                       "--mutants", str(mutants))
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
            return 1
        if not any(cache.rglob("*.nbc")):
            print("nothing was compiled with bounds checks", file=sys.stderr)
            return 1
        with np.load(out) as stored:
            found = dict(stored)
    usual = results(seed, programs, mutants)
    differing = [name for name in sorted({*found, *usual})
                 if name not in found or name not in usual
                 or not np.array_equal(found[name], usual[name])]
    print(f"{len(usual)} results within bounds" if not differing else
          f"differs with bounds checks: {', '.join(differing)}")
    return 1 if differing else 0


def main(argv=None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.bounds", description=(
        "Run golden's kernels and write what they give."))
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="npz file to write")
    parser.add_argument("--checked", action="store_true",
                        help="compare with a process that has the checks on and an empty cache")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--programs", type=int, default=2, metavar="N")
    parser.add_argument("--mutants", type=int, default=0, metavar="N")
    args = parser.parse_args(argv)
    if args.checked:
        return compare(args.seed, args.programs, args.mutants)
    if args.out is None:
        parser.error("name a file, or give --checked")
    if numba.config.BOUNDSCHECK:
        sequential()
    np.savez(args.out, **results(args.seed, args.programs, args.mutants))
    return 0


if __name__ == "__main__":
    sys.exit(main())
