"""Importing onnx, onnxruntime and optimum: late, without telemetry, and with a remedy when they are not there."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, MissingEngine, UnsupportedModel

_REMEDY = "pip install torch transformers onnx onnxruntime optimum-onnx"


def require(module: str) -> Any:
    """The imported module; MissingEngine with the pip command if it is not installed."""
    if module.partition(".")[0] == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with silenced():
            return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingEngine(f"ONNX strategies need {package}, which cannot be imported: {error}", _REMEDY) from error


def session(path: Path, threads: int = 0) -> Any:
    """An InferenceSession on this CPU; `threads` 0 lets ONNX Runtime choose."""
    ort = require("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def silenced() -> Iterator[None]:
    """No warnings, no log below ERROR and nothing on stdout from third parties; exceptions pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def first_line(error: BaseException) -> str:
    """The first line of an exception's text that says something, or its class."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Turn what a third party raises into UnsupportedModel: `what`, then its first line. Our own errors pass."""
    try:
        yield
    except (EdgekitError, MemoryError, OSError):
        raise
    except Exception as error:
        raise UnsupportedModel(f"{what}: {first_line(error)}", remedy) from error
