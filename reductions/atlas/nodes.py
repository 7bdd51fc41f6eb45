"""The nodes of the atlas by name, and whose its arrows are."""

INDEX = "INDEX"
SOFTMAX = "softmax attention"
TRANSFORMER = "transformer"
WINDOW = "sliding-window attention"
VISUAL = "visual autoregressive attention"
TENSOR_FOUR = "tensor attention, four caches"
TENSOR_TWO = "tensor attention, two caches"

OURS = "ours"
HARIS_ONAK = "Haris and Onak, COLT 2025"
CHEN_TENSOR = "Chen et al., arXiv:2503.11108"
