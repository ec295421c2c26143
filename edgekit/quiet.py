"""Keeping transformers and the hub off stderr: their bars, warnings and telemetry."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def no_telemetry() -> None:
    """Call before huggingface_hub or transformers is imported; a value the user set stays."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DISABLE_TELEMETRY", "1")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Errors pass, everything below is silent; the settings found are put back."""
    no_telemetry()
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
