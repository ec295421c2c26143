"""Which kind of model a source is, on what evidence, and what follows for deployment (docs/model-kinds.md).

`SourceModel.kind` is what a bundle can be asked for: with a chat template, or without. This says more: models of one
kind there may be trained in different ways, and a base model may carry a template that it was never trained on.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.model.config import read_json
from edgekit.model.quantization import said_to_be_trained
from edgekit.model.source import SourceModel

_BY_NAME = (
    ("instruct", re.compile(r"(^|[-_.])(instruct|it|sft|dpo|rlhf|orpo)([-_.]|$)", re.IGNORECASE)),
    ("chat", re.compile(r"(^|[-_.])chat([-_.]|$)", re.IGNORECASE)),
    ("base", re.compile(r"(^|[-_.])(base|pt|pretrain|pretrained)([-_.]|$)", re.IGNORECASE)),
)
# What ends a turn in the field's templates. </s> and <|endoftext|> end a document as well, so they prove nothing.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eot|>", "<end_of_turn>", "<|end|>", "<|return|>", "<|end_of_turn|>")
_MAX_TOKENIZER_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ModelKind:
    """`name`: base, chat, instruct, embedding, classifier, module, each also "... QAT", or "adapter (LoRA)" and the
    like. `evidence` says what that was read from, `deployment` what follows, a sentence each.
    """

    name: str
    evidence: tuple[str, ...]
    deployment: tuple[str, ...]


def kind_of_model(model: SourceModel) -> ModelKind:
    """The kind of a whole model, from its configuration, tokenizer, name and stored weights; nothing is loaded."""
    if model.task == "causal-lm":
        name, evidence, follows = _of_decoder(model)
    else:
        name, evidence, follows = _of_encoder(model)
    qat = _of_qat(model)
    if qat is not None:
        name, evidence, follows = f"{name} QAT", [*evidence, qat[0]], [*follows, qat[1]]
    elif model.quantized is not None:
        evidence.append(f"its weights are quantized already: {model.quantized}")
        follows.append(_carried(model))
    if model.merged is not None:
        follows.append("the adapter was merged into its full-precision base; only the merged weights are deployed")
    return ModelKind(name, tuple(evidence), tuple(follows))


def _of_decoder(model: SourceModel) -> tuple[str, list[str], list[str]]:
    template = model.text.chat_template if model.text is not None else None
    named = next(((kind, found[0]) for kind, rule in _BY_NAME if (found := rule.search(model.name))), None)
    evidence = [f"a chat template of {len(template)} characters" if template else "no chat template"]
    if named is not None:
        evidence.append(f"its name says {named[1].strip('-_.')}")
    if template is None:
        if named is None or named[0] == "base":
            return "base", evidence, ["no template ships: generate() continues text, chat() is refused"]
        follows = (
            f"its name says {named[0]}, and without its template chat() is refused: put chat_template.jinja beside it"
        )
        return named[0], evidence, [follows]
    ends = _ends_turns(model, template)
    if ends is not None:
        evidence.append(ends[1])
    if (named is not None and named[0] == "base") or (named is None and ends is not None and not ends[0]):
        follows = "a template ships, and it was not trained on it: use generate(); a chat may never end its turn"
        return "base", evidence, [follows]
    kind = named[0] if named is not None else "chat"
    return kind, evidence, ["the template ships in the bundle: chat() applies it, generate() does not"]


def _ends_turns(model: SourceModel, template: str) -> tuple[bool, str] | None:
    """(whether generation stops at what ends the template's turns, in words); None where that cannot be told."""
    token = next((each for each in _TURN_ENDS if each in template), None)
    if token is None or model.format != "hf" or model.folder is None:
        return None
    number = _id_of(token, model.text.tokenizer_json if model.text is not None else None)
    stops, where = _stop_ids(model)
    if number is None or not stops:
        return None
    if number in stops:
        return True, f"generation stops at {token}, which ends the template's turns ({where})"
    return False, f"generation does not stop at {token}, which ends the template's turns ({where})"


def _id_of(token: str, tokenizer: Path | None) -> int | None:
    if tokenizer is None or not tokenizer.is_file() or tokenizer.stat().st_size > _MAX_TOKENIZER_BYTES:
        return None
    try:
        added = json.loads(tokenizer.read_bytes()).get("added_tokens") or []
        return next((int(each["id"]) for each in added if each.get("content") == token), None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _stop_ids(model: SourceModel) -> tuple[set[int], str]:
    """The ids that end generation, and the file that says so."""
    assert model.folder is not None
    path = model.folder / "generation_config.json"
    settings: Any = read_json(path) if path.is_file() else {}
    where = path.name if settings.get("eos_token_id") is not None else "config.json"
    ids = settings.get("eos_token_id", model.config.get("eos_token_id"))
    listed = ids if isinstance(ids, list) else [ids]
    return {each for each in listed if type(each) is int}, where


def _of_encoder(model: SourceModel) -> tuple[str, list[str], list[str]]:
    told = next((line for line in model.evidence if line.startswith("task ")), f"task {model.task}")
    if model.task == "embedding":
        scale = "of length 1: compare them by their dot product" if model.normalize else "to compare by their cosine"
        return "embedding", [told], [f"embed() gives vectors pooled by {model.pooling}, {scale}"]
    if model.task == "tensors":
        return "module", [told], ["run() takes and gives tensors; what they mean is the app's to know"]
    return "classifier", [told], [f"classify() gives {len(model.labels)} labels with their scores"]


def _of_qat(model: SourceModel) -> tuple[str, str] | None:
    """(evidence, what follows) of weights that were trained for being quantized."""
    found = model.quantization
    if found is not None and found.method in ("qat", "fake-quantized"):
        kept = (
            f"pack as {found.lossless}: it holds these weights as they are, other types lose what the training bought"
        )
        return f"weights on a quantizer's grid: {found.evidence}", kept
    said = said_to_be_trained(model.name, model.config)
    if found is not None or not said:
        return None
    follows = "its weights lie on no known grid, so that no type is free of loss: what each costs is measured"
    return f"its {said} alone says QAT, and nothing in its weights proves it", follows


def _carried(model: SourceModel) -> str:
    if model.quantization is not None and model.quantization.lossless:
        return f"gguf carries the weights to {model.quantization.lossless} as they are (docs/quantized.md)"
    return "no type holds these weights as they are; the full-precision original would lose less"
