"""Bundles for ONNX Runtime. The model is loaded by path; telemetry is off before the engine is imported."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _image, _labels, _machine
from ._bundle import inside, setting
from ._text import Encoder, Text
from ._versions import check
from .errors import BadInput, Cancelled, LoadFailed, RunFailed

Array = npt.NDArray[Any]

# mallopt's parameter number, from malloc.h.
_M_MMAP_THRESHOLD = -3

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


class Engine:
    """One model file with, for text, its tokenizer. Not safe to call from two threads: the session sees to that."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        threads: int,
        low_memory: bool,
        model: Path | None = None,
        isa_safety: bool = True,
    ) -> None:
        self._manifest = manifest
        model = model or folder / manifest["model_file"]
        self._session, self.version, self._new_run_options = _load(model, threads, low_memory, isa_safety)
        self._inputs = {
            one.name: (_DTYPES.get(one.type, one.type), list(one.shape)) for one in self._session.get_inputs()
        }
        self._outputs = [one.name for one in self._session.get_outputs()]
        self._encoder: Encoder | None = None
        if manifest.get("text"):
            tokenizer = inside(folder, manifest, setting(manifest, "text", "tokenizer", str))
            dtypes = {name: dtype for name, (dtype, _) in self._inputs.items()}
            self._encoder = Encoder(tokenizer, setting(manifest, "text", "max_tokens", int), dtypes)
        self._cancelled = threading.Event()
        self._run_options: Any = None

    def begin(self) -> None:
        """A call starts: forget an earlier cancel."""
        self._cancelled.clear()

    def cancel(self) -> None:
        self._cancelled.set()
        if (options := self._run_options) is not None:
            options.terminate = True

    def close(self) -> None:
        self._session = self._encoder = None

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(self._outputs, self._run(self._checked(inputs)), strict=True))

    def tokenize(self, text: str) -> list[int]:
        return self._text().ids(text)

    def encode(self, text: str) -> dict[str, Array]:
        """The tensors that one text becomes."""
        encoder = self._text()
        return next(encoder.batches(encoder.encode([text]), 1))[1]

    def embed(self, texts: Sequence[Text], batch_size: int) -> npt.NDArray[np.float32]:
        encoder, output = self._text(), self._embedding_output()
        width = setting(self._manifest, "embedding", "width", int)
        vectors: list[Any] = [None] * len(texts)
        for positions, tensors in encoder.batches(encoder.encode(texts), batch_size):
            (rows,) = self._run(tensors, [output])
            if rows.shape != (len(positions), width):
                raise RunFailed(f"{output} is {list(rows.shape)}, expected [{len(positions)}, {width}]")
            for position, row in zip(positions, rows, strict=True):
                vectors[position] = row
        return np.asarray(vectors, np.float32).reshape(len(texts), width)

    def classify(self, inputs: Any, batch_size: int) -> list[list[_labels.Label]]:
        """By the manifest's task; see the session's `classify`."""
        labels = self._manifest.get("labels", [])
        if self._manifest["task"] == "image-classification":
            pixels = _image.pixel_values(inputs, self._manifest)
            (name,) = self._inputs
            batches = (pixels[start : start + batch_size] for start in range(0, len(pixels), batch_size))
            scores: Iterable[Any] = (row for batch in batches for row in self._scores({name: batch}))
            return [_labels.ranked(row, labels) for row in scores]
        encoder = self._text()
        encodings = encoder.encode(inputs)
        if self._manifest["task"] == "text-classification":
            return [_labels.ranked(row, labels) for row in self._score_texts(encodings, batch_size)]
        windows = [[encoding, *encoding.overflowing] for encoding in encodings]
        scores = iter(self._score_texts([window for group in windows for window in group], batch_size))
        return [
            _labels.tokens(text, [(window, next(scores)) for window in group], labels)
            for text, group in zip(inputs, windows, strict=True)
        ]

    def _score_texts(self, encodings: Sequence[Any], batch_size: int) -> list[npt.NDArray[np.float32]]:
        """Per encoding: [labels], or [tokens, labels] with the batch's padding still at the end."""
        found: list[Any] = [None] * len(encodings)
        for positions, tensors in self._text().batches(encodings, batch_size):
            for position, row in zip(positions, self._scores(tensors), strict=True):
                found[position] = row
        return found

    def _scores(self, tensors: dict[str, Array]) -> npt.NDArray[np.float32]:
        output = "logits" if "logits" in self._outputs else self._outputs[0]
        return _labels.probabilities(self._run(tensors, [output])[0], self._manifest.get("problem_type"))

    def _embedding_output(self) -> str:
        if "sentence_embedding" in self._outputs:
            return "sentence_embedding"
        flat = [one.name for one in self._session.get_outputs() if len(one.shape or []) == 2]
        if not flat:
            raise RunFailed(f"none of the outputs ({', '.join(self._outputs)}) is one vector per text")
        return str(flat[0])

    def _text(self) -> Encoder:
        if self._encoder is None:
            raise LoadFailed("the bundle has no tokenizer: its manifest's text is null")
        return self._encoder

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not isinstance(inputs, Mapping):
            raise BadInput(f"inputs are {type(inputs).__name__}, expected arrays by name")
        if set(inputs) != set(self._inputs):
            raise BadInput(f"inputs are {sorted(map(str, inputs))}, the model takes {sorted(self._inputs)}")
        return {name: _conform(name, inputs[name], *self._inputs[name]) for name in self._inputs}

    def _run(self, tensors: dict[str, Array], outputs: list[str] | None = None) -> list[Array]:
        # The order matters: cancel() sets the event first, then the options it finds.
        self._run_options = options = self._new_run_options()
        if self._cancelled.is_set():
            raise Cancelled("the call was cancelled")
        try:
            return list(self._session.run(outputs, tensors, options))
        except Exception as error:
            if self._cancelled.is_set():
                raise Cancelled("the call was cancelled") from error
            raise RunFailed(f"ONNX Runtime: {error}") from error
        finally:
            self._run_options = None


def _give_back_freed_weights() -> None:
    """Have glibc return freed blocks of 128 KiB and more to the system.

    Left alone, it raises that size to whatever was freed last; the originals of weights that the engine copied into
    another order then stay in memory, up to a third of the peak, and not the same share each time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # other C libraries have no mallopt
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def _load(model: Path, threads: int, low_memory: bool, isa_safety: bool) -> tuple[Any, str, Any]:
    """(session, "onnxruntime VERSION", RunOptions). Only the CPU: that is what was measured."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    _give_back_freed_weights()
    try:
        import onnxruntime
    except ImportError as error:
        raise LoadFailed(f"the engine cannot be imported ({error}): pip install onnxruntime tokenizers") from error
    version = check("onnxruntime", getattr(onnxruntime, "__version__", None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # the exception says it all
    if isa_safety and _saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if low_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise LoadFailed(f"ONNX Runtime {version} refuses {model.name}: {error}") from error
    return session, f"onnxruntime {version}", onnxruntime.RunOptions


def _saturates() -> bool:
    """Whether int8 products saturate here, and answers change silently, unless the session forbids it: x86 without
    VNNI. Where there is VNNI the entry changes no answer and costs three quarters of the speed, so it is not set.
    """
    features = _machine.isa_features() or frozenset()
    return _machine.arch() == "x86_64" and not features & {"avx512_vnni", "avx_vnni"}


def _conform(name: str, value: Any, dtype: str, shape: list[int | str | None]) -> Array:
    """`value` with the graph's dtype, if that keeps its kind of number; BadInput where dtype or a fixed axis is off."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadInput(f"the input {name} is no array: {error}") from error
    if dtype.startswith(("tensor(", "seq", "map", "optional")):
        raise BadInput(f"the input {name} is a {dtype}, which this runtime cannot feed")
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise BadInput(f"the input {name} is {array.dtype}, expected {dtype}")
    fixed = [axis if isinstance(axis, int) else None for axis in shape]
    if len(fixed) != array.ndim or any(want not in (None, have) for want, have in zip(fixed, array.shape, strict=True)):
        raise BadInput(f"the input {name} is {list(array.shape)}, expected {shape}")
    return np.ascontiguousarray(array, dtype=dtype)
