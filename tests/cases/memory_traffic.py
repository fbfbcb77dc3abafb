"""Requests to memory as the core makes them, and as others might."""

import random
from dataclasses import dataclass

MEMORY_BYTES = 1 << 14
AHEAD_MOST = 255


@dataclass(frozen=True)
class Ask:
    """A beat to be read, or written where there are `data`; `beats` as of a request."""

    address: int
    beats: int = 0
    data: bytes | None = None


def _run(rng, unit, *, write, told):
    """Return requests one behind the other, which often cross 4 KiB."""
    count = rng.choice([1, 2, 3, rng.randint(1, 40), rng.randint(1, 300)])
    first = rng.choice([rng.randrange(MEMORY_BYTES // unit),
                        rng.randint(1, 3) * 4096 // unit - rng.randint(1, 20)])
    count = min(count, MEMORY_BYTES // unit - first)
    return [Ask(unit * (first + at), min(AHEAD_MOST, count - at) if told else 0,
                rng.randbytes(unit) if write else None) for at in range(count)]


def traffic(seed: int, unit: int, count: int) -> list[Ask]:
    """Return `count` requests or more: runs to read and write, told of or not.

    A stream that is read goes on behind what comes between, or stops early; few runs to write stop
    early, too.
    """
    rng = random.Random(seed)
    asks, stream = [], []
    while len(asks) < count:
        if not stream:
            stream = _run(rng, unit, write=False, told=True)
        taken = rng.randint(0, len(stream))
        asks += stream[:taken]
        stream = stream[taken:] if rng.random() < 0.8 else []
        run = _run(rng, unit, write=rng.random() < 0.5, told=rng.random() < 0.8)
        asks += run[:rng.randint(1, len(run))] if rng.random() < 0.2 else run
    return asks


def contents(seed: int) -> bytearray:
    """Return what is in memory at first."""
    return bytearray(random.Random(-seed).randbytes(MEMORY_BYTES))
