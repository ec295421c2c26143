"""What the Python runtime costs beside the engine: `python overhead.py BUNDLE LIBRARY ROUNDS` of an ONNX text bundle,
128 tokens, one thread. The wrapper and the bare onnxruntime take turns on one session of the engine and the same
tensors. LIBRARY is not looked at: the onnxruntime package brings its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runtimes" / "python"))

TOKENS = 128
WARM_UP = 20


def main(bundle: str, _library: str, rounds: str) -> None:
    started = time.perf_counter()
    import edgekit_runtime as rt

    with rt.open(bundle, threads=1) as session:
        open_ms = 1000 * (time.perf_counter() - started)
        inputs = {each["name"]: tokens(each["name"]) for each in session.info["inputs"]}
        first_ms = timed(lambda: session.run(inputs))
        engine = session.engine._session  # as an app without the wrapper would call it

        def bare() -> Any:
            return engine.run(None, inputs)

        for wrapped, alone in zip(session.run(inputs).values(), bare(), strict=True):
            if not (wrapped == alone).all():
                raise SystemExit("the two answer differently")
        alternate(WARM_UP, lambda: session.run(inputs), bare)
        told = alternate(int(rounds), lambda: session.run(inputs), bare)
    print(json.dumps(told | {"open_ms": open_ms, "first_ms": first_ms}))


def tokens(name: str) -> Any:
    import numpy as np

    kinds = {"attention_mask": np.ones(TOKENS), "token_type_ids": np.zeros(TOKENS)}
    return kinds.get(name, 1000 + np.arange(TOKENS)).astype(np.int64)[None]


def alternate(rounds: int, wrapper: Callable[[], Any], bare: Callable[[], Any]) -> dict[str, list[float]]:
    pairs = [(timed(wrapper), timed(bare)) for _ in range(rounds)]
    return {"wrapper_ms": [one for one, _ in pairs], "bare_ms": [other for _, other in pairs]}


def timed(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begun)


if __name__ == "__main__":
    main(*sys.argv[1:])
