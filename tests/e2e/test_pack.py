"""The main job on real input, through both engines: what is written opens, answers, and says what was measured."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.packing import LOOSE, everything_below, minilm_folder

import edgekit
from edgekit import Limits, manifest
from edgekit.errors import BadInput, DoesNotFit, LimitMissed
from edgekit.limits import Preferences
from edgekit.packer import Packed

pytestmark = pytest.mark.engines


def test_minilm_bundle_holds_its_limits_and_is_whole(packed_minilm: Packed) -> None:
    report, folder = packed_minilm.report, packed_minilm.folder
    assert packed_minilm.manifest.strategy == "onnx-int8"
    assert report.status == "passed"
    assert (report.figure("mean cosine") or 0) >= 0.98
    assert report.figure("texts tokenized differently") == 0
    assert 20e6 < (report.figure("model file") or 0) < 25e6
    assert edgekit.verify(folder) == packed_minilm.manifest
    raw = json.loads((folder / "edgekit.json").read_text())
    jsonschema.validate(raw, json.loads(manifest.schema()))
    for name in ("config.json", "tokenizer.json", "golden.json", "report.json", "report.html", "README.md"):
        assert (folder / name).is_file()
    assert raw["memory"]["peak_rss_bytes"] == report.figure("peak RSS")
    assert raw["memory"]["measured_on"]
    assert raw["provenance"]["tools"]["edgekit"] == edgekit.__version__


def test_every_row_says_where_it_was_measured_and_no_estimate_stands_as_measured(packed_minilm: Packed) -> None:
    for row in packed_minilm.report.rows:
        assert row.where
        if row.measured is None:
            assert row.passed is not True


def test_optimum_and_plain_onnxruntime_open_the_folder_as_it_is(packed_minilm: Packed) -> None:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from transformers import AutoTokenizer

    folder = packed_minilm.folder
    text = "The ferry leaves at half past six."
    encoded = AutoTokenizer.from_pretrained(folder)([text], return_tensors="np")
    inputs = {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    session = onnxruntime.InferenceSession(folder / packed_minilm.manifest.model_file)
    plain = dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs), strict=True))
    model = ORTModelForFeatureExtraction.from_pretrained(folder, subfolder="onnx", file_name="model_quantized.onnx")
    hidden = model(**inputs)["last_hidden_state"]
    np.testing.assert_allclose(hidden, plain["last_hidden_state"], atol=1e-5)
    (ours,) = edgekit.run(folder, [text])
    np.testing.assert_allclose(plain["sentence_embedding"][0], ours, atol=1e-5)


def test_two_packs_give_the_same_model_bytes_and_the_same_manifest_but_for_what_was_measured(
    packed_minilm: Packed, tmp_path: Path
) -> None:
    again = edgekit.pack(
        minilm_folder(), "host", out=tmp_path / "again", name="all-minilm-l6-v2", limits=Limits(max_slowdown=100)
    )

    def settled(packed: Packed) -> dict[str, Any]:
        raw = packed.manifest.model_dump(mode="json")
        raw["memory"] |= {"anonymous_bytes": 0, "peak_rss_bytes": 0}
        raw["provenance"]["created_utc"] = ""
        raw["files"] = [entry for entry in raw["files"] if not entry["path"].startswith("report.")]
        raw["files"] = [
            entry | ({"sha256": "", "size_bytes": 0} if entry["path"] == "README.md" else {}) for entry in raw["files"]
        ]
        for tried in raw["plan"]["tried"]:
            tried["missed"] = []
        return raw

    assert settled(again) == settled(packed_minilm)
    name = packed_minilm.manifest.model_file
    assert (again.folder / name).read_bytes() == (packed_minilm.folder / name).read_bytes()


def test_validate_again_needs_the_original_and_changes_nothing(packed_minilm: Packed) -> None:
    before = everything_below(packed_minilm.folder)
    report = edgekit.validate(packed_minilm.folder)
    assert report.status == "passed"
    assert report.figure("mean cosine") == pytest.approx(packed_minilm.report.figure("mean cosine") or 0, abs=1e-4)
    assert everything_below(packed_minilm.folder) == before
    edgekit.verify(packed_minilm.folder)


def test_validate_refuses_another_model(packed_minilm: Packed, tmp_path: Path) -> None:
    other = tiny_models.tiny_sentence_encoder(tmp_path / "other")
    with pytest.raises(BadInput, match="is not the model this bundle was packed from"):
        edgekit.validate(packed_minilm.folder, model=other)


def test_a_chat_model_is_packed_as_gguf_with_its_template(packed_chat: Packed, chat_model: Path) -> None:
    import llama_cpp

    made = packed_chat.manifest
    assert (made.engine, made.kind, made.task) == ("llama.cpp", "chat", "causal-lm")
    assert made.generation is not None
    template = packed_chat.folder / str(made.generation.chat_template)
    assert template.read_text() == edgekit.open_model(chat_model).text.chat_template  # type: ignore[union-attr]
    assert made.generation.chat_format is not None
    cases = json.loads((packed_chat.folder / "golden.json").read_bytes())["cases"]
    assert [next(iter(case["input"])) for case in cases] == ["ids", "ids", "ids", "ids", "text", "messages"]
    assert all(case["expected"]["kind"] == "logits" and case["distance"] > 0 for case in cases)
    assert cases[5]["expected"]["token_ids"]
    pieces = list(edgekit.run(packed_chat.folder, ["What is a list?"], max_tokens=8))
    assert pieces
    opened = llama_cpp.Llama(str(packed_chat.folder / made.model_file), n_ctx=64, verbose=False, logits_all=True)
    opened.eval([1, 2, 3])
    assert np.isfinite(opened.scores[:3]).all()
    opened.close()


def test_a_base_model_gets_no_template(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "base")
    packed = edgekit.pack(source, "host", out=tmp_path / "out", strategy="gguf-Q4_0", limits=LOOSE)
    assert packed.manifest.kind == "base"
    assert packed.manifest.strategy == "gguf Q4_0"
    assert packed.manifest.generation is not None
    assert packed.manifest.generation.chat_template is None
    assert "".join(edgekit.run(packed.folder, ["once"], max_tokens=4))


@pytest.mark.parametrize(
    ("make", "task", "strategy"),
    [
        ("tiny_bert_classifier", "text-classification", "onnx-int8"),
        ("tiny_bert_tagger", "token-classification", "onnx-int8"),
        ("tiny_vit", "image-classification", "onnx-int8"),
        ("tiny_resnet", "image-classification", "onnx-int8"),
        ("tiny_sentence_encoder", "embedding", "onnx-fp32"),
        ("tiny_bert", "embedding", "gguf-F16"),
    ],
)
def test_every_task_is_packed_and_runs(make: str, task: str, strategy: str, tmp_path: Path) -> None:
    source = getattr(tiny_models, make)(tmp_path / "source")
    packed = edgekit.pack(source, "host", out=tmp_path / "out", strategy=strategy, limits=LOOSE)
    assert packed.manifest.task == task
    assert packed.report.status == "passed"
    if task == "image-classification":
        from PIL import Image

        picture = tmp_path / "picture.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)).save(picture)
        (labels,) = edgekit.run(packed.folder, [str(picture)])
        assert {entry["label"] for entry in labels} == {"cat", "dog", "fox"}
    else:
        assert len(edgekit.run(packed.folder, ["one text", "another"])) == 2
    assert edgekit.validate(packed.folder).status == "passed"


def test_a_plain_module_a_convolution_net(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 24, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(24, 48, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(48, 5),
    ).eval()  # fmt: skip
    packed = edgekit.pack(
        net, "host", name="net", example_inputs=torch.randn(2, 3, 32, 32), out=tmp_path / "out", limits=LOOSE
    )
    assert packed.manifest.strategy == "onnx-int8"
    assert packed.manifest.kind == "module"
    import onnx

    operators = {node.op_type for node in onnx.load(packed.folder / packed.manifest.model_file).graph.node}
    assert "ConvInteger" not in operators
    assert "QuantizeLinear" in operators


def test_an_onnx_file_and_the_gguf_of_a_bundle_are_sources_too(
    packed_minilm: Packed, packed_chat: Packed, tmp_path: Path
) -> None:
    from fixtures.onnx_files import products

    source = products(tmp_path / "net.onnx")
    before = source.read_bytes()
    packed = edgekit.pack(source, "host", out=tmp_path / "onnx", limits=LOOSE)
    assert packed.report.status == "passed"
    assert source.read_bytes() == before

    gguf = packed_chat.folder / packed_chat.manifest.model_file
    bundled = edgekit.pack(gguf, "host", out=tmp_path / "gguf", limits=LOOSE)
    assert (bundled.folder / bundled.manifest.model_file).read_bytes() == gguf.read_bytes()
    assert bundled.report.figure("mean KL") == pytest.approx(0, abs=1e-6)
    assert list(edgekit.run(bundled.folder, ["hello"], max_tokens=4))

    int8 = packed_minilm.folder / packed_minilm.manifest.model_file
    with pytest.raises((DoesNotFit, LimitMissed), match="already"):
        edgekit.pack(int8, "host", out=tmp_path / "twice", strategy="onnx-int8", limits=LOOSE)


def test_a_transformers_5_folder_packs_to_the_same_weights(
    chat_model: Path, packed_chat: Packed, tmp_path: Path
) -> None:
    source = tiny_models.respell_as_transformers_5(chat_model, tmp_path / "five" / chat_model.name)
    packed = edgekit.pack(source, "host", out=tmp_path / "out", limits=LOOSE)
    name = packed.manifest.model_file
    assert (packed.folder / name).read_bytes() == (packed_chat.folder / name).read_bytes()


def test_a_decoder_that_transformers_does_not_know_is_compared_with_its_unquantized_gguf(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config |= {"architectures": ["IQuestCoderForCausalLM"], "model_type": "iquestcoder"}
    (source / "config.json").write_text(json.dumps(config))
    packed = edgekit.pack(source, "host", out=tmp_path / "out", limits=LOOSE)
    assert packed.report.status == "passed"
    assert "unquantized GGUF" in packed.report.reference


def test_a_miss_moves_on_to_the_next_candidate_and_is_told(tmp_path: Path) -> None:
    source = tiny_models.tiny_sentence_encoder(tmp_path / "source")
    limits = replace(LOOSE, min_cosine=0.9999999)
    packed = edgekit.pack(source, "host", out=tmp_path / "out", limits=limits)
    tried = packed.manifest.plan.tried
    assert (tried[0].candidate, tried[0].passed) == ("onnx-int8", False)
    assert re.search(r"mean cosine 0\.9+\d* \(limit >= 1", tried[0].missed[0])
    assert packed.manifest.plan.chosen == packed.manifest.strategy == tried[-1].candidate
    assert packed.manifest.strategy in ("onnx-fp32", "gguf F16")


def test_when_all_miss_nothing_is_written_unless_forced(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "source")
    limits = replace(LOOSE, max_kl=0.0, max_kl_p99=0.0)
    with pytest.raises(LimitMissed, match=r"Nearest miss: gguf F16") as caught:
        edgekit.pack(source, "host", out=tmp_path / "out", limits=limits)
    assert "mean KL" in str(caught.value)
    assert "gguf Q4_0" in str(caught.value)  # never made: ruled out by what Q8_0 had shown
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    packed = edgekit.pack(source, "host", out=tmp_path / "out", limits=limits, force=True)
    assert (packed.manifest.status, packed.report.status) == ("failed", "failed")
    assert "failed" in (packed.folder / "report.html").read_text()
    edgekit.verify(packed.folder)


def test_a_model_that_cannot_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "source")
    with pytest.raises(DoesNotFit, match=r"needs an estimated .* against 1\.0 MiB") as caught:
        edgekit.pack(source, "host", out=tmp_path / "out", limits=replace(LOOSE, max_ram_bytes=2**20))
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_the_users_labels_give_the_metric_of_both_and_the_drop(suffix: str, tmp_path: Path) -> None:
    source = tiny_models.tiny_bert_classifier(tmp_path / "source")
    rows = [{"text": f"text number {index}", "label": ("negative", "positive")[index % 2]} for index in range(12)]
    path = tmp_path / f"eval.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    limits = replace(LOOSE, max_drop=1.0)
    packed = edgekit.pack(source, "host", out=tmp_path / "out", eval_file=path, limits=limits)
    accuracy = packed.report.figure("accuracy of the source")
    assert accuracy is not None
    assert packed.report.figure("drop") == pytest.approx(
        accuracy - (packed.report.figure("accuracy of the bundle") or 0.0)
    )
    assert packed.report.evaluated_on == f"eval.{suffix} (12 rows)"


def test_labelled_words_are_scored_by_their_first_tokens(tmp_path: Path) -> None:
    source = tiny_models.tiny_bert_tagger(tmp_path / "source")
    rows = [{"tokens": ["Anna", "met", "Bob"], "labels": ["B-PER", "O", "B-PER"]}] * 3
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    limits = replace(LOOSE, max_drop=1.0)
    packed = edgekit.pack(source, "host", out=tmp_path / "out", eval_file=tmp_path / "eval.jsonl", limits=limits)
    assert packed.report.figure("accuracy of the source") is not None


def test_pictures_of_the_user_calibrate_and_evaluate(tmp_path: Path) -> None:
    from PIL import Image

    source = tiny_models.tiny_resnet(tmp_path / "source")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(6):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / f"{index}.png")
        rows.append({"image": f"{index}.png", "label": "cat"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    packed = edgekit.pack(
        source,
        "host",
        out=tmp_path / "out",
        eval_file=tmp_path / "rows.jsonl",
        calibration_file=tmp_path / "rows.jsonl",
        limits=replace(LOOSE, max_drop=1.0),
    )
    assert packed.report.figure("accuracy of the bundle") is not None
    assert any("calibration inputs of the user" in note for note in packed.report.notes)


def test_the_users_model_is_never_changed(tmp_path: Path) -> None:
    source = tiny_models.tiny_sentence_encoder(tmp_path / "source")
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    packed = edgekit.pack(source, "host", out=tmp_path / "out", limits=LOOSE)
    for path in packed.folder.rglob("*"):  # nor is anything in the bundle the same file as the user's
        assert path.is_dir() or path.stat().st_nlink == 1
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    shutil.rmtree(packed.folder)
    assert all(path.exists() for path in before)


def test_a_sensitive_task_is_held_to_its_own_figures_and_no_others(chat_model: Path, tmp_path: Path) -> None:
    packed = edgekit.pack(
        chat_model,
        "host",
        out=tmp_path / "out",
        strategy="gguf-Q8_0",
        limits=Limits(max_slowdown=1000),
        preferences=Preferences(sensitivity="high"),
        force=True,
    )
    held = {row.name: row.limit for row in packed.report.rows if row.limit is not None}
    assert (held["mean KL"], held["top-1 agreement"]) == (0.02, 0.95)
    assert not [name for name in held if name.startswith("asked by")]
