"""`python -m edgekit_runtime BUNDLE TEXT...` and, inside a bundle, `python runtime/python/run.py TEXT...`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgekit_runtime

from .errors import BadInput, RuntimeFailure

if TYPE_CHECKING:
    from ._session import Session

_SHOWN_LABELS = 5
_SHOWN_VALUES = 6


def main(arguments: Sequence[str], bundle: Path | None = None) -> int:
    """The exit code: 0, 1 for a failure (said in one line on stderr), 2 for wrong usage, 130 for Ctrl-C."""
    options = _parser(bundle).parse_intermixed_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a character must not end an answer
    try:
        return _run(options, bundle or options.bundle)
    except RuntimeFailure as error:
        told = str(error).replace("or lower max_tokens", "or lower --max-tokens")
        print(f"error: {told} [{error.code}]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # a terminal shows ^C where the cursor is
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 1


def _parser(bundle: Path | None) -> argparse.ArgumentParser:
    name = "runtime/python/run.py" if bundle else "edgekit_runtime"
    parser = argparse.ArgumentParser(
        prog=f"python {name}",
        description="Run a bundle: embed texts, label texts or pictures, or stream an answer.",
        epilog=f"""example: python {name} {"" if bundle else "minilm.bundle "}"a first text" "a second one" """,
    )
    if bundle is None:
        parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("inputs", nargs="*", help="texts, or paths of pictures; one text per line of stdin without any")
    parser.add_argument("--info", action="store_true", help="print the manifest and what was found here")
    parser.add_argument("--self-test", action="store_true", help="replay the goldens packed with the model")
    parser.add_argument("--threads", type=int, metavar="N", help="default: the device's fast cores")
    parser.add_argument("--low-memory", action="store_true", help="less private memory, slower")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="default: 256, or what the context leaves")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default)")
    parser.add_argument("--seed", type=int, metavar="N", help="for a temperature above 0")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _run(options: argparse.Namespace, bundle: Path) -> int:
    with edgekit_runtime.open(bundle, threads=options.threads, low_memory=options.low_memory) as session:
        if options.info:
            print(json.dumps(session.info, indent=2, ensure_ascii=False))
            return 0
        if options.self_test:
            return _self_test(session, options.json)
        show = _TASKS.get(session.info["task"])
        if show is None:
            raise BadInput(f"a bundle for {session.info['task']} takes arrays: use Session.run() from Python")
        show(session, options.inputs or _lines(), options)
    return 0


def _lines() -> list[str]:
    if sys.stdin.isatty():
        print("one text per line, then Ctrl-D:", file=sys.stderr)
    try:
        lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise BadInput(f"stdin is not {error.encoding.upper()} at byte {error.start}: give text in it") from error
    if lines:
        return lines
    raise BadInput("no text was given, neither as an argument nor on stdin")


def _self_test(session: Session, as_json: bool) -> int:
    results = session.self_test()
    if as_json:
        print(json.dumps(results, ensure_ascii=False))
    for one in () if as_json else results:
        away = "not comparable" if one["difference"] is None else f"{one['difference']:.2g}"
        print(f"{'passed' if one['passed'] else 'FAILED'}  {one['name']}: {away} (tolerance {one['tolerance']:.2g})")
    return 0 if all(one["passed"] for one in results) else 1


def _show_embeddings(session: Session, texts: list[str], options: argparse.Namespace) -> None:
    vectors = session.embed(texts)
    if options.json:
        print(json.dumps({"embeddings": vectors.tolist()}))
        return
    for text, vector in zip(texts, vectors, strict=True):
        first = " ".join(f"{value:+.4f}" for value in vector[:_SHOWN_VALUES])
        print(f"{len(vector)} values  {first} ...  {_short(text)}")
    if len(texts) > 1:
        lengths = (vectors**2).sum(axis=1) ** 0.5
        print("\ncosine similarity")
        for text, row in zip(texts, (vectors @ vectors.T) / (lengths[:, None] * lengths), strict=True):
            print(" ".join(f"{value:6.3f}" for value in row), "", _short(text))


def _show_labels(session: Session, inputs: list[str], options: argparse.Namespace) -> None:
    found = session.classify(inputs)
    if options.json:
        print(json.dumps({"labels": found}, ensure_ascii=False))
        return
    for given, labels in zip(inputs, found, strict=True):
        print(_short(given))
        for one in labels if session.info["task"] == "token-classification" else labels[:_SHOWN_LABELS]:
            print(f"  {one['score']:.4f}  {one['label']}{'  ' + one['word'] if 'word' in one else ''}")


def _show_answer(session: Session, texts: list[str], options: argparse.Namespace) -> None:
    prompt = "\n".join(texts)
    settings: dict[str, Any] = {
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "seed": options.seed,
    }
    if (session.info.get("generation") or {}).get("chat_template"):
        stream = session.chat([{"role": "user", "content": prompt}], **settings)
    else:
        stream = session.generate(prompt, **settings)
    if options.json:
        print(json.dumps({"text": "".join(stream)}, ensure_ascii=False))
        return
    for text in stream:
        print(text, end="", flush=True)
    print()


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


_TASKS = {
    "embedding": _show_embeddings,
    "text-classification": _show_labels,
    "token-classification": _show_labels,
    "image-classification": _show_labels,
    "causal-lm": _show_answer,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
