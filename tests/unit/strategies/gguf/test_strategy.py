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
from fixtures.devices import setting
from fixtures.gguf_models import LLAMA, planned

from edgekit import strategies
from edgekit.device import DeviceProfile, load_profile
from edgekit.errors import MissingEngine, NoSpace
from edgekit.model import SourceModel, TensorInfo, TextSetup, open_model
from edgekit.progress import Silent
from edgekit.strategies import Candidate, Rejection
from edgekit.strategies.gguf import OFFERED, make, propose


@pytest.fixture(scope="module")
def device() -> DeviceProfile:
    return load_profile("raspberry-pi-5-8gb")


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


def test_presets_are_offered_from_the_most_faithful_down(model: SourceModel, device: DeviceProfile) -> None:
    found = candidates(model, device)
    assert [each.label for each in found] == [f"gguf {name}" for name in OFFERED]
    kept = [each.faithfulness for each in found]
    assert kept == sorted(kept, reverse=True)
    sizes = [each.disk_bytes.mid for each in found]
    assert sizes == sorted(sizes, reverse=True)


def test_the_cache_grows_with_the_context_and_no_further_than_the_model_s(
    model: SourceModel, device: DeviceProfile
) -> None:
    small, large, beyond = (candidates(model, device, context)[0] for context in (128, 512, 100_000))
    assert small.kv_bytes == 128 * 2 * 2 * 2 * 2 * 16
    assert large.kv_bytes == 4 * small.kv_bytes == beyond.kv_bytes
    assert large.ram_bytes.low - small.ram_bytes.low == large.kv_bytes - small.kv_bytes


def test_speed_is_an_interval_below_the_memory_s_bandwidth(model: SourceModel, device: DeviceProfile) -> None:
    speed = candidates(model, device)[0].tokens_per_s
    bandwidth = device.memory_bandwidth.sustained_bytes_per_s.value
    assert speed is not None
    assert bandwidth is not None
    assert speed.low == pytest.approx(0.4 * speed.high)
    # The output is read whole, the untied embedding by the row.
    assert speed.high > bandwidth / candidates(model, device)[0].disk_bytes.mid


def test_a_device_of_unknown_bandwidth_has_no_speed(model: SourceModel) -> None:
    unknown = load_profile("pixel-8")
    unknown = unknown.model_copy(update={"memory_bandwidth": type(unknown.memory_bandwidth)()})
    assert {each.tokens_per_s for each in candidates(model, unknown)} == {None}


def test_copies_are_counted_where_the_device_makes_them(model: SourceModel, device: DeviceProfile) -> None:
    assert device.has("dotprod")
    plain = device.model_copy(
        update={"cpu": device.cpu.model_copy(update={"isa": device.cpu.isa.model_copy(update={"value": ()})})}
    )
    by_device = [
        {each.options["preset"]: each.ram_bytes.high for each in candidates(model, one)} for one in (device, plain)
    ]
    assert by_device[0]["Q4_0"] > by_device[1]["Q4_0"]
    assert by_device[0]["F16"] == by_device[1]["F16"]


def test_nothing_heavy_is_imported_to_plan(model: SourceModel, device: DeviceProfile, monkeypatch: Any) -> None:
    for name in ("gguf", "llama_cpp", "torch", "transformers"):
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
