"""A GGUF file in llama.cpp, through the engine class of the runtime that ships."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BadModel, UnsupportedModel
from edgekit.evaluation import Answer, Input
from edgekit.limits import DEFAULT_CONTEXT_TOKENS
from edgekit.model import SourceModel
from edgekit.reference.text import rendered
from edgekit.resources import use_python_runtime

if TYPE_CHECKING:
    from edgekit_runtime._sample import Sampler


class GgufReference:
    """A GGUF file in llama.cpp, through the engine class of the runtime that ships."""

    def __init__(self, path: Path, model: SourceModel, threads: int, told: str) -> None:
        use_python_runtime()
        from edgekit_runtime import RuntimeFailure
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
        try:
            self._engine = Engine(path.parent, manifest, threads, low_memory=False)
        except RuntimeFailure as error:
            raise BadModel(f"{model.source}: {error}", "use a sound file that this llama.cpp knows") from error
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

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
        template = self._model.text.chat_template if self._model.text is not None else None
        text = rendered(template, messages, *self._engine.special_texts)
        return None if text is None else self._engine.tokenize(text, add_special=False)

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
        if not np.isfinite(self._engine.logits(start, None)).all():
            raise BadModel(f"{self._model.source} answers with NaN or infinity", "use a sound file")
        return [
            start + list(self._engine.tokens(start, tokens - len(start), _sampler(1.0, seed)))
            for seed in range(sequences)
        ]


def _sampler(temperature: float, seed: int = 0) -> Sampler:
    from edgekit_runtime._sample import Sampler

    return Sampler(temperature, 1.0, seed)
