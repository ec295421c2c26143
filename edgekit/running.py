"""Run a bundle through its own runtime, as an app would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.bundle import verify
from edgekit.errors import RunRefused, UsageError
from edgekit.resources import use_python_runtime


def run(
    bundle: str | Path, inputs: Sequence[str], *, threads: int | None = None, max_tokens: int | None = None
) -> list[Any] | Iterator[str]:
    """What the bundle makes of `inputs`: an embedding or labels for each text or picture, or, from one prompt, text.

    A chat bundle is spoken to through its template; an answer has up to 256 tokens, or what the context leaves, where
    `max_tokens` says nothing else. Returns plain lists, or an iterator of pieces of text.
    """
    manifest = verify(Path(bundle))
    if manifest.task == "tensors":
        raise UsageError(
            "a bundle of plain tensors has no text to run on", "call edgekit_runtime's session.run instead"
        )
    if not inputs:
        raise UsageError("nothing to run on", 'give a text: edgekit run BUNDLE "a text"')
    use_python_runtime()
    import edgekit_runtime

    try:
        session = edgekit_runtime.open(bundle, threads=threads, verify=False)
        if manifest.task == "causal-lm":
            if manifest.kind == "chat":
                return _told(session.chat([{"role": "user", "content": " ".join(inputs)}], max_tokens=max_tokens))
            return _told(session.generate(" ".join(inputs), max_tokens=max_tokens))
        with session:
            if manifest.task == "embedding":
                return session.embed(list(inputs)).tolist()  # type: ignore[no-any-return]
            return list(session.classify(list(inputs)))
    except edgekit_runtime.RuntimeFailure as error:
        raise _refused(error) from error


def _told(pieces: Iterator[str]) -> Iterator[str]:
    """The same pieces; what breaks on the way is told as what breaks at once is."""
    import edgekit_runtime

    try:
        yield from pieces
    except edgekit_runtime.RuntimeFailure as error:
        raise _refused(error) from error


def _refused(error: Exception) -> RunRefused:
    return RunRefused(str(error).replace("or lower max_tokens", "or lower max_tokens (--max-tokens)"))
