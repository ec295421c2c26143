"""Adapters as source models: their base, their tokenizer, their digest, and the temporary folder they live in."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.plain_folders import tokenizer, write_json
from fixtures.tiny_adapters import QUERY, factors, plain, plain_base

from edgekit.inspection import inspect
from edgekit.merging import merge
from edgekit.model import open_model, source_sha256


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    plain_base(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return plain(tmp_path / "my-lora", str(base), factors())


def test_it_is_called_as_the_adapter_and_told_from_its_base(adapter: Path, base: Path) -> None:
    model = open_model(adapter)
    assert (model.name, model.source, model.task) == ("my-lora", str(adapter), "causal-lm")
    assert f"merged: adapter {adapter} into {base}, 1 tensor changed" in model.evidence
    assert {info.name: info.shape for info in model.tensors} == {
        info.name: info.shape for info in open_model(base).tensors
    }


def test_a_base_named_relative_to_the_adapter(tmp_path: Path, base: Path) -> None:
    adapter = plain(tmp_path / "my-lora", "../base", factors())
    assert open_model(adapter).merged is not None


def test_a_revision_is_of_no_use_to_a_folder(tmp_path: Path, base: Path) -> None:
    assert open_model(plain(tmp_path / "my-lora", str(base), factors(), revision="main")).revision is None


def test_the_folder_lives_as_long_as_the_model_and_its_copies(adapter: Path, tmp_path: Path) -> None:
    model = open_model(adapter)
    folder = model.folder
    assert folder is not None
    copy = replace(model, name="another")
    del model
    gc.collect()
    assert (folder / "model.safetensors").is_file()
    del copy
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_to_plan_by_no_weight_is_read(adapter: Path) -> None:
    planned, merged = open_model(adapter, weights=False), open_model(adapter)
    assert planned.tensors == merged.tensors
    assert planned.folder is not None
    assert (planned.folder / "model.safetensors").stat().st_blocks <= 16
    assert source_sha256(planned) == source_sha256(merged)


def test_the_digest_is_of_adapter_base_and_weights(adapter: Path, base: Path, tmp_path: Path) -> None:
    first = source_sha256(open_model(adapter))
    assert source_sha256(open_model(adapter)) == first
    assert source_sha256(open_model(base)) != first
    assert source_sha256(open_model(base, adapters={str(adapter): 0.5})) != first
    other = plain(tmp_path / "other", str(base), factors(seed=9))
    assert source_sha256(open_model(other)) != first
    write_json(base / "generation_config.json", {"eos_token_id": 3})
    assert source_sha256(open_model(adapter)) != first


def test_several_in_any_spelling_are_the_same(adapter: Path, base: Path, tmp_path: Path) -> None:
    other = plain(tmp_path / "other", str(base), factors(seed=9))
    weights = {str(adapter): 0.7, str(other): 0.3}
    found = {source_sha256(open_model(named, adapters=weights)) for named in (base, adapter, other)}
    assert len(found) == 1
    beside = open_model(adapter, adapters={str(other): 0.3})
    assert beside.merged is not None
    assert [part.weight for part in beside.merged.adapters] == [1.0, 0.3]


def test_an_adapters_own_tokenizer_and_template_are_taken(adapter: Path) -> None:
    own = tokenizer()
    own["model"]["vocab"] = own["model"]["vocab"] | {"new": 8}
    write_json(adapter / "tokenizer.json", own)
    (adapter / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    model = open_model(adapter)
    assert model.text is not None
    assert model.text.tokenizer_json is not None
    assert json.loads(model.text.tokenizer_json.read_bytes()) == own
    assert (model.text.chat_template, model.kind) == ("{{ messages }}", "chat")


def test_a_template_without_a_tokenizer_stands_beside_the_bases(adapter: Path, base: Path) -> None:
    (adapter / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    model = open_model(adapter)
    assert model.text is not None
    assert model.text.tokenizer_json is not None
    assert model.text.chat_template == "{{ messages }}"
    assert model.text.tokenizer_json.read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_grown_vocabulary_is_told(base: Path, tmp_path: Path) -> None:
    grown = {"model.embed_tokens.weight": np.ones((10, 8), np.float32), "lm_head.weight": np.ones((10, 8), np.float32)}
    model = open_model(plain(tmp_path / "grown", str(base), factors() | grown))
    assert model.config["vocab_size"] == 10
    assert "10 rows of vocabulary, as the adapter has them" in model.evidence


def test_a_base_that_lay_on_a_grid_does_so_no_more(tmp_path: Path) -> None:
    """QAT is undone by a merge: that is said."""
    from fixtures.quantized_models import round_to_grid

    tensors = plain_base(tmp_path / "base-qat", hidden_size=32, vocab_size=64)
    random = np.random.default_rng(1)
    for name in tensors:
        shape = (32,) if "norm" in name else (64, 32)
        value = random.standard_normal(shape).astype(np.float32)
        tensors[name] = value if "norm" in name else round_to_grid(value).values
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "base-qat" / "model.safetensors")
    adapter = plain(tmp_path / "lora", str(tmp_path / "base-qat"), factors(outputs=64, inputs=32))
    told = [line for line in open_model(adapter).evidence if "grid" in line]
    assert any("the base's weights lie on the grid of Q4_0, the merged ones no longer" in line for line in told)


def test_pickled_weights_by_permission(adapter: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    stored = load_file(adapter / "adapter_model.safetensors")
    merged = source_tensors(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(stored, adapter / "adapter_model.bin")
    found = source_tensors(adapter, allow_pickle=True)
    assert {name: value.tobytes() for name, value in found.items()} == {
        name: value.tobytes() for name, value in merged.items()
    }


def source_tensors(adapter: Path, **options: bool) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    model = open_model(adapter, **options)
    assert model.folder is not None
    return load_file(model.folder / "model.safetensors")


def test_merge_writes_an_ordinary_model_with_a_record(adapter: Path, base: Path, tmp_path: Path) -> None:
    made = merge(adapter, out=tmp_path / "out")
    merged = open_model(made.folder)
    assert (merged.merged, merged.quantized) == (None, None)
    record = json.loads((made.folder / "edgekit_merge.json").read_text())
    assert record == made.made_of
    assert record["base"] == {"source": str(base), "revision": None, "sha256": source_sha256(open_model(base))}
    assert [each["source"] for each in record["adapters"]] == [str(adapter)]


def test_what_inspect_says_of_an_adapter_without_its_base(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    write_json(path, json.loads(path.read_text()) | {"base_model_name_or_path": "org/nowhere", "use_rslora": True})
    facts = inspect(adapter)
    assert (facts["what"], facts["kind"], facts["base"]) == ("adapter", "adapter (rsLoRA)", "org/nowhere")
    assert (facts["parameters"], facts["ranks"], facts["scalings"]) == (32, [2], [round(4 / 2**0.5, 6)])
    assert facts["changes"] == [QUERY.rsplit(".", 1)[-1]]
    assert any("no byte in deployment" in line for line in facts["deployment"])
