"""Which kind a model is: by its template, its name, what ends its turns, its weights; and what follows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.plain_folders import plain_folder, tokenizer, write_json
from fixtures.tiny_adapters import factors, plain, plain_base

from edgekit.model import Quantization, open_model
from edgekit.model.adapter_facts import kind_of_adapter
from edgekit.model.kinds import ModelKind, kind_of_model

CHATML = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


def decoder(folder: Path, template: str | None = None, eos: int | list[int] | None = None) -> ModelKind:
    """Of a Llama whose <|im_end|> is token 9."""
    plain_base(folder)
    added = [{"id": 9, "content": "<|im_end|>", "special": True}]
    write_json(folder / "tokenizer.json", {**tokenizer(), "added_tokens": added})
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if eos is not None:
        write_json(folder / "generation_config.json", {"eos_token_id": eos})
    return kind_of_model(open_model(folder))


@pytest.mark.parametrize(
    ("name", "template", "eos", "kind"),
    [
        ("llama-3", None, None, "base"),
        ("llama-3-base", None, None, "base"),
        ("llama-3-instruct", CHATML, [9, 2], "instruct"),
        ("gemma-3-1b-it", CHATML, None, "instruct"),
        ("model-sft", CHATML, 9, "instruct"),
        ("tinyllama-chat", CHATML, 9, "chat"),
        ("llama-3", CHATML, 9, "chat"),
        ("llama-3", CHATML, None, "chat"),
        ("qwen2.5-0.5b", CHATML, 2, "base"),  # a template that it was not trained on
        ("gemma-3-1b-pt", CHATML, 9, "base"),
        ("llama-instruct", None, None, "instruct"),
        ("orbit", None, None, "base"),  # no "it" in the middle of a word
    ],
)
def test_decoders(tmp_path: Path, name: str, template: str | None, eos: Any, kind: str) -> None:
    found = decoder(tmp_path / name, template, eos)
    assert found.name == kind
    assert found.deployment
    assert found.evidence[0] == (f"a chat template of {len(template)} characters" if template else "no chat template")


def test_what_ends_a_turn_is_told_with_the_file_that_says_so(tmp_path: Path) -> None:
    stops = decoder(tmp_path / "a", CHATML, [2, 9])
    assert "generation stops at <|im_end|>, which ends the template's turns (generation_config.json)" in stops.evidence
    goes_on = decoder(tmp_path / "b", CHATML, 2)
    assert any(line.startswith("generation does not stop at <|im_end|>") for line in goes_on.evidence)
    assert "a chat may never end its turn" in goes_on.deployment[0]


def test_a_tokenizer_that_is_no_help(tmp_path: Path) -> None:
    decoder(tmp_path / "a", CHATML, 9)
    model = open_model(tmp_path / "a")
    assert model.text is not None
    for content in ("[]", '{"added_tokens": 5}', '{"added_tokens": [{"content": "<|im_end|>"}]}', "{"):
        path = tmp_path / "odd.json"
        path.write_text(content)
        found = kind_of_model(replace(model, text=replace(model.text, tokenizer_json=path)))
        assert found.name == "chat"


@pytest.mark.parametrize("method", ["qat", "fake-quantized"])
def test_qat_by_the_weights(tmp_path: Path, method: str) -> None:
    plain_base(tmp_path / "model-instruct")
    known = Quantization(method, 4, 32, lossless="Q4_0", evidence="96 of 96 sampled blocks lie on the grid of Q4_0")
    found = kind_of_model(replace(open_model(tmp_path / "model-instruct"), quantization=known))
    assert found.name == "instruct QAT"
    assert any("96 of 96" in line for line in found.evidence)
    assert any(line.startswith("pack as Q4_0") for line in found.deployment)


def test_qat_by_its_name_alone_is_told_as_that(tmp_path: Path) -> None:
    plain_base(tmp_path / "gemma-it-qat-q4_0")
    found = kind_of_model(open_model(tmp_path / "gemma-it-qat-q4_0"))
    assert found.name == "instruct QAT"
    assert any("its name alone says QAT, and nothing in its weights proves it" in line for line in found.evidence)
    assert not any("pack as" in line for line in found.deployment)


def test_weights_that_are_packed_already(tmp_path: Path) -> None:
    plain_base(tmp_path / "m")
    model = replace(open_model(tmp_path / "m"), quantized="gptq", quantization=Quantization("gptq", 4, lossless="Q4_0"))
    assert any("gguf carries the weights to Q4_0" in line for line in kind_of_model(model).deployment)
    bare = replace(model, quantized="nf4", quantization=None)
    assert any("full-precision original" in line for line in kind_of_model(bare).deployment)


def test_encoders(tmp_path: Path) -> None:
    found = kind_of_model(open_model(plain_folder(tmp_path / "a")))
    assert (found.name, found.evidence) == ("embedding", ("task embedding: BertModel",))
    assert "pooled by mean" in found.deployment[0]
    labels = {"id2label": {"0": "a", "1": "b", "2": "c"}, "architectures": ["BertForSequenceClassification"]}
    found = kind_of_model(open_model(plain_folder(tmp_path / "b", **labels)))
    assert (found.name, found.deployment) == ("classifier", ("classify() gives 3 labels with their scores",))


def test_a_merged_model_says_that_the_adapter_is_in_it(tmp_path: Path) -> None:
    plain_base(tmp_path / "base")
    model = open_model(plain(tmp_path / "lora", str(tmp_path / "base"), factors()))
    assert any("only the merged weights are deployed" in line for line in kind_of_model(model).deployment)


@pytest.mark.parametrize(
    ("fields", "card", "kind"),
    [
        ({}, "", "adapter (LoRA)"),
        ({"use_dora": True}, "", "adapter (DoRA)"),
        ({"use_rslora": True}, "", "adapter (rsLoRA)"),
        ({"base_model_name_or_path": "unsloth/llama-3-8b-bnb-4bit"}, "", "adapter (QLoRA)"),
        ({"base_model_name_or_path": "org/model-GPTQ", "use_dora": True}, "", "adapter (QLoRA, DoRA)"),
        ({}, "- load_in_4bit: True\n", "adapter (QLoRA)"),
        ({}, "trained with QLoRA", "adapter (QLoRA)"),
        ({"loftq_config": {"loftq_bits": 4}}, "", "adapter (QLoRA)"),
        ({"peft_type": "PROMPT_TUNING"}, "", "adapter (prompt tuning)"),
        ({"peft_type": None}, "", "adapter (unnamed)"),
    ],
)
def test_adapters(tmp_path: Path, fields: dict[str, Any], card: str, kind: str) -> None:
    folder = plain(tmp_path / "lora", "org/base", factors(), **fields)
    (folder / "README.md").write_text(card, encoding="utf-8")
    found = kind_of_adapter(folder, json.loads((folder / "adapter_config.json").read_text()))
    assert found.name == kind
    assert len(found.deployment) == (1 if "LoRA" not in kind and "DoRA" not in kind else 3 if "QLoRA" in kind else 2)


def test_an_adapter_whose_base_is_quantized_by_its_configuration(tmp_path: Path) -> None:
    write_json(tmp_path / "base" / "config.json", {"quantization_config": {"quant_method": "bitsandbytes"}})
    folder = plain(tmp_path / "lora", str(tmp_path / "base"), factors())
    raw = json.loads((folder / "adapter_config.json").read_text())
    assert kind_of_adapter(folder, raw).name == "adapter (QLoRA)"
