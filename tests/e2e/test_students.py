"""Where nothing fits by quantizing alone, a student is trained, packed and proven against its teacher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.hub import Repository, serve
from fixtures.packing import LOOSE, everything_below
from fixtures.teaching import write_rows
from PIL import Image

import edgekit
from edgekit.cli import main
from edgekit.distilling import gained
from edgekit.errors import DoesNotFit, LimitMissed, NoData, NoStudentFits, OutputExists, UsageError
from edgekit.limits import Limits
from edgekit.model import StudentSpec
from edgekit.plan_table import plan_text
from edgekit.planner import Plan
from edgekit.report import TrainingRecord

pytestmark = pytest.mark.engines

DEVICE = "intel-n100"
ASKED = replace(LOOSE, max_drop=1.0, min_agreement=0.0)
FAR = replace(ASKED, min_cosine=0.1, max_kl=20.0, min_top1=0.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the processes that measure a student's memory in torch: `edgekit distill`'s tests have them."""
    monkeypatch.setattr(gained, "ram_bytes", lambda *_: None)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that the model file is most of the bundle."""
    shape = {"num_hidden_layers": 6, "hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 3}
    return tiny_models.tiny_bert_classifier(tmp_path_factory.mktemp("teacher") / "teacher", **shape)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture(scope="module")
def small(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the same labels and tokenizer, which somebody else trained."""
    folder = tiny_models.tiny_bert_classifier(tmp_path_factory.mktemp("small") / "small", num_hidden_layers=1)
    shutil.copyfile(teacher / "tokenizer.json", folder / "tokenizer.json")
    return folder


def planned(teacher: Path, rows: Path | None, **options: object) -> Plan:
    return edgekit.plan(teacher, DEVICE, data_file=rows, history="none", **options)  # type: ignore[arg-type]


def too_small_for_the_source(teacher: Path) -> Limits:
    """A limit on the bundle that no quantized form of the source can hold, even its file alone."""
    made = planned(teacher, None)
    return replace(ASKED, max_disk_bytes=int(min(each.disk_bytes.low for each in made.candidates)) - 1)


def test_a_student_is_planned_only_where_nothing_else_fits(teacher: Path, rows: Path) -> None:
    easy = planned(teacher, rows)
    assert [each.label for each in easy.candidates] == ["onnx-int8", "onnx-fp32"]
    assert "distill: a quantized candidate fits, so that no student is needed" in plan_text(easy)
    tight = planned(teacher, rows, limits=too_small_for_the_source(teacher))
    assert tight.candidates[0].label.startswith("distill onnx-int8 layers=")
    told = " ".join(plan_text(tight).split())
    assert "every figure is estimated from its shape" in told
    assert "trained for up to 20 min on rows.jsonl (200 rows)" in told
    assert "--min-agreement 0.9" not in told  # asked for otherwise
    assert "--min-agreement 0.9" in " ".join(plan_text(planned(teacher, rows, strategy="distill")).split())


def test_asked_for_by_name_it_is_planned_all_the_same(teacher: Path, rows: Path) -> None:
    by_name = planned(teacher, rows, strategy="distill")
    assert [each.label for each in by_name.candidates] == ["distill onnx-int8 layers=3", "distill onnx-fp32 layers=3"]
    one = planned(teacher, rows, strategy="distill-onnx-int8", student=StudentSpec(layers=2))
    assert [each.label for each in one.candidates] == ["distill onnx-int8 layers=2"]
    given = planned(teacher, rows, student=StudentSpec(layers=2))  # not needed, though its shape was told
    assert [each.label for each in given.candidates] == ["onnx-int8", "onnx-fp32"]


def test_without_rows_no_student_can_be_asked_for(teacher: Path) -> None:
    for options in ({"strategy": "distill"}, {"student": StudentSpec(layers=2)}):
        with pytest.raises(NoData, match="give --data FILE"):
            planned(teacher, None, **options)


def test_a_budget_that_no_student_meets_is_refused_with_the_smallest(teacher: Path, rows: Path, tmp_path: Path) -> None:
    limits = replace(ASKED, max_disk_bytes=2000)
    made = planned(teacher, rows, limits=limits)
    assert not made.candidates
    assert "the smallest, 2 of 6 layers" in " ".join(plan_text(made).split())
    with pytest.raises(NoStudentFits, match="the smallest, 2 of 6 layers, 128 wide \\(from 192\\)"):
        edgekit.pack(teacher, DEVICE, data_file=rows, limits=limits, out=tmp_path / "out", history="none")
    with pytest.raises(DoesNotFit):
        edgekit.pack(teacher, DEVICE, limits=limits, out=tmp_path / "out", history="none")
    assert everything_below(tmp_path) == []


def test_the_student_is_packed_and_proven_against_its_teacher(teacher: Path, rows: Path, tmp_path: Path) -> None:
    limits = too_small_for_the_source(teacher)
    packed = edgekit.pack(
        teacher, DEVICE, data_file=rows, budget_s=8, limits=limits, out=tmp_path / "out", history="none"
    )
    report, manifest = packed.report, packed.manifest
    assert report.status == "passed"
    assert manifest.strategy.startswith("distill onnx-int8 layers=")
    assert manifest.name == report.model == teacher.name
    assert manifest.provenance.source == str(teacher)
    assert manifest.provenance.trained_on == "rows.jsonl (200 rows)"
    assert manifest.labels == ("negative", "positive")
    assert report.evaluated_on == "rows.jsonl (200 rows): 64 rows held out from training"
    assert report.reference.startswith("the source model")
    assert report.training is not None
    assert report.training.parameters < report.training.teacher_parameters
    assert [each.passed for each in report.rows if each.name == "agreement"] == [True]
    compared = {each.name: each for each in report.training.compared}
    assert {"agreement", "parameters", "weights on disk", "latency"} <= set(compared)
    assert compared["parameters"].value > 1
    lost = compared["agreement"]
    assert lost.low is not None
    assert lost.high is not None
    assert lost.low <= lost.value <= lost.high
    page = (packed.folder / "report.html").read_text(encoding="utf-8")
    assert "Loss by step" in page
    assert "Lost and gained" in page
    config = edgekit.open_model(packed.folder / "onnx" / "model_quantized.onnx")
    assert config.task in ("tensors", "text-classification")
    assert f'"num_hidden_layers": {manifest.strategy[-1]}' in (packed.folder / "config.json").read_text("utf-8")
    assert everything_below(tmp_path)[0].startswith("out")

    again = edgekit.validate(packed.folder, history="none")
    goldens = again.figure("goldens that fail")
    assert goldens == 0
    assert any("a student, trained on rows.jsonl" in note for note in again.notes)


def test_where_all_that_was_measured_is_too_large_a_student_is_trained(
    teacher: Path, rows: Path, tmp_path: Path
) -> None:
    """The plan lets through what its estimate does not rule out; the file then has more bytes than that."""
    made = planned(teacher, rows)
    limits = replace(ASKED, max_disk_bytes=int(min(each.disk_bytes.low for each in made.candidates)) + 1)
    options = {"budget_s": 5, "limits": limits, "history": "none"}
    assert [each.label for each in planned(teacher, rows, limits=limits).candidates] == ["onnx-int8"]
    with pytest.raises(LimitMissed, match=r"onnx-int8 missed bundle on disk .* Nearest miss: onnx-int8"):
        edgekit.pack(teacher, DEVICE, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    packed = edgekit.pack(teacher, DEVICE, data_file=rows, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert packed.report.status == "passed"
    assert packed.manifest.strategy.startswith("distill onnx-int8 layers=")
    assert packed.report.evaluated_on.endswith("held out from training")
    assert packed.report.plan is not None
    tried = [(each.candidate, each.passed) for each in packed.report.plan.tried]
    assert tried == [("onnx-int8", False), (packed.manifest.strategy, True)]
    assert {"onnx-int8", packed.manifest.strategy} <= {each.candidate for each in packed.report.plan.considered}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

    unfaithful = replace(limits, min_agreement=1.0, max_kl=1e-9)
    with pytest.raises(LimitMissed, match=r"Nearest miss: onnx-int8"):  # and less of it would be no better
        edgekit.pack(
            teacher,
            DEVICE,
            data_file=rows,
            out=tmp_path / "two",
            **(options | {"limits": unfaithful}),  # type: ignore[arg-type]
        )


def test_one_training_serves_every_way_to_pack_it(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each candidate that misses is told, and the next one is made of the same student."""
    from edgekit.strategies import distill

    trained: list[Path] = []
    train = distill.trained_student

    def counted(*given: object, **options: object) -> object:
        trained.append(given[1])  # type: ignore[arg-type]
        return train(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(distill, "trained_student", counted)
    teacher = tiny_models.tiny_bert_classifier(tmp_path / "teacher", num_hidden_layers=2)
    limits = replace(ASKED, max_kl=1e-9)
    options = {"strategy": "distill", "data_file": rows, "budget_s": 3, "limits": limits, "history": "none"}
    with pytest.raises(
        LimitMissed,
        match=r"distill onnx-int8 layers=1 missed mean KL.*distill onnx-fp32 layers=1 missed.*kept in \S+out.training",
    ):
        edgekit.pack(teacher, DEVICE, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert len(trained) == 1
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.training" / "shape.txt").read_text(encoding="utf-8") == "layers=1"

    with pytest.raises(OutputExists, match=r"out.training holds what an earlier training left - --resume"):
        edgekit.pack(teacher, DEVICE, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    again = edgekit.pack(
        teacher,
        DEVICE,
        out=tmp_path / "out",
        **(options | {"limits": ASKED}),
        resume=True,  # type: ignore[arg-type]
    )
    assert again.report.training is not None
    assert any(each.startswith("continued from the checkpoint") for each in again.report.training.remarks)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "teacher"]


def test_rows_beside_a_strategy_that_trains_nothing_are_refused(teacher: Path, rows: Path) -> None:
    with pytest.raises(UsageError, match="--data trains a student, and --strategy onnx-int8 packs none"):
        planned(teacher, rows, strategy="onnx-int8")


def test_a_student_of_pictures_is_packed_and_never_measured_on_what_it_learnt(tmp_path: Path) -> None:
    """Labelled files, some of which are measured on: those are left out of the training."""
    model = tiny_models.tiny_vit(tmp_path / "model", num_hidden_layers=4)
    draw = np.random.default_rng(0)
    names = []
    for number in range(200):
        colour = number % 3  # of the labels cat, dog, fox
        pixels = draw.integers(0, 100, (32, 32, 3), dtype=np.uint8)
        pixels[..., colour] += 150
        names.append((f"{number}.png", ("cat", "dog", "fox")[colour]))
        Image.fromarray(pixels).save(tmp_path / names[-1][0])
    rows = "image,label\n" + "".join(f"{file},{label}\n" for file, label in names)
    (tmp_path / "rows.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "measured.csv").write_text("".join(rows.splitlines(keepends=True)[:31]), encoding="utf-8")
    packed = edgekit.pack(
        model, DEVICE, data_file=tmp_path / "rows.csv", eval_file=tmp_path / "measured.csv", budget_s=8,
        strategy="distill-onnx-int8", student=StudentSpec(layers=2), limits=ASKED, out=tmp_path / "out", history="none",
    )  # fmt: skip
    report = packed.report
    assert report.status == "passed"
    assert packed.manifest.strategy == "distill onnx-int8 layers=2"
    assert report.evaluated_on.startswith("measured.csv (30 rows)")
    assert report.training is not None
    assert report.training.origin == "rows.csv (200 rows), without the 30 that --eval measures on"
    assert (report.training.rows, report.training.labelled) == (170, True)
    assert {"agreement", "drop"} <= {each.name for each in report.rows}


@pytest.mark.parametrize(
    ("build", "kind", "strategy", "asked", "figure"),
    [
        (tiny_models.tiny_llama, "text", "gguf-Q8_0", "layers=2", "mean KL"),
        (tiny_models.tiny_sentence_encoder, "text", "onnx-int8", "layers=2,hidden=32", "similarities kept"),
        (tiny_models.tiny_bert_tagger, "tags", "onnx-int8", "layers=2", "agreement"),
    ],
    ids=["language model", "narrower sentence encoder", "tagger"],
)
def test_a_student_of_every_task_is_packed_and_proven(
    build: Callable[..., Path], kind: str, strategy: str, asked: str, figure: str, tmp_path: Path
) -> None:
    teacher = build(tmp_path / "teacher", num_hidden_layers=4)
    rows = write_rows(tmp_path / "rows.jsonl", kind=kind)
    packed = edgekit.pack(
        teacher, DEVICE, data_file=rows, budget_s=3, strategy=f"distill-{strategy}", student=StudentSpec.parse(asked),
        limits=FAR, out=tmp_path / "out", history="none",
    )  # fmt: skip
    report = packed.report
    assert report.status == packed.manifest.status == "passed"
    assert packed.manifest.strategy == f"distill {strategy.replace('gguf-', 'gguf ')} {asked}"
    assert report.evaluated_on.startswith("rows.jsonl (200 rows): 64 rows held out from training")
    measured = report.figure(figure)
    assert measured is not None
    assert report.training is not None
    compared = {each.name: each.value for each in report.training.compared}
    assert compared[figure] is not None
    if figure != "mean KL":  # the same rows, before it was quantized; a language model's bundle is asked windows
        assert compared[figure] == pytest.approx(measured, abs=0.1)

    again = edgekit.validate(packed.folder, history="none")
    assert again.figure("goldens that fail") == 0


def test_a_small_model_of_the_hub_becomes_a_student(
    teacher: Path, small: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))  # read as it was imported
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = ["distill", str(teacher), "--data", str(rows), "--student", "org/small", "--budget", "3s"]
    with serve({"org/small": Repository({file.name: file.read_bytes() for file in small.iterdir()})}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        assert main([*words, "--out", str(tmp_path / "student")]) == 0
    assert "model.safetensors" in hub.downloaded()
    student = edgekit.open_model(tmp_path / "student")
    assert (student.config["num_hidden_layers"], student.config["hidden_size"]) == (1, 64)
    record = TrainingRecord.model_validate_json((tmp_path / "student" / "training.json").read_bytes())
    assert record.parameters == student.parameters < record.teacher_parameters
    assert record.best_loss < (record.curve[0].validation_loss or 0.0)


def test_a_small_model_in_a_folder_is_trained_packed_and_proven(
    teacher: Path, small: Path, rows: Path, tmp_path: Path
) -> None:
    packed = edgekit.pack(
        teacher, DEVICE, data_file=rows, budget_s=3, strategy="distill-onnx-int8",
        student=StudentSpec(given=str(small)), limits=ASKED, out=tmp_path / "out", history="none",
    )  # fmt: skip
    report = packed.report
    assert report.status == packed.manifest.status == "passed"
    assert packed.manifest.strategy == "distill onnx-int8 small"
    assert packed.manifest.name == teacher.name
    config = json.loads((packed.folder / "config.json").read_bytes())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (1, 64)
    assert report.training is not None
    assert report.training.best_loss < (report.training.curve[0].validation_loss or 0.0)
    assert {"agreement", "parameters"} <= {each.name for each in report.training.compared}
