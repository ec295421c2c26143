"""The Python runtime behind the suite's lines of JSON; see README.md."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "runtimes" / "python"))

import edgekit_runtime as rt
import numpy as np


class Answering:
    """At most one session. Each operation of README.md is a method that takes its fields."""

    def __init__(self) -> None:
        self._session: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operations: Mapping[str, Callable[..., Any]] = {
            "open": self.open,
            "verify": lambda bundle: {"name": rt.verify(bundle)["name"]},
            "tokenize": lambda text: self._session.tokenize(text),
            "embed": lambda text: self._session.embed(text)[0].tolist(),
            "classify": self.classify,
            "classify_pixels": lambda picture: self._session.classify([_array(picture)])[0],
            "run": self.run,
            "generate": lambda **given: list(self._session.generate(**_settings(given))),
            "chat": lambda **given: list(self._session.chat(**_settings(given))),
            "self_test": lambda: self._session.self_test(),
            "cancel": self.cancel,
            "busy": self.busy,
            "not_utf8": self.not_utf8,
            "close": lambda: self._session.close(),
        }
        try:
            return {"ok": operations[request.pop("op")](**request)}
        except rt.RuntimeFailure as error:
            return {"error": error.code, "message": str(error)}

    def open(
        self,
        bundle: str,
        engine_library: str | None = None,
        threads: int | None = None,
        memory_budget: int | None = None,
        low_memory: bool = False,
    ) -> dict[str, Any]:
        """The engine is the one that is installed here: `engine_library` says nothing to this runtime."""
        del engine_library
        if self._session is not None:
            self._session.close()
        self._session = rt.open(bundle, threads=threads, memory_budget=memory_budget, low_memory=low_memory)
        info = self._session.info
        return {key: info[key] for key in ("name", "task", "engine")} | {"threads": info["runtime"]["threads"]}

    def classify(self, text: str, pair: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._session.classify([text if pair is None else (text, pair)])[0]
        return found

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = self._session.run({name: _array(each) for name, each in inputs.items()})
        return {name: _tensor(each) for name, each in outputs.items()}

    def cancel(self, prompt: str) -> None:
        stream = self._session.generate(prompt, max_tokens=64)
        next(stream)
        self._session.cancel()
        for _ in stream:
            pass

    def busy(self, prompt: str) -> None:
        stream = self._session.generate(prompt, max_tokens=64)
        next(stream)
        try:
            self._session.generate(prompt, max_tokens=64)
        finally:
            self._session.cancel()
            stream.close()

    def not_utf8(self) -> None:
        self._session.tokenize("a lone surrogate: \ud83c")


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The options of an answer, those that were not given left at the runtime's defaults."""
    return {name: value for name, value in given.items() if value is not None}


def _array(stored: Mapping[str, Any]) -> Any:
    raw = base64.b64decode(stored["base64"], validate=True)
    return np.frombuffer(raw, np.dtype(stored["dtype"]).newbyteorder("<")).reshape(stored["shape"])


def _tensor(array: Any) -> dict[str, Any]:
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(raw).decode("ascii"),
    }


def main() -> None:
    answering = Answering()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answering.answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
