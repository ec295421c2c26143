"""The families that can be written as GGUF: one row each. Adding one is a row, and a transform if it needs a new one.

Names are transformers' on the left and GGUF's on the right; the tests hold them against gguf's own tensor name map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_LLAMA_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_QK_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_GEMMA_LAYER = _LLAMA_LAYER | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_PHI3_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_DECODER_OUTER = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
}
# The engine's own family has no output tensor: it always takes the embeddings.
_TIED_OUTER = {"embed_tokens": "token_embd", "norm": "output_norm"}
_BERT_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_BERT_OUTER = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_DISTILBERT_LAYER = {
    "attention.q_lin": "attn_q",
    "attention.k_lin": "attn_k",
    "attention.v_lin": "attn_v",
    "attention.out_lin": "attn_output",
    "sa_layer_norm": "attn_output_norm",
    "ffn.lin1": "ffn_up",
    "ffn.lin2": "ffn_down",
    "output_layer_norm": "layer_output_norm",
}


@dataclass(frozen=True)
class Family:
    """How a transformers model type is said in GGUF.

    `arch` is general.architecture. `layers` is the prefix of the repeated block, `prefixes` what may stand before every
    name. `rotary` says that Q and K rows change order, `norm_offset` that norms are stored without their 1.
    The rest are the configuration's defaults, which transformers leaves out of config.json, and what the engine takes
    for granted and so has to be checked: the activation and the pattern of layers.
    """

    arch: str
    model_types: tuple[str, ...]
    layer_names: Mapping[str, str]
    outer_names: Mapping[str, str] = field(default_factory=lambda: _DECODER_OUTER)
    layers: str = "layers"
    prefixes: tuple[str, ...] = ("model.language_model.", "language_model.model.", "model.", "")
    activations: tuple[str, ...] = ("silu", "swish")
    rope_theta: float = 10_000.0
    local_rope_theta: float | None = None
    head_dim: int | None = None
    tied: bool = False
    rotary: bool = False
    norm_offset: bool = False
    sliding_pattern: int | None = None
    rope_free_step: int | None = None
    query_scalar: bool = False
    embeds: bool = False
    ignored: tuple[str, ...] = ()


_GELU_TANH = ("gelu_pytorch_tanh", "gelu_new")
_HEADS = ("pooler.", "cls.", "classifier.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.")
_NEVER = ("rotary_emb.inv_freq", "position_ids", "masked_bias")

FAMILIES: tuple[Family, ...] = (
    Family("llama", ("llama",), _LLAMA_LAYER, rotary=True),
    # Llamas by another name, which transformers 4.57 does not know: the unquantized GGUF is their reference.
    Family("llama", ("iquestcoder", "internlm3"), _LLAMA_LAYER, rotary=True),
    Family("llama", ("mistral",), _LLAMA_LAYER, rotary=True),
    Family("qwen2", ("qwen2",), _LLAMA_LAYER),
    Family("qwen3", ("qwen3",), _LLAMA_LAYER | _QK_NORMS, head_dim=128),
    Family("smollm3", ("smollm3",), _LLAMA_LAYER, rotary=True, tied=True, rope_theta=2_000_000.0, rope_free_step=4),
    Family(
        "gemma2", ("gemma2",), _GEMMA_LAYER, _TIED_OUTER, ignored=("lm_head.",), activations=_GELU_TANH, head_dim=256,
        tied=True, norm_offset=True, sliding_pattern=2, query_scalar=True,
    ),
    Family(
        "gemma3", ("gemma3_text", "gemma3"), _GEMMA_LAYER | _QK_NORMS, activations=_GELU_TANH, head_dim=256, tied=True,
        norm_offset=True, sliding_pattern=6, query_scalar=True, rope_theta=1_000_000.0, local_rope_theta=10_000.0,
    ),
    Family("phi3", ("phi3",), _PHI3_LAYER),
    Family(
        "bert", ("bert",), _BERT_LAYER, _BERT_OUTER, layers="encoder.layer", prefixes=("bert.", ""),
        activations=("gelu",), embeds=True, ignored=_HEADS,
    ),
    Family(
        "bert", ("roberta", "camembert", "xlm-roberta"), _BERT_LAYER, _BERT_OUTER, layers="encoder.layer",
        prefixes=("roberta.", ""), activations=("gelu",), embeds=True, ignored=_HEADS,
    ),
    Family(
        "bert", ("distilbert",), _DISTILBERT_LAYER, _BERT_OUTER, layers="transformer.layer",
        prefixes=("distilbert.", ""), activations=("gelu",), embeds=True, ignored=_HEADS,
    ),
)  # fmt: skip


def find_family(model_type: str) -> Family | None:
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def supported_types(embeds: bool) -> str:
    """The model types there is a row for, as a phrase."""
    return ", ".join(name for family in FAMILIES if family.embeds == embeds for name in family.model_types)


def is_never_written(name: str) -> bool:
    """Buffers that old checkpoints carry and no engine reads."""
    return name.endswith(_NEVER)
