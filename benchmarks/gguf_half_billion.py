"""Qwen2.5-0.5B's shape with random bf16 weights to Q4_K_M: wall and CPU seconds, peak memory and bytes written.

    python benchmarks/gguf_half_billion.py [--preset Q4_K_M] [--json]

The checkpoint (988 MB) and the file are written to a temporary folder; the measured part is a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint."""
    width, inner, kv = CONFIG["hidden_size"], CONFIG["intermediate_size"], 128
    layer = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (width, width),
        "self_attn.q_proj.bias": (width,),
        "self_attn.k_proj.weight": (kv, width),
        "self_attn.k_proj.bias": (kv,),
        "self_attn.v_proj.weight": (kv, width),
        "self_attn.v_proj.bias": (kv,),
        "self_attn.o_proj.weight": (width, width),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "mlp.down_proj.weight": (width, inner),
    }
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (CONFIG["vocab_size"], width)}
    for number in range(CONFIG["num_hidden_layers"]):
        found |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return found | {"model.norm.weight": (width,)}


def write_checkpoint(folder: Path) -> None:
    """Random bf16 weights, tensor by tensor, and the smallest tokenizer that fits."""
    header: dict[str, Any] = {}
    position = 0
    for name, shape in shapes().items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for shape in shapes().values():
            for first in range(0, int(np.prod(shape)), 1 << 22):
                count = min(1 << 22, int(np.prod(shape)) - first)
                values = rng.standard_normal(count, np.float32) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Qwen2's kind with a vocabulary of the same size: bytes, and merges of random pairs."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tail = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + tail
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: number for number, letter in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    rng = np.random.default_rng(1)
    known = list(alphabet)
    while len(vocab) < 151643:
        left, right = known[int(rng.integers(len(known)))], known[int(rng.integers(len(alphabet)))]
        if left + right not in vocab and len(left) < 12:
            vocab[left + right] = len(vocab)
            known.append(left + right)
            merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def measure(folder: Path, preset: str) -> dict[str, float]:
    """In this process, which should be a fresh one."""
    from edgekit.model import open_model
    from edgekit.strategies.gguf import write_gguf

    wall, usage = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    path = folder / "out.gguf"
    write_gguf(open_model(folder), path, preset)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": time.monotonic() - wall,
        "cpu_s": after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime,
        "peak_rss_mb": peak_rss_bytes() / 1e6,
        "written_mb": path.stat().st_size / 1e6,
    }


def peak_rss_bytes() -> int:
    """This process's own peak: ru_maxrss would still hold the parent's from before exec."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="Q4_K_M")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        print(json.dumps(measure(arguments.folder, arguments.preset)))
        return
    with tempfile.TemporaryDirectory(prefix="gguf-half-billion-") as name:
        write_checkpoint(Path(name))
        command = [sys.executable, __file__, "--folder", name, "--preset", arguments.preset]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures = json.loads(done.stdout)
    if arguments.json:
        print(json.dumps({"preset": arguments.preset, **figures}))
        return
    print(f"Qwen2.5-0.5B's shape, random bf16 weights -> {arguments.preset}, {os.cpu_count()} cores")
    for key, label in (("wall_s", "wall s"), ("cpu_s", "CPU s"), ("peak_rss_mb", "peak RSS MB"), ("written_mb", "MB")):
        print(f"  {label:<12}{figures[key]:8.1f}")


if __name__ == "__main__":
    main()
