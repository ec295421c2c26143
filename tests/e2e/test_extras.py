"""An ONNX-only and a GGUF-only install are enough for what each packs: the other engine's packages are hidden."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures import tiny_models

pytestmark = pytest.mark.engines

HIDING = """
import sys
hidden = set({hidden!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in hidden else found(name, package)
sys.meta_path.insert(0, Hide())
from edgekit.cli import main
sys.exit(main(sys.argv[1:]))
"""
ONNX = ("onnx", "onnxruntime", "optimum", "onnx_ir")
GGUF = ("gguf", "llama_cpp")
LOOSE = ("--min-cosine", "0.9", "--max-kl", "1", "--min-top1", "0.1", "--max-slowdown", "100", "--context", "128")


def edgekit_without(hidden: tuple[str, ...], *words: str) -> subprocess.CompletedProcess[str]:
    code = HIDING.format(hidden=hidden)
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_a_decoder_is_packed_without_the_onnx_packages(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "source")
    ran = edgekit_without(ONNX, "pack", str(source), "--out", str(tmp_path / "out"), "--json", *LOOSE)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["report"]["strategy"] == "gguf Q8_0"


def test_an_encoder_is_packed_without_the_gguf_packages_and_the_plan_says_what_is_missing(tmp_path: Path) -> None:
    source = tiny_models.tiny_sentence_encoder(tmp_path / "source")
    ran = edgekit_without(GGUF, "pack", str(source), "--out", str(tmp_path / "out"), "--json", *LOOSE)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)["report"]
    assert report["strategy"] == "onnx-int8"
    remedies = {each["candidate"]: each["remedy"] for each in report["plan"]["rejected"]}
    assert remedies["gguf Q8_0"] == "pip install gguf llama-cpp-python torch transformers"


def test_the_missing_engine_is_named_where_nothing_else_would_do(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "source")
    ran = edgekit_without(GGUF, "pack", str(source), "--out", str(tmp_path / "out"))
    assert ran.returncode != 0
    assert "pip install gguf llama-cpp-python" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
