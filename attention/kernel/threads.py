"""Let threads share work block by block, each with one thread of BLAS: two pools that spin wait for each other."""

import contextvars
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["allowed_threads", "share"]

Item = TypeVar("Item")


def allowed_threads() -> int:
    """Return how many threads a computation may take: as many as the BLAS of this process has.

    Who limits BLAS, by ``OMP_NUM_THREADS`` or ``threadpoolctl``, limits the threads of `share` with it.

    Returns
    -------
    int
        At least 1; 1 where the library is one that cannot be asked.
    """
    return _CREW.threads()


def share(items: Sequence[Item], work: Callable[[Iterator[Item]], None], most: int | None = None) -> None:
    """Let threads take items from one queue until none is left.

    As long as it lasts BLAS has one thread a caller, in the whole process. A call inside another one, or beside
    it, takes no further threads.

    Parameters
    ----------
    items : sequence
        What is to be done, longest first.
    work : callable
        Takes items off the iterator it is given; runs in as many threads as are allowed and worth it, and must
        write what it finds where no other item does.
    most : int, optional
        The most threads that are worth it.
    """
    queue = iter(items)  # of a list or a range, which threads may share
    with _CREW.one_thread() as threads:
        helpers = min(threads, len(items), most or threads) - 1
        futures = [_CREW.pool(helpers).submit(contextvars.copy_context().run, _help, work, queue)
                   for _ in range(helpers)]  # fmt: skip
        try:
            work(queue)
        finally:
            wait(futures)
        for future in futures:
            future.result()


def _help(work: Callable[[Iterator[Item]], None], queue: Iterator[Item]) -> None:
    """Work in another thread; some libraries keep the number of their threads for each thread apart."""
    _controller().limit(limits=1, user_api="blas")
    work(queue)


@cache
def _controller() -> ThreadpoolController:
    """Return what sets the number of BLAS's threads; finding the library takes longer than a small product."""
    return ThreadpoolController().select(user_api="blas")


class _Crew:
    """The helping threads, and the number of BLAS's, which belongs to the process: the last to leave puts it back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._threads = 1
        self._hands = 0

    def threads(self) -> int:
        """Return the number of threads, as it was before anybody came in."""
        with self._lock:
            return self._threads if self._inside else self._now()

    def pool(self, helpers: int) -> ThreadPoolExecutor:
        """Return a pool of at least so many threads, which sleep between calls."""
        if self._hands < helpers:
            self._pool, self._hands = ThreadPoolExecutor(helpers, "attention"), helpers
        return self._pool

    @contextmanager
    def one_thread(self) -> Iterator[int]:
        """Hold BLAS at one thread; the first to come in is given the number of threads there are to take."""
        with self._lock:
            if not self._inside:
                self._threads = self._now()
                self._limit = _controller().limit(limits=1, user_api="blas") if self._threads > 1 else None
            threads = 1 if self._inside else self._threads
            self._inside += 1
        try:
            yield threads
        finally:
            with self._lock:
                self._inside -= 1
                self._restore()

    def _restore(self) -> None:
        """Give BLAS back its threads, if nobody is inside."""
        if not self._inside and self._limit:
            self._limit.restore_original_limits()

    @staticmethod
    def _now() -> int:
        """Return the least number of threads of the libraries found."""
        return min((library.num_threads for library in _controller().lib_controllers), default=1)

    def forked(self) -> "_Crew":
        """Return a crew for a forked process, which has none of the threads."""
        if self._inside:
            self._inside = 0
            self._restore()
        return _Crew()


_CREW = _Crew()


def _forked() -> None:
    """Replace the crew."""
    global _CREW
    _CREW = _CREW.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
