"""Another version of an engine is refused with what was found, what is needed and how to get it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import edgekit_runtime as rt
import pytest
from edgekit_runtime import _versions
from fixtures import bundles


@pytest.mark.parametrize("version", ["1.22", "1.22.0", "1.31.1", "1.99", "1.30.0+cpu", "1.31.0rc1"])
def test_versions_that_will_do(version: str) -> None:
    assert _versions.check("onnxruntime", version) == version


@pytest.mark.parametrize("version", ["1.21.1", "0.9", "2", "2.0.0", "10.1", "", "newest", None, 3])
def test_versions_that_will_not(version: object) -> None:
    with pytest.raises(rt.LoadFailed) as caught:
        _versions.check("onnxruntime", version)
    assert str(version) in str(caught.value)
    assert "pip install 'onnxruntime>=1.22,<2'" in str(caught.value)


def test_they_are_those_of_the_package() -> None:
    project = tomllib.loads((bundles.RUNTIME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {each for name in ("onnx", "llama") for each in project["optional-dependencies"][name]}
    needed = {f"{name}>={least},<{below}" for name, (least, below) in _versions._NEEDED.items()}
    assert needed <= wanted


STAND_INS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "onnxruntime": ({"onnxruntime": SimpleNamespace(__version__="1.17.3")}, {}),
    "llama-cpp-python": (
        {
            "llama_cpp": SimpleNamespace(__version__="0.2.90", llama_cpp=SimpleNamespace()),
            "llama_cpp.llama_cpp": SimpleNamespace(),
        },
        {"engine": "llama.cpp", "task": "causal-lm", "generation": {"context_tokens": 8}},
    ),
}


@pytest.mark.parametrize("package", STAND_INS)
def test_a_bundle_is_not_loaded_by_another_version(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, fields = STAND_INS[package]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(rt.LoadFailed, match=rf"{package} \S+ is installed, {package}>="):
        rt.open(bundles.plain_bundle(tmp_path / "bundle", **fields))


def test_a_tokenizer_is_not_read_by_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit_runtime._text import Encoder

    monkeypatch.setitem(sys.modules, "tokenizers", SimpleNamespace(__version__="0.13.3"))
    with pytest.raises(rt.LoadFailed, match=r"tokenizers 0\.13\.3 is installed"):
        Encoder(tmp_path / "tokenizer.json", 8, {})
