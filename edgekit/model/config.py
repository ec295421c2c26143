"""config.json and its neighbours: spelling normalised to transformers 4, the task and its evidence, labels."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.model.source import Kind, Task

MAX_JSON_BYTES = 16 * 1024 * 1024

_TASKS: tuple[tuple[str, Task], ...] = (
    (r"For(CausalLM|ConditionalCausalLM)$|LMHeadModel$", "causal-lm"),
    (r"ForSequenceClassification$", "text-classification"),
    (r"ForTokenClassification$", "token-classification"),
    (r"ForImageClassification(WithTeacher)?$", "image-classification"),
    (r"(Model|ForMaskedLM|ForPreTraining)$", "embedding"),
)

# Encoders of one text, whose last hidden state can be pooled into an embedding.
TEXT_ENCODERS = frozenset(
    [
        "albert",
        "bert",
        "camembert",
        "convbert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "eurobert",
        "flaubert",
        "gte",
        "ibert",
        "jina_bert",
        "megatron-bert",
        "mobilebert",
        "modernbert",
        "mpnet",
        "new",
        "nomic_bert",
        "nystromformer",
        "rembert",
        "roberta",
        "roberta-prelayernorm",
        "roformer",
        "squeezebert",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    ]
)
# Their position numbers start after the padding id, so that many positions are never used.
_OFFSET_POSITIONS = frozenset(
    ["camembert", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl", "xmod"]
)

SUPPORTED = (
    "supported: text encoders (BERT, RoBERTa, DistilBERT, MPNet, ModernBERT and the like; embedding, sequence and "
    "token classification), decoders (...ForCausalLM: Llama, Mistral, Qwen2, Qwen3, Gemma, Phi-3, SmolLM), "
    "image classifiers (...ForImageClassification: ViT, ResNet, ConvNeXt and the like), plain torch modules, "
    "ONNX and GGUF files"
)


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; BadModel if it is larger than 16 MiB, not JSON, or not an object."""
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise BadModel(f"{path}: {size} bytes of JSON, the limit is {MAX_JSON_BYTES}")
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadModel(f"{path}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        remedy = "the file is cut short or damaged: download it again"
        raise BadModel(f"{path}: not JSON, line {error.lineno}: {error.msg}", remedy) from error
    except RecursionError as error:
        raise BadModel(f"{path}: JSON nested too deeply to be a configuration") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise BadModel(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise BadModel(f"{path}: holds a JSON {type(value).__name__}, an object is expected")
    return value


def normalise_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of config.json's object in the spelling of transformers 4.57; idempotent.

    transformers 5 writes `rope_parameters` (for some families one object per kind of layer) and `dtype`, which 4.57
    reads without a word as the default rope_theta. UnsupportedModel where a rope cannot be said in the old spelling.
    """
    out = {key: normalise_config(value) if key.endswith("_config") and isinstance(value, Mapping) else value
           for key, value in config.items()}  # fmt: skip
    if "dtype" in out:
        dtype = out.pop("dtype")
        out.setdefault("torch_dtype", dtype)
    rope = out.pop("rope_parameters", None)
    if rope is not None:
        if not isinstance(rope, Mapping):
            raise BadModel(f"config.json: rope_parameters is {type(rope).__name__}, an object is expected")
        _write_rope(out, rope)
    return out


def _write_rope(out: dict[str, Any], rope: Mapping[str, Any]) -> None:
    layer_types = {key: value for key, value in rope.items() if isinstance(value, Mapping)}
    if layer_types:
        _write_rope_by_layer(out, layer_types)
        return
    theta, scaling = _split_rope(out, rope)
    if theta is not None:
        out["rope_theta"] = theta
    if scaling is not None or "rope_scaling" not in out:
        out["rope_scaling"] = scaling


def _write_rope_by_layer(out: dict[str, Any], layers: Mapping[str, Mapping[str, Any]]) -> None:
    full, sliding = layers.get("full_attention"), layers.get("sliding_attention")
    if full is None or set(layers) - {"full_attention", "sliding_attention"}:
        _refuse_rope(out, f"rope_parameters for layer types {sorted(layers)}")
    assert full is not None
    theta, scaling = _split_rope(out, full)
    local, local_scaling = _split_rope(out, sliding) if sliding is not None else (None, None)
    if local_scaling is not None:
        _refuse_rope(out, "a scaled rope in sliding layers")
    model_type = str(out.get("model_type", ""))
    if model_type.startswith("gemma3"):
        names = ("rope_theta", "rope_local_base_freq")
    elif model_type.startswith("modernbert"):
        names = ("global_rope_theta", "local_rope_theta")
    elif local in (None, theta):
        names = ("rope_theta", "")
    else:
        _refuse_rope(out, f"rope_theta {theta} in full and {local} in sliding layers")
    if theta is not None:
        out[names[0]] = theta
    if local is not None and names[1]:
        out[names[1]] = local
    out["rope_scaling"] = scaling


def _refuse_rope(config: Mapping[str, Any], what: str) -> NoReturn:
    raise UnsupportedModel(
        f"config.json: {what} cannot be said to transformers 4.57 for model_type {config.get('model_type')!r}",
        "save the model with transformers 4.57, or pack a GGUF made of it",
    )


def _split_rope(out: dict[str, Any], rope: Mapping[str, Any]) -> tuple[float | None, dict[str, Any] | None]:
    """(rope_theta, rope_scaling) of one rope; a partial rotary factor and longrope's length go to `out` itself."""
    scaling = dict(rope)
    theta = scaling.pop("rope_theta", None)
    if theta is not None and not (isinstance(theta, int | float) and math.isfinite(theta) and theta > 0):
        raise BadModel(f"config.json: rope_theta is {theta!r}, a positive number is expected")
    partial = scaling.pop("partial_rotary_factor", None)
    if partial is not None and (partial != 1.0 or "partial_rotary_factor" in out):
        out["partial_rotary_factor"] = partial
        if out.get("model_type") == "gpt_neox":
            out["rotary_pct"] = partial
    if theta is not None and out.get("model_type") == "gpt_neox":
        out["rotary_emb_base"] = theta
    old_name = scaling.pop("type", None)
    kind = scaling.pop("rope_type", None) or old_name or "default"
    if kind == "default":
        return theta, None
    if out.get("model_type") in ("phi3", "phi4_multimodal"):  # 4.57 wants exactly three keys here, `type` among them
        length = scaling.pop("original_max_position_embeddings", None)
        if length is not None:
            out["original_max_position_embeddings"] = length
        return theta, {"type": kind, "short_factor": scaling["short_factor"], "long_factor": scaling["long_factor"]}
    return theta, {"rope_type": kind, **scaling}


def normalise_tokenizer_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of tokenizer_config.json's object that transformers 4.57 opens; idempotent.

    transformers 5 writes the class `TokenizersBackend`, unknown to 4.57, and a list of extra special tokens where 4.57
    expects a mapping.
    """
    out = dict(config)
    if out.get("tokenizer_class") in ("TokenizersBackend", "TokenizersBackendFast"):
        out["tokenizer_class"] = "PreTrainedTokenizerFast"
    out.pop("backend", None)
    extra = out.get("extra_special_tokens")
    if isinstance(extra, list):
        del out["extra_special_tokens"]
        out["additional_special_tokens"] = [*out.get("additional_special_tokens", []), *extra]
    return out


def detect_task(config: Mapping[str, Any]) -> tuple[Task, str]:
    """(task, architecture) by the name of the architecture; UnsupportedModel, saying what is supported, otherwise."""
    architectures = config.get("architectures")
    model_type = str(config.get("model_type", ""))
    if not architectures and model_type in TEXT_ENCODERS:
        return "embedding", ""
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise UnsupportedModel(f"config.json names no architecture (model_type {model_type!r})", SUPPORTED)
    for architecture in architectures:
        for pattern, task in _TASKS:
            if re.search(pattern, architecture) and (task != "embedding" or model_type in TEXT_ENCODERS):
                return task, architecture
    raise UnsupportedModel(
        f"architecture {', '.join(architectures)} (model_type {model_type!r}) is none that edgekit packs", SUPPORTED
    )


def kind_of(task: Task, chat_template: str | None) -> Kind:
    """Base or chat for a decoder: chat needs a template, and none is ever invented."""
    if task == "causal-lm":
        return "chat" if chat_template else "base"
    return {"embedding": "embedding", "tensors": "module"}.get(task, "classifier")  # type: ignore[return-value]


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a classifier's outputs in order; BadModel if id2label does not number them 0 to n-1."""
    id2label = config.get("id2label")
    if id2label is None:
        count = config.get("num_labels", 2)
        return tuple(f"LABEL_{index}" for index in range(int(count)))
    try:
        numbered = {int(index): str(label) for index, label in id2label.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BadModel("config.json: id2label does not map numbers to names") from error
    if sorted(numbered) != list(range(len(numbered))):
        raise BadModel(f"config.json: id2label numbers its labels {sorted(numbered)[:8]}, 0 to n-1 is expected")
    return tuple(numbered[index] for index in range(len(numbered)))


def max_tokens_of(config: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> int:
    """The longest input in tokens: the smaller of the model's positions and the tokenizer's limit; 512 if neither."""
    limits = []
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"):
        positions = config.get(key)
        if isinstance(positions, int) and positions > 0:
            if config.get("model_type") in _OFFSET_POSITIONS:
                positions -= int(config.get("pad_token_id", 1)) + 1
            limits.append(positions)
            break
    stated = tokenizer_config.get("model_max_length")
    if isinstance(stated, int | float) and 0 < stated < 1e9:
        limits.append(int(stated))
    return min(limits, default=512)
