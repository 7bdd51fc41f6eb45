"""Grids of work over any executor: blocks with their own seeds, stored as they finish."""

import functools
import importlib
import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from threadpoolctl import threadpool_limits

from kvfloor.experiments.engine.code import code_digest
from kvfloor.experiments.engine.store import Record, Store
from kvfloor.experiments.game.randomness import Randomness

__all__ = ["Task", "finished", "process_pool", "run", "total_blocks"]


@dataclass(frozen=True, slots=True)
class Task:
    """A cell of a claim's grid: what is measured, and how many independent blocks of it.

    Parameters
    ----------
    claim : str
        Dotted name of the module whose ``measure(parameters, randomness)`` does a block.
    variant : str
        "claim", or the name of the negative control that the cell belongs to.
    parameters : dict
        What is asked, as JSON values.
    blocks : int
        Repetitions, each with a seed of its own.
    """

    claim: str
    variant: str
    parameters: dict[str, Any] = field(hash=False)
    blocks: int = 1

    @property
    def id(self) -> str:
        """A digest of what is asked; more blocks of the same cell keep the id."""
        name = self.claim.rpartition(".")[2]
        asked = json.dumps([f"experiments.claims.{name}", self.variant, self.parameters], sort_keys=True)
        return sha256(asked.encode()).hexdigest()[:32]

    def randomness(self, seed: int, block: int) -> Randomness:
        """Return the random streams of one block."""
        return Randomness(seed, self.id, block)


def process_pool(workers: int) -> Executor:
    """Return a pool of processes with one BLAS thread each, so that workers do not fight for cores."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def run(
    tasks: Sequence[Task],
    store: Store,
    *,
    seed: int,
    executor: Executor,
    progress: Callable[[int], None] = lambda blocks: None,
) -> list[Record]:
    """Measure every block that the store lacks, storing each as it finishes; return all in task order.

    Parameters
    ----------
    tasks : sequence of Task
        What to measure.
    store : Store
        Where finished blocks are, and go.
    seed : int
        Root seed of every draw.
    executor : concurrent.futures.Executor
        Who does the work. A failing block stops the run; finished blocks stay stored.
    progress : callable
        Told how many blocks were just found or finished.

    Returns
    -------
    list of Record
        One a block, in the order of the tasks and their blocks: the same whatever finished first.
    """
    blocks = [(task, block) for task in tasks for block in range(task.blocks)]
    done = finished(tasks, store, seed=seed)
    progress(len(done))
    futures: dict[Future[tuple[dict[str, Any], float]], tuple[Task, int]] = {}
    try:
        for task, block in blocks:
            if (task.id, block) not in done:
                work = (task.claim, task.parameters, task.randomness(seed, block))
                futures[executor.submit(_measure, *work)] = (task, block)
        for future in as_completed(futures):
            task, block = futures[future]
            measured, seconds = future.result()
            key = (task.id, str(seed), block, code_digest(task.claim))
            record = Record(*key, task.claim, task.variant, task.parameters, measured, seconds)
            store.add(record)
            done[task.id, block] = record
            progress(1)
    finally:
        for future in futures:
            future.cancel()
    return [done[task.id, block] for task, block in blocks]


def finished(tasks: Iterable[Task], store: Store, *, seed: int) -> dict[tuple[str, int], Record]:
    """Return what the store has of these tasks, measured by the present code.

    Parameters
    ----------
    tasks : iterable of Task
        What to look for.
    store : Store
        Where to look.
    seed : int
        Root seed.

    Returns
    -------
    dict
        Records by task id and block.
    """
    return {
        (task.id, record.block): record
        for task in tasks
        for record in store.records(task=task.id, seed=str(seed))
        if record.code == code_digest(task.claim) and record.block < task.blocks
    }


def total_blocks(tasks: Iterable[Task]) -> int:
    """Return how many blocks the tasks have together."""
    return sum(task.blocks for task in tasks)


def _measure(claim: str, parameters: dict[str, Any], randomness: Randomness) -> tuple[dict[str, Any], float]:
    """Do one block in a worker."""
    start = time.perf_counter()
    measured = importlib.import_module(claim).measure(parameters, randomness)
    return json.loads(json.dumps(measured)), time.perf_counter() - start


@functools.cache
def _start_worker() -> threadpool_limits:
    """Prepare a worker process: one BLAS thread for as long as it lives."""
    import numpy as np  # the limit reaches only libraries that are loaded

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that stores the results

    np.zeros((1, 1)) @ np.zeros((1, 1))
    return threadpool_limits(limits=1)
