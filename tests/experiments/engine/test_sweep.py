"""Grids of work: the same rows whatever the workers, the order or an interruption."""

import textwrap
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import pairwise

import pytest

from kvfloor.experiments.engine import code
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.engine.sweep import Task, finished, process_pool, run

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
    return [(r.task, r.block, r.measured) for r in run(tasks, store, seed=seed, executor=executor)]


@pytest.fixture
def store(tmp_path):
    """Return an open store."""
    with Store(tmp_path / "r.sqlite") as opened:
        yield opened


def test_rows_do_not_depend_on_who_does_the_work(tmp_path):
    found = []
    for number, executor in enumerate((Serial(), Backwards(), ThreadPoolExecutor(3), process_pool(2))):
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


def test_what_was_finished_before_a_failure_is_kept_and_not_counted_twice(store):
    class Fails(Serial):
        def submit(self, fn, /, *args, **kwargs):
            if self.calls == 4:
                raise KeyboardInterrupt
            return super().submit(fn, *args, **kwargs)

    class Late(Serial):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            if self.calls > 4:
                future = Future()
                future.set_exception(RuntimeError("the worker died"))
            return future

    with pytest.raises(KeyboardInterrupt):
        rows(store, Fails())
    with pytest.raises(RuntimeError, match="the worker died"):
        rows(store, Late())
    kept = len(list(store.records()))
    executor = Serial()
    rows(store, executor)
    assert executor.calls == 6 - kept
    assert len(list(store.records())) == 6


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


def meaning(tmp_path, text):
    """Return the digestible meaning of a claim's module with this text."""
    path = tmp_path / "module.py"
    path.write_text(textwrap.dedent(text))
    return code._meaning(path, without=code.AFTER_THE_FACT)


MEASURE = "def measure(parameters, randomness):\n    return 1\n"


@pytest.mark.parametrize("text", [
    '"""Another docstring."""\n' + MEASURE,
    MEASURE.replace("return 1", "return 1  # why"),
    MEASURE.replace("\n", '\n    """What."""\n', 1),
    MEASURE + "def draw(records):\n    return 3\n",
])  # fmt: skip
def test_words_and_drawing_do_not_change_a_measurement(tmp_path, text):
    assert meaning(tmp_path, text) == meaning(tmp_path, MEASURE)


@pytest.mark.parametrize("text", [MEASURE.replace("1", "2"), MEASURE + "N = 3\n", "import os\n" + MEASURE])
def test_other_code_is_another_measurement(tmp_path, text):
    assert meaning(tmp_path, text) != meaning(tmp_path, MEASURE)


def test_every_bystander_is_a_module_and_measures_nothing():
    folder = code._source("experiments").parent
    assert {f"{name}.py" for name in code.BYSTANDERS} <= {path.name for path in folder.glob("*.py")}
    claims = "".join(path.read_text() for path in (folder / "claims").glob("*.py"))
    used = {name for name in code.BYSTANDERS if f"experiments.{name} import" in claims}
    # Rows, checks, figures, and the script's entry.
    assert used == {"barrier", "claim", "cli", "plotting", "scaling", "store"}


def test_every_claim_has_a_digest_of_its_own():
    claims = [MODULE, "kvfloor.experiments.claims.certificates.threshold"]
    assert len({code.code_digest(claim) for claim in claims}) == 2
    with pytest.raises(ValueError, match="there is no module"):
        code.code_digest("kvfloor.experiments.no_such_claim")
