"""The user's ONNX file in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from edgekit.evaluation import Answer, Input
from edgekit.model import SourceModel
from edgekit.reference.answers import flat, pool
from edgekit.reference.text import SourceText


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
        self._model = model
        self.description = f"{path.name} in onnxruntime {onnxruntime.__version__}"

    def answers(self, inputs: Sequence[Input]) -> Iterator[Answer]:
        for each in inputs:
            yield self._answer(each)

    def _answer(self, each: Input) -> Answer:
        if isinstance(each, Mapping):
            return flat(self._session.run(None, dict(each)))
        ids = np.asarray([self._words.ids(each) if isinstance(each, str) else each], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        found = self._session.run(None, {name: given[name] for name in self._inputs})
        outputs = dict(zip(self._outputs, found, strict=True))
        if self._model.task == "embedding" and "sentence_embedding" not in outputs:
            return pool(np.asarray(found[0][0], np.float32), self._model)
        name = "sentence_embedding" if self._model.task == "embedding" else "logits"
        answer: Answer = np.asarray(outputs.get(name, found[0])[0], np.float32)
        return answer

    @cached_property
    def _words(self) -> SourceText:
        return SourceText(self._model)

    def tokenize(self, text: str) -> list[int]:
        return self._words.tokenize(text)

    def rows_at(self, text: str, starts: Sequence[int]) -> list[int | None]:
        return self._words.rows_at(text, starts)
