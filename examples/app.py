"""What an app does with a bundle: it needs the bundle, numpy and the engine, and neither edgekit nor torch.

    python examples/app.py BUNDLE [TEXT ...]

An embedding bundle ranks the texts by how near they are to the first; a classifier labels each; a language model
answers; a bundle of plain tensors is run on random ones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(bundle: str, *texts: str) -> None:
    # Or copy that folder into the app, or install edgekit-runtime.
    sys.path.insert(0, str(Path(bundle) / "runtime" / "python"))
    import edgekit_runtime as rt

    with rt.open(bundle) as session:
        ACTIONS.get(session.info["task"], label)(session, list(texts))


def rank(session: Any, texts: list[str]) -> None:
    query, *documents = session.embed(texts)
    scores = [float(query @ document) for document in documents]
    for score, text in sorted(zip(scores, texts[1:], strict=True), reverse=True):
        print(f"{score:6.3f}  {text}")


def label(session: Any, texts: list[str]) -> None:
    for text, labels in zip(texts, session.classify(texts), strict=True):
        print(", ".join(f"{each['label']} {each['score']:.3f}" for each in labels[:5]), "", text)


def answer(session: Any, texts: list[str]) -> None:
    generation = session.info["generation"]
    said = " ".join(texts)
    turns = [{"role": "user", "content": said}]
    stream = session.chat if generation["chat_template"] else session.generate
    for piece in stream(turns if generation["chat_template"] else said, max_tokens=48):
        print(piece, end="", flush=True)
    print()


def run(session: Any, _: list[str]) -> None:
    random = np.random.default_rng(0)
    shapes = {
        each["name"]: [axis if isinstance(axis, int) else 2 for axis in each["shape"]]
        for each in session.info["inputs"]
    }
    outputs = session.run({name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()})
    for name, array in outputs.items():
        print(f"{name}: {array.dtype} {list(array.shape)}, {array.min():.3f} to {array.max():.3f}")


ACTIONS = {"embedding": rank, "causal-lm": answer, "tensors": run}

if __name__ == "__main__":
    main(*sys.argv[1:])
