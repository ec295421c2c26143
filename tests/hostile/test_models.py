"""Models that are broken, dangerous or not what they say: each is refused with one line that says what to do."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from fixtures.plain_folders import plain_folder, sentence_folder, write_json, write_safetensors

from edgekit.errors import (
    BadModel,
    BadTokenizer,
    EdgekitError,
    MissingEngine,
    ModelNotFound,
    UnsafeModel,
    UnsupportedModel,
)
from edgekit.model import SourceModel, open_model

LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def refused(source: object, error: type[EdgekitError], said: str, **options: Any) -> None:
    with pytest.raises(error, match=said) as caught:
        open_model(str(source), **options)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return plain_folder(tmp_path / "model")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_path_that_is_not_there_names_the_nearest(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "modle", ModelNotFound, rf"no such model: .*modle - did you mean {tmp_path / 'model'}\?")
    refused(tmp_path / "no" / "such" / "place", ModelNotFound, "no such model: .*/no ")
    refused(folder / "model.safetensor", ModelNotFound, r"did you mean .*model\.safetensors\?")
    refused("word", ModelNotFound, "organisation/model")


def test_a_local_model_has_no_revision(folder: Path) -> None:
    refused(folder, ModelNotFound, "has no revision 'v1'", revision="v1")


def test_a_file_that_is_no_model(folder: Path, tmp_path: Path) -> None:
    refused(folder / "model.safetensors", UnsupportedModel, "one file of a model folder - name the folder")
    (tmp_path / "weights.pt").write_bytes(b"")
    refused(tmp_path / "weights.pt", UnsupportedModel, r"a \.pt file is no model that edgekit opens - supported:")


def test_without_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, BadModel, r"has no config\.json")
    (folder / "model-Q4_0.gguf").write_bytes(b"")
    refused(folder, BadModel, r"open the file itself: .*model-Q4_0\.gguf")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not JSON, line 1"),
        (b'{"architectures": ["Bert', "not JSON, line 1.* - the file is cut short"),
        (b"[1]", "holds a JSON list"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b"[" * 200_000, "nested too deeply|not JSON"),
        (b" " * (16 * 2**20 + 1), "16777217 bytes of JSON, the limit is 16777216"),
    ],
)
def test_a_damaged_config(folder: Path, content: bytes, said: str) -> None:
    (folder / "config.json").write_bytes(content)
    refused(folder, BadModel, said)


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [("T5ForConditionalGeneration", "t5"), ("WhisperForConditionalGeneration", "whisper"), ("CLIPModel", "clip")],
)
def test_an_architecture_nobody_supports_names_what_is(tmp_path: Path, architecture: str, model_type: str) -> None:
    source = plain_folder(tmp_path / "x", architectures=[architecture], model_type=model_type)
    refused(source, UnsupportedModel, f"architecture {architecture} .* - supported: text encoders .* Llama, Mistral")


def test_without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, BadTokenizer, r"no tokenizer\.json and no vocabulary to make one of - save it with")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"model": {"vocab": {}}}', b'{"model": {"vo', b"[" * 200_000])
def test_a_damaged_tokenizer(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    refused(folder, BadTokenizer, r"tokenizer\.json")


def test_a_tokenizer_the_library_cannot_read(folder: Path) -> None:
    from edgekit.torch_model import load_tokenizer

    write_json(folder / "tokenizer.json", {"model": {"type": "Nonsense", "vocab": {"a": 0}}})
    with pytest.raises(BadTokenizer, match=r"tokenizer\.json"):
        load_tokenizer(open_model(folder))


@pytest.mark.engines
def test_a_vocabulary_that_cannot_be_converted(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"no sentencepiece")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    before = sorted(path.name for path in folder.iterdir())
    refused(folder, BadTokenizer, r"tokenizer\.model cannot be converted")
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_vocabulary_without_transformers_to_convert_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[UNK]\na\n")
    refused(folder, BadTokenizer, "pip install transformers")


@pytest.mark.parametrize("size", [0, 4, 8, 40, 200, -1])
def test_truncated_safetensors(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(folder, BadModel, r"model\.safetensors")


@pytest.mark.parametrize("junk", [b"\xff" * 8 + b"{}", b"\0" * 64, b"{" * 64, bytes([2]) + bytes(7) + b"[]"])
def test_corrupt_safetensors(folder: Path, junk: bytes) -> None:
    (folder / "model.safetensors").write_bytes(junk)
    refused(folder, BadModel, r"model\.safetensors")


def sharded(folder: Path, weight_map: dict[str, str]) -> Path:
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model-00001-of-00002.safetensors", {"a": (4,)})
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    return folder


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}, "which is missing"),
        ({"a": "../model-00001-of-00002.safetensors"}, "not a safetensors file beside it"),
        ({"a": "/etc/passwd"}, "not a safetensors file beside it"),
        (
            {"a": "model-00001-of-00002.safetensors", "z": "model-00001-of-00002.safetensors"},
            "no shard holds, 'z' first",
        ),
        ({}, "names no file"),
    ],
)
def test_an_index_that_lies(folder: Path, weight_map: dict[str, str], said: str) -> None:
    refused(sharded(folder, weight_map), BadModel, said)


def test_two_sets_of_weights(folder: Path) -> None:
    sharded(folder, {"a": "model-00001-of-00002.safetensors"})
    write_safetensors(folder / "model.safetensors", {"a": (4,)})
    refused(folder, BadModel, "has both model.safetensors and model.safetensors.index.json")


def test_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, BadModel, "has no weights")
    (folder / "tf_model.h5").write_bytes(b"")
    refused(folder, BadModel, r"no model\.safetensors; it holds tf_model\.h5")


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_pickled_weights_need_permission_by_name(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    refused(folder, UnsafeModel, r"pickle only \(pytorch_model\.bin\).* - pass --allow-pickle")


@pytest.mark.engines
def test_an_allowed_pickle_is_still_loaded_weights_only(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Payload(tmp_path / "owned")}))
    refused(folder, BadModel, r"pytorch_model\.bin", allow_pickle=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.engines
def test_an_allowed_pickle_of_tensors_opens(folder: Path) -> None:
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(3, 4)}, folder / "pytorch_model.bin")
    model = open_model(folder, allow_pickle=True)
    assert [(tensor.name, tensor.shape) for tensor in model.tensors] == [("a", (3, 4))]
    assert model.allow_pickle


def test_remote_code_needs_permission_by_name(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    source = plain_folder(
        tmp_path / "x", architectures=["OddForCausalLM"], model_type="odd", auto_map={"AutoModel": "modeling.Odd"}
    )
    (source / "modeling.py").write_text(f"open({str(marker)!r}, 'w')")
    refused(source, UnsafeModel, "OddForCausalLM needs its own Python code .* --trust-remote-code")
    assert open_model(source, trust_remote_code=True).trust_remote_code
    assert not marker.exists()


@pytest.mark.engines
def test_remote_code_that_nobody_needs_is_not_run(tmp_path: Path) -> None:
    source = plain_folder(tmp_path / "x", auto_map={"AutoModel": "modeling.Bert"}, **LLAMA)
    assert any("not used" in line for line in open_model(source).evidence)
    pretending = plain_folder(
        tmp_path / "y", architectures=["JinaBertForMaskedLM"], model_type="bert", auto_map={"AutoModel": "other--x.Y"}
    )
    refused(pretending, UnsafeModel, "JinaBertForMaskedLM needs its own Python code")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"type": "x.Transformer", "path": "../other"}, {"type": "x.Pooling", "path": "1"}], "leaves the folder"),
        ([{"type": "x.Transformer", "path": "/etc"}, {"type": "x.Pooling", "path": "1"}], "leaves the folder"),
        ([{"type": "x.Transformer", "path": ""}, {"type": "x.Pooling", "path": "gone"}], "is missing"),
        ([{"path": ""}], "not a list of modules"),
        ("x", "not a list of modules"),
        (5, "not a list of modules"),
    ],
)
def test_modules_that_lie(tmp_path: Path, rows: object, said: str) -> None:
    source = sentence_folder(tmp_path / "x")
    write_json(source / "modules.json", rows)
    refused(source, BadModel, said)


@pytest.mark.parametrize("limit", [0, -1, "long", 1.5])
def test_a_limit_that_is_none(tmp_path: Path, limit: object) -> None:
    source = sentence_folder(tmp_path / "x")
    write_json(source / "sentence_bert_config.json", {"max_seq_length": limit})
    refused(source, BadModel, "max_seq_length is")


def test_a_chat_template_that_is_none(tmp_path: Path) -> None:
    source = plain_folder(tmp_path / "x", **LLAMA)
    write_json(source / "tokenizer_config.json", {"chat_template": [{"name": "default"}]})
    refused(source, BadModel, "chat_template is neither text nor a list")
    (source / "chat_template.jinja").write_bytes(b"x" * (2**20 + 1))
    refused(source, BadModel, "1048577 bytes, the limit is 1048576")


def test_quantization_that_is_no_setup(tmp_path: Path) -> None:
    refused(plain_folder(tmp_path / "x", quantization_config="4 bits", **LLAMA), BadModel, "quantization_config is str")


# What only loading shows. These models are real ones, then broken.


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fixtures.tiny_models import tiny_bert

    return tiny_bert(tmp_path_factory.mktemp("bert") / "m")


def respell(source: Path, target: Path, **config: Any) -> SourceModel:
    """A copy of `source` with another config.json."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    written = json.loads((source / "config.json").read_text(encoding="utf-8"))
    write_json(target / "config.json", written | config)
    return open_model(target)


def not_loaded(model: SourceModel, error: type[EdgekitError], said: str) -> None:
    from edgekit.torch_model import load_torch

    with pytest.raises(error, match=said) as caught:
        load_torch(model)
    assert "\n" not in str(caught.value)


@pytest.mark.engines
def test_a_head_that_was_never_trained(bert: Path, tmp_path: Path) -> None:
    model = respell(bert, tmp_path / "x", architectures=["BertForSequenceClassification"])
    not_loaded(model, BadModel, r"2 tensors that BertForSequenceClassification needs .* classifier\.bias first")


@pytest.mark.engines
def test_layers_that_config_denies(bert: Path, tmp_path: Path) -> None:
    model = respell(bert, tmp_path / "x", num_hidden_layers=1)
    not_loaded(model, BadModel, r"stored tensors have no place in BertModel, encoder\.layer\.1\.")


@pytest.mark.engines
def test_widths_that_config_denies(bert: Path, tmp_path: Path) -> None:
    not_loaded(respell(bert, tmp_path / "x", intermediate_size=48), BadModel, "cannot load it|shape of")


@pytest.mark.engines
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(bert: Path, tmp_path: Path, value: float) -> None:
    from safetensors.torch import load_file, save_file

    model = respell(bert, tmp_path / "x")
    path = tmp_path / "x" / "model.safetensors"
    tensors = load_file(path)
    tensors["encoder.layer.0.output.dense.weight"][0, 0] = value
    save_file(tensors, path, metadata={"format": "pt"})
    not_loaded(model, BadModel, r"tensor encoder\.layer\.0\.output\.dense\.weight holds NaN or infinite values")


@pytest.mark.engines
def test_an_architecture_transformers_does_not_know(tmp_path: Path) -> None:
    source = plain_folder(tmp_path / "x", architectures=["FutureForCausalLM"], model_type="future")
    not_loaded(open_model(source), UnsupportedModel, "does not know FutureForCausalLM - .* packed as GGUF")


@pytest.mark.engines
def test_a_rotary_base_that_transformers_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fixtures.tiny_models import respell_as_transformers_5, tiny_llama

    source = respell_as_transformers_5(tiny_llama(tmp_path / "a", rope_theta=1000000.0), tmp_path / "b")
    model = open_model(source)
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    assert "rope_theta" not in raw  # what transformers 4.57 would silently replace by 10000
    from edgekit.torch_model import _check_rotary, load_torch

    module = load_torch(model)
    assert module.config.rope_theta == 1000000.0  # type: ignore[union-attr]
    with pytest.raises(BadModel, match=r"turns with the rotary base 1e\+06, config.json states 10000"):
        _check_rotary(module, {"rope_theta": 10000.0})


@pytest.mark.engines
def test_formats_that_torch_does_not_load(tmp_path: Path) -> None:
    model = SourceModel("n", "n.onnx", "onnx", "tensors", "module", "onnx", None)
    not_loaded(model, UnsupportedModel, "a model of format onnx cannot be loaded as a torch module")


def test_without_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    not_loaded(open_model(folder), MissingEngine, r"pip install torch transformers")
