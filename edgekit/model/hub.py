"""Downloading a model from the hub: only the files that are needed, at one commit, from the cache when offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from edgekit.errors import BadModel, GatedModel, HubUnreachable, ModelNotFound, NoSpace, UnsafeModel
from edgekit.quiet import no_telemetry

_TIMEOUT_S = 20
_SMALL_FILES = ("*.json", "*.jinja", "vocab.txt", "merges.txt", "*.model", "README.md", "LICENSE*", "LICENCE*")
_CODE = ("*.py",)
_OTHER_FORMATS = ("onnx/", "openvino/", "original/", "coreml/")
_LOCAL = "a folder on this machine works without the hub"


@dataclass(frozen=True)
class Copy:
    """A snapshot in the cache. `revision` is the commit it was taken at."""

    folder: Path
    revision: str


def download(hub_id: str, revision: str | None, cache: Path | None, *, allow_pickle: bool, with_code: bool) -> Copy:
    """The model at `revision` (default: main). Looks at HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE as the hub's tools do.

    ModelNotFound, GatedModel, HubUnreachable, or UnsafeModel where there are only pickles and they are not allowed.
    """
    no_telemetry()
    from huggingface_hub import HfApi, snapshot_download

    endpoint = os.environ.get("HF_ENDPOINT") or None
    folder = cache / "hub" if cache else None
    with _hub_errors(hub_id, revision):
        try:
            info = HfApi(endpoint=endpoint).model_info(hub_id, revision=revision, timeout=_TIMEOUT_S)
        except Exception as error:
            if not _is_unreachable(error):
                raise
            found = snapshot_download(hub_id, revision=revision, cache_dir=folder, local_files_only=True)
            return Copy(Path(found), Path(found).name)
        wanted = choose_files([entry.rfilename for entry in info.siblings or ()], hub_id, allow_pickle, with_code)
        with _bars_for_people():
            found = snapshot_download(
                hub_id, revision=info.sha, cache_dir=folder, endpoint=endpoint, allow_patterns=wanted
            )
        _remember(Path(found), revision, str(info.sha))
    return Copy(Path(found), str(info.sha))


def choose_files(names: Sequence[str], hub_id: str, allow_pickle: bool, with_code: bool) -> list[str]:
    """The files to download out of all `names`: configuration, tokenizer and one set of weights."""
    small_patterns = (*_SMALL_FILES, *(_CODE if with_code else ()))
    near = [name for name in names if name.count("/") <= 1 and not name.startswith(_OTHER_FORMATS)]
    small = [name for name in near if _matches(name, small_patterns)]
    weights = [name for name in near if _matches(name, ("model*.safetensors",))]
    pickles = [name for name in near if _matches(name, ("pytorch_model*.bin",))]
    if "adapter_config.json" in near:  # merged copies beside it are not what was asked for
        weights = [name for name in near if name == "adapter_model.safetensors"]
        pickles = [name for name in near if name == "adapter_model.bin"]
    if weights:
        return sorted({*small, *weights})
    if pickles and not allow_pickle:
        remedy = "pass --allow-pickle to load them weights-only"
        raise UnsafeModel(f"{hub_id} has its weights as pickles only ({pickles[0]})", remedy)
    if not pickles:
        others = [name for name in names if name.endswith((".gguf", ".onnx"))]
        remedy = f"download {others[0]} and name the file" if others else "it may hold another framework's weights only"
        raise BadModel(f"{hub_id} has no safetensors at its top", remedy)
    return sorted({*small, *pickles})


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name.rsplit("/", 1)[-1], pattern) for pattern in patterns)


@contextmanager
def _hub_errors(hub_id: str, revision: str | None) -> Iterator[None]:
    """The hub client's errors as edgekit's. Its subclasses come before their bases."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise _gated(hub_id) from error
    except RepositoryNotFoundError as error:
        if _status(error) in (401, 403) and error.response.headers.get("X-Error-Code") != "RepoNotFound":
            raise _gated(hub_id) from error
        raise ModelNotFound(
            f"the hub has no model {hub_id}", "check the spelling; a private one needs HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(
            f"{hub_id} has no revision {revision!r}", "name a branch, a tag or a commit that exists"
        ) from error
    except HFValidationError as error:
        raise ModelNotFound(f"{hub_id} is no valid hub id", "hub models are named organisation/model") from error
    except LocalEntryNotFoundError as error:
        raise HubUnreachable(f"the hub cannot be reached and {hub_id} is not in the cache", _LOCAL) from error
    except HfHubHTTPError as error:
        if _status(error) in (401, 403):
            raise _gated(hub_id) from error
        raise HubUnreachable(f"the hub answers {_status(error)} for {hub_id}", f"try again later; {_LOCAL}") from error
    except OSError as error:
        if error.errno == 28:
            raise NoSpace(
                f"no space left while downloading {hub_id}", "free some, or point HF_HOME elsewhere"
            ) from error
        raise HubUnreachable(
            f"the download of {hub_id} broke off: {type(error).__name__}", f"run it again: it resumes; {_LOCAL}"
        ) from error


def _gated(hub_id: str) -> GatedModel:
    return GatedModel(
        f"{hub_id} is gated or private", "accept its terms on the hub, then set HF_TOKEN or run hf auth login"
    )


def _status(error: Any) -> int:
    response = getattr(error, "response", None)
    return int(response.status_code) if response is not None else 0


def _is_unreachable(error: Exception) -> bool:
    """No connection, no answer in time, offline by wish, or a server that is down."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return _status(error) >= 500
    return isinstance(error, OfflineModeIsEnabled | OSError)


def _remember(snapshot: Path, revision: str | None, commit: str) -> None:
    """Note which commit a branch or tag stood for, as the hub's client does, so that it is found again offline."""
    reference = snapshot.parent.parent / "refs" / (revision or "main")
    if revision != commit and not reference.exists():
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")


@contextmanager
def _bars_for_people() -> Iterator[None]:
    """The client's progress bars on a terminal only."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
