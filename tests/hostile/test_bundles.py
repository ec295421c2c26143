"""Bundles that were damaged, or made to harm: each is refused with one clear line before any engine is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import pytest
from edgekit_runtime import _bundle
from fixtures import bundles


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "edgekit.json").read_text(encoding="utf-8"))
    return found


def _write(folder: Path, manifest: Any) -> None:
    (folder / "edgekit.json").write_text(json.dumps(manifest), encoding="utf-8")


def _refused(folder: Path, *words: str) -> str:
    with pytest.raises(rt.BundleInvalid) as caught:
        rt.verify(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundles.plain_bundle(tmp_path / "bundle")


def test_a_sound_bundle_is_accepted(bundle: Path) -> None:
    assert rt.verify(bundle)["name"] == "bundle"
    assert rt.verify(str(bundle))["files"]


def test_no_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "nothing", "is not a folder")


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    _refused(tmp_path, "no edgekit.json")


def test_a_zip_says_to_unpack(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(b"PK")
    _refused(tmp_path / "b.zip", "unpack it")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"schema_version": 1, "schema_version": 1}', "stands twice"),
        (b'{"schema_version": NaN}', "NaN"),
        (b'{"schema_version": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b" " * (8 * 2**20 + 1), "larger than"),
    ],
)
def test_an_unreadable_manifest(bundle: Path, raw: bytes, word: str) -> None:
    (bundle / "edgekit.json").write_bytes(raw)
    _refused(bundle, word)


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_schema_says_to_update(bundle: Path, version: int) -> None:
    _write(bundle, _manifest(bundle) | {"schema_version": version})
    _refused(bundle, str(version), "update edgekit-runtime")


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_schema_version_that_is_none(bundle: Path, version: object) -> None:
    _write(bundle, _manifest(bundle) | {"schema_version": version})
    _refused(bundle, "schema_version")


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"task": "mind-reading"},
        {"engine": 3},
        {"model_file": "config.jsn"},
        {"model_file": None},
        {"files": []},
        {"files": {}},
        {"files": ["onnx/model.onnx"]},
        {"labels": "positive"},
        {"labels": [1]},
        {"text": "tokenizer.json"},
        {"memory": 5},
        {"min_isa": ["avx2"]},
        {"min_isa": {"x86_64": "avx2"}},
        {"min_isa": {"x86_64": [2]}},
    ],
)
def test_a_manifest_of_the_wrong_shape(bundle: Path, change: dict[str, Any]) -> None:
    _write(bundle, _manifest(bundle) | change)
    _refused(bundle, "edgekit.json")


def test_an_unknown_engine(bundle: Path) -> None:
    bundles.reseal(bundle, engine="abacus")
    with pytest.raises(rt.BundleInvalid, match="abacus"):
        rt.open(bundle)


@pytest.mark.parametrize("field", ["path", "size_bytes", "sha256"])
@pytest.mark.parametrize("value", [None, -1, "", True, "Z" * 64])
def test_an_entry_of_the_wrong_shape(bundle: Path, field: str, value: object) -> None:
    manifest = _manifest(bundle)
    manifest["files"][0][field] = value
    _write(bundle, manifest)
    _refused(bundle)


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("../secret", "climbs out"),
        ("onnx/../../secret", "climbs out"),
        ("..", "climbs out"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("onnx\\model.onnx", "backslash"),
        ("C:/windows", "colon"),
        ("c:secret", "colon"),
        ("onnx//model.onnx", "empty"),
        ("./config.json", "'.' part"),
        ("onnx/", "empty"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\u202eb", "control character"),
        ("x" * 600, "512"),
        ("edgekit.json", "itself"),
    ],
)
def test_a_path_that_leaves_or_misleads(bundle: Path, path: str, word: str) -> None:
    secret = bundle.parent / "secret"
    secret.write_bytes(b"{}")
    manifest = _manifest(bundle)
    manifest["files"][0]["path"] = path
    _write(bundle, manifest)
    _refused(bundle, word)


@pytest.mark.parametrize("twin", ["config.json", "CONFIG.json"])
def test_a_path_listed_twice(bundle: Path, twin: str) -> None:
    manifest = _manifest(bundle)
    manifest["files"].append({**manifest["files"][0], "path": twin})
    _write(bundle, manifest)
    _refused(bundle, "twice")


def test_more_files_than_any_bundle_has(bundle: Path) -> None:
    manifest = _manifest(bundle)
    manifest["files"] = [{**manifest["files"][0], "path": f"f{index}"} for index in range(_bundle.MAX_FILES + 1)]
    _write(bundle, manifest)
    _refused(bundle, str(_bundle.MAX_FILES))


def test_a_changed_byte(bundle: Path) -> None:
    (bundle / "onnx" / "model.onnx").write_bytes(b"weighTs")
    _refused(bundle, "onnx/model.onnx was changed")


def test_a_truncated_file(bundle: Path) -> None:
    (bundle / "onnx" / "model.onnx").write_bytes(b"weigh")
    _refused(bundle, "5 bytes", "7 were packed")


def test_a_missing_file(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    _refused(bundle, "config.json is missing")


@pytest.mark.parametrize("path", ["extra.bin", "onnx/extra.onnx", "__pycache__/payload.txt", "edgekit.json.bak"])
def test_a_file_that_is_not_listed(bundle: Path, path: str) -> None:
    (bundle / path).parent.mkdir(exist_ok=True)
    (bundle / path).write_bytes(b"x")
    _refused(bundle, path, "not in its manifest")


def test_compiled_python_of_the_runtime_is_no_change(bundle: Path) -> None:
    bundles.add_runtime(bundle)
    cache = bundle / "runtime" / "python" / "edgekit_runtime" / "__pycache__"
    cache.mkdir()
    (cache / "probe.cpython-311.pyc").write_bytes(b"x")
    rt.verify(bundle)


def test_a_linked_file(bundle: Path) -> None:
    config = bundle / "config.json"
    outside = bundle.parent / "outside.json"
    config.rename(outside)
    config.symlink_to(outside)
    _refused(bundle, "config.json is a symbolic link")


def test_a_linked_folder(bundle: Path) -> None:
    (bundle / "onnx").rename(bundle.parent / "onnx")
    (bundle / "onnx").symlink_to(bundle.parent / "onnx", target_is_directory=True)
    _refused(bundle, "onnx is a symbolic link")


def test_a_linked_manifest(bundle: Path) -> None:
    (bundle / "edgekit.json").rename(bundle.parent / "edgekit.json")
    (bundle / "edgekit.json").symlink_to(bundle.parent / "edgekit.json")
    _refused(bundle, "edgekit.json is a symbolic link")


def test_a_link_that_leads_nowhere(bundle: Path) -> None:
    (bundle / "extra").symlink_to(bundle / "nothing")
    _refused(bundle, "extra is a symbolic link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_on(bundle: Path) -> None:
    (bundle / "config.json").unlink()
    os.mkfifo(bundle / "config.json")
    _refused(bundle, "not a regular file")


def test_folders_without_end(bundle: Path) -> None:
    deep = bundle
    for _ in range(_bundle.MAX_DEPTH + 2):
        deep = deep / "d"
    deep.mkdir(parents=True)
    _refused(bundle, "deep")


def test_the_size_is_checked_before_anything_is_hashed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(_bundle, "_sha256", never)
    (bundle / "onnx" / "model.onnx").write_bytes(b"x" * 100)
    _refused(bundle, "100 bytes")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda folder: (folder / "onnx" / "model.onnx").write_bytes(b"weighTs"),
        lambda folder: _write(folder, _manifest(folder) | {"schema_version": 2}),
    ],
)
def test_opening_refuses_before_an_engine_is_imported(bundle: Path, break_it: Callable[[Path], object]) -> None:
    break_it(bundle)
    program = f"""
import sys
import edgekit_runtime as rt
try:
    rt.open({str(bundle)!r})
except rt.BundleInvalid:
    sys.exit("onnxruntime" in sys.modules or "tokenizers" in sys.modules)
sys.exit(3)
"""
    environment = {**os.environ, "PYTHONPATH": str(bundles.RUNTIME)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "schema_version"),
        (b'{"schema_version": 2, "cases": []}', "schema_version"),
        (b'{"schema_version": 1, "cases": {}}', "cases"),
        (b'{"schema_version": 1, "cases": [{"name": "a"}]}', "cases"),
    ],
)
def test_goldens_of_the_wrong_shape(bundle: Path, raw: bytes, word: str) -> None:
    from edgekit_runtime import goldens

    (bundle / "golden.json").write_bytes(raw)
    bundles.reseal(bundle)
    with pytest.raises(rt.BundleInvalid, match=word):
        goldens.read(bundle, rt.verify(bundle))


def test_a_bundle_without_goldens(bundle: Path) -> None:
    from edgekit_runtime import goldens

    with pytest.raises(rt.BundleInvalid, match=r"golden\.json"):
        goldens.read(bundle, rt.verify(bundle))
