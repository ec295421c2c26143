"""A merged adapter answers as PEFT's model answers with the adapter beside the base, for each variant of LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures import tiny_adapters, tiny_models
from fixtures.quantized_models import dequantized_llama, quantized_llama
from fixtures.tiny_adapters import Module, outputs
from safetensors.torch import load_file, save_file

from edgekit.errors import BadAdapter
from edgekit.inspection import inspect
from edgekit.model import open_model
from edgekit.torch_model import load_torch

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    made = {
        "llama": tiny_models.tiny_llama(folder / "llama", max_shard_size="100KB"),
        "tied": tiny_models.tiny_qwen2(folder / "tied"),
        "gpt2": tiny_models.tiny_gpt2(folder / "gpt2"),
        "padded": tiny_models.tiny_llama(folder / "padded", pad_token_id=0),
        "bert": tiny_models.tiny_bert(folder / "bert"),
        "pretrained": tiny_models.tiny_bert(folder / "pretrained", architecture="BertForPreTraining"),
        "distilbert": tiny_models.tiny_distilbert(folder / "distilbert", architecture="DistilBertForMaskedLM"),
        "roberta": tiny_models.tiny_roberta(folder / "roberta", architecture="RobertaForMaskedLM"),
        "classifier": tiny_models.tiny_bert_classifier(folder / "classifier"),
    }
    made["gpt2-bare"] = _without_prefix(made["gpt2"], folder / "gpt2-bare")
    return made


def _without_prefix(source: Path, target: Path) -> Path:
    """As the first GPT-2 checkpoints are: the names of the bare decoder."""

    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    state = load_file(source / "model.safetensors")
    stripped = {name.removeprefix("transformer."): value for name, value in state.items()}
    save_file(stripped, target / "model.safetensors", metadata={"format": "pt"})
    return target


def grow(module: Module) -> None:
    module.resize_token_embeddings(module.config.vocab_size + 5, mean_resizing=False)


LM: dict[str, Any] = {"task_type": "CAUSAL_LM"}
PATTERNS = {
    "rank_pattern": {"k_proj": 2, "^model.layers.1.mlp.up_proj": 3},
    "alpha_pattern": {r".*mlp.*": 9},
    "use_rslora": True,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("llama", {"target_modules": ["q_proj", "v_proj"], **LM}),
    "every linear layer, patterns, rsLoRA": ("llama", {"target_modules": "all-linear", **PATTERNS, **LM}),
    "dora on modules by a regular expression": (
        "llama",
        {"target_modules": r".*layers\.1\..*(q|o)_proj", "use_dora": True, **LM},
    ),
    "embeddings and output": ("llama", {"target_modules": ["embed_tokens", "q_proj", "lm_head"], **LM}),
    "dora on embeddings": ("llama", {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True, **LM}),
    "saved embeddings": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"], **LM}),
    "trained rows": ("llama", {"target_modules": ["q_proj"], "trainable_token_indices": [3, 7, 11], **LM}),
    "grown vocabulary": (
        "llama",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"], "before": grow, **LM},
    ),
    "bias of B": ("tied", {"target_modules": ["q_proj"], "lora_bias": True, **LM}),
    "biases of the changed modules": ("tied", {"target_modules": ["q_proj"], "bias": "lora_only", **LM}),
    "all biases": ("tied", {"target_modules": ["q_proj"], "bias": "all", **LM}),
    "a tied output changed alone": ("tied", {"target_modules": ["lm_head", "q_proj"], **LM}),
    "a tied embedding changed alone": ("tied", {"target_modules": ["embed_tokens"], **LM}),
    "a tied embedding saved alone": ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], **LM}),
    "tied, rows trained": ("tied", {"target_modules": ["q_proj"], "trainable_token_indices": [3, 7], **LM}),
    "tied, and kept so": (
        "tied",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True, **LM},
    ),
    "tied, a product kept so": ("tied", {"target_modules": ["embed_tokens"], "ensure_weight_tying": True, **LM}),
    "tied and grown": (
        "tied",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "before": grow, **LM},
    ),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, **LM}),
    "conv1d, dora": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "use_dora": True, **LM}),
    "conv1d and both ends": ("gpt2", {"target_modules": ["c_attn", "wte", "lm_head"], **LM}),
    "conv1d, bare names": ("gpt2-bare", {"target_modules": ["c_attn", "c_proj", "lm_head"], **LM}),
}  # fmt: skip
CLASSIFIERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "on a classifier": ("classifier", "SequenceClassification", {"target_modules": ["query"], "task_type": "SEQ_CLS"}),
    "on a bare encoder": (
        "bert",
        "SequenceClassification",
        {"target_modules": ["query", "dense"], "task_type": "SEQ_CLS"},
    ),
    "on a language model of BERT's kind": (
        "pretrained",
        "SequenceClassification",
        {"target_modules": ["query", "dense"], "task_type": "SEQ_CLS"},
    ),
    "with a head of two layers": (
        "distilbert",
        "SequenceClassification",
        {"target_modules": ["q_lin"], "task_type": "SEQ_CLS"},
    ),
    "with a product in its head": (
        "roberta",
        "SequenceClassification",
        {"target_modules": ["query", "dense"], "task_type": "SEQ_CLS"},
    ),
    "of tokens": ("pretrained", "TokenClassification", {"target_modules": ["query"], "task_type": "TOKEN_CLS"}),
    "on a decoder": ("padded", "SequenceClassification", {"target_modules": ["q_proj"], "task_type": "SEQ_CLS"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_as_peft_answers(bases: dict[str, Path], tmp_path: Path, variant: str) -> None:
    base, config = VARIANTS[variant]
    wrapped = tiny_adapters.adapter(bases[base], tmp_path / "adapter", **config)
    model = open_model(tmp_path / "adapter")
    wanted = outputs(wrapped, model.config["vocab_size"])
    same(outputs(load_torch(model), model.config["vocab_size"]), wanted)
    if wrapped.config.vocab_size == json.loads((bases[base] / "config.json").read_text())["vocab_size"]:
        untouched = outputs(load_torch(open_model(bases[base])), model.config["vocab_size"])
        assert (untouched - wanted).abs().max() > 0.5, "this adapter would be told from none"
    assert model.task == "causal-lm"
    assert any(line.startswith("merged: adapter") for line in model.evidence)


def test_linear_layers_are_never_transposed(bases: dict[str, Path], tmp_path: Path) -> None:
    """PEFT heeds fan_in_fan_out for Conv1D alone; of square matrices the shapes would not tell."""
    wrapped = tiny_adapters.adapter(bases["llama"], tmp_path / "adapter", target_modules=["q_proj", "o_proj"], **LM)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fan_in_fan_out": True}), encoding="utf-8")
    model = open_model(tmp_path / "adapter")
    same(outputs(load_torch(model), model.config["vocab_size"]), outputs(wrapped, model.config["vocab_size"]))


def test_tensors_that_the_base_does_not_have_are_another_architecture_s(bases: dict[str, Path], tmp_path: Path) -> None:
    """Biases of a Qwen2 on a Llama of the same shapes, say."""
    tiny_adapters.adapter(bases["llama"], tmp_path / "adapter", target_modules=["q_proj"], **LM)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file(load_file(path) | {"base_model.model.model.layers.0.self_attn.q_proj.bias": torch.ones(64)}, path)
    with pytest.raises(BadAdapter, match=r"another architecture: it replaces model.layers.0.self_attn.q_proj.bias"):
        open_model(tmp_path / "adapter")


@pytest.mark.parametrize("variant", CLASSIFIERS)
def test_classifiers_as_peft_answers(bases: dict[str, Path], tmp_path: Path, variant: str) -> None:
    base, auto, config = CLASSIFIERS[variant]
    wrapped = tiny_adapters.adapter(bases[base], tmp_path / "adapter", auto=f"AutoModelFor{auto}", **config)
    model = open_model(tmp_path / "adapter")
    same(outputs(load_torch(model), model.config["vocab_size"]), outputs(wrapped, model.config["vocab_size"]))
    assert model.architecture.endswith(f"For{auto}")
    assert len(model.labels) == 2


def test_an_embedding_model(bases: dict[str, Path], tmp_path: Path) -> None:
    config = {"target_modules": ["query", "dense"], "task_type": "FEATURE_EXTRACTION"}
    wrapped = tiny_adapters.adapter(bases["pretrained"], tmp_path / "adapter", auto="AutoModel", **config)
    model = open_model(tmp_path / "adapter")
    same(outputs(load_torch(model), 100), outputs(wrapped, 100))
    assert model.task == "embedding"


def test_an_adapter_saved_by_sentence_transformers_says_how_it_is_pooled(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    config = {"target_modules": ["query"], "task_type": "FEATURE_EXTRACTION"}
    tiny_adapters.adapter(bases["bert"], tmp_path / "adapter", auto="AutoModel", **config)
    pooled = tiny_models.tiny_sentence_encoder(tmp_path / "pooled", pooling="cls")
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        (tmp_path / "adapter" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "adapter" / name).write_bytes((pooled / name).read_bytes())
    model = open_model(tmp_path / "adapter")
    assert (model.task, model.pooling, model.normalize) == ("embedding", "cls", True)
    assert open_model(tmp_path / "pooled").pooling == "cls"


@pytest.mark.parametrize("dora", [False, True])
def test_convolutions(tmp_path: Path, dora: bool) -> None:
    base = tiny_models.tiny_resnet(tmp_path / "base")
    config = {"target_modules": ".*convolution", "modules_to_save": ["classifier"], "use_dora": dora}
    wrapped = tiny_adapters.adapter(base, tmp_path / "adapter", auto="AutoModelForImageClassification", **config)
    module = load_torch(open_model(tmp_path / "adapter"))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        same(module(pixels)[0], wrapped(pixels)[0])


@pytest.mark.parametrize("combination", ["cat", "linear"])
def test_several_adapters_with_weights(bases: dict[str, Path], tmp_path: Path, combination: str) -> None:
    """As PEFT's add_weighted_adapter by the same combination."""
    import peft

    config = {"target_modules": ["q_proj", "up_proj"], **LM}
    tiny_adapters.adapter(bases["llama"], tmp_path / "a", seed=1, **config)
    tiny_adapters.adapter(bases["llama"], tmp_path / "b", seed=2, **config)
    module = load_torch(open_model(bases["llama"]))
    wrapped = peft.PeftModel.from_pretrained(module, tmp_path / "a", adapter_name="a")
    wrapped.load_adapter(tmp_path / "b", adapter_name="b")
    wrapped.add_weighted_adapter(["a", "b"], [0.7, -0.3], "both", combination_type=combination)
    wrapped.set_adapter("both")
    weights = {str(tmp_path / "a"): 0.7, str(tmp_path / "b"): -0.3}
    for named in (bases["llama"], tmp_path / "a"):  # the base, or one of the adapters, which says its base
        model = open_model(named, adapters=weights, combination=combination)
        same(outputs(load_torch(model), 500), outputs(wrapped.eval(), 500))


def test_a_qlora_is_merged_into_the_full_base(tmp_path: Path) -> None:
    """As PEFT merges it there; it learnt beside the rounded weights, which are named and not used."""
    import peft

    shape = {"hidden_size": 128, "intermediate_size": 256}
    quantized = quantized_llama(tmp_path / "nf4", "nf4", **shape)
    rounded, full = dequantized_llama(quantized, tmp_path / "rounded"), tiny_models.tiny_llama(tmp_path / "f", **shape)
    adapter = tmp_path / "adapter"
    beside_rounded = tiny_adapters.adapter(rounded, adapter, target_modules="all-linear", **LM)
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(quantized.folder)}))

    told = inspect(adapter)
    assert told["kind"] == "adapter (QLoRA)"
    assert f"its base is quantized: {quantized.folder / 'config.json'}" in told["kind_evidence"]
    assert any("merged into its full-precision base" in line for line in told["deployment"])
    with pytest.raises(BadAdapter, match=r"is quantized \(bitsandbytes\).* - give the full-precision base with --base"):
        open_model(adapter)

    model = open_model(adapter, base=full)
    wanted = peft.PeftModel.from_pretrained(load_torch(open_model(full)), adapter).merge_and_unload()
    merged = load_torch(model)
    found = dict(merged.named_parameters())
    assert found.keys() == dict(wanted.named_parameters()).keys()
    for name, value in wanted.named_parameters():
        same(found[name], value)
    answers = outputs(merged, model.config["vocab_size"])
    same(answers, outputs(wanted, model.config["vocab_size"]))
    assert (answers - outputs(beside_rounded, model.config["vocab_size"])).abs().max() > 0.1, "the bases would be told"
    assert model.quantized is None
    assert any(line.startswith(f"merged: adapter {adapter} into {full}") for line in model.evidence)


def test_a_half_precision_base_stays_so(tmp_path: Path) -> None:
    """Each changed value is the float32 sum rounded once."""
    base = tiny_models.tiny_llama(tmp_path / "base", dtype="bfloat16")
    tiny_adapters.adapter(base, tmp_path / "adapter", target_modules=["q_proj"], **LM)
    model = open_model(tmp_path / "adapter")
    assert {tensor.dtype for tensor in model.tensors} == {"BF16"}
    from safetensors.torch import load_file

    state, delta = load_file(base / "model.safetensors"), load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    product = delta[f"base_model.model.{name}.lora_B.weight"] @ delta[f"base_model.model.{name}.lora_A.weight"]
    wanted = (state[f"{name}.weight"].float() + product * 1.5).bfloat16()
    assert model.folder is not None
    merged = load_file(model.folder / "model.safetensors")
    assert (merged[f"{name}.weight"] != wanted).float().mean() < 0.001  # a tie of rounding, by the order of a sum
    assert torch.equal(merged["model.embed_tokens.weight"], state["model.embed_tokens.weight"])


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 3e-5 * max(1.0, float(wanted.abs().max()))
