"""Where the data that travels with edgekit lies: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    installed = _PACKAGE / "data"
    return installed if (installed / "device_profiles").is_dir() else _PACKAGE.parent


def device_profiles() -> Path:
    """The folder of device profiles, one TOML each."""
    return _root() / "device_profiles"


def runtime(language: str) -> Path:
    """The folder of the thin runtime for `language` ("python")."""
    return _root() / "runtimes" / language


def probe_runtime(bundle: Path) -> Path:
    """The folder whose `edgekit_runtime` measures the bundle: the bundle's own, or edgekit's where it carries none."""
    own = bundle.resolve() / "runtime" / "python"
    return own if (own / "edgekit_runtime" / "probe.py").is_file() else runtime("python")


def probe_note(bundle: Path) -> str | None:
    """What a report says where the bundle was measured by another wrapper than its own."""
    if probe_runtime(bundle) != runtime("python"):
        return None
    return "the bundle carries no Python wrapper in runtime/python: edgekit's own measured it"


def sample_text() -> Path:
    """The small multilingual text that fidelity is measured on when the user gives none."""
    return _PACKAGE / "data" / "multilingual.txt"


def use_python_runtime() -> None:
    """Make `import edgekit_runtime` find the very runtime that goes into bundles (stdlib only until a model loads)."""
    folder = str(runtime("python"))
    if folder not in sys.path:
        sys.path.append(folder)
