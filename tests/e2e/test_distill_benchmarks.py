"""benchmarks/distill_*.py from their options to their figures, with tiny models and seconds of training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import distill_classifier
import distill_decoder
import distill_embedding
import pytest
from fixtures.tiny_models import tiny_bert, tiny_llama, tiny_sentence_encoder
from harness.corpora import Package

from edgekit.distilling import gained

pytestmark = pytest.mark.engines

WORDS = ("library", "tool", "for", "files", "network", "the", "fast", "python", "documentation", "of", "and", "games")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the processes that measure a student's memory in torch."""
    monkeypatch.setattr(gained, "ram_bytes", lambda *_: None)


def package_list(count: int = 400) -> list[Package]:
    draw = random.Random(0)
    made = []
    for number in range(count):
        text = f"{' '.join(draw.choices(WORDS, k=draw.randint(3, 8)))} {number}"
        made.append(Package(f"p{number}", f"s{number}", "games" if "games" in text else "libs", text))
    return made


def figures_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert all(set(each) == {"name", "asked", "found", "reached"} for each in found["targets"])
    return found


def test_a_sentence_encoder_s_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distill_embedding, "package_descriptions", package_list)
    teacher = tiny_sentence_encoder(tmp_path / "teacher", num_hidden_layers=4)
    asked = ["--teacher", str(teacher), "--layers", "2", "--budget", "2s", "--held-out", "20", "--rounds", "5"]
    distill_embedding.main([*asked, "--json", str(tmp_path / "figures.json")])
    figures, shown = figures_of(tmp_path / "figures.json"), capsys.readouterr().out
    alone = figures["lessons"]["without a teacher"]
    assert alone["losses"][0].startswith("SimCSE")
    assert alone["best_loss"] < alone["curve"][0]["validation_loss"]
    assert figures["fidelity"]["teacher onnx-fp32"]["mean_cosine"] == pytest.approx(1.0, abs=1e-4)
    dropped = figures["fidelity"]["layers dropped, untrained, torch"]["mean_cosine"]
    assert figures["fidelity"]["distilled onnx-fp32"]["mean_cosine"] > dropped
    assert figures["board"]["fits"] is True
    assert "int8 on raspberry-pi-zero-2-w" in shown


def test_a_classifier_s_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill_classifier, "package_descriptions", package_list)
    body = tiny_bert(tmp_path / "body", num_hidden_layers=4)
    asked = ["--body", str(body), "--budget", "2s", "--teacher-budget", "8s", "--rounds", "5"]
    distill_classifier.main([*asked, "--json", str(tmp_path / "figures.json")])
    figures = figures_of(tmp_path / "figures.json")
    assert figures["sections"] == ["games", "libs"]
    assert figures["accuracy"]["teacher, torch"] == pytest.approx(
        {"accuracy": figures["accuracy"]["teacher onnx-fp32"]["accuracy"], "drop": 0, "drop_low": 0, "drop_high": 0}
    )
    assert any("cross-entropy" in loss for loss in figures["lessons"]["labels alone"]["losses"])
    assert len(figures["lessons"]["labels alone"]["losses"]) == 1
    assert not {each["name"]: each["reached"] for each in figures["targets"]}["classes"]


def test_a_language_model_s_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny_llama(tmp_path / "teacher", num_hidden_layers=4)
    (teacher / "eval.txt").write_text("".join(f"{each.synopsis}\n" for each in package_list(200)), encoding="utf-8")
    monkeypatch.setattr(
        distill_decoder, "library_pieces", lambda *_: [each.synopsis for each in package_list(600)[200:]]
    )
    asked = ["--teacher", str(teacher), "--budget", "2s", "--windows", "4"]
    distill_decoder.main([*asked, "--json", str(tmp_path / "figures.json")])
    figures = figures_of(tmp_path / "figures.json")
    assert figures["layers"] == 2
    assert figures["perplexity"]["teacher"]["ratio"] == 1.0
    assert all(each["low"] <= each["perplexity"] <= each["high"] for each in figures["perplexity"].values())
    assert figures["lessons"]["from random weights"]["losses"] == ["1 x cross-entropy of the next token"]
    assert figures["lessons"]["distilled"]["parameters"] == figures["lessons"]["from random weights"]["parameters"]


def test_a_decoder_without_held_out_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_TINYLM", raising=False)
    with pytest.raises(SystemExit, match=r"EDGEKIT_TINYLM names no folder with a language model and eval\.txt"):
        distill_decoder.main([])
    with pytest.raises(SystemExit, match=r"eval\.txt"):
        distill_decoder.main(["--teacher", str(tmp_path)])
