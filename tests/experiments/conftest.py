"""What these tests share."""

import pytest

from kvfloor.attention.engines.transformers.library import EXTRA, needed, offline, quiet


@pytest.fixture(scope="session")
def extra():
    """Skip where the extra `transformers` is not installed."""
    offline()
    for package in EXTRA:
        with quiet():
            pytest.importorskip(package, reason=f"needs the extra transformers: {package} is not installed")
    needed("torch").set_num_threads(1)
