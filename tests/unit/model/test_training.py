"""A student's shape is read from text and told again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.model import StudentSpec, Training

sizes = st.none() | st.integers(1, 2**20 - 1)


@given(sizes, sizes, sizes, sizes)
def test_a_shape_is_told_as_it_is_read(
    layers: int | None, hidden: int | None, heads: int | None, intermediate: int | None
) -> None:
    shape = StudentSpec(layers, hidden, heads, intermediate)
    if shape != StudentSpec():
        assert StudentSpec.parse(shape.label) == shape


def test_what_is_no_shape_is_a_model() -> None:
    assert StudentSpec.parse("acme/small") == StudentSpec(given="acme/small")
    assert StudentSpec.parse("acme/small").label == "acme/small"


@pytest.mark.parametrize(
    "text", ["layers=", "layers=-1", "layers=4.5", "depth=4", "layers=4,layers=2", "layers=4,", "=4"]
)
def test_other_shapes_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UsageError, match="--student"):
        StudentSpec.parse(text)


def test_training_counts_its_examples() -> None:
    assert len(Training("a file", texts=("a", "b"))) == 2
    assert len(Training("a file", words=(("a", "b"),))) == 1


def test_a_folder_with_an_equals_sign_in_its_path_is_no_shape(tmp_path: Path) -> None:
    folder = tmp_path / "lr=3e-4"
    folder.mkdir()
    with pytest.raises(UsageError, match="is not one of layers"):
        StudentSpec.parse(str(folder))
    (folder / "config.json").touch()
    assert StudentSpec.parse(str(folder)) == StudentSpec(given=str(folder))
