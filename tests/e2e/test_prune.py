"""`edgekit prune` from the command line to the folder: what went, what it cost, and that nothing is left half done."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures import tiny_models
from fixtures.packing import LOOSE
from PIL import Image

import edgekit
from edgekit.cli import main
from edgekit.errors import (
    LabelMismatch,
    NoData,
    OutputExists,
    TooLittleData,
    UnsupportedModel,
    UsageError,
)
from edgekit.model import open_model
from edgekit.progress import Silent
from edgekit.pruning import Amounts, prune
from edgekit.pruning.record import Compressed, PruningRecord
from edgekit.pruning.words import pruned_text
from edgekit.torch_model import load_torch

pytestmark = pytest.mark.engines

WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "does",
    "not",
    "mind",
    "it",
    "plan",
)
LONG = 3600.0  # what bounds training is its epochs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder of three layers, a classifier, a Llama of shared keys, and 200 rows of text."""
    root = tmp_path_factory.mktemp("prune")
    tiny_models.tiny_sentence_encoder(root / "encoder", num_hidden_layers=3)
    tiny_models.tiny_bert_classifier(root / "classifier")
    tiny_models.tiny_llama(root / "llama")
    draw = random.Random(0)
    rows = [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(200)]
    (root / "texts.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    few = "".join(json.dumps({"text": row}) + "\n" for row in rows[:20])
    (root / "few.jsonl").write_text(few, encoding="utf-8")
    wrong = "".join(json.dumps({"text": row, "label": "maybe"}) + "\n" for row in rows)
    (root / "wrong.jsonl").write_text(wrong, encoding="utf-8")
    (root / "empty.jsonl").write_text("", encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def _without_processes_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own tests measure memory; here it would start six processes a test."""
    monkeypatch.setattr("edgekit.distilling.gained.ram_bytes", lambda *_: None)


def figure(figures: tuple[object, ...], name: str) -> float:
    return next(each.value for each in figures if each.name == name)  # type: ignore[attr-defined]


def test_structures_go_the_rest_recovers_and_the_folder_is_a_normal_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    words = ["--heads", "25%", "--ffn", "50%", "--layers", "1", "--recover", "1h", "--out", str(out)]
    assert main(["prune", str(folder / "encoder"), "--data", str(folder / "texts.jsonl"), *words]) == 0
    text = capsys.readouterr().out
    told = " ".join(text.split())
    assert "1 of 3 layers, 1 of 4 heads a layer, 64 of 128 feed-forward channels a layer, by taylor" in told
    assert max(map(len, text.splitlines()[:-1])) <= 100
    record = PruningRecord.model_validate_json((out / "pruning.json").read_bytes())
    assert figure(record.after, "mean cosine") > figure(record.before, "mean cosine") + 0.05
    assert record.recovery is not None
    assert record.recovery.train_rows + record.held_out_rows < record.rows == 200
    assert len(record.layers_kept) == 2
    assert all(len(heads) == 3 for heads in record.heads_kept)
    small, whole = open_model(out), open_model(folder / "encoder")
    assert (small.task, small.pooling, small.normalize) == (whole.task, whole.pooling, whole.normalize)
    counted = next(each for each in record.gained if each.name == "parameters")
    assert counted.student == small.parameters == sum(each.numel() for each in load_torch(small).parameters())
    assert counted.teacher == sum(each.numel() for each in load_torch(whole).parameters())
    assert "cannot be packed as GGUF" in told
    assert [each.name for each in tmp_path.iterdir()] == ["small"]


def test_without_recovery_nothing_is_trained(folder: Path, tmp_path: Path) -> None:
    data = folder / "texts.jsonl"
    made = prune(folder / "llama", data, Amounts(heads=0.5), recover_s=None, out=tmp_path / "small")
    assert made.record.recovery is None
    assert made.record.after == made.record.before
    assert figure(made.record.after, "perplexity") > 1.0
    assert made.record.remarks == ()
    config = open_model(made.folder).config
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (2, 1)
    assert "Nothing was trained afterwards" in (made.folder / "README.md").read_text(encoding="utf-8")
    assert "recovered " not in pruned_text(made.record).split("gained")[1]


def test_single_weights_gain_only_a_compressed_file_and_it_says_so(folder: Path, tmp_path: Path) -> None:
    data = folder / "texts.jsonl"
    made = prune(folder / "classifier", data, Amounts(unstructured=0.5), recover_s=LONG, out=tmp_path / "sparse")
    record = made.record
    (gone,) = record.removed
    assert gone.what == "weights"
    zeros = sum(
        int((each == 0).sum())
        for name, each in load_torch(open_model(made.folder)).named_parameters()
        if "layer." in name and each.ndim == 2
    )
    assert zeros >= gone.gone
    assert figure(record.after, "mean KL") < figure(record.before, "mean KL")
    assert all(each.after_bytes < each.before_bytes for each in record.compressed)
    assert (
        figure(record.gained, "parameters") == figure(record.gained, "weights on disk") == pytest.approx(1.0, abs=0.01)
    )
    assert "latency" in {each.name for each in record.gained}
    assert "RAM and latency stay what they were" in " ".join(pruned_text(record).split())


def test_a_language_model_recovers_and_is_packed_as_gguf(folder: Path, tmp_path: Path) -> None:
    made = prune(folder / "llama", folder / "texts.jsonl", Amounts(layers=1), recover_s=10.0, out=tmp_path / "small")
    assert open_model(made.folder).config["num_hidden_layers"] == 1
    assert figure(made.record.after, "perplexity") < figure(made.record.before, "perplexity")
    assert not any("GGUF" in each for each in made.record.remarks)
    packed = edgekit.pack(
        made.folder, "intel-n100", strategy="gguf-Q8_0", limits=LOOSE, out=tmp_path / "bundle", history="none"
    )
    assert (packed.report.status, packed.manifest.strategy) == ("passed", "gguf Q8_0")


def test_a_classifier_of_pictures_recovers(tmp_path: Path) -> None:
    tiny_models.tiny_vit(tmp_path / "vit")
    draw = np.random.default_rng(0)
    rows = ["image,label"]
    for number in range(200):
        pixels = draw.integers(0, 100, (32, 32, 3), dtype=np.uint8)
        pixels[..., number % 3] += 150
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 3}")
    (tmp_path / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    made = prune(tmp_path / "vit", tmp_path / "rows.csv", Amounts(ffn=0.5), recover_s=10.0, out=tmp_path / "small")
    assert open_model(made.folder).config["intermediate_size"] == 64
    lost = figure(made.record.after, "accuracy")  # the whole model was drawn at random: by labels it is overtaken
    assert lost < figure(made.record.before, "accuracy")


@pytest.mark.parametrize("again", [False, True], ids=["a share of nothing", "zeros that were there before"])
def test_single_weights_that_make_no_file_smaller_are_refused(
    folder: Path, tmp_path: Path, again: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data, share = folder / "classifier", folder / "texts.jsonl", "0.001%"
    if again:
        model, share = tmp_path / "sparse", "30%"
        prune(folder / "classifier", data, Amounts(unstructured=0.5), recover_s=None, out=model)
    before = sorted(tmp_path.iterdir())
    words = [str(model), "--data", str(data), "--unstructured", share, "--out", str(tmp_path / "small")]
    status, told = refused(words, capsys)
    assert status == UsageError.exit_code
    assert re.search(
        rf"--unstructured {share} makes no compressed file smaller: ([\d,]+) deflated bytes as float32, \1 before; "
        r"([\d,]+) deflated bytes as int8 per row, \2 before - give a larger share, or cut structures",
        told,
    )
    assert told.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_single_weights_whose_recovery_takes_back_what_they_gained_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bytes_after = iter((40, 50))

    def measured(*_: object) -> Iterator[Compressed]:
        yield Compressed(stored_as="float32", plain_bytes=99, before_bytes=50, after_bytes=next(bytes_after))

    monkeypatch.setattr("edgekit.pruning.magnitude.compressed", measured)
    with pytest.raises(UsageError, match="50 deflated bytes as float32, 50 before"):
        prune(
            folder / "classifier", folder / "texts.jsonl", Amounts(unstructured=0.5), recover_s=None,
            out=tmp_path / "small",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_prunes_alike(folder: Path, tmp_path: Path) -> None:
    made = [
        prune(
            folder / "classifier", folder / "texts.jsonl", Amounts(ffn=0.5), recover_s=LONG, seed=seed,
            out=tmp_path / name,
        )
        for name, seed in (("one", 1), ("two", 1), ("three", 2))
    ]  # fmt: skip
    hashes = [hashlib.sha256((each.folder / "model.safetensors").read_bytes()).hexdigest() for each in made]
    assert hashes[0] == hashes[1] != hashes[2]


def test_activation_energy_chooses_too(folder: Path, tmp_path: Path) -> None:
    data = folder / "texts.jsonl"
    made = prune(
        folder / "classifier", data, Amounts(ffn=0.5), importance="activation", recover_s=None, out=tmp_path / "small"
    )
    assert made.record.importance == "activation"
    assert made.record.measured_rows > 0


def test_an_interrupt_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    class Impatient(Silent):
        def step(self, title: str, total: float | None = None) -> None:
            if "what matters" in title:
                raise KeyboardInterrupt

    out = tmp_path / "small"
    with pytest.raises(KeyboardInterrupt):
        prune(
            folder / "encoder", folder / "texts.jsonl", Amounts(ffn=0.5), recover_s=None, out=out, progress=Impatient()
        )
    assert list(tmp_path.iterdir()) == []


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["prune", *words])
    return status, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["encoder", "--heads", "25%"], NoData, "give --data FILE"),
        (["encoder", "--data", "nowhere.jsonl", "--heads", "25%"], NoData, "no such file"),
        (["encoder", "--data", "empty.jsonl", "--heads", "25%"], NoData, "no rows"),
        (["encoder", "--data", "few.jsonl", "--heads", "25%"], TooLittleData, "at least 160 are needed"),
        (["classifier", "--data", "wrong.jsonl", "--heads", "25%"], LabelMismatch, "maybe"),
        (["encoder", "--data", "texts.jsonl"], UsageError, "nothing is to be pruned"),
        (["encoder", "--data", "texts.jsonl", "--heads", "100%"], UsageError, "less than 100%"),
        (["encoder", "--data", "texts.jsonl", "--ffn", "0"], UsageError, "more than 0%"),
        (["encoder", "--data", "texts.jsonl", "--heads", "1%"], UsageError, "give 25%"),
        (["encoder", "--data", "texts.jsonl", "--layers", "3"], UsageError, "leave one layer"),
        (["encoder", "--data", "texts.jsonl", "--layers", "1", "--unstructured", "5%"], UsageError, "goes alone"),
        (["encoder", "--data", "texts.jsonl", "--layers", "1", "--importance", "luck"], UsageError, "taylor"),
        (["encoder", "--data", "texts.jsonl", "--layers", "1", "--recover", "soon"], UsageError, "--recover"),
        (["encoder", "--data", "texts.jsonl", "--layers", "1", "--out", "encoder"], UsageError, "inside the source"),
    ],
)
def test_refusals_come_before_any_work(
    folder: Path, words: list[str], error: type, said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    status, told = refused(words, capsys)
    assert status == error.exit_code
    assert said in told
    assert told.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_families_that_are_not_known_are_refused(folder: Path, tmp_path: Path) -> None:
    tiny_models.tiny_phi3(tmp_path / "phi")
    with pytest.raises(UnsupportedModel, match="a phi3 model keeps its heads"):
        prune(tmp_path / "phi", folder / "texts.jsonl", Amounts(heads=0.5))


def test_what_stands_there_is_replaced_only_if_it_is_such_a_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    order = {"recover_s": None, "out": out}
    prune(folder / "classifier", folder / "texts.jsonl", Amounts(ffn=0.5), **order)  # type: ignore[arg-type]
    with pytest.raises(OutputExists):
        prune(folder / "classifier", folder / "texts.jsonl", Amounts(ffn=0.5), **order)  # type: ignore[arg-type]
    prune(folder / "classifier", folder / "texts.jsonl", Amounts(layers=1), force=True, **order)  # type: ignore[arg-type]
    assert open_model(out).config["num_hidden_layers"] == 1
    (out / "pruning.json").unlink()
    with pytest.raises(OutputExists, match="is no pruned model"):
        prune(folder / "classifier", folder / "texts.jsonl", Amounts(ffn=0.5), force=True, **order)  # type: ignore[arg-type]


def test_a_model_pruned_of_heads_is_not_pruned_of_more(folder: Path, tmp_path: Path) -> None:
    made = prune(
        folder / "classifier", folder / "texts.jsonl", Amounts(heads=0.5), recover_s=None, out=tmp_path / "small"
    )
    with pytest.raises(UnsupportedModel, match="pruned before"):
        prune(made.folder, folder / "texts.jsonl", Amounts(ffn=0.5))
    assert torch.isfinite(load_torch(open_model(made.folder)).get_parameter("classifier.weight")).all()
