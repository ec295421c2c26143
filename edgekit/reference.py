"""The source model, run as it is: what a bundle's answers are compared with.

A reference answers each input with one float32 array: an embedding [width], class logits [labels], token logits
[tokens, labels], next-token logits [tokens, vocabulary], or the flattened outputs of a plain module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UnsupportedModel
from edgekit.evaluation import Arrays
from edgekit.limits import DEFAULT_CONTEXT_TOKENS
from edgekit.model import SourceModel
from edgekit.resources import use_python_runtime

if TYPE_CHECKING:
    import torch
    from edgekit_runtime._sample import Sampler
    from tokenizers import Tokenizer

Answer = NDArray[np.float32]
Input = str | Sequence[int] | Arrays


class Reference(Protocol):
    """The original model. `description` says what ran, for the report."""

    description: str

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]: ...


class TextReference(Reference, Protocol):
    """An original that reads text, and, if it is a causal LM, writes it."""

    def tokenize(self, text: str) -> list[int]:
        """Ids with the special tokens the model wants, never truncated."""
        ...

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        """For each character offset the token that begins there, None where none does (truncated away)."""
        ...

    def decode_ms(self, ids: Sequence[int], steps: int) -> list[float]:
        """Milliseconds of each of `steps` greedy decoding steps after the prompt `ids`, with a KV cache."""
        ...

    def sample(self, sequences: int, tokens: int) -> list[list[int]]:
        """`sequences` texts of `tokens` ids, drawn from the model itself (temperature 1, fixed seed)."""
        ...


def open_reference(model: SourceModel, threads: int, workdir: Path) -> Reference:
    """The best original there is: torch in fp32, the ONNX file itself, or, failing both, the unquantized GGUF."""
    if model.format == "onnx" and model.file is not None:
        return OnnxReference(model, model.file, threads)
    if model.format == "gguf" and model.file is not None:
        return GgufReference(model.file, model, threads, "the source GGUF itself")
    try:
        return TorchReference(model, threads)
    except UnsupportedModel:
        if model.task != "causal-lm":
            raise
    from edgekit.strategies.gguf import write_gguf

    path = workdir / "reference-F16.gguf"
    write_gguf(model, path, "F16")
    return GgufReference(path, model, threads, "the unquantized GGUF (the installed transformers does not know it)")


class _HuggingFaceText:
    """The source's own tokenizer."""

    def __init__(self, model: SourceModel) -> None:
        from edgekit.torch_model import load_tokenizer

        assert model.text is not None
        self._tokenizer: Tokenizer = load_tokenizer(model)
        self._max_tokens = model.text.max_tokens

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def ids(self, text: str) -> list[int]:
        """Ids cut to the model's longest input, special tokens kept."""
        self._tokenizer.enable_truncation(self._max_tokens)
        ids: list[int] = self._tokenizer.encode(text).ids
        self._tokenizer.no_truncation()
        return ids

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        begins: dict[int, int] = {}
        for index, (start, end) in enumerate(self._tokenizer.encode(text).offsets):
            while start < end and text[start].isspace():  # byte-level tokens carry the space before a word
                start += 1
            if start < end:
                begins.setdefault(start, index)
        rows = [begins.get(start) for start in starts]
        return [row if row is not None and row < self._max_tokens - 1 else None for row in rows]


class TorchReference:
    """The source in torch, float32, on the CPU."""

    def __init__(self, model: SourceModel, threads: int) -> None:
        import torch

        from edgekit import torch_model

        torch.set_num_threads(threads)
        self._model = model
        self._module = torch_model.load_torch(model)
        self._text = _HuggingFaceText(model) if model.text is not None else None
        self.description = f"the source model in torch {torch.__version__}, float32"

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]:
        import torch

        for each in inputs:
            with torch.inference_mode():
                yield self._answer(each)

    def _answer(self, each: Input) -> Answer:
        import torch

        if isinstance(each, Mapping):
            tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in each.items()}
            return _flat(self._module(**tensors) if self._model.format == "hf" else self._module(*tensors.values()))
        ids = self._words.ids(each) if isinstance(each, str) else list(each)
        tensor = torch.tensor([ids])
        if self._model.task == "causal-lm":
            return _numpy(self._module(input_ids=tensor, use_cache=False).logits[0])
        output = self._module(input_ids=tensor, attention_mask=torch.ones_like(tensor))
        if self._model.task == "embedding":
            return _pool(_numpy(output.last_hidden_state[0]), self._model)
        return _numpy(output.logits[0])

    def tokenize(self, text: str) -> list[int]:
        return self._words.tokenize(text)

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        return self._words.rows_at(text, starts)

    @property
    def _words(self) -> _HuggingFaceText:
        if self._text is None:
            raise UnsupportedModel(f"{self._model.name} has no tokenizer", "give a model that reads text")
        return self._text

    def decode_ms(self, ids: Sequence[int], steps: int) -> list[float]:
        import torch

        with torch.inference_mode():
            output = self._module(input_ids=torch.tensor([list(ids)]), use_cache=True)
            times = []
            for _ in range(steps):
                started = time.perf_counter()
                token = output.logits[:, -1:].argmax(-1)
                output = self._module(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
                times.append(1e3 * (time.perf_counter() - started))
        return times

    def sample(self, sequences: int, tokens: int) -> list[list[int]]:
        import torch

        start = self._start_ids()
        torch.manual_seed(0)
        with torch.inference_mode():
            ids = torch.tensor([start] * sequences)
            output = self._module(input_ids=ids, use_cache=True)
            while ids.shape[1] < tokens:
                probabilities = torch.softmax(output.logits[:, -1], dim=-1)
                token = torch.multinomial(probabilities, 1)
                ids = torch.cat([ids, token], dim=1)
                output = self._module(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
        return [[int(token) for token in row] for row in ids]

    def _start_ids(self) -> list[int]:
        """What every text of this model begins with, or, where that is nothing, the id of a line break's token."""
        return self.tokenize("") or self.tokenize("\n")[:1] or [0]


class OnnxReference:
    """The user's ONNX file in ONNX Runtime."""

    def __init__(self, model: SourceModel, path: Path, threads: int) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._text = _HuggingFaceText(model) if model.text is not None else None
        self._model = model
        self.description = f"{path.name} in onnxruntime {onnxruntime.__version__}"

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]:
        for each in inputs:
            yield self._answer(each)

    def _answer(self, each: Input) -> Answer:
        if isinstance(each, Mapping):
            return _flat(self._session.run(None, dict(each)))
        ids = np.asarray([self._words.ids(each) if isinstance(each, str) else each], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        found = self._session.run(None, {name: given[name] for name in self._inputs})
        outputs = dict(zip(self._outputs, found, strict=True))
        if self._model.task == "embedding" and "sentence_embedding" not in outputs:
            return _pool(np.asarray(found[0][0], np.float32), self._model)
        name = "sentence_embedding" if self._model.task == "embedding" else "logits"
        answer: Answer = np.asarray(outputs.get(name, found[0])[0], np.float32)
        return answer

    @property
    def _words(self) -> _HuggingFaceText:
        if self._text is None:
            raise UnsupportedModel("a bare ONNX file has no tokenizer", "give the folder it came from, or --task")
        return self._text

    def tokenize(self, text: str) -> list[int]:
        return self._words.tokenize(text)

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        return self._words.rows_at(text, starts)


class GgufReference:
    """A GGUF file in llama.cpp, through the engine class of the runtime that ships."""

    def __init__(self, path: Path, model: SourceModel, threads: int, told: str) -> None:
        use_python_runtime()
        from edgekit_runtime._llama import Engine

        longest = model.text.max_tokens if model.text is not None else DEFAULT_CONTEXT_TOKENS
        manifest = {
            "name": model.name,
            "task": model.task,
            "model_file": path.name,
            "text": {"max_tokens": longest},
            "generation": {"context_tokens": min(longest, DEFAULT_CONTEXT_TOKENS)},
            "embedding": {"width": int(model.config.get("hidden_size", 0)), "normalize": model.normalize},
        }
        self._model = model
        self._engine = Engine(path.parent, manifest, threads, low_memory=False)
        self.description = f"{told}, {self._engine.version}"

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]:
        for each in inputs:
            if isinstance(each, str):
                yield self._engine.embed([each], 1)[0]
            else:
                assert not isinstance(each, Mapping)
                yield self._engine.logits(each, None)

    def tokenize(self, text: str) -> list[int]:
        return self._engine.tokenize(text)

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        raise UnsupportedModel(f"llama.cpp labels no tokens (asked for {len(starts)} of {text!r})", "use onnx")

    def decode_ms(self, ids: Sequence[int], steps: int) -> list[float]:
        times = []
        started = time.perf_counter()
        for _ in self._engine.tokens(list(ids), steps, _sampler(0.0)):
            times.append(1e3 * (time.perf_counter() - started))
            started = time.perf_counter()
        return times

    def sample(self, sequences: int, tokens: int) -> list[list[int]]:
        start = self.tokenize("") or self.tokenize("\n")[:1] or [0]
        return [
            start + list(self._engine.tokens(start, tokens - len(start), _sampler(1.0, seed)))
            for seed in range(sequences)
        ]


def _sampler(temperature: float, seed: int = 0) -> Sampler:
    from edgekit_runtime._sample import Sampler

    return Sampler(temperature, 1.0, seed)


def _pool(hidden: Answer, model: SourceModel) -> Answer:
    """[tokens, width] -> [width], as sentence-transformers does for one unpadded text."""
    how: Mapping[str, Callable[[Answer], Answer]] = {
        "cls": lambda rows: rows[0],
        "last": lambda rows: rows[-1],
        "max": lambda rows: rows.max(axis=0),
        "mean": lambda rows: rows.mean(axis=0),
    }
    pooled = how[model.pooling or "mean"](hidden)
    return pooled / max(float(np.linalg.norm(pooled)), 1e-12) if model.normalize else pooled


def _numpy(tensor: torch.Tensor) -> Answer:
    array: Answer = tensor.float().numpy()
    return array


def _flat(output: Any) -> Answer:
    """All float outputs of a model, in their order, as one vector; a Hugging Face classifier's is its logits."""
    if hasattr(output, "logits"):
        output = output.logits
    if isinstance(output, Mapping):
        output = tuple(output.values())
    parts = output if isinstance(output, (tuple, list)) else (output,)
    return np.concatenate([np.asarray(part, dtype=np.float32).ravel() for part in parts])
