"""Grids of work over any executor: blocks with their own seeds, stored as they finish."""

import importlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from kvfloor.experiments.engine.code import code_digest
from kvfloor.experiments.engine.origin import command, machine
from kvfloor.experiments.engine.pool import WorkerError
from kvfloor.experiments.engine.rows import fits, returned
from kvfloor.experiments.engine.store import Record, Store, StoreError
from kvfloor.experiments.engine.worker import told
from kvfloor.experiments.game.randomness import Randomness

__all__ = ["Lost", "Task", "again", "check", "finished", "run", "total_blocks"]

Answer: TypeAlias = tuple[dict[str, Any], float, dict[str, str]]
"""What was measured, in how many seconds, by what."""


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


@dataclass(frozen=True, slots=True)
class Lost:
    """A block that could not be measured; the next run tries it again.

    Parameters
    ----------
    task : Task
        The cell.
    block : int
        Which repetition.
    reason : str
        The error it raised, or how its workers died; one sentence.
    """

    task: Task
    block: int
    reason: str


def run(
    tasks: Sequence[Task],
    store: Store,
    *,
    seed: int,
    executor: Executor,
    progress: Callable[[int], None] = lambda blocks: None,
) -> tuple[list[Record], list[Lost]]:
    """Measure every block that the store lacks, storing each as it finishes; return all in task order.

    A block that raises an error, or that kills its workers, does not stop the others.

    Parameters
    ----------
    tasks : sequence of Task
        What to measure.
    store : Store
        Where finished blocks are, and go.
    seed : int
        Root seed of every draw.
    executor : concurrent.futures.Executor
        Who does the work: importable functions of JSON values.
    progress : callable
        Told how many blocks were just found, finished or lost.

    Returns
    -------
    records : list of Record
        One a block, in the order of the tasks and their blocks: the same whatever finished first.
    lost : list of Lost
        The blocks that are missing among them, in the same order.
    """
    blocks = [(task, (id, block)) for task in tasks for id in [task.id] for block in range(task.blocks)]
    done = finished(tasks, store, seed=seed)
    progress(len(done))
    lost: dict[tuple[str, int], Lost] = {}
    futures: dict[Future[Answer], tuple[Task, tuple[str, int]]] = {}
    try:
        for task, key in blocks:
            if key not in done:
                futures[_submit(executor, task, seed, key)] = (task, key)
        for future in as_completed(futures):
            task, (id, block) = futures[future]
            try:
                measured, seconds, measurer = future.result()
            except Exception as error:
                lost[id, block] = Lost(task, block, _reason(error))
            else:
                asked = (
                    id,
                    str(seed),
                    block,
                    code_digest(task.claim),
                    task.claim,
                    task.variant,
                    task.parameters,
                )
                now = datetime.now(UTC).isoformat(timespec="seconds")
                record = Record(*asked, measured, seconds, now, measurer | {"command": command()})
                store.add(record)
                done[id, block] = record
            progress(1)
    finally:
        for future in futures:
            future.cancel()
    keys = [key for _, key in blocks]
    return [done[key] for key in keys if key in done], [lost[key] for key in keys if key in lost]


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

    Raises
    ------
    StoreError
        If a row among them is not what `check` asks for.
    """
    found = {}
    for task in tasks:
        for record in store.records(task=task.id, seed=str(seed)):
            if record.code == code_digest(task.claim) and record.block < task.blocks:
                check(record, task.claim, store.path)
                found[task.id, record.block] = record
    return found


def check(record: Record, claim: str, path: Path) -> None:
    """Check that a row of the present code is one that a claim's work can have left.

    Parameters
    ----------
    record : Record
        The row.
    claim : str
        Dotted name of the module whose ``measure`` did the work; what it is annotated to return decides.
    path : Path
        The results file, for the message.

    Raises
    ------
    StoreError
        If the row answers another question than it is filed under, or measured something else.
    """
    asked = Task(claim, record.variant, record.parameters).id == record.task and record.claim == claim
    if not (asked and fits(record.measured, returned(claim))):
        what = f"measured {json.dumps(record.measured)[:60]}" if asked else "filed under another question"
        raise StoreError(
            f"{path} holds a wrong row, block {record.block} of {claim.rpartition('.')[2]} "
            f"{json.dumps(record.parameters)}: {what}; delete it, or name another file with --results"
        )


def total_blocks(tasks: Iterable[Task]) -> int:
    """Return how many blocks the tasks have together."""
    return sum(task.blocks for task in tasks)


def again(record: Record, executor: Executor) -> dict[str, Any]:
    """Measure a stored block once more, by the present code.

    Parameters
    ----------
    record : Record
        The row.
    executor : concurrent.futures.Executor
        Who does the work.

    Returns
    -------
    dict
        What is measured now.

    Raises
    ------
    ValueError
        If it cannot be measured; one sentence.
    """
    task = Task(record.claim, record.variant, record.parameters)
    try:
        measured, _, _ = _submit(executor, task, int(record.seed), (record.task, record.block)).result()
    except Exception as error:
        raise ValueError(f"row {record.id[:12]} cannot be measured again: {_reason(error)}") from error
    return measured


def _submit(executor: Executor, task: Task, seed: int, key: tuple[str, int]) -> "Future[Answer]":
    """Have a block measured."""
    return executor.submit(_measure, task.claim, task.parameters, seed, *key, code_digest(task.claim))


def _reason(error: Exception) -> str:
    """Return why a block is lost, in one sentence."""
    return str(error) if isinstance(error, WorkerError) else told(error)


def _measure(claim: str, parameters: dict[str, Any], seed: int, name: str, block: int, code: str) -> Answer:
    """Do one block in a worker, and tell who did it."""
    if code_digest(claim) != code:
        raise ValueError("this worker has other code than who asks; install the same version on both")
    start = time.perf_counter()
    measured = importlib.import_module(claim).measure(parameters, Randomness(seed, name, block))
    seconds = time.perf_counter() - start
    kept = json.loads(json.dumps(measured))
    if not fits(kept, returned(claim)):
        raise ValueError(f"measure returned what it is not annotated to: {json.dumps(kept)[:200]}")
    return kept, seconds, machine()
