"""How much of a model each GGUF preset keeps.

    python benchmarks/gguf_fidelity.py                        tiny random models of several families, F16
    python benchmarks/gguf_fidelity.py --model DIR --text FILE [--tokens 16384] [--json]

The first table holds F16 against transformers in float32: mean KL over next-token distributions (for BERT the cosine of
mean-pooled embeddings) and whether the ids are the same. The second, for a trained decoder and a text it has not seen,
holds perplexity, KL and kept top-1 at every preset. EDGEKIT_TINYLM names a folder with a model and eval.txt as default.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fixtures import tiny_models
from fixtures.gguf_engine import embedding, log_probabilities, log_softmax, mean_kl

from edgekit.model import open_model
from edgekit.samples import AWKWARD_TEXTS
from edgekit.strategies.gguf import OFFERED, write_gguf
from edgekit.strategies.gguf.engine import EngineVocabulary

TEXT = "The quick brown fox jumps over the lazy dog.\n def pack(model): return 1234567 # 素早い茶色の狐 ok"
WINDOW = 512


def source_ids(folder: Path, text: str) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    return list(tokenizer.encode(text).ids)


def tiny_rows(scratch: Path) -> Iterator[dict[str, Any]]:
    """F16 of tiny models against transformers."""
    makers = {
        "Llama": tiny_models.tiny_llama,
        "Mistral": tiny_models.tiny_mistral,
        "Qwen2": tiny_models.tiny_qwen2,
        "Qwen3": tiny_models.tiny_qwen3,
        "Gemma 2": tiny_models.tiny_gemma2,
        "Gemma 3": tiny_models.tiny_gemma3,
        "Phi-3": tiny_models.tiny_phi3,
        "SmolLM3": tiny_models.tiny_smollm3,
        "BERT": partial(tiny_models.tiny_sentence_encoder, lowercase=False),
        "BERT uncased": tiny_models.tiny_sentence_encoder,
    }
    for family, make in makers.items():
        folder, path = make(scratch / family), scratch / f"{family}.gguf"
        notes = write_gguf(open_model(folder), path, "F16").notes
        ids = source_ids(folder, TEXT)
        with EngineVocabulary(path) as vocabulary:
            same = [vocabulary.tokenize(text) == source_ids(folder, text) for text in [TEXT, *AWKWARD_TEXTS]]
        row: dict[str, Any] = {"family": family, "texts": len(same), "same_ids": sum(same), "notes": list(notes)}
        yield row | (encoder_figures if family.startswith("BERT") else decoder_figures)(folder, path, ids)


def decoder_figures(folder: Path, path: Path, ids: list[int]) -> dict[str, float]:
    return {"mean_kl": mean_kl(transformers_rows(folder, ids), log_probabilities(path, ids))}


def encoder_figures(folder: Path, path: Path, ids: list[int]) -> dict[str, float]:
    import torch
    from transformers import AutoModel

    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(torch.tensor([ids])).last_hidden_state[0]
    expected = states.double().numpy().mean(axis=0)
    actual = embedding(path, ids, len(expected))
    return {"cosine": float(expected @ actual / np.linalg.norm(expected) / np.linalg.norm(actual))}


@lru_cache(maxsize=1)
def transformers_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()


def transformers_rows(folder: Path, ids: list[int]) -> Any:
    """Log-probabilities [tokens, vocabulary] in float32."""
    import torch

    with torch.no_grad():
        return log_softmax(transformers_model(folder)(torch.tensor([ids])).logits[0].double().numpy())


def preset_rows(folder: Path, text: str, tokens: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Perplexity, KL and kept top-1 of every preset, over windows of 512 tokens."""
    ids = source_ids(folder, text)[:tokens]
    windows = [ids[first : first + WINDOW] for first in range(0, len(ids) - WINDOW + 1, WINDOW)]
    references = [transformers_rows(folder, window) for window in windows]
    yield {
        "preset": "fp32 (transformers)",
        "perplexity": perplexity(references, windows),
        "tokens": len(windows) * WINDOW,
    }
    model = open_model(folder)
    for preset in OFFERED:
        path = scratch / f"{preset}.gguf"
        write_gguf(model, path, preset)
        found = [log_probabilities(path, window) for window in windows]
        pairs = list(zip(references, found, strict=True))
        yield {
            "preset": preset,
            "mb": path.stat().st_size / 1e6,
            "perplexity": perplexity(found, windows),
            "mean_kl": float(np.mean([mean_kl(reference, other) for reference, other in pairs])),
            "same_top": float(np.mean([(one.argmax(-1) == other.argmax(-1)).mean() for one, other in pairs])),
        }


def perplexity(rows: list[Any], windows: list[list[int]]) -> float:
    scores = [row[np.arange(len(window) - 1), window[1:]].mean() for row, window in zip(rows, windows, strict=True)]
    return float(np.exp(-np.mean(scores)))


def show(row: dict[str, Any]) -> str:
    if "family" in row:
        figure = f"cosine {row['cosine']:.6f}" if "cosine" in row else f"KL {row['mean_kl']:.2e}"
        noted = "   (" + "; ".join(note[:60] for note in row["notes"]) + ")" if row["notes"] else ""
        return f"  {row['family']:<13}{figure:<18}same ids {row['same_ids']}/{row['texts']}{noted}"
    if "mean_kl" not in row:
        return f"  {row['preset']:<22}ppl {row['perplexity']:.4f}   over {row['tokens']} tokens"
    return (
        f"  {row['preset']:<10}{row['mb']:8.2f} MB   ppl {row['perplexity']:.4f}   KL {row['mean_kl']:.2e}"
        f"   same top {row['same_top']:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("EDGEKIT_TINYLM")
    parser.add_argument("--model", type=Path, default=default)
    parser.add_argument("--text", type=Path, default=Path(default) / "eval.txt" if default else None)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gguf-fidelity-") as name:
        if arguments.model is not None and arguments.text is not None:
            text = arguments.text.read_text(encoding="utf-8")
            rows = preset_rows(Path(arguments.model), text, arguments.tokens, Path(name))
        else:
            rows = tiny_rows(Path(name))
        for row in rows:
            print(json.dumps(row) if arguments.json else show(row), flush=True)


if __name__ == "__main__":
    main()
