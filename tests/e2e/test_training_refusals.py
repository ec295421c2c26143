"""What a training that cannot be paid for leaves: one line, and nothing on the disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.teaching import write_rows

from edgekit.cli import main
from edgekit.errors import NoSpace
from edgekit.training import loop, recording

pytestmark = pytest.mark.engines

COMMANDS = {
    "distill": ["distill", "model", "--student", "layers=1", "--budget", "5s"],
    "prune": ["prune", "model", "--ffn", "50%", "--recover", "5s"],
    "pack": [
        *("pack", "model", "--strategy", "distill", "--student", "layers=1", "--budget", "5s", "--history", "none"),
        *("--device", "intel-n100", "--threads", "1"),
    ],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_space_for_the_teachers_answers_is_one_line_and_leaves_nothing(
    tmp_path: Path, command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_models.tiny_bert_classifier(tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl")
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    monkeypatch.setattr(recording, "_SPARE_BYTES", 2**62)
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("it was trained all the same"))
    status = main([*COMMANDS[command], "--data", "rows.jsonl", "--out", "out"])
    out, told = capfd.readouterr()
    assert status == NoSpace.exit_code, told
    assert re.fullmatch(
        r"edgekit: \S+ has \d+ MiB free, the teacher's answers need \d+ MiB and \d+ MiB to spare"
        r" - free some space, or give fewer or shorter examples\n",
        told,
    )
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before
