"""propose and make: estimates that hold, refusals with a reason, files where they belong."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures import tiny_models, tiny_tokenizers
from fixtures.devices import device as made_device
from fixtures.devices import setting
from fixtures.gguf_models import LLAMA, planned

from edgekit import strategies
from edgekit.costs import Work
from edgekit.device import DeviceProfile
from edgekit.errors import MissingEngine, NoSpace
from edgekit.model import SourceModel, TensorInfo, TextSetup, open_model
from edgekit.progress import Silent
from edgekit.strategies import Candidate, Rejection
from edgekit.strategies.gguf import OFFERED, make, propose


@pytest.fixture(scope="module")
def device() -> DeviceProfile:
    return made_device("neon", "fp16", "dotprod", arch="aarch64")


@pytest.fixture
def model(tmp_path: Path) -> SourceModel:
    """A Llama of configuration and shapes with a real tokenizer, but no weights."""
    size = tiny_tokenizers.byte_level(tmp_path)
    config = LLAMA | {"vocab_size": size}
    return planned(config, text=TextSetup(512, tmp_path / "tokenizer.json"))


def candidates(model: SourceModel, device: DeviceProfile, context: int = 256) -> list[Candidate]:
    found = list(propose(model, setting(device, context)))
    assert all(isinstance(each, Candidate) for each in found), found
    return [each for each in found if isinstance(each, Candidate)]


def rejection(model: SourceModel, device: DeviceProfile) -> Rejection:
    (found,) = propose(model, setting(device, 256))
    assert isinstance(found, Rejection)
    return found


def test_the_strategy_is_in_the_table() -> None:
    assert strategies.load("gguf").propose is propose


def test_memory_is_for_the_longest_text_the_bundle_takes(model: SourceModel, device: DeviceProfile) -> None:
    """Not for all positions the checkpoint has: the session is opened with the text's own limit."""
    assert model.text is not None
    cut = replace(model, text=replace(model.text, max_tokens=200))
    shorter, longer = (candidates(each, device, context=512)[0] for each in (cut, model))
    assert shorter.ram_bytes.high < longer.ram_bytes.high


def test_presets_are_offered_from_the_most_faithful_down(model: SourceModel, device: DeviceProfile) -> None:
    found = candidates(model, device)
    assert [each.label for each in found] == [f"gguf {name}" for name in OFFERED]
    kept = [each.faithfulness for each in found]
    assert kept == sorted(kept, reverse=True)
    by_name = {each.options["preset"]: each.disk_bytes.mid for each in found}
    # Rows of 64 values have no smaller blocks for the types below Q4_0.
    sizes = [by_name[name] for name in ("F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0")]
    assert sizes == sorted(sizes, reverse=True)


def test_the_cache_grows_with_the_context_and_no_further_than_the_model_s(
    model: SourceModel, device: DeviceProfile
) -> None:
    small, large, beyond = (candidates(model, device, context)[0] for context in (256, 512, 100_000))
    assert small.kv_bytes == 256 * 2 * 2 * 2 * 2 * 16
    assert large.kv_bytes == 2 * small.kv_bytes == beyond.kv_bytes


def note(candidate: Candidate, words: str) -> str | None:
    return next((told for told in candidate.notes if words in told), None)


def test_copies_are_told_where_the_device_makes_them(model: SourceModel, device: DeviceProfile) -> None:
    plain = made_device("neon", arch="aarch64")
    here, there = ({each.options["preset"]: each for each in candidates(model, one)} for one in (device, plain))
    for preset in ("Q4_0", "Q8_0"):
        copies = sum(term.bytes for term in work_of(here[preset]).memory if term.name == "repacked weights")
        told = note(here[preset], "repacked")
        assert told is not None
        assert f"{copies / 2**20:.1f} MiB" in told
        assert note(there[preset], "repacked") is None
        assert here[preset].ram_bytes.mid > there[preset].ram_bytes.mid
    assert note(here["F16"], "repacked") is None
    assert here["F16"].ram_bytes == there["F16"].ram_bytes


def work_of(candidate: Candidate) -> Work:
    assert candidate.work is not None
    return candidate.work


def test_what_became_of_types_that_do_not_fit_the_rows_is_told(model: SourceModel, device: DeviceProfile) -> None:
    by_preset = {each.options["preset"]: each for each in candidates(model, device)}
    told = note(by_preset["Q4_K_M"], "multiple of 256")
    assert told is not None
    assert told.startswith("100% of the weights")
    assert "Q4_K became Q5_0" in told
    assert "Q6_K became Q8_0" in told
    told = note(by_preset["Q4_0"], "multiple of 256")
    assert told is not None
    assert told.endswith(": Q6_K became Q8_0")
    assert note(by_preset["Q8_0"], "multiple of 256") is None


def test_wide_rows_keep_their_types(tmp_path: Path, device: DeviceProfile) -> None:
    size = tiny_tokenizers.byte_level(tmp_path)
    config = LLAMA | {"vocab_size": size, "hidden_size": 256, "intermediate_size": 512}
    wide = planned(config, text=TextSetup(512, tmp_path / "tokenizer.json"))
    assert all(note(each, "multiple of 256") is None for each in candidates(wide, device))


def test_a_model_is_read_once_for_all_devices(
    model: SourceModel, device: DeviceProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = candidates(model, device)
    monkeypatch.setattr("edgekit.strategies.gguf.offers.lay_out", None)
    again = candidates(model, made_device("avx2"))
    assert [each.disk_bytes for each in again] == [each.disk_bytes for each in first]


def test_nothing_heavy_is_imported_to_plan(model: SourceModel, device: DeviceProfile, monkeypatch: Any) -> None:
    for name in ("gguf", "llama_cpp", "torch", "transformers", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(candidates(model, device)) == len(OFFERED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "text-classification"}, "llama.cpp does not run text-classification models"),
        ({"format": "torch"}, "a model of format torch"),
        ({"quantized": "awq"}, r"already quantized \(awq\)"),
        ({"text": None}, "no tokenizer.json"),
        ({"config": LLAMA | {"model_type": "mamba"}}, "model type 'mamba'"),
    ],
)
def test_what_cannot_be_written_is_rejected_with_the_reason(
    changes: dict[str, Any], message: str, model: SourceModel, device: DeviceProfile
) -> None:
    assert re.search(message, rejection(replace(model, **changes), device).reason)


def test_a_tokenizer_that_cannot_be_said_is_rejected_before_anything_is_made(
    model: SourceModel, device: DeviceProfile
) -> None:
    assert model.text is not None
    assert model.text.tokenizer_json is not None
    content = {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}, "added_tokens": []}
    model.text.tokenizer_json.write_text(json.dumps(content), encoding="utf-8")
    assert "a Unigram tokenizer" in rejection(model, device).reason


def gguf_file(folder: Path) -> SourceModel:
    path = folder / "given-Q4_0.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    tensors = (
        TensorInfo("token_embd.weight", "Q4_0", (100, 64)),
        TensorInfo("blk.0.attn_k.weight", "Q4_0", (32, 64)),
        TensorInfo("blk.0.attn_v.weight", "Q4_0", (32, 64)),
    )
    text = TextSetup(512, None)
    return SourceModel(
        "given",
        str(path),
        "gguf",
        "causal-lm",
        "base",
        "llama",
        folder,
        tensors=tensors,
        file=path,
        text=text,
        quantized="Q4_0",
    )


def test_a_gguf_file_is_taken_as_it_is(tmp_path: Path, device: DeviceProfile) -> None:
    source = gguf_file(tmp_path)
    (candidate,) = candidates(source, device)
    assert (candidate.label, candidate.disk_bytes.mid, candidate.kv_bytes) == ("gguf as-is", 1004, 256 * 2 * 64)
    assert candidate.faithfulness == pytest.approx(8 * 1004 / (164 * 64))
    (tmp_path / "work").mkdir()
    artifact = make(candidate, source, device, tmp_path / "work", Silent())
    assert (artifact.folder / artifact.model_file).read_bytes() == (tmp_path / "given-Q4_0.gguf").read_bytes()
    assert artifact.model_file == "given-Q4_0.gguf"
    assert artifact.min_isa["x86_64"] == ("avx2",)


def test_too_little_space_is_said_before_work(
    tmp_path: Path, device: DeviceProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = gguf_file(tmp_path)
    (candidate,) = candidates(source, device)
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("edgekit.strategies.gguf.shutil.disk_usage", lambda _: usage)
    with pytest.raises(NoSpace, match="free, the file needs"):
        make(candidate, source, device, tmp_path, Silent())


@pytest.mark.parametrize("package", ["gguf", "llama_cpp"])
def test_a_missing_engine_is_named_with_the_command(
    package: str, model: SourceModel, device: DeviceProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.strategies.gguf import engine

    engine.load.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    (candidate, *_) = candidates(model, device)
    with pytest.raises(MissingEngine, match=r"pip install gguf llama-cpp-python"):
        make(candidate, model, device, tmp_path, Silent())


@pytest.mark.engines
def test_what_is_made_has_the_size_that_was_estimated(tmp_path: Path, device: DeviceProfile) -> None:
    source = open_model(tiny_models.tiny_llama(tmp_path / "source", chat_template="{{ messages }}"))
    for candidate in candidates(source, device):
        artifact = make(candidate, source, device, tmp_path, Silent())
        assert artifact.model_file == f"model-{candidate.options['preset']}.gguf"
        assert [path.name for path in artifact.folder.iterdir()] == [artifact.model_file]
        size = (artifact.folder / artifact.model_file).stat().st_size
        assert candidate.disk_bytes.low <= size <= candidate.disk_bytes.high
        assert candidate.disk_bytes.mid == pytest.approx(size, rel=0.01)
