"""Adapters that are damaged, dangerous, or of another base than they are given: each refused with one line."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fixtures.plain_folders import write_json
from fixtures.tiny_adapters import QUERY, factors, plain, plain_base
from safetensors import safe_open

from edgekit.errors import BadAdapter, BadModel, EdgekitError, ModelNotFound, NoSpace, OutputExists, UsageError
from edgekit.inspection import inspect
from edgekit.merging import merge
from edgekit.model import open_model


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and temporaries of their own; no hub."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    plain_base(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return plain(tmp_path / "adapter", str(base), factors())


def refused(source: object, said: str, error: type[EdgekitError] = BadAdapter, **options: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        open_model(str(source), **options)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error


def change(adapter: Path, **fields: Any) -> None:
    path = adapter / "adapter_config.json"
    write_json(path, json.loads(path.read_text()) | fields)


def test_the_base_is_not_named(adapter: Path, base: Path) -> None:
    change(adapter, base_model_name_or_path=None)
    refused(adapter, "does not say what its base is - give it with --base")
    assert open_model(adapter, base=base).name == "adapter"


def test_the_base_is_not_there(adapter: Path, tmp_path: Path) -> None:
    change(adapter, base_model_name_or_path=str(tmp_path / "gone"))
    refused(adapter, r"the base of .*adapter is not found: no such model: .*gone - give it with --base FOLDER")


def test_the_base_is_on_a_hub_that_cannot_be_reached(adapter: Path) -> None:
    change(adapter, base_model_name_or_path="org/base")
    refused(adapter, r"the base of .*adapter is not found: the hub cannot be reached and org/base is not in the cache")


def test_the_base_is_an_adapter(adapter: Path, tmp_path: Path) -> None:
    other = plain(tmp_path / "other", str(adapter), factors())
    refused(other, r"adapter, the base of .*other, is an adapter itself - edgekit merge it first")


def test_the_base_is_a_file(adapter: Path, tmp_path: Path) -> None:
    values = {b"general.architecture": b"llama", b"llama.context_length": 64}
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    for key, value in values.items():
        head += struct.pack("<Q", len(key)) + key
        typed = struct.pack("<IQ", 10, value) if isinstance(value, int) else struct.pack("<IQ", 8, len(value)) + value
        head += typed
    (tmp_path / "model.gguf").write_bytes(head + bytes(-len(head) % 32))
    refused(adapter, "is a model of format gguf", base=tmp_path / "model.gguf")


def test_the_base_has_no_such_module(adapter: Path, base: Path, tmp_path: Path) -> None:
    other = plain(tmp_path / "other", str(base), factors("transformer.h.0.attn.c_attn"))
    refused(
        other, r"made for another architecture: it changes transformer\.h\.0\.attn\.c_attn, which .*base does not have"
    )


def test_the_base_has_another_width(base: Path, tmp_path: Path) -> None:
    other = plain(tmp_path / "other", str(base), factors(inputs=16))
    refused(other, rf"its product on {QUERY}\.weight is \[8, 16\], that of .*base is \[8, 8\]")


def test_a_matrix_the_other_way_round(base: Path, tmp_path: Path) -> None:
    other = plain(tmp_path / "other", str(base), factors("model.layers.0.mlp.up_proj", outputs=8, inputs=12))
    refused(other, r"up_proj\.weight is \[8, 12\], that of .*base is \[12, 8\]")


def test_a_saved_tensor_of_another_shape(base: Path, tmp_path: Path) -> None:
    saved = {"model.norm.weight": np.ones(9, np.float32)}
    refused(plain(tmp_path / "other", str(base), factors() | saved), r"its model\.norm\.weight is \[9\], .* is \[8\]")
    narrow = {"model.embed_tokens.weight": np.ones((9, 4), np.float32)}
    refused(plain(tmp_path / "other", str(base), factors() | narrow), r"is \[9, 4\], .* is \[8, 8\]")


def test_one_end_of_the_vocabulary_grown(base: Path, tmp_path: Path) -> None:
    grown = {"model.embed_tokens.weight": np.ones((9, 8), np.float32)}
    refused(plain(tmp_path / "other", str(base), factors() | grown), "the input embedding has 9 rows and the output 8")


@pytest.mark.engines
@pytest.mark.parametrize(("kind", "method"), [("gptq", "gptq"), ("awq", "awq"), ("nf4", "bitsandbytes")])
def test_a_quantized_base(tmp_path: Path, kind: str, method: str) -> None:
    from fixtures.quantized_models import quantized_llama

    base = quantized_llama(tmp_path / "base", kind).folder
    config = json.loads((base / "config.json").read_text())
    write_json(base / "config.json", config | {"_name_or_path": "org/original"})
    adapter = plain(tmp_path / "adapter", str(base), factors(outputs=64, inputs=64))
    said = rf"quantized \({method}\): .* - give the full-precision base with --base org/original"
    refused(adapter, said)


def test_a_base_quantized_in_a_way_that_nobody_reads(adapter: Path, base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    write_json(base / "config.json", config | {"quantization_config": {"quant_method": "hqq"}})
    refused(adapter, r"quantized \(hqq\): merging into it would round the adapter away - .* with --base")


@pytest.mark.parametrize(
    ("card", "named", "source", "plain_name"),
    [
        ("---\nlicense: mit\nbase_model: org/full\n---\n", "org/other", "org/model-bnb-4bit", "org/full"),
        ("---\nbase_model:\n- org/full\n---\n", None, "org/model-bnb-4bit", "org/full"),
        ("", "org/other", "org/model-bnb-4bit", "org/other"),
        ("", "org/other-GPTQ", "org/model-GPTQ", "org/model"),
        ("", None, "org/model-unsloth-bnb-4bit", "org/model"),
        ("", None, "org/model", ""),
    ],
)
def test_what_a_quantized_base_was_made_from(
    base: Path, card: str, named: str | None, source: str, plain_name: str
) -> None:
    from dataclasses import replace

    from edgekit.model.adapted import unquantized_name

    (base / "README.md").write_text(card, encoding="utf-8")
    model = replace(open_model(base), source=source)
    assert unquantized_name(replace(model, config={**model.config, "_name_or_path": named})) == plain_name


def test_pickled_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    refused(adapter, r"as a pickle only \(adapter_model\.bin\), .* - pass --allow-pickle")


def test_no_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, "no adapter_model.safetensors - .*if the folder holds a whole model, remove adapter_config.json")


def test_damaged_weights(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    whole = path.read_bytes()
    for content in (b"", whole[:40], whole[:-4], whole + b"more"):
        path.write_bytes(content)
        refused(adapter, r"adapter: adapter_model\.safetensors: ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_damaged_configuration(adapter: Path, content: bytes) -> None:
    (adapter / "adapter_config.json").write_bytes(content)
    refused(adapter, r"adapter_config\.json", BadModel)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(base: Path, tmp_path: Path, value: float) -> None:
    stored = factors()
    stored[f"{QUERY}.lora_A.weight"][0, 0] = value
    refused(plain(tmp_path / "other", str(base), stored), "lora_A.*(NaN|infinite|finite)", BadModel)
    assert not list((tmp_path / "temporary").iterdir())


def test_products_that_are_not_whole(base: Path, tmp_path: Path) -> None:
    stored = factors()
    half = {name: value for name, value in stored.items() if "lora_A" in name}
    refused(plain(tmp_path / "other", str(base), half), f"{QUERY} has only one half of its product")
    refused(plain(tmp_path / "other", str(base), stored, r=3), r"has A \[2, 8\] and B \[8, 2\], rank 3 is configured")
    refused(plain(tmp_path / "other", str(base), stored, use_dora=True), "has no magnitudes, use_dora is True")
    magnitude = {f"{QUERY}.lora_magnitude_vector": np.ones(8, np.float32)}
    refused(plain(tmp_path / "other", str(base), stored | magnitude), "has magnitudes, use_dora is False")
    short = {f"{QUERY}.lora_magnitude_vector": np.ones(7, np.float32)}
    refused(plain(tmp_path / "other", str(base), stored | short, use_dora=True), "has 7 values, 8 are expected")
    refused(plain(tmp_path / "other", str(base), {}), "its weights hold no tensor")


@pytest.mark.parametrize("name", [f"{QUERY}.lora_E", f"{QUERY}.lora_A.bias", "mlp.ia3_l", "x.lora_diag.default"])
def test_tensors_of_other_methods(base: Path, tmp_path: Path, name: str) -> None:
    other = plain(tmp_path / "other", str(base), factors() | {name: np.ones(2, np.float32)})
    refused(other, "is unknown to LoRA")


def test_a_bias_for_a_module_without_one(base: Path, tmp_path: Path) -> None:
    bias = {f"{QUERY}.lora_B.bias": np.ones(8, np.float32)}
    refused(plain(tmp_path / "other", str(base), factors() | bias), f"adds a bias to {QUERY}, which has none")


def test_trained_rows_beyond_the_embedding(base: Path, tmp_path: Path) -> None:
    rows = {"model.embed_tokens.token_adapter.trainable_tokens_delta": np.ones((2, 8), np.float32)}
    refused(
        plain(tmp_path / "other", str(base), rows, trainable_token_indices=[1, 8]),
        r"trainable_tokens_delta is \[2, 8\]",
    )
    refused(plain(tmp_path / "other", str(base), rows, trainable_token_indices=[1]), r"is \[2, 8\]")
    refused(plain(tmp_path / "other", str(base), rows), "do not say which rows")


def test_combinations_without_a_meaning(adapter: Path, base: Path, tmp_path: Path) -> None:
    saved = {"model.norm.weight": np.ones(8, np.float32)}
    one, two = (plain(tmp_path / name, str(base), factors() | saved) for name in ("one", "two"))
    refused(base, r"both replace model\.norm\.weight", adapters={str(one): 0.5, str(two): 0.5})
    magnitude = {f"{QUERY}.lora_magnitude_vector": np.ones(8, np.float32)}
    dora = plain(tmp_path / "dora", str(base), factors() | magnitude, use_dora=True)
    refused(base, "is a DoRA: its magnitudes are not additive", adapters={str(adapter): 1.0, str(dora): 1.0})
    wide = plain(tmp_path / "wide", str(base), factors(rank=3), r=3)
    both = {str(adapter): 0.5, str(wide): 0.5}
    refused(base, r"has ranks \[2, 3\]", adapters=both, combination="linear")
    assert open_model(base, adapters=both).merged is not None


def test_what_is_no_adapter(adapter: Path, base: Path, tmp_path: Path) -> None:
    refused(base, "is no adapter, so --base .* is no base of it", base=adapter)
    refused(base, "is no adapter: it has no adapter_config.json", adapters={str(base): 1.0})
    refused(tmp_path / "gone", "no such model", ModelNotFound, adapters={str(adapter): 1.0})


def test_inspecting_tells_why_it_cannot_be_merged(adapter: Path) -> None:
    change(adapter, peft_type="IA3")
    facts = inspect(adapter)
    assert facts["kind"] == "adapter (IA3)"
    assert "LoRA adapters are merged" in facts["cannot_be_merged"]


def test_no_space_for_the_merged_model(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=12))
    refused(adapter, "0 MiB free, the merged model needs 0 MiB - free some, or point TMPDIR", NoSpace)
    assert open_model(adapter, weights=False).merged is not None, "to plan by no room is needed"


def test_merging_leaves_nothing_behind_and_replaces_merged_models_only(
    adapter: Path, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merge(adapter, out=out)
    with pytest.raises(OutputExists):
        merge(adapter, out=out)
    merge(adapter, out=out, force=True)
    for own in (base, adapter):
        with pytest.raises((UsageError, OutputExists)):
            merge(adapter, out=own, force=True)
        with pytest.raises(UsageError):
            merge(adapter, out=own / "inside", force=True)
    with pytest.raises(BadAdapter):
        merge(base, out=tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} <= {"base", "adapter", "out", "temporary", "cache", "hub"}


def test_an_interrupt_leaves_no_temporary(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.adapters.writing.encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_model(adapter)
    with pytest.raises(KeyboardInterrupt):
        merge(adapter, out=tmp_path / "out")
    assert not list((tmp_path / "temporary").iterdir())
    assert not (tmp_path / "out").exists()


# Rows of zeros take no disk before they are merged; what is written does.
_LARGE = """
import json, sys
from pathlib import Path
from edgekit.adapters import Adapter, AdapterConfig, Base, Weighted, laid_out, write_weights
from edgekit.checkpoint import SafetensorsCheckpoint, safetensors_header
from edgekit.progress import Silent

def merge(base, adapter, out):
    path, where = base / "model.safetensors", str(adapter)
    config = AdapterConfig.parse(json.loads((adapter / "adapter_config.json").read_text()), where)
    store = SafetensorsCheckpoint((path,))
    shards = [(path.name, safetensors_header(path))]
    with Adapter.open(adapter, config, allow_pickle=False) as opened:
        layout = laid_out(Base("base", base, store, shards, {"model_type": "llama"}, decodes=True), [Weighted(opened)])
        out.mkdir()
        write_weights(layout, out, Silent())
    store.close()

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

folder = Path(sys.argv[1])
merge(folder / "little", folder / "little-adapter", folder / "little-out")
before = peak()
merge(folder / "large", folder / "large-adapter", folder / "large-out")
print(1024 * (peak() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_a_base_far_larger_than_the_memory_its_merge_takes(tmp_path: Path) -> None:
    """512 MiB, of which a quarter is copied as it is, are read, merged and written in 128 MiB."""
    names = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in (0, 1) for part in ("q", "k", "v", "o")]
    for size, width in (("little", 8), ("large", 4096)):
        _sparse_base(tmp_path / size, names, width)
        changed = {key: value for name in names[:6] for key, value in factors(name, width, width).items()}
        plain(tmp_path / f"{size}-adapter", "base", changed, r=2, lora_alpha=4)
    merged = tmp_path / "large-out" / "model.safetensors"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _LARGE, str(tmp_path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert merged.stat().st_size > 8 * 4096 * 4096 * 4
        product = 2 * changed[f"{names[0]}.lora_B.weight"][:3] @ changed[f"{names[0]}.lora_A.weight"][:, :9]
        with safe_open(merged, "np") as found:
            for at, name in enumerate(names):
                wanted = _first_rows(4096)[:, :9] + (product if at < 6 else 0)
                np.testing.assert_allclose(found.get_slice(f"{name}.weight")[:3, :9], wanted, rtol=1e-5, atol=1e-5)
        assert int(ran.stdout) < 128 * 2**20
    finally:
        merged.unlink(missing_ok=True)


def _sparse_base(folder: Path, names: list[str], width: int) -> None:
    """Matrices [width, width] of float32 whose first three rows are random, and all others zeros that take no disk."""
    of_one = 4 * width * width
    header = {
        f"{name}.weight": {"dtype": "F32", "shape": [width, width], "data_offsets": [at * of_one, (at + 1) * of_one]}
        for at, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for at in range(len(names)):
            file.seek(8 + len(text) + at * of_one)
            file.write(_first_rows(width).tobytes())
        file.truncate(8 + len(text) + len(names) * of_one)


def _first_rows(width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, width)).astype(np.float32)
