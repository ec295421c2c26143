"""Bundles that were damaged, or made to harm, refused by the C runtime with the name that the Python one gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import pytest
from fixtures import bundles, c_runtime
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engines


def _written(text: bytes) -> Callable[[Path], object]:
    return lambda bundle: (bundle / "edgekit.json").write_bytes(text)


def _changed(**fields: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        (bundle / "edgekit.json").write_text(json.dumps(found | fields), encoding="utf-8")

    return change


def _entry(**fields: Any) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        found["files"][0] |= fields
        (bundle / "edgekit.json").write_text(json.dumps(found), encoding="utf-8")

    return change


def _twins(path: str) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        found = json.loads((bundle / "edgekit.json").read_bytes())
        found["files"].append({**found["files"][0], "path": path})
        (bundle / "edgekit.json").write_text(json.dumps(found), encoding="utf-8")

    return change


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a changed byte": lambda bundle: (bundle / "onnx" / "model.onnx").write_bytes(b"weighTs"),
    "a truncated file": lambda bundle: (bundle / "onnx" / "model.onnx").write_bytes(b"weigh"),
    "a missing file": lambda bundle: (bundle / "config.json").unlink(),
    "an unlisted file": lambda bundle: (bundle / "onnx" / "more.bin").write_bytes(b""),
    "a linked file": lambda bundle: (bundle / "link").symlink_to("config.json"),
    "a linked manifest": lambda bundle: (
        (bundle / "edgekit.json").rename(bundle.parent / "m")
        and (bundle / "edgekit.json").symlink_to(bundle.parent / "m")
    ),
    "no manifest": lambda bundle: (bundle / "edgekit.json").unlink(),
    "a folder for a manifest": lambda bundle: (bundle / "edgekit.json").unlink() or (bundle / "edgekit.json").mkdir(),
    "a newer schema": _changed(schema_version=2),
    "a schema of no version": _changed(schema_version=1.0),
    "a huge schema version": _changed(schema_version=10**30),
    "an unknown task": _changed(task="mind-reading"),
    "an unknown engine": _changed(engine="abacus"),
    "a model that is not listed": _changed(model_file="other.onnx"),
    "no files": _changed(files=[]),
    "labels of no list": _changed(labels="positive"),
    "features of no list": _changed(min_isa={"x86_64": "avx2"}),
    "a climbing path": _entry(path="../config.json"),
    "a path that climbs inside": _entry(path="a/../../config.json"),
    "an absolute path": _entry(path="/etc/passwd"),
    "a path with a zero byte": _entry(path="a\0b"),
    "a path with a backslash": _entry(path="a\\b"),
    "a path with a drive": _entry(path="c:b"),
    "a path with a bell": _entry(path="a\x07b"),
    "a path that turns writing around": _entry(path="a\u202eb"),
    "an empty path": _entry(path=""),
    "a path of dots": _entry(path="./a"),
    "a long path": _entry(path="a" * 513),
    "the manifest itself": _entry(path="edgekit.json"),
    "a size below zero": _entry(size_bytes=-1),
    "a size of no number": _entry(size_bytes=True),
    "a hash of other letters": _entry(sha256="Z" * 64),
    "twins": _twins("config.json"),
    "twins but for case": _twins("CONFIG.json"),
    "nothing": _written(b""),
    "a beginning": _written(b'{"schema_version": 1'),
    "a list": _written(b"[]"),
    "an oversized manifest": _written(b" " * (8 * 2**20 + 1)),
    "a deep manifest": _written(b'{"a":' * 100_000),
    "deep lists": _written(b"[" * 100_000),
    "many values": _written(b"[" + b"0," * 1_000_000 + b"0]"),
    "another encoding": _written('{"schema_version": 1}'.encode("utf-16")),
    "bytes of no encoding": _written(b'{"name": "\xff"}'),
    "an overlong encoding": _written(b'{"name": "\xc0\xaf"}'),
    "a byte order mark": _written(b"\xef\xbb\xbf{}"),
    "a key twice": _written(b'{"schema_version": 1, "schema_version": 1}'),
    "no number": _written(b'{"schema_version": NaN}'),
    "a number without end": _written(b'{"schema_version": ' + b"9" * 5000 + b"}"),
    "a number that starts with zero": _written(b'{"schema_version": 01}'),
    "half a pair": _written(b'{"schema_version": 1, "name": "\\ud800"}'),
    "an unfinished escape": _written(b'{"a": "\\u12'),
    "an unknown escape": _written(b'{"a": "\\x41"}'),
    "a tab in a string": _written(b'{"a": "\t"}'),
    "something behind the end": _written(b"{} {}"),
    "a missing comma": _written(b'{"a": 1 "b": 2}'),
    "a comma too many": _written(b'{"a": 1,}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_refused_by_the_name_that_python_gives(tmp_path: Path, c_programs: Path, name: str) -> None:
    bundle = bundles.plain_bundle(tmp_path / "b")
    HOSTILE[name](bundle)
    with pytest.raises(rt.BundleInvalid):
        rt.open(bundle)
    ran = c_runtime.ask([c_programs / "probe"], tmp_path / "w", bundle, "onnxruntime", [])
    told = json.loads(ran.stderr)
    assert (ran.returncode, told["error"]) == (1, "BundleInvalid")
    assert 0 < len(told["message"]) < 512
    assert not (tmp_path / "w" / "result.json").exists()


@settings(max_examples=60, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(["", "0", '"', "\\", "{", "]", ",", "é", "\x1f", "\ud800"])),
        min_size=1,
        max_size=3,
    )
)
def test_both_runtimes_refuse_the_same_manifests(
    tmp_path_factory: pytest.TempPathFactory, c_programs: Path, edits: list[tuple[int, str]]
) -> None:
    """A sound manifest with characters replaced anywhere."""
    work = tmp_path_factory.mktemp("manifest")
    bundle = bundles.plain_bundle(work / "b", provenance={}, plan={})
    text = (bundle / "edgekit.json").read_text(encoding="utf-8")
    for place, replacement in edits:
        at = place % len(text)
        text = text[:at] + replacement + text[at + 1 :]
    (bundle / "edgekit.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(rt.RuntimeFailure) as caught:
        rt.open(bundle)  # if nothing else, its weights are none
    ran = c_runtime.ask([c_programs / "probe"], work / "w", bundle, "onnxruntime", [])
    assert json.loads(ran.stderr)["error"] == caught.value.code
