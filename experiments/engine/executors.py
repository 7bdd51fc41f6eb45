"""Who does the work: processes of this machine, or a cluster that dask.distributed runs."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor

from kvfloor.experiments.engine.pool import WorkerPool

__all__ = ["executor_of"]

CONNECT_SECONDS = 10


@contextlib.contextmanager
def executor_of(name: str = "local", workers: int | None = None) -> Iterator[Executor]:
    """Return who does the work.

    Parameters
    ----------
    name : str
        "local", or "dask:" and the address of a scheduler, such as "dask:tcp://10.0.0.1:8786". What a dask
        worker's death interrupts is done again by another, as often as the scheduler's ``allowed-failures`` says.
    workers : int, optional
        Processes of "local"; one a core by default. A cluster has those that it has.

    Yields
    ------
    concurrent.futures.Executor

    Raises
    ------
    ValueError
        If there is no such executor, dask is not installed, or nobody answers at the address.
    """
    kind, _, address = name.partition(":")
    if name == "local":
        with WorkerPool(workers or os.cpu_count() or 1) as pool:
            yield pool
    elif kind == "dask" and address:
        if workers is not None:
            raise ValueError(f"the cluster at {address} has the workers that it has; leave out --workers")
        with _dask(address) as cluster:
            yield cluster
    else:
        raise ValueError(f"there is no executor {name!r}; use local, or dask:tcp://host:port")


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """Yield an executor on the cluster whose scheduler has this address."""
    try:
        from distributed import Client, rpc
    except ModuleNotFoundError as error:
        raise ValueError(f"dask is not installed; pip install 'kvfloor[dask]' ({error})") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong, we tell

    async def identify() -> None:
        """Ask who is there; a client that never came about could not be closed in silence."""
        async with rpc(address, timeout=CONNECT_SECONDS) as scheduler:
            await asyncio.wait_for(scheduler.identity(), CONNECT_SECONDS)

    try:
        asyncio.run(identify())
    except (OSError, ValueError) as error:
        reason = str(error) or f"silence for {CONNECT_SECONDS} seconds"
        raise ValueError(f"no scheduler of dask answers at {address}: {reason}") from error
    with Client(address, set_as_default=False) as client:
        yield client.get_executor(pure=False)
