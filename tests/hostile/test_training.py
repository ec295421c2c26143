"""Checkpoints that were tampered with, full disks, teachers too large for memory: refused or survived, in one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import training

from edgekit.errors import BadModel, EdgekitError, NoSpace

pytestmark = pytest.mark.engines


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On tensors this small, threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(**changes: Any) -> Any:
    from edgekit.training.loop import Recipe

    return Recipe(learning_rate=1e-2, batch_size=16, **{"epochs": 2, **changes})


def run(folder: Path, *, resume: bool = False, student: Any = None) -> Any:
    from edgekit.training.loop import train

    return train(
        student or training.student(), training.squares, training.data(), recipe(), checkpoints=folder, resume=resume
    )


def about(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def changed(last: Path) -> None:
        path = last / "state.json"
        value = json.loads(path.read_bytes())
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")

    return changed


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def changed(last: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = last / "state.safetensors"
        found = load_file(path)
        change(found)
        save_file({name: each.contiguous() for name, each in found.items()}, path)

    return changed


def standing(**values: Any) -> Callable[[Path], None]:
    return about(lambda value: value["standing"].update(values))


def cut(name: str, share: float) -> Callable[[Path], None]:
    def changed(last: Path) -> None:
        path = last / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return changed


TAMPERED: dict[str, Callable[[Path], Any]] = {
    "no json": lambda last: (last / "state.json").unlink(),
    "json cut": cut("state.json", 0.5),
    "json of lists": lambda last: (last / "state.json").write_text("[]"),
    "json too deep": lambda last: (last / "state.json").write_text("[" * 100_000),
    "another format": about(lambda value: value.update(format=2)),
    "no standing": about(lambda value: value.pop("standing")),
    "more standing": standing(lr=3),
    "step beyond": standing(step=10**9),
    "step text": standing(step="4"),
    "best not on the curve": standing(best_step=1),
    "no curve": standing(curve=[]),
    "curve of text": standing(curve=[{"step": "x"}]),
    "every 0": standing(every=0),
    "no tensors": lambda last: (last / "state.safetensors").unlink(),
    "tensors cut": cut("state.safetensors", 0.5),
    "tensors empty": cut("state.safetensors", 0),
    "a header of 2^60 bytes": lambda last: (last / "state.safetensors").write_bytes((2**60).to_bytes(8, "little")),
    "a pickle": lambda last: (last / "state.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR."),
    "a weight gone": tensors(lambda found: found.pop("weights/student.0.weight")),
    "a weight turned": tensors(lambda found: found.update({"best/student.0.weight": found["best/student.0.weight"].T})),
    "a weight halved": tensors(
        lambda found: found.update({"weights/student.0.bias": found["weights/student.0.bias"].half()})
    ),
    "a weight more": tensors(lambda found: found.update({"weights/other": found["weights/student.0.bias"] + 1})),
    "a part more": tensors(lambda found: found.update({"extra/x": found["weights/student.0.bias"] + 1})),
    "half a moment": tensors(lambda found: found.pop("moments/moment2.student.0.bias")),
    "a moment of another shape": tensors(
        lambda found: found.update({"moments/moment1.student.0.bias": found["weights/student.0.weight"] + 1})
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_checkpoint_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    run(tmp_path / "c")
    TAMPERED[how](tmp_path / "c" / "last")
    student = training.student()
    with pytest.raises(
        BadModel, match=r"the checkpoint in .*last cannot be read: .* - leave --resume out to start anew"
    ):
        run(tmp_path / "c", resume=True, student=student)
    assert training.same(student, training.student())
    assert run(tmp_path / "c").steps == 18  # without --resume it is replaced


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    import safetensors.torch

    whole = training.student()
    run(tmp_path / "whole", student=whole)
    save_file, calls = safetensors.torch.save_file, 0

    def full(content: Any, path: Path, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(content, path, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(NoSpace, match=r"no space left while writing .*last"):
            run(tmp_path / "c")
    assert [each.name for each in (tmp_path / "c").iterdir()] == ["last"]
    resumed = training.student()
    run(tmp_path / "c", resume=True, student=resumed)
    assert training.same(whole, resumed)


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file")
    with pytest.raises(EdgekitError, match="c is not a folder"):
        run(tmp_path / "c")


def test_loss_functions_that_raise_leave_the_process_as_it_was() -> None:
    import torch

    from edgekit.training.loop import train

    def broken(module: Any, batch: Any) -> Any:
        raise ZeroDivisionError

    student = training.student().train()
    with pytest.raises(ZeroDivisionError):
        train(student, broken, training.data(), recipe())
    assert student.training
    assert not torch.are_deterministic_algorithms_enabled()


_LARGE = """
import sys
from pathlib import Path
import numpy as np, torch
from edgekit.training.cache import Kept, TeacherCache

torch.set_num_threads(1)

class Teacher(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(100, 8), torch.nn.Linear(8, 2000)
    def forward(self, ids, mask):
        return self.head(self.embed(ids))

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

examples = [
    {"input_ids": np.full(64, at % 100, np.int32), "attention_mask": np.ones(64, np.int32)} for at in range(600)
]
folder, teacher = Path(sys.argv[1]), Teacher()
TeacherCache.build(folder / "warm", teacher, examples[:8], Kept("causal-lm"), batch_size=4).close()
before = peak()
cache = TeacherCache.build(folder / "c", teacher, examples, Kept("causal-lm"), batch_size=4)
for start in range(0, 600, 4):
    ids = torch.tensor([[at % 100] * 64 for at in range(start, start + 4)])
    with torch.no_grad():
        assert torch.equal(cache.read(np.arange(start, start + 4)).logits, teacher(ids, None))
print(cache.bytes, 1024 * (peak() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_answers_far_larger_than_the_memory_they_take(tmp_path: Path) -> None:
    """293 MiB of logits are computed, written and read back in 32 MiB."""
    command = [sys.executable, "-c", _LARGE, str(tmp_path)]
    ran = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    size_bytes, grown_bytes = map(int, ran.stdout.split())
    assert size_bytes == 600 * 64 * 2000 * 4
    assert grown_bytes < 32 * 2**20
