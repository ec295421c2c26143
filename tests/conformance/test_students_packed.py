"""Students are ordinary models: those of each family pack, pass validation in their engines, and answer alike there."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.packing import LOOSE
from fixtures.students import teacher_of, written

from edgekit import pack
from edgekit.errors import DoesNotFit
from edgekit.model import StudentSpec
from edgekit.students.make import student_of

pytestmark = pytest.mark.engines


def student_folder(family: str, asked: str, tmp_path: Path) -> Path:
    teacher = teacher_of(family, tmp_path / "teacher")
    student = student_of(teacher.model, teacher.module, StudentSpec.parse(asked), teacher.batches)
    return written(student, teacher.model, tmp_path / "student")


@pytest.mark.parametrize(
    ("family", "asked", "strategy"),
    [
        ("bert", "layers=1,hidden=32", "onnx-int8"),
        ("bert", "layers=1,hidden=32", "gguf-Q8_0"),
        ("bert", "heads=2", "onnx-int8"),
        ("distilbert", "layers=1,intermediate=64", "onnx-int8"),
        ("distilbert", "hidden=32", "gguf-Q8_0"),
        ("roberta", "layers=1,hidden=32", "gguf-Q8_0"),
        ("mpnet", "layers=1,hidden=32", "onnx-int8"),
        ("llama", "layers=1,hidden=32,heads=2", "gguf-Q8_0"),
        ("mistral", "layers=1,hidden=32", "gguf-Q8_0"),
        ("qwen2", "layers=1,hidden=32", "gguf-Q8_0"),
        ("qwen3", "layers=1,hidden=32", "gguf-Q8_0"),
        ("smollm3", "layers=2,hidden=32", "gguf-Q8_0"),
        ("gemma2", "layers=1,hidden=32", "gguf-Q8_0"),
        ("gemma3", "layers=3,hidden=32,heads=2", "gguf-Q8_0"),
        ("vit", "layers=1,hidden=32", "onnx-int8"),
        ("deit", "layers=1,hidden=32", "onnx-int8"),
    ],
)
def test_a_student_packs_and_passes(family: str, asked: str, strategy: str, tmp_path: Path) -> None:
    folder = student_folder(family, asked, tmp_path)
    packed = pack(folder, strategy=strategy, limits=LOOSE, out=tmp_path / "bundle", history="none")
    assert packed.manifest.status == "passed"
    assert not packed.report.missed


@pytest.mark.parametrize(
    ("family", "said"),
    [("bert", "heads were pruned"), ("distilbert", "heads were pruned"), ("qwen2", "heads that span the width")],
)
def test_heads_that_do_not_span_the_width_are_refused_where_the_engine_wants_it(
    family: str, said: str, tmp_path: Path
) -> None:
    folder = student_folder(family, "heads=2", tmp_path)
    with pytest.raises(DoesNotFit, match=said):
        pack(folder, strategy="gguf", limits=LOOSE, out=tmp_path / "bundle", history="none")
