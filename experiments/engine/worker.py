"""A worker process: does one call at a time for the process that started it, and dies with it.

Calls and replies are lines of JSON over a socket. When the socket closes, the worker ends at once, also in
the middle of a call; on Linux the kernel ends it, too, so that even a stopped worker stays nobody's.
"""

import ctypes
import importlib
import json
import operator
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

__all__ = ["die_with", "named", "serve", "told"]

PR_SET_PDEATHSIG = 1


def serve(descriptor: int, parent: int) -> None:
    """Answer calls until the other end of the socket closes.

    Parameters
    ----------
    descriptor : int
        Our end of the socket, inherited.
    parent : int
        Process id of who started us.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with(parent)
    channel = socket.socket(fileno=descriptor)
    calls: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(channel, calls), daemon=True).start()
    while True:
        function, arguments = json.loads(calls.get())
        try:
            reply = {"result": _find(function)(*arguments)}
        except Exception as error:
            reply = {"error": told(error)}
        try:
            channel.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            os._exit(0)


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends; end now if it has ended already.

    Parameters
    ----------
    parent : int
        Process id of who started us.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def named(function: Callable[..., Any]) -> str:
    """Return the name under which a worker finds a function: "module:qualified.name"."""
    return f"{function.__module__}:{function.__qualname__}"


def told(error: BaseException) -> str:
    """Return an error in one sentence: its kind, its message and the line that raised it."""
    text = " ".join(str(error).split()) or "no message"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"


def _listen(channel: socket.socket, calls: "SimpleQueue[bytes]") -> None:
    """Hand on every line; end the process when there are no more."""
    with channel.makefile("rb") as lines:
        for line in lines:
            calls.put(line)
    os._exit(0)


def _find(name: str) -> Callable[..., Any]:
    """Return the function of this name."""
    module, _, qualified = name.partition(":")
    found: Callable[..., Any] = operator.attrgetter(qualified)(importlib.import_module(module))
    return found
