"""Fresh processes for parties with heavy imports: a server imports once, each party is a fork of it.

Neither party has seen anything of the other: the server holds the imported libraries and nothing else. What
comes back are bytes, never objects.
"""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["in_fresh_process"]


def in_fresh_process(
    function: Callable[..., tuple[dict[str, Any], bytes]], *arguments: Any, preload: Sequence[str]
) -> tuple[dict[str, Any], bytes]:
    """Call a function in a process of its own and return what it returned.

    Parameters
    ----------
    function : callable
        Importable; returns facts as JSON values, and bytes.
    *arguments
        What it is called with.
    preload : sequence of str
        Modules that the server imports before the first call; a missing one is passed over.

    Returns
    -------
    tuple of dict and bytes
        The function's.

    Raises
    ------
    ValueError
        If the function raised an error or its process died; one sentence.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    ours, theirs = context.Pipe(duplex=False)
    party = context.Process(target=_call, args=(theirs, function, arguments))
    party.start()
    theirs.close()
    try:
        facts, content = json.loads(ours.recv_bytes()), ours.recv_bytes()
    except EOFError:
        party.join()
        raise ValueError(f"{function.__name__}: its process ended with status {party.exitcode}") from None
    finally:
        party.kill()
        party.join()
        ours.close()
    if "error" in facts:
        raise ValueError(facts["error"])
    return facts, content


def _call(
    connection: Connection,
    function: Callable[..., tuple[dict[str, Any], bytes]],
    arguments: tuple[Any, ...],
) -> None:
    """Do a party's part and send what it returned, or one sentence on what went wrong."""
    try:
        facts, content = function(*arguments)
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        facts, content = {"error": kind + " ".join(str(error).split())}, b""
    connection.send_bytes(json.dumps(facts).encode())
    connection.send_bytes(content)
