"""Properties of the bundle's rules, and that checking them takes the standard library alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import edgekit_runtime as rt
import pytest
from edgekit_runtime import _bundle
from fixtures import bundles
from hypothesis import given
from hypothesis import strategies as st

_PARTS = st.text(st.sampled_from("ab.-_/\\:é\x00 "), max_size=12)


@given(_PARTS | st.lists(_PARTS, max_size=4).map("/".join))
def test_an_accepted_path_stays_inside_on_every_system(path: str) -> None:
    try:
        _bundle.check_path(path)
    except rt.BundleInvalid:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        pure = kind(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert ".." not in pure.parts
        assert pure.as_posix() == path
    assert os.path.normpath(f"/bundle/{path}").startswith("/bundle/")


@pytest.mark.parametrize(
    "path",
    ["config.json", "onnx/model.onnx", "a.b/c-d_e", "...", "..a/b..", "日本/模型.gguf", "with space.txt", ".hidden"],
)
def test_an_ordinary_path_is_accepted(path: str) -> None:
    _bundle.check_path(path)


@given(st.integers(0, 10**9), st.integers(0, 30))
def test_any_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, seed: int, position: int) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    bundles.plain_bundle(folder)
    path = folder / "onnx" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 + seed % 255
    path.write_bytes(content)
    with pytest.raises(rt.BundleInvalid, match="was changed"):
        rt.verify(folder)


def test_verifying_takes_the_standard_library_alone(tmp_path: Path) -> None:
    bundles.plain_bundle(tmp_path / "bundle")
    program = f"""
import sys
import edgekit_runtime
edgekit_runtime.verify({str(tmp_path / "bundle")!r})
import edgekit_runtime.probe
print(*sorted({{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)))
"""
    environment = {"PYTHONPATH": str(bundles.RUNTIME)}
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["__main__", "edgekit_runtime"]


def test_the_fixtures_follow_the_manifests_schema(tmp_path: Path) -> None:
    from edgekit.manifest import Manifest

    for make in (bundles.embedding_bundle, bundles.classifier_bundle, bundles.image_bundle):
        Manifest.model_validate(_bundle.read_manifest(make(tmp_path / make.__name__)))


def test_every_error_is_a_runtime_failure_with_a_short_name() -> None:
    for name in set(rt.__all__) - {"open", "verify"}:
        error = getattr(rt, name)("a line\nand another")
        assert isinstance(error, rt.RuntimeFailure)
        assert error.code == name
        assert str(error) == "a line and another"
