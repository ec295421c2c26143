"""`edgekit qat`: from rows to a folder that `inspect` and `pack` know; refusals; what an interrupt leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models

from edgekit.cli import main
from edgekit.errors import Interrupted, OutputExists, TooLittleData, UnsupportedModel

pytestmark = pytest.mark.engines

WORDS = ["pack", "a", "small", "model", "for", "edge", "devices", "prove", "that", "it", "runs", "fast", "in", "memory"]


def rows(path: Path, count: int = 200) -> Path:
    rng = np.random.default_rng(5)
    texts = (" ".join(rng.choice(WORDS, size=rng.integers(4, 10))) for _ in range(count))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def ran(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_trained_model_is_known_and_packed_first_as_what_it_was_trained_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = tiny_models.tiny_sentence_encoder(tmp_path / "m"), rows(tmp_path / "rows.jsonl")
    out = tmp_path / "trained"
    asked = ("qat", model, "--for", "onnx-int8", "--data", data, "--device", "raspberry-pi-5-8gb", "--budget", "2s")
    made = ran(capsys, *asked, "--out", out)
    assert made["model"] == str(out)
    assert made["training"]["deployment"] == "onnx-int8"
    assert made["training"]["recovered"]["rows"] == 64
    assert not (tmp_path / "trained.training").exists()
    assert json.loads((out / "qat.json").read_bytes())["steps"] == made["training"]["steps"]
    page, recovered = (out / "report.html").read_text(encoding="utf-8"), made["training"]["recovered"]
    assert "Loss by step" in page
    assert f"{recovered['low']:.0%} to {recovered['high']:.0%}" in page
    assert any("qat weights" in each for each in ran(capsys, "inspect", out)["evidence"])
    planned, as_it_was = (
        ran(capsys, "plan", each, "--device", "raspberry-pi-5-8gb", "--history", "none") for each in (out, model)
    )
    assert planned["candidates"][0]["label"] == "onnx-int8"  # as it is of any encoder: the reason tells them apart
    reasons = {each["rule"]: each["reason"] for each in planned["remarks"]}
    assert "the weights were trained for this type" in reasons["trained-for"]
    assert "trained-for" not in {each["rule"] for each in as_it_was["remarks"]}
    assert main([*map(str, asked), "--out", str(out)]) == OutputExists.exit_code


def test_an_interrupt_leaves_a_checkpoint_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.training import loop

    model, data = tiny_models.tiny_sentence_encoder(tmp_path / "m"), rows(tmp_path / "rows.jsonl")
    words = [
        "qat",
        str(model),
        "--for",
        "onnx-int8",
        "--data",
        str(data),
        "--budget",
        "2s",
        "--out",
        str(tmp_path / "o"),
    ]

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_announce", stopped)
        assert main(words) == Interrupted.exit_code
    told = capsys.readouterr().err
    assert "--resume with the same flags continues from it" in told
    assert str(tmp_path / "o.training" / "checkpoint") in told
    assert not (tmp_path / "o").exists()
    assert main(words) == OutputExists.exit_code
    assert "--resume with the same flags continues it" in capsys.readouterr().err
    made = ran(capsys, *words, "--resume")
    assert any("continued from the checkpoint of step 0" in each for each in made["training"]["remarks"])
    assert (tmp_path / "o" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("make", "deployment", "count", "error"),
    [
        (tiny_models.tiny_sentence_encoder, "onnx-int8", 20, TooLittleData),
        (tiny_models.tiny_llama, "onnx-int8", 200, UnsupportedModel),
        (tiny_models.tiny_bert_classifier, "gguf-Q4_0", 200, UnsupportedModel),
    ],
)
def test_refused_before_anything_is_trained(
    make: Any, deployment: str, count: int, error: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = make(tmp_path / "m"), rows(tmp_path / "rows.jsonl", count)
    out = tmp_path / "out"
    words = ["qat", str(model), "--for", deployment, "--data", str(data), "--out", str(out)]
    assert main(words) == error.exit_code
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("edgekit: ")
    assert not out.exists()
    assert not (tmp_path / "out.training").exists()
