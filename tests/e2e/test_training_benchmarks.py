"""benchmarks/qat_recovery.py, lora_merge.py and pruning.py from options to figures: tiny models, short trainings."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import lora_merge
import pruning
import pytest
import qat_recovery
from fixtures.tiny_models import tiny_llama, tiny_sentence_encoder
from harness.corpora import Package, parted

from edgekit.distilling import gained

pytestmark = pytest.mark.engines

WORDS = ("library", "tool", "for", "files", "network", "the", "fast", "python", "documentation", "of", "and", "games")


def package_list(count: int = 400) -> list[Package]:
    draw = random.Random(0)
    texts = [f"{' '.join(draw.choices(WORDS, k=draw.randint(3, 8)))} {number}" for number in range(count)]
    return [Package(f"p{number}", f"s{number}", "libs", text) for number, text in enumerate(texts)]


def recovered(words: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one row that was measured: told as it was found, on the engine as in torch."""
    status = qat_recovery.main([*words, "--json", str(file)])
    (row,) = json.loads(file.read_text(encoding="utf-8"))["rows"]
    engine, torch = row["in_engine"], row["in_torch"]
    for each in (engine, torch):
        assert each["low"] <= each["share"] <= each["high"]
        assert each["share"] == pytest.approx(1 - each["trained"] / each["plain"])
        assert min(each["trained"], each["plain"]) > 0
    # Other rows, and the same arithmetic: the engine loses what torch says. How much comes back, seconds do not tell.
    assert engine["plain"] == pytest.approx(torch["plain"], rel=0.5)
    assert engine["trained"] == pytest.approx(torch["trained"], rel=0.5)
    assert row["steps"] > 1
    assert status == (0 if engine["share"] >= qat_recovery.AIM else 1)
    shown = capsys.readouterr().out
    assert f"comes back on {row['engine']}: {'MISSED' if status else 'held'}" in shown
    return row


def test_what_training_for_int8_brings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(qat_recovery, "package_descriptions", package_list)
    monkeypatch.setattr(qat_recovery, "minilm", lambda: tiny_sentence_encoder(tmp_path / "model"))
    row = recovered(["--only", "int8", "--budget", "2s"], tmp_path / "figures.json", capsys)
    assert (row["deployment"], row["engine"], row["same_types"]) == ("onnx-int8", "ONNX Runtime", None)
    assert (row["in_engine"]["measure"], row["in_engine"]["rows"]) == ("1 - cosine", len(parted(package_list())[1]))


def test_what_training_for_q4_0_brings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_llama(tmp_path / "model")
    (model / "eval.txt").write_text("".join(f"{each.synopsis}\n" for each in package_list(200)), encoding="utf-8")
    monkeypatch.setenv("EDGEKIT_TINYLM", str(model))
    monkeypatch.setattr(qat_recovery, "library_pieces", lambda *_: [each.synopsis for each in package_list(500)[200:]])
    words = ["--only", "q4_0", "--budget", "3s", "--windows", "3"]
    row = recovered(words, tmp_path / "figures.json", capsys)
    assert (row["deployment"], row["engine"]) == ("gguf-Q4_0", "llama.cpp")
    assert (row["in_engine"]["measure"], row["in_engine"]["rows"]) == ("mean KL", 3)
    assert row["same_types"] == pytest.approx(row["in_engine"]["plain"], rel=0.9)


def test_a_lora_trained_merged_and_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEKIT_TINYLM", str(tiny_llama(tmp_path / "base", dtype="bfloat16")))
    monkeypatch.setattr(lora_merge, "package_descriptions", package_list)
    lora_merge.main(["--steps", "3", "--json", str(tmp_path / "figures.json")])
    figures, shown = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")), capsys.readouterr().out
    assert figures["trained"]["steps"] == 3
    assert figures["trained"]["tokens_held_out"] >= lora_merge.WINDOW_TOKENS
    assert figures["merge_max_difference"] <= lora_merge.MERGE_TOLERANCE
    assert f"at most {lora_merge.MERGE_TOLERANCE:g}: held" in shown
    perplexity = figures["perplexity"]
    assert perplexity["adapter beside the base"] < 0.99 * perplexity["base"], "it learnt something to be merged"
    assert perplexity["merged"] == pytest.approx(perplexity["adapter beside the base"], rel=0.01)
    found = [figures[name]["mean_kl"] for name in ("merged into float32", "merged into bfloat16")]
    assert 0 <= found[0] < 1e-3 * found[1]
    assert 0 <= figures["bundle F16"]["mean_kl"] < figures["bundle Q8_0"]["mean_kl"]


def test_what_pruning_takes_and_recovery_brings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_sentence_encoder(tmp_path / "model", num_hidden_layers=4, num_attention_heads=4, intermediate_size=128)
    monkeypatch.setattr(pruning, "package_descriptions", package_list)
    monkeypatch.setattr(gained, "ram_bytes", lambda *_: None)  # `edgekit distill`'s tests have its processes
    file = tmp_path / "figures.json"
    pruning.main(["--model", str(model), "--recover", "3s", "--rows", "200", "--draws", "1", "--json", str(file)])
    figures, shown = json.loads(file.read_text(encoding="utf-8")), capsys.readouterr().out
    assert set(figures["cosine"]) == set(pruning.CUTS)
    found = [share for row in figures["cosine"].values() for share in row.values()]
    assert len(found) == 3 * len(pruning.CUTS) + 1
    assert all(0 < each < 1 for each in found), "something was cut, and the rest still answers alike"
    assert "evenly" in figures["cosine"]["a third of the layers"]
    (compressed,) = (each for each in figures["zeroed"]["compressed"] if each["stored_as"] == "float32")
    assert compressed["after_bytes"] < compressed["before_bytes"]
    assert f"{figures['recovered']['recovery']['steps']} steps" in shown


@pytest.mark.parametrize("main", [lambda: qat_recovery.main(["--only", "q4_0"]), lambda: lora_merge.main([])])
def test_without_a_language_model_they_say_what_is_missing(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_TINYLM", raising=False)
    with pytest.raises(SystemExit, match="EDGEKIT_TINYLM names no folder"):
        main()
