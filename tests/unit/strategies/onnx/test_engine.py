"""Imports: late, quiet, without telemetry, and with a remedy."""

from __future__ import annotations

import logging
import warnings

import pytest

from edgekit.errors import BadModel, MissingEngine, UnsupportedModel
from edgekit.strategies.onnx import engine


def test_a_missing_engine_names_the_package_and_the_command() -> None:
    with pytest.raises(MissingEngine) as missing:
        engine.require("no_such_engine_here.sub")
    assert "no_such_engine_here" in missing.value.message
    assert missing.value.remedy == "pip install torch transformers onnx onnxruntime optimum-onnx"


def test_telemetry_is_off_before_onnxruntime_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    seen: list[str | None] = []
    monkeypatch.setattr(engine, "import_module", lambda name: seen.append(engine.os.environ["ORT_DISABLE_TELEMETRY"]))
    engine.require("onnxruntime.quantization")
    assert seen == ["1"]


def test_noise_is_silenced_and_the_settings_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.root.manager.disable
    with engine.silenced():
        warnings.warn("noise", stacklevel=1)
        print("noise")
        logging.getLogger("noise").warning("noise")
    assert capsys.readouterr() == ("", "")
    assert logging.root.manager.disable == before


def test_silence_ends_when_something_is_raised() -> None:
    before = logging.root.manager.disable
    with pytest.raises(ValueError, match="through"), engine.silenced():
        raise ValueError("through")
    assert logging.root.manager.disable == before


def test_third_party_errors_are_told_in_one_line_and_our_own_pass() -> None:
    with pytest.raises(UnsupportedModel) as told, engine.explained("Net cannot be exported", "bring an ONNX file"):
        raise RuntimeError("\n  first line\nsecond line")
    assert str(told.value) == "Net cannot be exported: first line - bring an ONNX file"
    with pytest.raises(BadModel), engine.explained("x", "y"):
        raise BadModel("ours")
