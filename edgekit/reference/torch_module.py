"""The source in torch, float32, on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgekit.evaluation import Answer, Input
from edgekit.model import SourceModel
from edgekit.reference.answers import flat, pool
from edgekit.reference.text import SourceText

if TYPE_CHECKING:
    import torch


class TorchReference:
    """The source in torch, float32, on the CPU."""

    def __init__(self, model: SourceModel, threads: int) -> None:
        import torch

        from edgekit import torch_model

        torch.set_num_threads(threads)
        self._model = model
        self._module = torch_model.load_torch(model)
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
            return flat(self._module(**tensors) if self._model.format == "hf" else self._module(*tensors.values()))
        ids = self._words.ids(each) if isinstance(each, str) else list(each)
        tensor = torch.tensor([ids])
        if self._model.task == "causal-lm":
            return _numpy(self._module(input_ids=tensor, use_cache=False).logits[0])
        output = self._module(input_ids=tensor, attention_mask=torch.ones_like(tensor))
        if self._model.task == "embedding":
            return pool(_numpy(output.last_hidden_state[0]), self._model)
        return _numpy(output.logits[0])

    def tokenize(self, text: str) -> list[int]:
        return self._words.tokenize(text)

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int] | None:
        return self._words.chat_ids(messages)

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        return self._words.rows_at(text, starts)

    @cached_property
    def _words(self) -> SourceText:
        return SourceText(self._model)

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
        generator = torch.Generator().manual_seed(0)  # not the process's own, which may be the user's
        with torch.inference_mode():
            ids = torch.tensor([start] * sequences)
            output = self._module(input_ids=ids, use_cache=True)
            while ids.shape[1] < tokens:
                probabilities = torch.softmax(output.logits[:, -1], dim=-1)
                token = torch.multinomial(probabilities, 1, generator=generator)
                ids = torch.cat([ids, token], dim=1)
                output = self._module(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
        return [[int(token) for token in row] for row in ids]

    def _start_ids(self) -> list[int]:
        """What every text of this model begins with, or, where that is nothing, the id of a line break's token."""
        return self.tokenize("") or self.tokenize("\n")[:1] or [0]


def _numpy(tensor: torch.Tensor) -> Answer:
    array: Answer = tensor.float().numpy()
    return array
