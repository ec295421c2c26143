"""llama.cpp as llama-cpp-python loaded it: its vocabulary and its quantizers, through ctypes.

Everything goes through the one library object that package opened: opening libggml a second time by another file name
gives two copies of its state, and crashes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import BadTokenizer, MissingEngine

_LOG_ERROR = 4


@cache
def load() -> ModuleType:
    """llama_cpp's low-level module; MissingEngine if it is not installed."""
    try:
        from llama_cpp import llama_cpp
    except ImportError as error:
        raise MissingEngine(
            "the gguf strategy needs llama-cpp-python, which is not installed", "pip install gguf llama-cpp-python"
        ) from error
    module: ModuleType = llama_cpp
    with quiet():
        module.llama_backend_init()
    return module


_listening: list[Any] = []


@contextmanager
def quiet() -> Iterator[list[str]]:
    """The engine's log is silent inside; what it called an error is appended to the list. For the main thread only."""
    from llama_cpp import llama_cpp
    from llama_cpp._logger import llama_log_callback

    errors: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
    def collect(level: int, text: bytes, _user_data: Any) -> None:
        if level == _LOG_ERROR:
            errors.append(text.decode("utf-8", "replace").strip())

    _listening.append(collect)  # keeps the callback alive as long as the engine may call it
    llama_cpp.llama_log_set(collect, ctypes.c_void_p(0))
    try:
        yield errors
    finally:
        _listening.pop()
        before = _listening[-1] if _listening else llama_log_callback
        llama_cpp.llama_log_set(before, ctypes.c_void_p(0))


class EngineVocabulary:
    """The vocabulary of a GGUF file, as the engine reads it; no weights are loaded."""

    def __init__(self, path: Path) -> None:
        self._api = load()
        parameters = self._api.llama_model_default_params()
        parameters.vocab_only = True
        with ExitStack() as stack:
            errors = stack.enter_context(quiet())
            self._model = self._api.llama_model_load_from_file(str(path).encode(), parameters)
            self._exit = stack.pop_all()
        if not self._model:
            self._exit.close()
            raise BadTokenizer(f"the engine does not load the vocabulary: {'; '.join(errors) or 'no reason given'}")
        self._vocabulary = self._api.llama_model_get_vocab(self._model)

    def tokenize(self, text: str) -> list[int]:
        """Ids of `text`, special tokens in it parsed, with what the model puts around it."""
        raw = text.encode()
        room = len(raw) + 8
        while True:
            ids = (self._api.llama_token * room)()
            count = int(self._api.llama_tokenize(self._vocabulary, raw, len(raw), ids, room, True, True))
            if count >= 0:
                return list(ids[:count])
            room = -count

    def __enter__(self) -> EngineVocabulary:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.llama_model_free(self._model)
        self._exit.close()


@cache
def _quantizers() -> tuple[Any, Any]:
    library = load()._lib
    quantize, validate = library.ggml_quantize_chunk, library.ggml_validate_row_data
    # type, source float32, destination, first value, rows, values per row, importance of each column or null
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    quantize.restype = ctypes.c_size_t
    validate.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    validate.restype = ctypes.c_bool
    return quantize, validate


def quantize_rows(type_number: int, source: int, destination: int, rows: int, columns: int) -> int:
    """Bytes written at `destination` for float32 [rows, columns] at `source`; both are addresses. Releases the GIL.

    Rows must be whole blocks: the engine aborts the process otherwise.
    """
    return int(_quantizers()[0](type_number, source, destination, 0, rows, columns, None))


def is_valid(type_number: int, address: int, size: int) -> bool:
    """Whether the blocks hold no infinite or NaN scale."""
    return bool(_quantizers()[1](type_number, address, size))
