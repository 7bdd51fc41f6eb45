"""The optional packages: what is missing is told in one sentence, with or without them installed."""

import importlib.util
import logging
import subprocess
import sys
import warnings

import pytest

from kvfloor.attention.engines.transformers import library
from kvfloor.attention.engines.transformers.compressors import Compressor


@pytest.fixture
def nothing_installed(monkeypatch):
    """Let no optional package be found."""
    found = importlib.util.find_spec
    hidden = {*library.EXTRA, "optimum", "hqq"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in hidden else found(name, *rest)
    )
    library.needed.cache_clear()
    yield
    library.needed.cache_clear()


def test_a_missing_package_says_how_to_install_it(nothing_installed):
    assert library.missing(("numpy", "torch", "kvpress")) == ("torch", "kvpress")
    with pytest.raises(
        library.NotInstalledError, match=r"torch is not installed; install it with `make transformers`"
    ):
        library.needed("torch.nn")
    with pytest.raises(library.NotInstalledError, match="kvpress is not installed"):
        Compressor.parse("kvpress:SnapKVPress").press()


def test_importing_the_package_imports_no_library():
    code = (
        "import sys, kvfloor.experiments.game.hosts.transformers, kvfloor.experiments.claims.engines.leaderboard\n"
        "print([m for m in ('torch', 'transformers', 'kvpress', 'hqq') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_quiet_is_quiet_and_leaves_everything_as_it_was():
    level = logging.root.manager.disable
    with library.quiet():
        warnings.warn("not heard", UserWarning, stacklevel=1)
        assert not logging.getLogger("x").isEnabledFor(logging.WARNING)
    assert logging.root.manager.disable == level
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)
