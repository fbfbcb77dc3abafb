"""Workers of dask: on this machine, or of a scheduler that runs already."""

import contextlib
import logging
from collections.abc import Iterator

from ..cli import UserError, one_line

TIMEOUT = 30
"""Seconds to wait for a scheduler, and for its first worker."""

_NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


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
