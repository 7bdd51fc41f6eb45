"""Where a row comes from: the version and the machine that measured it, and the command that asked."""

import functools
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from kvfloor import __version__

__all__ = ["command", "machine"]


@functools.cache
def machine() -> dict[str, str]:
    """Return what measures in this process, and on what.

    Returns
    -------
    dict of str to str
        "version" and "revision" of kvfloor (a Git commit, with "+" if files differ from it; "" outside of a
        checkout), "python", "numpy" with the CPU features it uses, "blas" with the kernels it took, "cpu" and
        "system".
    """
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((1, 1)) @ np.ones((1, 1))  # so that there is a BLAS to ask
    used = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    blas = {
        f"{each['internal_api']} {each['version']} {each.get('architecture', '')}".strip()
        for each in threadpool_info()
        if each["user_api"] == "blas"
    }
    return {
        "version": __version__,
        "revision": _revision(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        "numpy": " ".join([np.__version__, *used]),
        "blas": ", ".join(sorted(blas)),
        "cpu": _cpu(),
        "system": platform.platform(),
    }


def command() -> str:
    """Return the command line of this process, as a shell would take it."""
    name, *arguments = sys.argv
    name = os.path.basename(name)
    return shlex.join(["kvfloor" if name == "__main__.py" else name, *arguments])


def _revision(folder: Path) -> str:
    """Return the commit that a checkout is at, if the folder is one of ours, "" otherwise."""
    if not (folder / ".git").exists():
        return ""

    def git(*arguments: str) -> str:
        """Return what Git says."""
        asked = ["git", "-C", str(folder), *arguments]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + "+" * bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpu() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
