"""What forward and backward are compared with."""

import numpy as np
import pytest

from kvfloor.attention import softmax_attention_reference


@pytest.fixture(scope="session")
def attend():
    """Return exact attention, causal or not, from its definition."""

    def attended(queries, keys, values, causal):
        if not causal:
            return softmax_attention_reference(queries, keys, values)
        rows = [
            softmax_attention_reference(queries[i : i + 1], keys[: i + 1], values[: i + 1])
            for i in range(len(keys))
        ]
        return np.vstack(rows)

    return attended
