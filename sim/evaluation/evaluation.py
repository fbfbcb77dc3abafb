"""Runs contenders over images, in chunks that the workers of dask share.

What a chunk gives is written as one whole file whose name says what it depends on: the contender,
the code that runs it, the images. An evaluation that was interrupted goes on from these files, and
whatever happens to workers, each image counts once.
"""

import contextlib
import hashlib
import importlib.metadata
import io
import itertools
import json
import logging
import lzma
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..cli import UserError, one_line, whole_file
from ..code_digest import digest
from ..inputs import images as image_files
from ..inputs import models
from .preparation import Prepared, open_contender

CHUNK = 25
"""Images that are run at a time."""

TOP = 5
"""Classes that are kept of each image, the likeliest first."""

TIMEOUT = 30
"""Seconds to wait for a scheduler, and for its first worker."""

LIBRARIES = ("numba", "numpy", "pillow", "timm", "torch", "torchvision")

_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}

_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, OverflowError,
           MemoryError, RuntimeError, SyntaxError, tokenize.TokenError, struct.error, zlib.error,
           lzma.LZMAError, zipfile.BadZipFile)
"""What numpy and zipfile raise of damaged files."""

_lock = threading.Lock()  # numba's threads do not stand two callers


@dataclass(frozen=True)
class ImageFile:
    """An image; `name` is its path within the folder, parts joined by ``/``."""

    path: Path
    name: str
    sha256: str


def listed(folder: Path, count: int | None = None,
           progress: Callable = lambda steps, what: steps) -> list[ImageFile]:
    """Return the first `count` images of a folder, or all, as :func:`sim.inputs.images.files` does.

    Raises
    ------
    UserError
        If there is no such folder, it has no images, or one of them cannot be read.
    """
    folder, made = Path(folder).absolute(), []
    for path in progress(image_files.files(folder)[:count], "Reading"):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the image {path}: {error.strerror}") from None
        made.append(ImageFile(path, path.relative_to(folder).as_posix(),
                              hashlib.sha256(content).hexdigest()))
    return made


@dataclass(frozen=True)
class Answers:
    """What a contender made of all images.

    Attributes
    ----------
    top : int array, shape (images, classes kept)
        Classes, the likeliest first; at most :data:`TOP`.
    scales : int16 array, shape (images, sites), or None
        lambda of each image at each site.
    """

    prepared: Prepared
    top: np.ndarray
    scales: np.ndarray | None


@dataclass(frozen=True)
class Found:
    """What came of a chunk: names of the images, and as in :class:`Answers`."""

    names: list[str]
    top: np.ndarray
    scales: np.ndarray | None


@dataclass(frozen=True)
class Chunk:
    """Some images of a contender, and the file for what comes of them."""

    prepared: Prepared
    images: tuple[ImageFile, ...]
    preprocessing: dict
    code: str
    path: Path
    key: str

    def load(self) -> Found | None:
        """Return what is in the file; None if it is not there, or damaged."""
        try:
            content = io.BytesIO(self.path.read_bytes())
            with np.load(content, allow_pickle=False) as stored:
                if str(stored["key"]) != self.key:
                    return None
                scales = stored["scales"] if self.prepared.integer else None
                found = Found(stored["names"].tolist(), stored["top"], scales)
                return found if self._fits(found) else None
        except _DAMAGE:
            return None

    def _fits(self, found: Found) -> bool:
        """Return whether what is in the file can be of these images."""
        parts = [found.top] if found.scales is None else [found.top, found.scales]
        return found.names == [image.name for image in self.images] and all(
            part.ndim == 2 and len(part) == len(self.images) and part.dtype.kind == "i"
            for part in parts)

    def store(self, found: Found) -> None:
        """Write the file, whole."""
        arrays = {"key": np.array(self.key), "names": np.array(found.names), "top": found.top}
        if found.scales is not None:
            arrays["scales"] = found.scales
        with whole_file(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


def chunks(prepared: Prepared, images: Sequence[ImageFile], preprocessing: dict,
           folder: Path) -> list[Chunk]:
    """Cut images into chunks: the same for the first images, however many there are.

    A last image alone goes with those before it: what swaps images needs two.
    """
    starts = list(range(0, len(images), CHUNK))
    if len(images) - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    code = digest(*prepared.modules)
    run = {"contender": prepared.sha256, "code": code, "preprocessing": preprocessing, "top": TOP,
           "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES}}
    made = []
    for number, start in enumerate(starts):
        last = number == len(starts) - 1
        part = tuple(images[start:] if last else images[start:start + CHUNK])
        own = run | {"images": [(image.name, image.sha256) for image in part]}
        key = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
        name = "_".join(dict.fromkeys((prepared.bits, prepared.method)))
        path = folder / f"{name}_{number:04}_{key[:16]}.npz"
        made.append(Chunk(prepared, part, preprocessing, code, path, key))
    return made


_contender = lru_cache(maxsize=2)(open_contender)


def classify(prepared: Prepared, code: str, preprocessing: dict,
             images: Sequence[ImageFile]) -> Found:
    """Run a contender on some images, in a worker.

    Raises
    ------
    UserError
        If the worker has other files or another version of this program, or an image is broken.
    """
    if digest(*prepared.modules) != code:
        raise UserError("a worker has another version of this program, or the program was changed "
                        "meanwhile; start again")
    prepare, pixels = models.preprocessing_of(preprocessing), []
    for image in images:
        found, picture = image_files.read(image.path)
        if found.sha256 != image.sha256:
            raise UserError(f"the image {image.path} was changed meanwhile; start again")
        pixels.append(prepare.pixels(picture))
    with _lock:
        outcome = _contender(prepared.path, prepared.sha256).run(np.stack(pixels))
    logits = outcome.logits
    if not np.isfinite(logits).all():
        raise UserError(f"{prepared.path.stem} gives logits that are not finite")
    top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP].astype(np.int32)
    return Found([image.name for image in images], top, outcome.scales)


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int = 1, *, processes: bool = True) -> Iterator:
    """Give a client of dask: of a running scheduler, or of workers on this machine.

    Parameters
    ----------
    address
        Of the scheduler; its workers must see images and work folder at the same paths.
    workers
        How many of one thread each, without an address.
    processes
        Whether they have processes of their own, or are all in this one.

    Raises
    ------
    UserError
        If there is no scheduler at the address, or it has no workers.
    """
    import dask
    import distributed

    if address is not None:
        with contextlib.ExitStack() as stack:
            try:
                client = stack.enter_context(
                    distributed.Client(address, timeout=TIMEOUT, set_as_default=False))
                client.wait_for_workers(1, timeout=TIMEOUT)
            except (OSError, ValueError, TimeoutError) as error:
                raise UserError(f"no use of dask at {address}: {one_line(error)}") from None
            yield client
        return
    own = {"distributed.nanny.pre-spawn-environ.NUMBA_NUM_THREADS": 1}
    with (dask.config.set(own),
          distributed.LocalCluster(
              n_workers=workers, threads_per_worker=1, processes=processes, memory_limit=0,
              silence_logs=logging.CRITICAL, scheduler_kwargs=_NO_DASHBOARD) as local,
          distributed.Client(local, set_as_default=False) as client):
        yield client


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
                                             chunk.preprocessing, chunk.images, pure=False)
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
             ) -> list[Answers]:
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
        Called where there is something to do; gives a client of dask, as :func:`cluster` does.
    progress
        Called with a list of steps and what they are; iterates over them.

    Raises
    ------
    UserError
        If an image is broken, or workers cannot do their work.
    RuntimeError
        If an image does not count exactly once.
    """
    plan = {one: chunks(one, images, preprocessing, folder) for one in prepared}
    found = {chunk.path: chunk.load() for every in plan.values() for chunk in every}
    todo = [chunk for every in plan.values() for chunk in every if found[chunk.path] is None]
    if todo:
        with connect() as client:
            for chunk, result in progress(_Tasks(client, todo), "Classifying"):
                chunk.store(result)
                found[chunk.path] = result
    return [_joined(one, [found[chunk.path] for chunk in every], images)
            for one, every in plan.items()]


def _joined(prepared: Prepared, found: list[Found], images: Sequence[ImageFile]) -> Answers:
    names = [name for one in found for name in one.names]
    top = np.concatenate([one.top for one in found])
    if names != [image.name for image in images] or len(top) != len(set(names)):
        raise RuntimeError(f"{prepared.path.stem}: an image does not count exactly once")
    scales = [one.scales for one in found]
    return Answers(prepared, top, None if scales[0] is None else np.concatenate(scales))
