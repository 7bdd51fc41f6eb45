"""The fields of a struct are found by their defaults, wherever they have moved to, or the build is refused."""

import struct

import pytest

from kvfloor.attention.engines.llamacpp import library, parameters
from kvfloor.attention.engines.llamacpp.library import NotInstalledError, UnknownBuildError, needed
from kvfloor.attention.engines.llamacpp.parameters import find

MINUS = 0xFFFFFFFF
FLOATS = struct.unpack("<I", struct.pack("<f", -1.0))[0]


def struct_of(*, before=(0, 0), threads=(4, 4), between=(0,), after=(0, 0), bools=(0x01010100, 0x00000001)):
    """Return the words of context parameters with some fields more or fewer."""
    return [
        512, 2048, 512, 1, *before, *threads, *between, MINUS, MINUS, MINUS, MINUS, 0, 0,
        FLOATS, FLOATS, FLOATS, FLOATS, 0, FLOATS, 0, 0, 0, 0, 1, 1, *after, *bools, 0, 0, 77, 99,
    ]  # fmt: skip


@pytest.mark.parametrize("more", [
    {}, {"before": (0,)}, {"before": (0, 0, 1)}, {"between": (0, 0)}, {"after": ()}, {"after": (0,) * 6},
])  # fmt: skip
def test_fields_are_found_wherever_they_moved(more):
    words = struct_of(**more)
    found = find(words)
    assert [words[found.words[name]] for name in ("n_ctx", "n_seq_max", "type_k", "type_v")] == [512, 1, 1, 1]
    assert found.words["type_v"] == found.words["type_k"] + 1
    assert words[found.words["flash_attn_type"]] == MINUS
    assert words[found.words["flash_attn_type"] + 1] == 0
    assert words[found.words["n_threads"]] == words[found.words["n_threads_batch"]] == 4
    assert words[found.bools // 4] == 0x01010100


@pytest.mark.parametrize("other", [
    {"bools": (0x01010000, 1)}, {"bools": (0x01010100, 0x101)}, {"threads": (4, 8)}, {"between": (MINUS,) * 5},
])  # fmt: skip
def test_other_defaults_are_refused(other):
    words = struct_of(**other)
    found = find(words)
    assert found is None or words[found.words["flash_attn_type"] + 1] != 0


def test_missing_landmarks_are_refused():
    words = struct_of()
    for gone in (512, MINUS, FLOATS):
        assert find([7 if word == gone else word for word in words]) is None
    assert find(words[:20]) is None


def test_another_build_is_one_sentence(engine, monkeypatch):
    parameters.fields.cache_clear()
    monkeypatch.setattr(parameters, "find", lambda words: None)
    with pytest.raises(UnknownBuildError, match=rf"another layout; install {library.PINNED}$") as caught:
        parameters.fields()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert parameters.fields().words["type_k"] > 0


def test_a_build_that_lacks_a_function_is_one_sentence(engine, monkeypatch):
    monkeypatch.setitem(library._FUNCTIONS, "llama_does_not_exist", (None,))
    with pytest.raises(
        UnknownBuildError, match="lacks the function llama_does_not_exist; install xllamacpp=="
    ):
        library.library.__wrapped__()


def test_a_missing_package_is_one_sentence(monkeypatch):
    with pytest.raises(
        NotInstalledError,
        match=r"^no_such_package is not installed; install it with `make llamacpp`, or with pip: kvfloor\[llamacpp\]$",
    ):
        needed("no_such_package")
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match="xllamacpp is not installed"):
        library.library.__wrapped__()
