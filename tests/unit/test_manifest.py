"""The manifest's schema is the one shipped, and it refuses what no bundle may hold."""

from __future__ import annotations

import json

import jsonschema
import pytest
from fixtures.manifests import minimal
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgekit.manifest import BundlePath, FileEntry, Manifest, at_home, from_home, schema, schema_path


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert schema_path().read_text(encoding="utf-8") == schema(), "run: python -m edgekit.manifest"


def test_a_manifest_holds_in_pydantic_and_in_the_schema_alike() -> None:
    made = Manifest.model_validate(minimal())
    jsonschema.validate(json.loads(made.to_json()), json.loads(schema()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 2),
        ("engine", "tensorflow"),
        ("files", [{"path": "../climb", "size_bytes": 1, "sha256": "0" * 64}]),
        ("model_file", "/etc/passwd"),
        ("surprise", 1),
    ],
)
def test_faults_are_refused_by_both(key: str, value: object) -> None:
    bad = minimal() | {key: value}
    with pytest.raises(ValidationError):
        Manifest.model_validate(bad)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, json.loads(schema()))


segment = st.text(
    st.characters(blacklist_characters="/\\:\x00\n", blacklist_categories=("Cs",)), min_size=1, max_size=8
)


@given(st.lists(segment, min_size=1, max_size=4), st.sampled_from(["..", "."]), st.integers(0, 4))
def test_no_path_with_a_dot_step_passes(parts: list[str], dots: str, at: int) -> None:
    adapter = TypeAdapter(BundlePath)
    climbing = [*parts[:at], dots, *parts[at:]]
    with pytest.raises(ValidationError):
        adapter.validate_python("/".join(climbing))


def test_ordinary_paths_pass() -> None:
    for path in ("a", "onnx/model.onnx", ".hidden/x", "a..b/c", "runtime/python/edgekit_runtime/__init__.py"):
        assert FileEntry(path=path, size_bytes=0, sha256="0" * 64).path == path


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/home/ada/models/m", "~/models/m"),
        ("/home/ada2/m", "/home/ada2/m"),
        ("/srv/m.gguf", "/srv/m.gguf"),
        ("./m", "./m"),
        ("org/name", "org/name"),
    ],
)
def test_a_bundle_does_not_tell_whose_home_its_model_lay_in(
    source: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert at_home(source) == told
    assert from_home(told) == source
