"""Audits of shipped compressors: the command, its JSON and its table, and wrong input in one sentence."""

import json

import pytest
from click.testing import CliRunner

import kvfloor
from kvfloor.experiments.audits import instances
from kvfloor.experiments.show.command import main

KNORM = "kvpress:KnormPress,compression_ratio=0.5"
MASKED = "kvpress:AdaKVPress,press=SnapKVPress,compression_ratio=0.5"
FIELDS = {
    "cache", "model", "feed", "readout", "tokens", "dim", "value_dim", "alphabet", "sides", "seed", "asked",
    "capacity_bits", "full_cache_bits", "nominal_bits", "allocated_bits", "wire_bits", "errors", "accuracy",
    "certified_bits", "significance_log2", "frontier_bits", "verdict", "seconds",
}  # fmt: skip


def test_the_command_audits_between_fresh_processes(extra):
    arguments = ["audit", MASKED, "--tokens", "128", "--dim", "32", "--seed", "1"]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert set(shown) >= FIELDS
    assert (shown["verdict"], shown["capacity_bits"]) == ("saves nothing", 4096)
    assert (shown["feed"], shown["readout"], shown["sides"]) == ("auto", "rows", "values")
    assert shown["model"] == "llama, 1 layers of 1 heads (1 of keys and values), float32"
    assert shown["nominal_bits"] < shown["full_cache_bits"] < shown["allocated_bits"] < shown["wire_bits"]
    table = CliRunner().invoke(main, [*arguments, "--model", "mistral:dtype=bfloat16"]).stdout
    for word in ("nominal", "allocated", "on the wire", "certified", "saves nothing", "mistral", "bfloat16"):
        assert word in table


def test_a_press_without_a_ratio_does_nothing(extra):
    found = kvfloor.audit("kvpress:KnormPress", tokens=64, dim=16, seed=1)
    assert (found.verdict, found.errors, found.allocated_bits) == ("does nothing", 0, found.full_cache_bits)
    assert "does nothing" in str(found)
    plain = kvfloor.audit("transformers:DynamicCache", tokens=64, dim=16, seed=1)
    assert (plain.verdict, plain.wire_bits) == ("consistent", found.wire_bits)


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["kvpress:SnapPress"], "did you mean 'SnapKVPress'"),
    (["kvpress:SnapKVPress", "--sides", "keys"], "leave out --value-dim, --levels, --sides"),
    (["kvpress:SnapKVPress", "--model", "gpt"], "architecture is 'gpt'"),
    (["transformers:DynamicCache,sliding_window=4"], "llama has no sliding window"),
    (["transformers:DynamicCache", "--dim", "7"], "even number"),
])  # fmt: skip
def test_wrong_input_is_one_sentence_and_status_2(extra, arguments, sentence):
    result = CliRunner().invoke(main, ["audit", *arguments])
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert sentence in last


def test_without_the_extra_an_audit_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(instances, "missing", lambda packages: ("torch", "kvpress"))
    result = CliRunner().invoke(main, ["audit", KNORM])
    assert result.exit_code == 2
    assert "torch, kvpress not installed; install it with `make transformers`" in result.stderr
