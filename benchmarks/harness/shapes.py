"""Shapes of models with random weights: those the factors are fitted on, and those they are then held against.

The two lists share no shape. Names say layers x width and the size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["encoder", "picture", "decoder"]


@dataclass(frozen=True)
class Shape:
    """`model` is the prefix of transformers' classes (Bert, ViT, Qwen2); `config` are fields of its configuration.

    `strategies` are the labels of the candidates that are made of it, `lengths` the tokens that are timed (none for
    pictures, which have one size).
    """

    name: str
    kind: Kind
    model: str
    config: Mapping[str, Any]
    strategies: tuple[str, ...]
    lengths: tuple[int, ...] = ()

    @property
    def architecture(self) -> str:
        return (
            self.model + {"encoder": "Model", "picture": "ForImageClassification", "decoder": "ForCausalLM"}[self.kind]
        )


ONNX = ("onnx-fp32", "onnx-int8")
PRESETS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")


def _encoder(
    layers: int,
    width: int,
    heads: int,
    inner: int,
    vocabulary: int,
    strategies: tuple[str, ...] = ONNX,
    lengths: tuple[int, ...] = (16, 128, 512),
    name: str = "",
) -> Shape:
    config = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 512,
    }
    told = name or f"BERT {layers}x{width}, {vocabulary // 1000}k"
    return Shape(told, "encoder", "Bert", config, strategies, lengths)


def _vit(layers: int, width: int, heads: int, patch: int, edge: int = 224, name: str = "") -> Shape:
    config = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "patch_size": patch,
        "image_size": edge,
    }
    return Shape(name or f"ViT {layers}x{width}, patch {patch}, {edge} px", "picture", "ViT", config, ONNX)


def _resnet(widths: tuple[int, ...], depths: tuple[int, ...], kind: str, name: str = "") -> Shape:
    config = {"embedding_size": 64, "hidden_sizes": list(widths), "depths": list(depths), "layer_type": kind}
    told = name or f"ResNet {kind} {'-'.join(map(str, depths))}, {widths[-1]} wide"
    return Shape(told, "picture", "ResNet", config, ONNX)


def _mobilenet(multiplier: float, name: str = "") -> Shape:
    config = {"depth_multiplier": multiplier, "image_size": 224}
    return Shape(name or f"MobileNetV2 x{multiplier}", "picture", "MobileNetV2", config, ONNX)


def _decoder(
    model: str,
    layers: int,
    width: int,
    heads: tuple[int, int],
    inner: int,
    vocabulary: int,
    presets: tuple[str, ...],
    lengths: tuple[int, ...] = (128,),
    name: str = "",
) -> Shape:
    config = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }
    strategies = tuple(f"gguf {preset}" for preset in presets)
    told = name or f"{model} {layers}x{width}, {vocabulary // 1000}k"
    return Shape(told, "decoder", model, config, strategies, lengths)


FIT_SHAPES: tuple[Shape, ...] = (
    _encoder(4, 128, 2, 512, 30522),
    _encoder(4, 256, 4, 1024, 12000, (*ONNX, "gguf Q8_0", "gguf F16", "gguf Q5_K_M")),
    _encoder(12, 256, 8, 1024, 8000, (*ONNX, "gguf Q8_0")),
    _encoder(12, 312, 12, 1200, 21128),
    _encoder(6, 512, 8, 2048, 30522, (*ONNX, "gguf Q8_0", "gguf Q4_K_M", "gguf Q4_0", "gguf Q3_K_M")),
    _encoder(3, 768, 12, 3072, 16000, (*ONNX, "gguf Q8_0", "gguf IQ4_XS")),
    _encoder(5, 416, 8, 1664, 20000, ("gguf Q5_K_M", "gguf Q4_K_M", "gguf IQ4_XS")),
    _vit(12, 192, 3, 16),
    _vit(6, 512, 8, 32),
    _resnet((32, 64, 128, 256), (2, 2, 2, 2), "basic"),
    _resnet((128, 256, 512), (2, 2, 2), "bottleneck"),
    _mobilenet(0.5),
    _decoder("Llama", 20, 320, (5, 1), 896, 24000, ("F16", "Q8_0", "Q5_K_M", "Q4_K_M"), (16, 128, 512)),
    _decoder(
        "Llama",
        8,
        512,
        (8, 4),
        1536,
        32000,
        ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"),
        (16, 128),
    ),
    _decoder("Qwen2", 12, 640, (10, 2), 2560, 50000, ("Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS")),
    _decoder("Llama", 16, 768, (12, 4), 2304, 20000, ("Q6_K", "Q4_K_M", "Q4_0", "Q2_K")),
    _decoder("Llama", 28, 704, (11, 1), 1920, 40000, ("Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0")),
    _decoder("Qwen2", 10, 1024, (16, 4), 2816, 32000, ("F16", "Q8_0", "Q5_K_M", "Q4_K_M")),
    _decoder("Qwen2", 8, 1536, (12, 2), 4096, 64000, ("Q8_0", "Q4_K_M", "Q4_0")),
)

TEST_SHAPES: tuple[Shape, ...] = (
    _encoder(6, 384, 12, 1536, 30522, (*ONNX, "gguf Q8_0"), name="MiniLM-L6"),
    _encoder(12, 768, 12, 3072, 30522, name="BERT-base"),
    _vit(12, 384, 6, 16, name="DeiT-small"),
    _resnet((64, 128, 256, 512), (2, 2, 2, 2), "basic", name="ResNet-18"),
    _mobilenet(1.0, name="MobileNetV2"),
    _decoder("Llama", 30, 576, (9, 3), 1536, 49152, ("Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0"), name="SmolLM2-135M"),
    _decoder("Llama", 32, 960, (15, 5), 2560, 49152, ("Q8_0", "Q4_K_M"), name="SmolLM2-360M"),
    _decoder("Qwen2", 24, 896, (14, 2), 4864, 151936, ("Q8_0", "Q4_K_M", "Q4_0"), name="Qwen2.5-0.5B"),
)
