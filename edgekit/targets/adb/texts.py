"""`python texts.py REQUEST.json`: what texts become, told by a bundle's own Python runtime.

A program of its own: it runs in a process with the bundle's runtime on its path and nothing of edgekit, and writes
beside the request answer.json and, for graphs, a .npy file per tensor.

    request  {bundle, texts, tokenize, chats}
    answer   {inputs: one per text, {ids} or {tensors: {name: file}}, token_ids: one list per text of `tokenize`,
             chat_ids: one list per messages of `chats`}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(request_file: Path) -> int:
    import edgekit_runtime as rt
    import numpy as np

    request = json.loads(request_file.read_bytes())
    work = request_file.parent
    inputs: list[dict[str, Any]] = []
    try:
        with rt.open(request["bundle"], threads=1, verify=False) as session:
            for number, text in enumerate(request["texts"]):
                if session.info["engine"] == "llama.cpp":
                    inputs.append({"ids": session.tokenize(text)})
                    continue
                tensors = session.encode(text)
                files = {name: f"text-{number}-{index}.npy" for index, name in enumerate(tensors)}
                for name, file in files.items():
                    np.save(work / file, tensors[name])
                inputs.append({"tensors": files})
            found = {
                "token_ids": [session.tokenize(text) for text in request["tokenize"]],
                "chat_ids": [session.chat_ids(messages) for messages in request["chats"]],
            }
    except rt.RuntimeFailure as error:
        sys.stderr.write(json.dumps({"error": type(error).__name__, "message": str(error)}) + "\n")
        return 1
    (work / "answer.json").write_text(json.dumps({"inputs": inputs, **found}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
