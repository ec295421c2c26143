"""The flags of trainings: times, shapes and seeds are read or refused before anything runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.cli import main
from edgekit.errors import NoData, UsageError
from edgekit.flags import MAX_DURATION_S, duration, learning_rate, seed, temperature, training
from edgekit.model import StudentSpec


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Calls of pack, plan, distill and prune, recorded instead of made."""
    found: list[dict[str, object]] = []

    def record(*given: object, **options: object) -> None:
        found.append({"given": given, **options})
        raise KeyboardInterrupt

    for name in ("edgekit.packer.pack", "edgekit.packer.plan", "edgekit.distilling.distill", "edgekit.pruning.prune"):
        monkeypatch.setattr(name, record)
    return found


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("20min", 1200), ("20 m", 1200), ("1.5h", 5400), (".5min", 30)]
)
def test_times(text: str, seconds: float) -> None:
    assert duration("--budget", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5min", "0", "1d", "inf", "20minutes!", "99999h"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--budget is"):
        duration("--budget", text)


@given(st.floats(0.001, MAX_DURATION_S, allow_nan=False))
def test_every_time_is_read_back(seconds: float) -> None:
    assert duration("--budget", f"{seconds:.6f}") == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "fast", "nan"])
def test_learning_rates_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--learning-rate"):
        learning_rate("--learning-rate", text)


@pytest.mark.parametrize("text", ["0", "0.01", "101", "warm", "nan"])
def test_temperatures_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--temperature"):
        temperature("--temperature", text)


def test_seeds_are_whole() -> None:
    assert (seed("--seed", "0"), seed("--seed", "42")) == (0, 42)
    for text in ("1.5", "-1", "4294967296", "x"):
        with pytest.raises(UsageError, match="--seed"):
            seed("--seed", text)


def test_what_is_about_training_needs_rows() -> None:
    assert training(None, None, None) == {}
    for given_flags in ((None, "5min", None), (None, None, "layers=2"), (None, None, None, "1e-4")):
        with pytest.raises(UsageError, match="there is nothing to train on - give --data FILE"):
            training(*given_flags)


@pytest.mark.parametrize("command", ["pack", "distill", "prune"])
def test_a_learning_rate_is_handed_on(calls: list[dict[str, object]], command: str) -> None:
    words = ["--layers", "1"] if command == "prune" else []
    assert main([command, "m", "--data", "rows.jsonl", "--learning-rate", "2e-4", *words]) == 130
    assert [each["learning_rate"] for each in calls] == [2e-4]


@pytest.mark.parametrize("command", ["pack", "plan", "distill"])
def test_each_command_hands_them_on(calls: list[dict[str, object]], command: str) -> None:
    assert main([command, "m", "--data", "rows.jsonl", "--student", "layers=2,hidden=64", "--budget", "5min"]) == 130
    (call,) = calls
    assert call["student"] == StudentSpec(layers=2, hidden=64)
    assert call["budget_s"] == 300
    assert "rows.jsonl" in (call["data_file"],)


def test_distill_hands_on_its_own(calls: list[dict[str, object]]) -> None:
    words = [
        "--temperature",
        "3",
        "--learning-rate",
        "1e-5",
        "--seed",
        "7",
        "--out",
        "there",
        "--resume",
        "--task",
        "embedding",
        "--force",
    ]
    assert main(["distill", "m", "--data", "rows.jsonl", *words]) == 130
    (call,) = calls
    wanted = {
        "temperature": 3,
        "learning_rate": 1e-5,
        "seed": 7,
        "out": "there",
        "resume": True,
        "force": True,
        "task": "embedding",
    }
    assert {name: call[name] for name in wanted} == wanted
    assert "student" not in call


def test_distill_without_rows_is_no_data(calls: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "m"]) == NoData.exit_code
    assert "needs rows to train on" in capsys.readouterr().err
    assert calls == []
