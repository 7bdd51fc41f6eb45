"""What these tests share: they need the extra `transformers`."""

import numpy as np
import pytest

from kvfloor.attention.engines.transformers.library import EXTRA, needed, offline, quiet


@pytest.fixture(scope="session")
def torch():
    """Return torch, with kvpress and transformers imported; skip where they are not installed."""
    offline()
    for package in EXTRA:
        with quiet():
            pytest.importorskip(package, reason=f"needs the extra transformers: {package} is not installed")
    needed("torch").set_num_threads(1)
    return needed("torch")


@pytest.fixture(scope="session")
def weights():
    """Return the selector matrices of a model of one layer and two heads that attends and does no more."""
    width, dim = 64, 8
    eye = np.eye(width)
    layer = {
        "query": 30 * eye[:16], "key": 30 * eye[:16], "value": eye[16:32], "output": eye[:, 32:48],
        "gate": np.zeros((4, width)), "up": np.zeros((4, width)), "down": np.zeros((width, 4)),
        "query_gain": np.ones(dim), "key_gain": np.ones(dim),
    }  # fmt: skip
    matrices = {"unembed": np.zeros((2, width))} | {f"0.{name}": part for name, part in layer.items()}
    return {name: part.astype(np.float32) for name, part in matrices.items()}
