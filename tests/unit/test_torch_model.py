from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import tiny_models
from fixtures.plain_folders import plain_folder, write_json
from fixtures.quantized_models import quantized_llama

from edgekit.errors import BadModel
from edgekit.model import from_torch, open_model
from edgekit.quiet import quiet_transformers
from edgekit.torch_model import load_tokenizer, load_torch

pytestmark = pytest.mark.engines


def test_eval_float32_eager_and_without_a_pooler(tmp_path: Path) -> None:
    import torch

    module = load_torch(open_model(tiny_models.tiny_sentence_encoder(tmp_path / "m")))
    assert not module.training
    assert {value.dtype for value in module.parameters()} == {torch.float32}
    assert module.config._attn_implementation == "eager"  # type: ignore[union-attr]
    assert module.pooler is None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        ("tiny_bert_classifier", "BertForSequenceClassification"),
        ("tiny_bert_tagger", "BertForTokenClassification"),
        ("tiny_roberta", "RobertaModel"),
        ("tiny_vit", "ViTForImageClassification"),
        ("tiny_resnet", "ResNetForImageClassification"),
        ("tiny_qwen3", "Qwen3ForCausalLM"),
        ("tiny_smollm3", "SmolLM3ForCausalLM"),
    ],
)
def test_every_task_gets_its_head(tmp_path: Path, make: str, name: str) -> None:
    module = load_torch(open_model(getattr(tiny_models, make)(tmp_path / "m")))
    assert type(module).__name__ == name


def test_a_head_on_top_of_an_encoder_is_left_out(tmp_path: Path) -> None:
    model = open_model(tiny_models.tiny_bert(tmp_path / "m", architecture="BertForMaskedLM"))
    assert model.task == "embedding"
    assert any(tensor.name.startswith("cls.") for tensor in model.tensors)
    assert type(load_torch(model)).__name__ == "BertModel"


@pytest.mark.parametrize("make", ["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_phi3"])
def test_both_spellings_of_a_config_give_the_same_logits(tmp_path: Path, make: str) -> None:
    import torch

    old = getattr(tiny_models, make)(tmp_path / "old", rope_theta=1000000.0)
    new = tiny_models.respell_as_transformers_5(old, tmp_path / "new")
    ids = torch.arange(24)[None] % 40
    with torch.no_grad():
        first, second = (load_torch(open_model(folder))(ids).logits for folder in (old, new))
    assert torch.equal(first, second)
    assert open_model(new).config["rope_theta"] == 1000000.0


@pytest.mark.parametrize(
    ("config_class", "rope", "bases"),
    [
        ("GPTNeoXConfig", {"rope_theta": 5e5, "rope_type": "default", "partial_rotary_factor": 0.5}, [5e5]),
        ("PhiConfig", {"rope_theta": 5e5, "rope_type": "default", "partial_rotary_factor": 0.5}, [5e5]),
        ("Gemma3TextConfig", {"full_attention": {"rope_type": "default", "rope_theta": 2e6},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}, [2e6, 3e4]),
        ("ModernBertConfig", {"full_attention": {"rope_type": "default", "rope_theta": 2e5},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}, [2e5, 3e4]),
    ],
)  # fmt: skip
def test_the_base_that_is_stated_is_the_base_that_turns(
    tmp_path: Path, config_class: str, rope: dict[str, Any], bases: list[float]
) -> None:
    import transformers

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
            "vocab_size": 8, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2,
            "sep_token_id": 3, "global_attn_every_n_layers": 2, "num_key_value_heads": 2}  # fmt: skip
    config = getattr(transformers, config_class)(**size)
    encoder = config_class.startswith("Modern")
    auto = transformers.AutoModel if encoder else transformers.AutoModelForCausalLM
    with quiet_transformers():
        auto.from_config(config).save_pretrained(tmp_path / "m")
    plain = plain_folder(tmp_path / "plain")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "m" / name).write_bytes((plain / name).read_bytes())
    written = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    old_names = ("rope_theta", "rope_scaling", "rope_local_base_freq", "global_rope_theta", "local_rope_theta",
                 "rotary_emb_base", "rotary_pct", "partial_rotary_factor")  # fmt: skip
    written = {key: value for key, value in written.items() if key not in old_names}
    write_json(tmp_path / "m" / "config.json", written | {"rope_parameters": rope})
    module = load_torch(open_model(tmp_path / "m"))
    turning = set()
    for part in module.modules():
        frequencies = getattr(part, "inv_freq", None)
        if frequencies is not None:
            turning.add(float(f"{float(frequencies[1].double() ** -len(frequencies)):.4g}"))
            if "partial_rotary_factor" in rope:  # half of a head's 16 axes, in pairs
                assert len(frequencies) == 4
    assert turning == set(bases)


def test_a_module_in_memory_is_itself_or_a_float32_copy(tmp_path: Path) -> None:
    import torch

    net = torch.nn.Linear(3, 2)
    assert load_torch(from_torch(net, torch.zeros(1, 3), name="n")) is net
    half = torch.nn.Linear(3, 2).half()
    loaded = load_torch(from_torch(half, torch.zeros(1, 3), name="n"))
    assert (loaded.weight.dtype, half.weight.dtype) == (torch.float32, torch.float16)


def test_a_pickle_is_loaded_when_it_is_allowed(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tiny_models.tiny_bert(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    module = load_torch(open_model(folder, allow_pickle=True))
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(module.state_dict()[name], weights[name])


@pytest.mark.parametrize("kind", ["gptq act-order", "awq", "ct int8 channel", "nf4 nested"])
def test_quantized_weights_are_unpacked_without_their_kernels(tmp_path: Path, kind: str) -> None:
    made = quantized_llama(tmp_path / "m", kind)
    found = load_torch(open_model(made.folder)).state_dict()
    for name, expected in made.values.items():
        np.testing.assert_array_equal(found[name].numpy(), expected)


def test_a_tensor_that_is_lost_is_named_in_a_quantized_model_too(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = quantized_llama(tmp_path / "m", "gptq").folder
    kept = {
        name: value for name, value in load_file(folder / "model.safetensors").items() if name != "model.norm.weight"
    }
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadModel, match=r"needs are not in the weights, model\.norm\.weight first"):
        load_torch(open_model(folder))


def test_the_tokenizer_neither_pads_nor_cuts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = plain_folder(tmp_path / "m")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(folder / "tokenizer.json"))
    loaded = load_tokenizer(open_model(folder))
    assert loaded.encode("a b a b a").ids == [4, 5, 4, 5, 4]
    assert loaded.encode("a").ids == [4]


def test_loading_is_silent_and_leaves_no_telemetry_on(tmp_path: Path) -> None:
    folder = tiny_models.tiny_bert(tmp_path / "m", architecture="BertForMaskedLM")
    code = (
        "import os, sys; from edgekit.model import open_model; from edgekit.torch_model import load_torch;"
        "load_torch(open_model(sys.argv[1])); print(os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
