"""Who does the work: this machine, or a real cluster of dask, also when one of its workers is killed half-way."""

import os
import signal
import socket
from concurrent.futures import Future

import pytest

from kvfloor.experiments.engine.executors import executor_of
from kvfloor.experiments.engine.pool import WorkerPool
from kvfloor.experiments.engine.store import Store
from kvfloor.experiments.engine.sweep import Task, run

MODULE = "kvfloor.experiments.claims.index.index_barrier"
CELLS = [{"keys": "gaussian", "tokens": 64, "dim": 32, "eta": eta} for eta in (0.0, 0.5)]
TASKS = [Task(MODULE, "claim", cell, blocks=20) for cell in CELLS]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return a cluster of two worker processes on this machine."""
    distributed = pytest.importorskip("distributed")
    scratch = tmp_path_factory.mktemp("dask")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                  local_directory=str(scratch)) as started:  # fmt: skip
        yield started


def rows(path, executor, progress=lambda blocks: None):
    """Return what a run measures, without times."""
    with Store(path) as store:
        records, lost = run(TASKS, store, seed=0, executor=executor, progress=progress)
    assert lost == []
    return [(r.task, r.block, r.measured) for r in records]


def test_local_workers_are_the_default():
    with executor_of() as executor:
        assert isinstance(executor, WorkerPool)
    with executor_of("local", 1) as executor:
        assert executor.submit(os.getpid).result() == executor.submit(os.getpid).result() != os.getpid()


def test_a_cluster_whose_worker_is_killed_half_way_measures_the_same_rows(cluster, tmp_path):
    finished = []

    def kill(blocks):
        """Kill whoever works when half of the blocks are done."""
        finished.append(blocks)
        if sum(finished) == 20:
            os.kill(executor.submit(os.getpid).result(), signal.SIGKILL)

    with executor_of(f"dask:{cluster.scheduler_address}") as executor:
        on_cluster = rows(tmp_path / "dask.sqlite", executor, kill)
    assert sum(finished) == 40
    with executor_of("local", 2) as executor:
        assert rows(tmp_path / "local.sqlite", executor) == on_cluster


def test_a_block_that_kills_every_worker_of_a_cluster_is_lost_and_the_rest_goes_on(cluster, tmp_path):
    class Poisoned:
        """Let one block end its worker."""

        def __init__(self, executor):
            self.executor, self.calls = executor, 0

        def submit(self, function, *arguments) -> Future:
            self.calls += 1
            return self.executor.submit(*((os._exit, 1) if self.calls == 3 else (function, *arguments)))

    with executor_of(f"dask:{cluster.scheduler_address}") as executor, Store(tmp_path / "r.sqlite") as store:
        records, (lost,) = run(TASKS, store, seed=0, executor=Poisoned(executor))
    assert len(records) == 39
    assert (lost.task, lost.block) == (TASKS[0], 2)
    assert "KilledWorker" in lost.reason


def test_wrong_executors_are_one_sentence():
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        port, free = silent.getsockname()[1], closed.getsockname()[1]
        closed.close()
        for name, sentence in (
            ("cloud", "there is no executor 'cloud'; use local, or dask:tcp://host:port"),
            ("dask:", "there is no executor 'dask:'"),
            ("dask:nowhere", "no scheduler of dask answers at nowhere: missing port number"),
            (f"dask:tcp://127.0.0.1:{free}", f"no scheduler of dask answers at tcp://127.0.0.1:{free}"),
            (f"dask:tcp://127.0.0.1:{port}", "silence for 1 seconds"),
        ):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("kvfloor.experiments.engine.executors.CONNECT_SECONDS", 1)
                with pytest.raises(ValueError, match=sentence), executor_of(name):
                    pass


def test_a_cluster_has_the_workers_that_it_has():
    with pytest.raises(ValueError, match="leave out --workers"), executor_of("dask:tcp://127.0.0.1:1", 3):
        pass
