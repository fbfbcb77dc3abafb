"""Timing of calls against each other: in alternating bursts, so that what else runs hits all."""

import argparse
import time
from collections.abc import Callable

import numba
import numpy as np
import torch

from sim.cli import positive


def _burst(call: Callable, calls: int, settle: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds[settle:]


def medians(calls: list[Callable], repeat: int, burst: int, settle: int) -> list[float]:
    """Return the median seconds of each call.

    Parameters
    ----------
    calls
        What to time.
    repeat
        Bursts of each.
    burst, settle
        Calls in a row, and how many of them, while threads of the one before calm down, are
        dropped.
    """
    seconds = [[] for _ in calls]
    for _ in range(repeat):
        for call, samples in zip(calls, seconds, strict=True):
            samples += _burst(call, burst, settle)
    return [float(np.median(samples)) for samples in seconds]


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--threads``."""
    parser.add_argument("--threads", metavar="N", type=positive,
                        default=numba.config.NUMBA_NUM_THREADS,
                        help="threads of either side (default: %(default)s)")


def set_threads(parser: argparse.ArgumentParser, threads: int) -> None:
    """Give both sides so many threads, or end with an error of `parser`."""
    if threads > numba.config.NUMBA_NUM_THREADS:
        parser.error(f"argument --threads: must be {numba.config.NUMBA_NUM_THREADS} or less, "
                     f"not {threads}")
    numba.set_num_threads(threads)
    torch.set_num_threads(threads)
