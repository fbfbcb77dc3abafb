"""Runs contenders over images, in chunks that the workers of dask share.

What a chunk gives is written as one whole file whose name says what it depends on: the contender,
the code that runs it, the images, what shifts them. An evaluation that was interrupted goes on from
these files, and whatever happens to workers, each image counts once.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cli import UserError
from .chunks import TOGETHER, Chunk, Found, ImageFile, Shifted, chunks, classify
from .preparation import Prepared


@dataclass(frozen=True)
class Answers:
    """What a contender made of all images.

    Attributes
    ----------
    top : int array, shape (images, classes kept)
        Classes, the likeliest first; at most :data:`~.chunks.TOP`.
    scales : int16 array, shape (images, sites), or None
        lambda of each image at each site.
    shifted
        What shifted the images; None if nothing did.
    """

    prepared: Prepared
    top: np.ndarray
    scales: np.ndarray | None
    shifted: Shifted | None = None


class _Tasks:
    """Chunks on their way through the workers; gives each with its result as it is done."""

    def __init__(self, client, todo: Sequence[Chunk]):
        self._client, self._todo = client, todo

    def __len__(self):
        return len(self._todo)

    def __iter__(self):
        from distributed import as_completed

        queue, running = iter(self._todo), {}
        done = as_completed(loop=self._client.loop)

        def feed():
            room = 2 + 2 * sum(self._client.nthreads().values()) - len(running)
            for chunk in itertools.islice(queue, max(0, room)):
                future = self._client.submit(classify, chunk.prepared, chunk.code,
                                             chunk.preprocessing, chunk.images, chunk.shifted,
                                             pure=False)
                running[future.key] = chunk, future
                done.add(future)

        feed()
        for future in done:
            chunk, _ = running.pop(future.key)
            yield chunk, _result(future, chunk)
            feed()


def _result(future, chunk: Chunk):
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        raise UserError(f"workers die of {chunk.path.stem}: too little memory?") from None
    except CancelledError:
        raise UserError("the workers were lost") from None


def evaluate(prepared: Sequence[Prepared], images: Sequence[ImageFile], preprocessing: dict,
             folder: Path, connect: Callable, progress: Callable = lambda steps, what: steps,
             *, shifts: Sequence[Shifted | None] = (None,)) -> list[Answers]:
    """Run contenders over images, or go on where an interrupted run was.

    Parameters
    ----------
    prepared
        The contenders.
    preprocessing
        Plain values, see :func:`sim.inputs.models.preprocessing_of`.
    folder
        Where the results of chunks are kept.
    connect
        Called where there is something to do; gives a client of dask, as
        :func:`sim.evaluation.dask_cluster.cluster` does.
    progress
        Called with a list of steps and what they are; iterates over them.
    shifts
        What shifts the images, None for nothing: each contender runs on all images under each.

    Returns
    -------
    list of Answers
        Of each contender, under each shift in turn.

    Raises
    ------
    UserError
        If an image is broken, or workers cannot do their work.
    RuntimeError
        If an image does not count exactly once.
    """
    plan = {(one, shifted): chunks(one, images, preprocessing, folder, shifted)
            for one in prepared for shifted in shifts}
    found = {chunk.path: chunk.load() for every in plan.values() for chunk in every}
    todo = [chunk for chunk in _in_turn(plan, shifts) if found[chunk.path] is None]
    if todo:
        with connect() as client:
            for chunk, result in progress(_Tasks(client, todo), "Classifying"):
                chunk.store(result)
                found[chunk.path] = result
    return [_joined(one, [found[chunk.path] for chunk in every], images, shifted)
            for (one, shifted), every in plan.items()]


def _in_turn(plan: dict, shifts: Sequence[Shifted | None]) -> Iterator[Chunk]:
    """Give all chunks, those of the same images one soon after the other."""
    for shifted in shifts:
        every = [cut for (_, one), cut in plan.items() if one == shifted]
        for first in range(0, max(map(len, every), default=0), TOGETHER):
            for cut in every:
                yield from cut[first:first + TOGETHER]


def _joined(prepared: Prepared, found: list[Found], images: Sequence[ImageFile],
            shifted: Shifted | None = None) -> Answers:
    names = [name for one in found for name in one.names]
    top = np.concatenate([one.top for one in found])
    if names != [image.name for image in images] or len(top) != len(set(names)):
        raise RuntimeError(f"{prepared.path.stem}: an image does not count exactly once")
    scales = [one.scales for one in found]
    return Answers(prepared, top, None if scales[0] is None else np.concatenate(scales), shifted)
