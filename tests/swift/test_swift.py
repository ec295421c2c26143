"""The Swift runtime's own tests (conformance/drivers/swift/Tests): its types, its tasks and streams, over bundles made
by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, c_runtime, swift_runtime

pytestmark = pytest.mark.engines

CHAT_FORMAT = {
    "start": "<s>",
    "no_system": "",
    "turns": {role: {"before": f"[{role}]", "after": ""} for role in ("system", "user", "assistant")},
    "answer": "",
    "strip": False,
}


def _word_pieces(bundle: Path) -> Path:
    """The bundle's words as WordPiece, which the C runtime has, in place of the plain list of words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    path = bundle / "tokenizer.json"
    plain = Tokenizer.from_file(str(path))
    tokenizer = Tokenizer(models.WordPiece(plain.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = plain.post_processor
    tokenizer.save(str(path))
    return bundles.reseal(bundle)


def _with_goldens(bundle: Path) -> Path:
    """One that holds, one that is off by 1, one of another shape."""
    x = {"x": np.arange(4, dtype=np.float32).reshape(1, 4)}
    with rt.open(bundle, threads=1) as session:
        cases = [goldens.make_case(session, x, f"input {number}") for number in range(3)]
    cases[1]["expected"]["values"]["y"]["data"][2] += 1
    cases[2]["expected"]["values"]["y"] |= {"data": [0.0] * 8, "shape": [2, 4]}
    (bundle / "golden.json").write_text(json.dumps(goldens.document(cases)), encoding="utf-8")
    return bundles.reseal(bundle)


def _hand_made(folder: Path) -> Path:
    _word_pieces(bundles.embedding_bundle(folder / "embedding"))
    _word_pieces(bundles.classifier_bundle(folder / "classifier"))
    _word_pieces(bundles.tagger_bundle(folder / "tagger"))
    bundles.image_bundle(folder / "image")
    bundles.tensor_bundle(folder / "tensors")
    bundles.endless_bundle(folder / "endless")
    _with_goldens(bundles.tensor_bundle(folder / "goldens"))
    chain = bundles.chain_bundle(folder / "chain")
    generation: dict[str, Any] = json.loads((chain / "edgekit.json").read_bytes())["generation"]
    bundles.reseal(chain, generation=generation | {"chat_format": CHAT_FORMAT})
    return folder


@pytest.mark.parametrize("sanitizer", [None, "thread"])
def test_the_packages_own_tests(swift: Path, tmp_path: Path, sanitizer: str | None) -> None:
    """Once more where every two accesses that no lock orders are told."""
    options = ["--build-tests", *([] if sanitizer is None else ["--sanitize", sanitizer])]
    built = swift_runtime.build(swift / (sanitizer or "plain"), *options)
    ran = swift_runtime.run_swift(
        built / "debug" / "edgekit-driverPackageTests.xctest",
        EDGEKIT_TEST_BUNDLES=str(_hand_made(tmp_path)),
        EDGEKIT_TEST_LLAMA=str(c_runtime.engine_library("llama.cpp")),
        EDGEKIT_TEST_ONNXRUNTIME=str(c_runtime.engine_library("onnxruntime")),
        TSAN_OPTIONS="halt_on_error=0",
    )
    told = ran.stdout + ran.stderr
    assert ran.returncode == 0, told[-8000:]
    assert "ThreadSanitizer" not in told, told[-8000:]
    counts = [int(count) for count in re.findall(r"Executed (\d+) tests, with 0 failures", told)]
    written = sum(
        path.read_text(encoding="utf-8").count("    func test") for path in built.parent.rglob("*Tests.swift")
    )
    assert max(counts) == written >= 30
