"""Bundles that were damaged, or made to harm, refused by the C runtime with the name that the Python one gives."""

from __future__ import annotations

import json
from pathlib import Path

import edgekit_runtime as rt
import pytest
from fixtures import bundles, c_runtime
from fixtures.hostile_bundles import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.engines


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
