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
    matrices = {"model.norm.weight": np.ones(width), "lm_head.weight": np.zeros((2, width))}
    eye = np.eye(width)
    layer = {
        "self_attn.q_proj": 30 * eye[:16], "self_attn.k_proj": 30 * eye[:16], "self_attn.v_proj": eye[16:32],
        "self_attn.o_proj": eye[:, 32:48], "mlp.gate_proj": np.zeros((4, width)),
        "mlp.up_proj": np.zeros((4, width)), "mlp.down_proj": np.zeros((width, 4)),
        "input_layernorm": np.ones(width), "post_attention_layernorm": np.ones(width),
        "self_attn.q_norm": np.ones(dim), "self_attn.k_norm": np.ones(dim),
    }  # fmt: skip
    matrices |= {f"model.layers.0.{name}.weight": part for name, part in layer.items()}
    return {name: part.astype(np.float32) for name, part in matrices.items()}
