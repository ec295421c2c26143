"""What models take in memory in torch: each loaded in a process of its own, which answers one input and says its peak.

    python -m edgekit.distilling.probe < order.json

One process imports torch and transformers; children are forked off it, one a model and run, so that what they need
above that is the model's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.model import SourceModel

_TIMEOUT_S = 3600.0


def ram_bytes(models: Sequence[SourceModel], inputs: Mapping[str, Any], runs: int) -> list[list[float]] | None:
    """For each model the peaks, in resident bytes, of `runs` processes that load it and answer `inputs` [1, ...] once,
    above what torch and transformers take alone; models take turns. None where that cannot be measured: no /proc, or
    no room for another copy.
    """
    if not Path("/proc/self/status").is_file():
        return None
    order = {
        "models": [
            {
                "source": model.source,
                "revision": model.revision,
                "task": model.task,
                "allow_pickle": model.allow_pickle,
                "trust_remote_code": model.trust_remote_code,
            }
            for model in models
        ],
        "inputs": {name: each.tolist() for name, each in inputs.items()},
        "runs": runs,
    }
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "edgekit.distilling.probe"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        peaks = json.loads(ran.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError, OSError):
        return None
    found = [[float(each) for each in taken] for taken in peaks]
    return found if all(each > 0 for taken in found for each in taken) else None


def main() -> None:
    import torch
    from transformers import AutoModel  # noqa: F401 (what loading a model imports is to be there before)

    order = json.load(sys.stdin)
    torch.set_num_threads(1)
    peaks: list[list[int]] = [[] for _ in order["models"]]
    for _ in range(order["runs"]):
        for which, taken in zip(order["models"], peaks, strict=True):
            taken.append(_in_a_child(which, order["inputs"]))
    sys.stdout.write(json.dumps(peaks) + "\n")


def _in_a_child(which: Mapping[str, Any], inputs: Mapping[str, Any]) -> int:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(_taken(which, inputs)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 (a descriptor)
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise OSError(f"a model could not be loaded and run: status {status}")
    return int(told)


def _taken(which: Mapping[str, Any], inputs: Mapping[str, Any]) -> int:
    import torch

    from edgekit.model import open_model
    from edgekit.torch_model import load_torch
    from edgekit.training.tasks import answers

    before = _peak_bytes()
    model = open_model(which["source"], **{name: value for name, value in which.items() if name != "source"})
    module = load_torch(model)
    with torch.inference_mode():
        answers(module, model.task, {name: torch.tensor(each) for name, each in inputs.items()})
    return _peak_bytes() - before


def _peak_bytes() -> int:
    """Of this process alone: a fork starts its peak at what it has."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status tells no peak")


if __name__ == "__main__":
    main()
