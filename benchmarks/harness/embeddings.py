"""Sentence embeddings of one model in several files: the same ids, the same pooling, the same engine options."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
MAX_TOKENS = 256  # all-MiniLM-L6-v2's own limit


class Tokens:
    """Texts as ids, by the source model's tokenizer, without padding."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()

    def of(self, text: str, length: int = MAX_TOKENS) -> dict[str, NDArray[np.int64]]:
        """The three inputs [1, tokens]; of a longer text the first `length` tokens, special ones among them."""
        self._tokenizer.enable_truncation(length)
        encoding = self._tokenizer.encode(text)
        given = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: np.array([ids], np.int64) for name, ids in given.items()}


class OnnxFile:
    """A model file in ONNX Runtime. `precise` forbids x86's saturating int8 products, as edgekit's runtime does."""

    def __init__(self, path: Path, threads: int, precise: bool) -> None:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that keep spinning after a run would take the cores from the next file's run.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if precise:
            options.add_session_config_entry("session.x64quantprecision", "1")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._finished = any(each.name == "sentence_embedding" for each in self._session.get_outputs())

    def embed(self, inputs: Mapping[str, NDArray[np.int64]]) -> Vectors:
        """The normalised embedding [width]: the graph's own where it has one, else pooled here."""
        if self._finished:
            return np.asarray(self._session.run(["sentence_embedding"], inputs)[0][0], np.float32)
        return pooled(self._session.run(["last_hidden_state"], inputs)[0], inputs["attention_mask"])


def pooled(hidden: Vectors, mask: NDArray[np.int64]) -> Vectors:
    """Mean over the tokens that are not padding, then length 1: [1, tokens, width] -> [width]."""
    weights = mask[0, :, None].astype(np.float32)
    mean = (hidden[0] * weights).sum(axis=0) / weights.sum()
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def torch_vectors(folder: Path, inputs: Sequence[Mapping[str, NDArray[np.int64]]], threads: int) -> Vectors:
    """The original model's embeddings [texts, width], in torch, float32, one text at a time."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for each in inputs:
            tensors = {name: torch.from_numpy(array) for name, array in each.items()}
            found.append(pooled(model(**tensors).last_hidden_state.numpy(), each["attention_mask"]))
    return np.stack(found)


def fidelity(truth: Vectors, vectors: Vectors) -> dict[str, float]:
    """Rows are of length 1. A neighbour is kept if the nearest other text is the same one as in `truth`.

    `neighbours_kept_error` is the standard error of that share over texts: what another sample could change.
    """
    cosines = (truth * vectors).sum(axis=1)
    kept = float((_nearest(truth) == _nearest(vectors)).mean())
    return {
        "texts": len(truth),
        "mean_cosine": float(cosines.mean()),
        "min_cosine": float(cosines.min()),
        "neighbours_kept": kept,
        "neighbours_kept_error": math.sqrt(kept * (1 - kept) / len(truth)),
    }


def latencies_ms(
    files: Mapping[str, OnnxFile], inputs: Mapping[str, NDArray[np.int64]], repeats: int, warmup: int = 10
) -> dict[str, float]:
    """Median milliseconds to the embedding. Every file once a round, each round beginning with the next file."""
    names = list(files)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for index in range(warmup + repeats):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            files[name].embed(inputs)
            samples[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(each[warmup:]) for name, each in samples.items()}


def _nearest(vectors: Vectors) -> NDArray[np.intp]:
    similarity: NDArray[Any] = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    nearest: NDArray[np.intp] = similarity.argmax(axis=1)
    return nearest
