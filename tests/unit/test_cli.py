"""The command line: nothing runs before every word is understood; results on stdout, one error line on stderr."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.plain_folders import plain_folder

from edgekit import commands, manual
from edgekit.cli import main
from edgekit.errors import RunRefused
from edgekit.flags import LIMIT_FLAGS, size
from edgekit.limits import Preferences


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Calls of edgekit.packer.pack, recorded instead of made."""
    calls: list[dict[str, object]] = []

    def record(model: str, device: str, **options: object) -> None:
        calls.append({"model": model, "device": device, **options})
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.packer.pack", record)
    return calls


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Calls of edgekit.packer.plan, recorded instead of made."""
    calls: list[dict[str, object]] = []

    def record(model: str, device: str, **options: object) -> None:
        calls.append({"model": model, "device": device, **options})
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.packer.plan", record)
    return calls


def test_an_unknown_flag_runs_nothing_and_names_the_nearest(
    packed: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "model", "--devcie", "host"]) == 2
    assert packed == []
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "did you mean --device?" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pakc", "m"], "did you mean pack?"),
        (["pack"], "edgekit pack needs MODEL"),
        (["devices", "check"], "edgekit devices check needs FILE"),
        (["pack", "a", "b"], "pack"),
        (["pack", "m", "--device"], "--device needs a value"),
        (["pack", "m", "--out", "--force"], "--out needs a value"),
        (["pack", "m", "--max-ram", "lots"], "give bytes or a unit"),
        (["pack", "m", "--min-cosine", "high"], "not a number"),
        (["pack", "m", "--threads", "1.5"], "whole number"),
        (["pack", "m", "--force", "out"], "--force takes no value"),
        (["pack", "m", "--task", "poetry"], "there is no task"),
        (["devices", "lst"], "did you mean list?"),
        (["devices"], "needs a word more - choose one of list, show, detect, check"),
        (["targets", "--json"], "needs a word more - choose one of list, prepare, clean"),
        (["run", "b", "text", "--max-tokens", "abc"], "not a number - give a number"),
        (["demo", "one", "two"], "edgekit demo takes no further word, but was given 'two'"),
        (["run", "b", "caf\udce9"], 'edgekit: "caf\\xe9" on the command line is not UTF-8 at character 3 - give text'),
        (["run", "b", "--", "--trace"], "no flag --"),
        (["pack", "m", "--prefer", "small"], "--prefer is 'small' - choose one of accuracy, speed, size"),
        (["plan", "m", "--prefer", "Speed"], "choose one of accuracy, speed, size"),
        (["plan", "m", "--sensitivity", "low"], "--sensitivity is 'low' - choose one of normal, high"),
        (["plan", "m", "--lengths", "16,many"], "give up to 8 lengths in tokens, as in 16,128,512"),
        (["plan", "m", "--lengths", ""], "give up to 8 lengths"),
        (["plan", "m", "--lengths", "1,2,3,4,5,6,7,8,9"], "give up to 8 lengths"),
        (["plan", "m", "--lengths", "0,16"], "give lengths of 1 to 1048576 tokens"),
        (["plan", "m", "--lengths=-16"], "give up to 8 lengths"),
        (["plan", "m", "--threads", "0"], "give a whole number of at least 1"),
        (["plan", "m", "--explain", "yes"], "--explain takes no value"),
        (["plan", "m", "--min-cosine", "2"], "at most 1"),
        (["pack", "m", "--lengths", "16"], "has no flag --lengths"),
        (["pack", "m", "--history"], "--history needs a value"),
    ],
)
def test_mistakes_are_usage_errors_of_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_values_stay_text_until_parsed(packed: list[dict[str, object]]) -> None:
    assert main(["pack", "1.10", "--device", "007", "--out", "1e3", "--max-ram=1.5GB", "--context", "4096"]) == 130
    (call,) = packed
    assert (call["model"], call["device"], call["out"]) == ("1.10", "007", "1e3")
    limits = call["limits"]
    assert (limits.max_ram_bytes, limits.context_tokens) == (1_500_000_000, 4096)  # type: ignore[attr-defined]
    assert call["force"] is False


def test_flags_without_a_value(packed: list[dict[str, object]]) -> None:
    main(["pack", "m", "--force", "--allow-pickle", "--strategy", "gguf-Q4_K_M"])
    assert (packed[0]["force"], packed[0]["allow_pickle"], packed[0]["trust_remote_code"]) == (True, True, False)


def test_preferences_are_parsed_for_both_commands(
    packed: list[dict[str, object]], planned: list[dict[str, object]]
) -> None:
    words = ("m", "--prefer", "size", "--sensitivity", "high", "--threads", "3", "--history", "007")
    main(["pack", *words])
    main(["plan", *words, "--lengths", "512, 16,16", "--eval", "e.csv"])
    assert packed[0]["preferences"] == Preferences(prefer="size", sensitivity="high", threads=3)
    assert planned[0]["preferences"] == Preferences("size", "high", (16, 512), 3)
    assert (packed[0]["history"], planned[0]["history"], planned[0]["eval_file"]) == ("007", "007", "e.csv")
    main(["plan", "m"])
    assert planned[1]["preferences"] == Preferences()
    assert planned[1]["history"] is None


def test_plan_takes_every_limit_that_pack_takes(planned: list[dict[str, object]]) -> None:
    for name in LIMIT_FLAGS:
        flag = f"--{name.replace('_', '-')}"
        main(["plan", "m", flag, "1MB" if name in ("max_ram", "max_disk") else "1"])
    changed = [call["limits"].changed() for call in planned]  # type: ignore[attr-defined]
    assert sorted(map(len, changed)) == [0, *[1] * (len(LIMIT_FLAGS) - 1)]  # 1 is the default of --max-slowdown


def test_planning_loads_no_engine_and_no_framework(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "model")
    words = ["plan", str(folder), "--device", "raspberry-pi-5-8gb", "--explain", "--history", str(tmp_path / "h")]
    heavy = ("torch", "onnx", "onnxruntime", "transformers", "optimum", "llama_cpp", "gguf")
    code = (
        "import sys\nfrom edgekit.cli import main\n"
        f"assert main({words!r}) == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"
    assert "onnx-int8" in ran.stdout
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1.5GB", 1_500_000_000), ("512MiB", 2**29), ("40 mb", 40_000_000), ("2kib", 2048)]
)
def test_sizes(text: str, value: int) -> None:
    assert size("--max-ram", text) == value


def test_every_command_has_a_page_with_an_example_on_one_screen() -> None:
    for name in commands.COMMANDS:
        page = manual.page(name.split())
        assert page != manual.page([]), name
        assert "Example:" in page
        assert len(page.splitlines()) <= 40
        assert max(map(len, page.splitlines())) <= 120


def test_every_flag_is_in_the_manual() -> None:
    import inspect

    for name, command in commands.COMMANDS.items():
        for parameter in inspect.signature(command).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                flag = f"--{parameter.name.rstrip('_').replace('_', '-')}"
                assert flag in manual.page(name.split()), (name, flag)


def test_json_is_one_value_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) >= 12


def test_an_error_carries_its_own_exit_code_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(tmp_path / "none"), "--device", "host"]) == 11
    assert main(["plan", str(tmp_path), "--device", "rasberry-pi-5-8gb"]) in (10, 21)
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_device_nobody_knows_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "show", "rasberry-pi-5-8gb"]) == 10
    assert "raspberry-pi-5-8gb" in capsys.readouterr().err


def test_debug_keeps_the_traceback(tmp_path: Path) -> None:
    from edgekit.errors import ModelNotFound

    with pytest.raises(ModelNotFound):
        main(["pack", str(tmp_path / "none"), "--debug"])


def test_an_interrupt_that_falls_into_an_engines_callback_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python drops what a callback raises, and would go on."""

    def pack(*_: object, **__: object) -> None:
        ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))()
        time.sleep(30)
        raise AssertionError("went on")

    monkeypatch.setattr("edgekit.packer.pack", pack)
    started = time.monotonic()
    assert main(["pack", "model"]) == 130
    assert time.monotonic() - started < 10
    assert capsys.readouterr().err == "edgekit: interrupted; nothing is left half written\n"


def test_what_writes_nothing_says_nothing_of_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgekit.running.run", run)
    assert main(["run", "bundle", "text"]) == 130
    assert capsys.readouterr().err == "edgekit: interrupted\n"


def test_what_breaks_amid_an_answer_is_told_on_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> Iterator[str]:
        yield "Once"
        raise RunRefused("the engine failed")

    monkeypatch.setattr("edgekit.running.run", run)
    assert main(["run", "bundle", "text"]) == RunRefused.exit_code
    assert capsys.readouterr().out == "Once\n"


def test_sigterm_stops_as_an_interrupt_does_and_only_while_a_command_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    monkeypatch.setattr("edgekit.packer.pack", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert main(["pack", "model"]) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert sys.unraisablehook is hook


def test_an_error_that_nobody_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pack(*_: object, **__: object) -> None:
        raise RuntimeError("first line\n  second line")

    monkeypatch.setattr("edgekit.packer.pack", pack)
    assert main(["pack", "model"]) == 1
    assert capsys.readouterr().err == (
        "edgekit: unexpected RuntimeError: first line second line - --debug shows where; please report it\n"
    )
    with pytest.raises(RuntimeError):
        main(["pack", "model", "--debug"])


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--min-cosine", "1.5", "at most 1"),
        ("--max-drop", "2", "at most 1"),
        ("--max-ram", "10", "did you mean 10MB?"),
        ("--max-disk", "0", "--max-disk is 0 bytes - give a size such as 800MB"),
    ],
)
def test_a_limit_nobody_can_mean_is_refused_at_once(
    flag: str, value: str, told: str, packed: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "m", flag, value]) == 2
    assert told in capsys.readouterr().err
    assert packed == []


def test_help_of_devices_and_flags_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--help"]) == 0
    assert "devices detect" in capsys.readouterr().out
    assert main(["--json", "devices", "list"]) == 0
    assert json.loads(capsys.readouterr().out)
