"""The page as a folder: every path that is served, and the headers it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.demo.files import write
from edgekit.demo.server import BUNDLE_POLICY, HEADERS, PAGE_POLICY
from edgekit.demo.site import Resource
from edgekit.errors import OutputExists, OutputUnwritable


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, Resource]:
    (tmp_path / "model").write_bytes(b"weights")
    return {
        "": Resource(tmp_path / "none", "text/html", "page", b"<!doctype html>"),
        "runtime/web.js": Resource(tmp_path / "none", "text/javascript", "page", b"1"),
        "bundle/onnx/model": Resource(tmp_path / "model", "application/octet-stream", "bundle"),
    }


def test_every_path_is_a_file(resources: dict[str, Resource], tmp_path: Path) -> None:
    out = write(resources, tmp_path / "out")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {"index.html", "runtime/web.js", "bundle/onnx/model", "_headers"}
    assert (out / "bundle/onnx/model").read_bytes() == b"weights"
    told = (out / "_headers").read_text()
    for name, value in HEADERS.items():
        assert f"  {name}: {value}\n" in told
    assert told.index(PAGE_POLICY) < told.index("/bundle/*") < told.index(BUNDLE_POLICY)


def test_force_replaces_a_page_and_nothing_else(resources: dict[str, Resource], tmp_path: Path) -> None:
    (tmp_path / "edgekit").write_text("{}")
    resources["page/app.js"] = resources["runtime/web.js"]
    resources["bundle/edgekit.json"] = Resource(tmp_path / "edgekit", "application/json", "bundle")
    out = write(resources, tmp_path / "out")
    write(resources | {"more.js": resources["runtime/web.js"]}, out, force=True)
    assert (out / "more.js").is_file()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(OutputExists, match="is no page"):
        write(resources, tmp_path / "photos", force=True)


def test_nothing_is_replaced_and_nothing_is_left(resources: dict[str, Resource], tmp_path: Path) -> None:
    out = write(resources, tmp_path / "out")
    with pytest.raises(OutputExists, match="give another --export"):
        write(resources, out)
    before = sorted(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnwritable):
        write(resources, tmp_path / "file" / "out")
    (tmp_path / "file").unlink()
    assert sorted(tmp_path.iterdir()) == before
