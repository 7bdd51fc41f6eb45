"""Local workers: an executor whose processes do one call at a time, are replaced when they die, and never outlive it.

Each worker is owned by a thread, which starts it on the first call, hands it calls as JSON and starts another
when it dies. No semaphore and no temporary file is shared: what is killed leaves nothing behind.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from kvfloor.experiments.engine.worker import named

__all__ = ["WorkerDiedError", "WorkerError", "WorkerPool"]

ATTEMPTS = 3
"""A call during which this many workers died is given up."""

START = (
    "import json, sys; path, descriptor, parent = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from kvfloor.experiments.engine.worker import serve; serve(descriptor, parent)"
)
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LOOK_SECONDS = 1.0


class WorkerError(RuntimeError):
    """A call raised an error; the message is that error in one sentence."""


class WorkerDiedError(WorkerError):
    """Worker after worker died over one call."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A line of JSON, and who waits for the reply."""

    line: bytes
    future: "Future[Any]" = field(default_factory=Future)


class WorkerPool(Executor):
    """Workers on this machine, with one BLAS thread each, so that they do not fight for cores.

    What is submitted is an importable function with JSON values as arguments and result. A call that raises
    ends with `WorkerError`. A call whose worker dies is done again by another, and ends with `WorkerDiedError`
    when three have died.

    Parameters
    ----------
    workers : int
        Processes, at least 1; each is started when there is a call for it.
    """

    def __init__(self, workers: int) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a function called by the next free worker; keyword arguments are not taken."""
        if kwargs:
            raise TypeError(f"a call takes no keyword arguments, got {', '.join(kwargs)}")
        if self._closed:
            raise RuntimeError("the pool is shut down")
        call = _Call(json.dumps([named(fn), args]).encode() + b"\n")
        self._calls.put(call)
        for thread in self._threads:
            if thread.ident is None:
                thread.start()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers once all calls, or just those under way, are done."""
        if cancel_futures:
            with contextlib.suppress(Empty):
                while True:
                    if (call := self._calls.get_nowait()) is not None:
                        call.future.cancel()
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._calls.put(None)
        for thread in self._threads:
            if wait and thread.ident is not None:
                thread.join()

    def __exit__(self, kind: object, *_: object) -> None:
        """End the workers; after an error nobody waits for what is under way."""
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)

    def _work(self) -> None:
        """Serve calls with one worker, replaced whenever it dies."""
        # A worker inherits this mask: Ctrl-C cannot reach it before it is ready to be killed in silence.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker: _Worker | None = None
        while (call := self._calls.get()) is not None:
            if not call.future.set_running_or_notify_cancel():
                continue
            try:
                for _ in range(ATTEMPTS):
                    if worker is not None and not worker.alive():
                        worker.end()
                        worker = None
                    worker = worker or _Worker()
                    if (reply := worker.call(call.line)) is not None:
                        break
                    fate, worker = worker.end(), None
                else:
                    raise WorkerDiedError(f"{ATTEMPTS} workers died over it, the last by {fate}")
                if "error" in reply:
                    raise WorkerError(reply["error"])
            except Exception as error:
                call.future.set_exception(error)
            else:
                call.future.set_result(reply["result"])
        if worker is not None:
            worker.end()


class _Worker:
    """One worker process and our end of its socket."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            start = json.dumps([sys.path, theirs.fileno(), os.getpid()])
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, start],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def end(self) -> str:
        """End the worker and whatever it started; return how it ended."""
        self._channel.close()  # which ends it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LOOK_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        names = {-number: number.name for number in signal.Signals}
        return names.get(status, f"exit status {status}")

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def call(self, line: bytes) -> dict[str, Any] | None:
        """Have a call done; return the reply, or None if the worker died."""
        parts: list[bytes] = []
        try:
            self._channel.settimeout(None)
            self._channel.sendall(line)
            self._channel.settimeout(LOOK_SECONDS)
            while not parts or not parts[-1].endswith(b"\n"):
                try:
                    part = self._channel.recv(1 << 20)
                except TimeoutError:
                    # What the worker started may hold the socket open: its own end is what counts.
                    if not self.alive():
                        return None
                    self._process.send_signal(signal.SIGCONT)  # nobody else would
                    continue
                if not part:
                    return None
                parts.append(part)
        except OSError:
            return None
        reply: dict[str, Any] = json.loads(b"".join(parts))
        return reply
