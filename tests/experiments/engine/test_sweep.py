"""Grids of work: the same rows whatever the workers, the order or an interruption."""

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from kvfloor.experiments.engine.pool import WorkerPool
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.engine.sweep import Task, finished, run

MODULE = "kvfloor.experiments.claims.index.index_barrier"
CELLS = [{"keys": "gaussian", "tokens": 16, "dim": 32, "eta": eta} for eta in (0.0, 0.5)]
TASKS = [Task(MODULE, "claim", cell, blocks=3) for cell in CELLS]


class Serial(Executor):
    """Do the work when it is submitted."""

    def __init__(self):
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Backwards(Serial):
    """Finish the last submitted first."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, fn, args))
        if len(self.waiting) == 6:
            for future_, fn_, args_ in reversed(self.waiting):
                future_.set_result(fn_(*args_))
        return future


def rows(store, executor, tasks=TASKS, seed=0):
    """Return what a run measures, without times."""
    records, lost = run(tasks, store, seed=seed, executor=executor)
    assert lost == []
    return [(r.task, r.block, r.measured) for r in records]


@pytest.fixture
def store(tmp_path):
    """Return an open store."""
    with Store(tmp_path / "r.sqlite") as opened:
        yield opened


def test_rows_do_not_depend_on_who_does_the_work(tmp_path):
    found = []
    for number, executor in enumerate((Serial(), Backwards(), ThreadPoolExecutor(3), WorkerPool(2))):
        with executor, Store(tmp_path / f"{number}.sqlite") as store:
            found.append(rows(store, executor))
    assert all(one == other for one, other in pairwise(found))
    assert len(found[0]) == 6
    assert len({str(measured) for _, _, measured in found[0]}) == 6  # blocks are not copies of each other


def test_another_seed_measures_something_else(store):
    assert rows(store, Serial()) != rows(store, Serial(), seed=1)


def test_finished_blocks_are_not_run_again(store):
    first, second = Serial(), Serial()
    before = rows(store, first)
    assert rows(store, second) == before
    assert (first.calls, second.calls) == (6, 0)


def test_more_blocks_of_a_cell_keep_those_that_are_there(store):
    rows(store, Serial())
    executor = Serial()
    rows(store, executor, tasks=[Task(MODULE, "claim", CELLS[0], blocks=5)])
    assert executor.calls == 2


def test_blocks_beyond_those_asked_for_do_not_count(store):
    rows(store, Serial(), tasks=[Task(MODULE, "claim", CELLS[0], blocks=5)])
    task = Task(MODULE, "claim", CELLS[0], blocks=3)
    assert sorted(block for _, block in finished([task], store, seed=0)) == [0, 1, 2]


def test_what_was_finished_before_an_interruption_is_kept_and_not_counted_twice(store):
    class Interrupted(Serial):
        def submit(self, fn, /, *args, **kwargs):
            if self.calls == 4:
                future = Future()
                future.set_exception(KeyboardInterrupt())
                return future
            return super().submit(fn, *args, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        rows(store, Interrupted())
    kept = len(list(store.records()))
    executor = Serial()
    rows(store, executor)
    assert executor.calls == 6 - kept
    assert len(list(store.records())) == 6


def test_a_lost_block_does_not_stop_the_others_and_is_tried_again(store):
    class Late(Serial):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            if self.calls in (2, 5):
                future = Future()
                future.set_exception(RuntimeError("the worker died"))
            return future

    told = []
    records, lost = run(TASKS, store, seed=0, executor=Late(), progress=told.append)
    assert [(block.task, block.block) for block in lost] == [(TASKS[0], 1), (TASKS[1], 1)]
    assert all("the worker died" in block.reason for block in lost)
    assert sum(told) == 6
    executor = Serial()
    found = rows(store, executor)
    assert executor.calls == 2
    assert [(r.task, r.block, r.measured) for r in records] == [found[i] for i in (0, 2, 3, 5)]


def test_a_block_that_raises_says_what_and_where(store):
    wrong = Task(MODULE, "claim", {**CELLS[0], "keys": "no such keys"})
    for executor in (Serial(), WorkerPool(1)):
        with executor:
            records, (lost,) = run([wrong, *TASKS], store, seed=0, executor=executor)
        assert "got 'no such keys'" in lost.reason
        assert ", line " in lost.reason
        assert len(records) == 6


def test_progress_counts_found_and_finished(store):
    rows(store, Serial(), tasks=TASKS[:1])
    told = []
    run(TASKS, store, seed=0, executor=Serial(), progress=told.append)
    assert told[0] == 3
    assert sum(told) == 6


def test_rows_of_other_code_are_not_reused(store, monkeypatch):
    rows(store, Serial())
    monkeypatch.setattr("kvfloor.experiments.engine.sweep.code_digest", lambda claim: "other")
    executor = Serial()
    rows(store, executor)
    assert executor.calls == 6
