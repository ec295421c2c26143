"""The source model as a torch module, and its tokenizer: what exports and references are taken from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import BadModel, BadTokenizer, MissingEngine, UnsupportedModel
from edgekit.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from edgekit.model import SourceModel

_AUTO_CLASSES: Mapping[str, str] = {
    "embedding": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "image-classification": "AutoModelForImageClassification",
    "causal-lm": "AutoModelForCausalLM",
}
# Buffers that old checkpoints store and newer code computes.
_COMPUTED = re.compile(r"(position_ids|token_type_ids|inv_freq|\.attn\.(masked_)?bias|\.attention\.(masked_)?bias)$")
_ROPE_BASES = ("rope_theta", "rope_local_base_freq", "global_rope_theta", "local_rope_theta", "rotary_emb_base")


def load_torch(model: SourceModel) -> torch.nn.Module:
    """The module in eval mode, float32, eager attention; of format "torch" the user's own, copied only if not float32.

    UnsupportedModel where transformers does not know the architecture. BadModel where weights are missing (a randomly
    initialised head answers at random), left over, or not finite; and where the rotary base is not the one configured.
    """
    if model.module is not None:
        return _as_float32(model.module)
    if model.format != "hf" or model.folder is None:
        raise UnsupportedModel(f"{model.source}: a model of format {model.format} cannot be loaded as a torch module")
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingEngine(
            f"{model.source}: loading it needs torch and transformers", "pip install torch transformers"
        ) from error
    with quiet_transformers():
        module, loading = _from_pretrained(model)
    _check_keys(model, module, loading)
    _check_finite(module)
    _check_rotary(module, model.config)
    return module.eval()


def load_tokenizer(model: SourceModel) -> Tokenizer:
    """The tokenizer of tokenizer.json with padding and truncation off; BadTokenizer where there is none it can read."""
    from tokenizers import Tokenizer

    path = model.text.tokenizer_json if model.text else None
    if path is None:
        raise BadTokenizer(f"{model.source}: no tokenizer.json comes with it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises the bare Exception
        raise BadTokenizer(f"{path}: {error}", "save it again with tokenizer.save_pretrained()") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _as_float32(module: torch.nn.Module) -> torch.nn.Module:
    import copy

    import torch

    floats = [value for value in module.state_dict().values() if value.is_floating_point()]
    if any(value.dtype != torch.float32 for value in floats):
        module = copy.deepcopy(module).float()
    return module.eval()


def _from_pretrained(model: SourceModel) -> tuple[torch.nn.Module, dict[str, Any]]:
    """(module, transformers' loading report)."""
    import torch
    import transformers

    config, remote = _config(model)
    state = _unpacked(model)
    options: dict[str, Any] = {"trust_remote_code": True} if remote else {}
    if model.task == "embedding" and not remote:
        options |= _without_pooler(config)
    try:
        auto = getattr(transformers, _AUTO_CLASSES[model.task])
        # Weights that are handed over need the class itself: the automatic one wants to read a folder.
        loader = auto if state is None else auto._model_mapping[type(config)]
        module, loading = loader.from_pretrained(
            model.folder if state is None else None,
            state_dict=state,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            use_safetensors=None if model.allow_pickle else True,
            output_loading_info=True,
            **options,
        )
    except ImportError as error:
        raise MissingEngine(f"{model.source}: {_first_line(error)}", "install what it names") from error
    except ValueError as error:
        if model.quantized or "Unrecognized configuration class" in str(error):
            what = f"{model.quantized} weights" if model.quantized else f"{model.model_type} as {model.task}"
            raise UnsupportedModel(
                f"{model.source}: transformers does not load {what}: {_first_line(error)}"
            ) from error
        raise BadModel(f"{model.source}: transformers cannot build it: {_first_line(error)}") from error
    except Exception as error:  # size mismatches, unreadable pickles: anything is raised here
        raise BadModel(f"{model.source}: transformers cannot load it: {_first_line(error)}") from error
    return module.to(torch.float32), loading


def _unpacked(model: SourceModel) -> dict[str, torch.Tensor] | None:
    """The float32 weights of a checkpoint that is stored quantized, None where transformers reads the files itself.

    transformers needs kernels for each format, most of which run on a GPU only.
    """
    if model.quantized is None or model.quantization is None:
        return None
    import torch

    from edgekit.checkpoint import open_checkpoint

    with open_checkpoint(model) as checkpoint:
        return {info.name: torch.from_numpy(checkpoint.read(info.name)) for info in model.tensors}


def _config(model: SourceModel) -> tuple[Any, bool]:
    """(configuration object made of the normalised config, whether the model's own code is to be run)."""
    import transformers
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    native = model.model_type in CONFIG_MAPPING and (
        not model.architecture or hasattr(transformers, model.architecture)
    )
    if native:
        try:
            return CONFIG_MAPPING[model.model_type].from_dict(_float_config(model)), False
        except Exception as error:  # every configuration class checks in its own way
            raise BadModel(f"{model.source}: config.json: {_first_line(error)}") from error
    if model.trust_remote_code and model.config.get("auto_map"):
        return AutoConfig.from_pretrained(model.folder, trust_remote_code=True, local_files_only=True), True
    raise UnsupportedModel(
        f"transformers {transformers.__version__} does not know {model.architecture or model.model_type}",
        "a decoder that llama.cpp knows can still be packed as GGUF",
    )


def _float_config(model: SourceModel) -> dict[str, Any]:
    """The configuration without how the weights are packed, where they come unpacked."""
    from edgekit.checkpoint.formats import SETUP_KEYS

    left_out = SETUP_KEYS if model.quantization is not None else ()
    return {key: value for key, value in model.config.items() if key not in left_out}


def _without_pooler(config: Any) -> dict[str, Any]:
    """Build the encoder without the tanh pooler where it has one: the hidden state is what gets pooled."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    known = MODEL_MAPPING[type(config)]
    takes = inspect.signature(known.__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}


def _check_keys(model: SourceModel, module: torch.nn.Module, loading: Mapping[str, Any]) -> None:
    missing = sorted(key for key in loading["missing_keys"] if not _is_pooler(key))
    if missing:
        raise BadModel(
            f"{model.source}: {len(missing)} tensors that {type(module).__name__} needs are not in the weights, "
            f"{missing[0]} first",
            "they would answer at random: this may be the base model of a task, not yet trained for it",
        )
    own = {name for name, _ in module.named_children()}
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    unexpected = [key for key in sorted(loading["unexpected_keys"]) if not _COMPUTED.search(key)]
    if model.task == "embedding":  # a head that was trained on top is not part of the encoder
        unexpected = [key for key in unexpected if key.removeprefix(prefix).split(".")[0] in own - {"pooler"}]
    if unexpected:
        raise BadModel(
            f"{model.source}: {len(unexpected)} stored tensors have no place in {type(module).__name__}, "
            f"{unexpected[0]} first",
            "config.json and the weights do not belong together, or transformers does not know this variant",
        )
    mismatched = sorted(str(key) for key in loading.get("mismatched_keys", ()))
    if mismatched:
        raise BadModel(f"{model.source}: the shape of {mismatched[0]} is not the one that config.json gives it")


def _is_pooler(key: str) -> bool:
    return key.startswith("pooler.") or ".pooler." in key


def _check_finite(module: torch.nn.Module) -> None:
    import torch

    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadModel(f"tensor {name} holds NaN or infinite values", "train or convert the model again")


def _check_rotary(module: torch.nn.Module, config: Mapping[str, Any]) -> None:
    """The base that each unscaled rotary embedding really computes with is one that config.json states.

    inv_freq[i] = base ** (-2 i / dim), so base = inv_freq[1] ** (-dim / 2), with dim = 2 len(inv_freq).
    """
    stated = [float(config[key]) for key in _ROPE_BASES if isinstance(config.get(key), int | float)]
    if not stated:
        return
    for name, part in module.named_modules():
        frequencies = getattr(part, "inv_freq", None)
        if frequencies is None or getattr(part, "rope_type", "default") != "default" or len(frequencies) < 2:
            continue
        base = float(frequencies[1].double() ** -len(frequencies))
        if all(abs(base / value - 1) > 1e-3 for value in stated):
            raise BadModel(
                f"{name} turns with the rotary base {base:.6g}, config.json states {' and '.join(map(str, stated))}",
                "transformers did not understand this configuration: save it with transformers 4.57",
            )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
