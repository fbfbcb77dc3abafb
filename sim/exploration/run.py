"""Evaluates designs group by group, here or by workers of dask, and keeps what is done."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from ..cli import UserError, one_line
from . import evaluate
from .evaluate import Setting
from .grid import Design
from .kept import Kept


def run(setting: Setting, designs: list[Design], kept: Kept, connect: Callable | None,
        progress: Callable[[int], None] = lambda done: None) -> list[dict]:
    """Return the rows of designs, in their order.

    Parameters
    ----------
    kept
        What is done already is not done again; what is done is added at once.
    connect
        Gives a client of dask as a context, :func:`sim.evaluation.dask_cluster.cluster`; None: all
        is done in this process.
    progress
        Called with the number of designs that are done, known ones included.

    Raises
    ------
    UserError
        If a worker has other code, or workers keep dying.
    """
    missing = [design for design in designs if kept.get(design) is None]
    done = len(designs) - len(missing)
    progress(done)
    groups = evaluate.tasks(missing)
    results = _here if connect is None else partial(_elsewhere, connect)
    with contextlib.closing(results(setting, groups)) as found:
        for group, rows in found:
            kept.add(group, rows)
            done += len(group)
            progress(done)
    return [kept.get(design) for design in designs]


def _here(setting: Setting, groups: list[list[Design]]) -> Iterator[tuple[list, list]]:
    for group in groups:
        yield group, evaluate.evaluate(setting, group)


def _elsewhere(connect: Callable, setting: Setting,
               groups: list[list[Design]]) -> Iterator[tuple[list, list]]:
    """Yield groups and their rows as they come; those that take longest are begun first."""
    if not groups:
        return
    from concurrent.futures import CancelledError

    import distributed

    largest = sorted(groups, key=lambda group: group[0].rows * group[0].cols)
    with connect() as client:
        futures = {client.submit(evaluate.evaluate, setting, group, evaluate.code(), pure=False,
                                 priority=-number): group for number, group in enumerate(largest)}
        for future in distributed.as_completed(futures, loop=client.loop):
            try:
                yield futures[future], future.result()
            except distributed.KilledWorker as error:
                raise UserError(f"workers were lost again and again: {one_line(error)}") from None
            except CancelledError:
                raise UserError("the workers, or their scheduler, have gone") from None
