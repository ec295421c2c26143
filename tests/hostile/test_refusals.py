"""Every refusal as a person meets it, through the command line: one clear line, its own exit code, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures import bundles, onnx_files
from fixtures.commands import LOOSE, Desk, Ended, assert_refused, snapshot, start
from fixtures.hub import Repository, serve
from fixtures.plain_folders import plain_folder, sentence_folder, write_json

from edgekit import errors, resources
from edgekit.cli import main
from edgekit.errors import (
    BadBundle,
    BadEvalData,
    BadModel,
    BadProfile,
    BadTokenizer,
    DoesNotFit,
    EdgekitError,
    GatedModel,
    HubUnreachable,
    LimitMissed,
    ModelNotFound,
    NoSpace,
    OutputExists,
    OutputUnwritable,
    UnknownDevice,
    UnsafeModel,
    UnsupportedModel,
    UsageError,
)
from edgekit.model import open_model
from edgekit.strategies.gguf import write_gguf

MODEL_COMMANDS = ("pack", "plan", "inspect")


def test_every_error_has_an_exit_code_of_its_own() -> None:
    leaves = [each for each in vars(errors).values() if isinstance(each, type) and not each.__subclasses__()]
    codes = [each.exit_code for each in leaves if issubclass(each, EdgekitError)]
    assert len(codes) == len(set(codes)) > 15
    assert not {0, 1} & set(codes)


# Flags and devices.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pack", "model", "--devcie", "host"], "did you mean --device?"),
        (["plan", "model", "--max-rma", "1GB"], "did you mean --max-ram?"),
        (["validate", "bundle", "--modle", "m"], "did you mean --model?"),
        (["run", "bundle", "text", "--max-token", "3"], "did you mean --max-tokens?"),
        (["inspect", "model", "--alow-pickle"], "did you mean --allow-pickle?"),
        (["verify", "bundle", "--deep"], "has no flag --deep"),
        (["devices", "list", "--jsn"], "did you mean --json?"),
        (["pack", "model", "--strategy", "onnx-int4"], "there is no strategy 'onnx-int4' - choose one of auto, "),
        (["plan", "model", "--prefer", "best"], "--prefer is 'best' - choose one of accuracy, speed, size"),
        (["pack", "model", "--sensitivity", "top"], "--sensitivity is 'top' - choose one of normal, high"),
        (["plan", "model", "--lengths", "long"], "--lengths is 'long' - give up to 8 lengths in tokens, as in 16,128"),
        (["plan", "model", "--history", "model/config.json"], "which is not a folder - give a folder, or none"),
        (["pack", "model", "--history", "model/config.json"], "which is not a folder - give a folder, or none"),
        (["validate", "bundle", "--history", "model/config.json"], "which is not a folder - give a folder, or none"),
        (["validate", "bundle", "--on", "moon"], "there is no target 'moon' - choose local, device, emulated:CPU"),
    ],
)
def test_an_unknown_flag_or_choice(desk: Desk, words: list[str], said: str) -> None:
    plain_folder(desk.cwd / "model")
    bundles.plain_bundle(desk.cwd / "bundle")
    desk.refuse(UsageError, re.escape(said), *words)


@pytest.mark.parametrize("command", ["pack", "plan"])
def test_a_speed_that_such_a_model_does_not_have(desk: Desk, command: str) -> None:
    """Known before anything is made: no candidate could hold a limit that nothing measures."""
    plain_folder(desk.cwd / "one")
    said = "--min-tokens-per-s does not apply to one: embedding - give --max-latency-ms"
    desk.refuse(UsageError, said, command, "one", "--min-tokens-per-s", "10")
    plain_folder(desk.cwd / "two", architectures=["LlamaForCausalLM"], model_type="llama")
    said = "--max-latency-ms does not apply to two: causal-lm - give --min-tokens-per-s"
    desk.refuse(UsageError, said, command, "two", "--max-latency-ms", "10")


@pytest.mark.engines
def test_an_unknown_preset(desk: Desk, llama: Path) -> None:
    desk.copy(llama, "tiny")
    desk.refuse(UsageError, "gguf has no Q9_9 for tiny - see edgekit plan", "pack", "tiny", "--strategy", "gguf-Q9_9")


@pytest.mark.parametrize("command", ["pack", "plan"])
def test_an_unknown_device_names_the_nearest(desk: Desk, command: str) -> None:
    plain_folder(desk.cwd / "model")
    desk.refuse(UnknownDevice, "raspbery-pi-5.* - did you mean raspberry-pi-5", command, "model",
                "--device", "raspbery-pi-5-8gb")  # fmt: skip
    desk.refuse(UnknownDevice, r"no device profile at .*mine\.toml", command, "model", "--device", "mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"(?m)^total_bytes = .*$", "", r"ram\.total_bytes: missing; it must be stated"),
        (r"(?m)^\[ram\]$[^\[]*", "", r"ram: missing; it must be stated"),
        (r'(?m)^arch = ".*"$', "", r"cpu\.arch: missing"),
        (r"(?m)^total_bytes = .*$", 'total_bytes = { value = 8, status = "vendor", source = "box" }',
         r"mine\.toml:\d+: ram\.total_bytes: 8 is below 16 MiB: is this gigabytes\? Bytes are expected"),
        (r"(?m)^mhz = .*$", "mhz = 2.4", r"2\.4 is outside 10 to 10000: is this gigahertz\?"),
        (r"(?m)^mhz = .*$", "mhz = 3400000000", r"outside 10 to 10000: is this hertz or kilohertz\?"),
        (r"(?m)^\[ram\]$", "[ram", r"mine\.toml: not TOML: .*line \d+"),
    ],
)  # fmt: skip
def test_a_profile_with_a_missing_field_or_a_wrong_unit(desk: Desk, old: str, new: str, said: str) -> None:
    plain_folder(desk.cwd / "model")
    text = (resources.device_profiles() / "intel-n100.toml").read_text(encoding="utf-8")
    changed, count = re.subn(old, new, text)
    assert count
    (desk.cwd / "mine.toml").write_text(changed, encoding="utf-8")
    desk.refuse(BadProfile, said, "pack", "model", "--device", "mine.toml")
    desk.refuse(BadProfile, said, "devices", "show", "./mine.toml")


def test_a_profile_to_check_that_is_not_there(desk: Desk) -> None:
    assert main(["devices", "check", "mine.toml"]) == BadProfile.exit_code
    out, err = desk.capfd.readouterr()
    assert "mine.toml cannot be read: No such file or directory" in out
    assert err.count("\n") == 1


# Model folders.


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def a_translator(folder: Path) -> None:
    write_json(folder / "config.json", {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"})


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def cut_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:40])


def scrambled(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[8:60] = bytes(52)
    path.write_bytes(content)


def overlapping(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"[256, 288]", b"[128, 160]"))


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def a_pickle(folder: Path) -> None:
    no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))


def own_code(folder: Path) -> None:
    fields = {"architectures": ["OddForCausalLM"], "model_type": "odd", "auto_map": {"AutoModel": "modeling.Odd"}}
    write_json(folder / "config.json", fields)
    (folder / "modeling.py").write_text("raise SystemExit('run')")


@pytest.mark.parametrize("command", MODEL_COMMANDS)
@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (no_config, BadModel, r"model has no config\.json - a folder in the Hugging Face layout has one"),
        (no_tokenizer, BadTokenizer, r"no tokenizer\.json and no vocabulary to make one of - save it with"),
        (a_translator, UnsupportedModel, "T5ForConditionalGeneration .*supported: text encoders .*Llama.*ONNX and"),
        (cut, BadModel, r"model\.safetensors: truncated: the tensors need 288 bytes, the file has 281 - download"),
        (cut_header, BadModel, r"model\.safetensors: truncated: the header needs \d+ bytes, the file has 40"),
        (scrambled, BadModel, r"model\.safetensors: the header is not valid JSON"),
        (overlapping, BadModel, r"model\.safetensors: tensor 'encoder\.bias' starts at byte 128, inside the one bef"),
        (no_weights, BadModel, r"has no weights - expected model\.safetensors"),
        (a_pickle, UnsafeModel, r"pickle only \(pytorch_model\.bin\).* - pass --allow-pickle"),
        (
            own_code,
            UnsafeModel,
            r"OddForCausalLM needs its own Python code .* - read that code, then pass --trust-remote-",
        ),
    ],
)
def test_a_model_folder_that_is_not_whole_safe_or_known(
    desk: Desk, command: str, spoil: Callable[[Path], None], error: type[EdgekitError], said: str
) -> None:
    spoil(plain_folder(desk.cwd / "model"))
    desk.refuse(error, said, command, "model")


@pytest.mark.parametrize("command", MODEL_COMMANDS)
def test_a_model_that_is_not_there(desk: Desk, command: str) -> None:
    plain_folder(desk.cwd / "model")
    desk.refuse(ModelNotFound, "no such model: .*modle - did you mean .*model", command, "./modle")
    desk.refuse(ModelNotFound, "has no revision 'v2' - leave --revision out", command, "model", "--revision", "v2")


@pytest.mark.engines
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "."])
def test_files_that_may_not_be_read(desk: Desk, name: str) -> None:
    path = sentence_folder(desk.cwd / "model") / name
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        child = start(["pack", "model", *LOOSE], desk.folder, permissions=True)
        ended = child.wait()
    finally:
        path.chmod(mode)
    assert_refused(ended, BadModel, r"model.*cannot be read.*Permission denied")


def _set_weight(folder: Path, value: float) -> None:
    """The first value of the first tensor, in place."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    (header_bytes,) = struct.unpack_from("<Q", content)
    struct.pack_into("<f", content, 8 + header_bytes, value)
    path.write_bytes(content)


@pytest.mark.engines
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("source", "strategy"), [("llama", "gguf"), ("encoder", "onnx-int8"), ("encoder", "gguf")])
def test_weights_that_are_not_finite(
    desk: Desk, value: float, source: str, strategy: str, request: pytest.FixtureRequest
) -> None:
    folder = desk.copy(request.getfixturevalue(source))
    _set_weight(folder, value)
    said = "tensor .* holds (1 )?NaN or infinite values"
    desk.refuse_in_child(BadModel, said, "pack", "model", "--strategy", strategy, *LOOSE)


@pytest.mark.engines
def test_an_onnx_file_whose_weights_are_not_finite(desk: Desk) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(onnx_files.products(desk.cwd / "net.onnx"))
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, desk.cwd / "net.onnx")
    said = "input 0: the source model itself answers with NaN or infinity"
    desk.refuse_in_child(BadModel, said, "pack", "net.onnx", *LOOSE)


@pytest.mark.engines
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[:-5000], r"net\.gguf: \d+ bytes, its tensors need \d+ - it is cut short"),
        (lambda content: content[:-5000] + b"\xff" * 5000, r"net\.gguf answers with NaN or infinity"),
        (lambda content: b"GGUF" + b"\xff" * 64, r"net\.gguf: GGUF version 4294967295"),
    ],
)
def test_a_gguf_file_that_is_not_sound(desk: Desk, llama: Path, spoil: Callable[[bytes], bytes], said: str) -> None:
    write_gguf(open_model(llama), desk.cwd / "net.gguf", "Q8_0")
    (desk.cwd / "net.gguf").write_bytes(spoil((desk.cwd / "net.gguf").read_bytes()))
    desk.refuse_in_child(BadModel, said, "pack", "net.gguf", *LOOSE)


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.engines
def test_an_allowed_pickle_is_packed_and_one_with_a_payload_is_not(desk: Desk, encoder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = desk.copy(encoder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    before = snapshot(folder)
    ended = start(["pack", "model", "--allow-pickle", "--out", "out", *LOOSE], desk.folder).wait()
    assert (ended.code, ended.err) == (0, "")
    assert snapshot(folder) == before
    shutil.rmtree(desk.cwd / "out")

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(state | {"a": Payload(desk.cwd / "owned")}))
    said = r"pytorch_model\.bin: not a weights-only pickle"
    desk.refuse_in_child(BadModel, said, "pack", "model", "--allow-pickle", *LOOSE)


# The hub: a process that never loaded its client, with a cache of its own.


def ask_hub(desk: Desk, endpoint: str, *words: str) -> Ended:
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(desk.folder / "hf"), "TMPDIR": str(desk.tmp)}
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from edgekit.cli import main; sys.exit(main())", *words],
        cwd=desk.cwd, env=kept | own, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return Ended(run.returncode, run.stdout, run.stderr)


def test_a_hub_model_that_is_gated_missing_or_a_pickle(desk: Desk) -> None:
    before = desk.state()
    pickled = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    repositories = {"org/gated": Repository({}, fault=(403, "GatedRepo")), "org/pickled": Repository(pickled)}
    with serve(repositories) as hub:
        gated = ask_hub(desk, hub.endpoint, "pack", "org/gated")
        missing = ask_hub(desk, hub.endpoint, "pack", "org/missing")
        unsafe = ask_hub(desk, hub.endpoint, "pack", "org/pickled")
    assert_refused(gated, GatedModel, "org/gated is gated or private - accept its terms on the hub, then set HF_TOKEN")
    assert_refused(missing, ModelNotFound, "the hub has no model org/missing - check the spelling")
    assert_refused(unsafe, UnsafeModel, r"as pickles only \(pytorch_model\.bin\) - pass --allow-pickle")
    assert desk.state() == before


def test_a_hub_that_cannot_be_reached(desk: Desk) -> None:
    before = desk.state()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ended = ask_hub(desk, f"http://127.0.0.1:{port}", "pack", "org/model")
    assert_refused(ended, HubUnreachable, "cannot be reached and org/model is not in the cache - a folder on this mach")
    assert desk.state() == before


# The output.


def test_an_output_that_exists(desk: Desk) -> None:
    plain_folder(desk.cwd / "model")
    bundles.plain_bundle(desk.cwd / "old")
    (desk.cwd / "photos").mkdir()
    (desk.cwd / "photos" / "holiday.jpg").write_bytes(b"x")
    (desk.cwd / "file").write_bytes(b"x")
    (desk.cwd / "nowhere").symlink_to("gone")
    words = ("pack", "model", *LOOSE)
    desk.refuse(OutputExists, "old exists - give another --out, or --force to replace it", *words, "--out", "old")
    for name in ("photos", "file", "nowhere"):
        desk.refuse(OutputExists, "exists", *words, "--out", name)
        desk.refuse(OutputExists, "exists and is not a bundle - --force replaces bundles only", *words, "--out", name,
                    "--force")  # fmt: skip


@pytest.mark.engines
def test_an_output_in_the_source_or_around_it(desk: Desk) -> None:
    plain_folder(desk.cwd / "model")
    words = ("pack", "model", *LOOSE, "--force", "--out")
    for out in ("model", "model/out", "link/out"):
        (desk.cwd / "link").unlink(missing_ok=True)
        (desk.cwd / "link").symlink_to("model")
        desk.refuse(UsageError, f"{out} is inside the source model model - give an --out outside", *words, out)
    bundles.plain_bundle(desk.cwd / "around")
    shutil.copytree(desk.cwd / "model", desk.cwd / "around" / "model")
    onnx_files.products(desk.cwd / "around" / "net.onnx")
    for source in ("around/model", "around/net.onnx"):
        desk.refuse(UsageError, f"around holds the source model {source} - give another", "pack", source, *LOOSE,
                    "--force", "--out", "around")  # fmt: skip


@pytest.mark.engines
def test_an_output_that_cannot_be_written(desk: Desk) -> None:
    plain_folder(desk.cwd / "model")
    (desk.cwd / "file").write_bytes(b"x")
    words = ("pack", "model", *LOOSE)
    desk.refuse(OutputUnwritable, "cannot write .*file/out: .*/file is not a folder", *words, "--out", "file/out")
    desk.refuse(OutputUnwritable, "cannot write .*: File name too long", *words, "--out", "a" * 256)
    old = bundles.plain_bundle(desk.cwd / "kept" / "old")
    (desk.cwd / "locked").mkdir(0)
    old.parent.chmod(0o555)
    said = "cannot write .*: Permission denied - give an --out you may write to"
    try:
        desk.refuse_in_child(OutputUnwritable, said, *words, "--out", "kept/out", permissions=True)
        desk.refuse_in_child(OutputUnwritable, said, *words, "--out", "kept/deep/er/out", permissions=True)
        desk.refuse_in_child(OutputUnwritable, said, *words, "--out", "kept/old", "--force", permissions=True)
        desk.refuse_in_child(OutputUnwritable, said, *words, "--out", "locked/deep/out", permissions=True)
    finally:
        old.parent.chmod(0o755)


def test_a_disk_that_is_too_small_is_known_beforehand(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_folder(desk.cwd / "model")
    usage = shutil.disk_usage(desk.cwd)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    said = r"has 0\.00 MiB free and about [\d.]+ MiB are needed - free some space or give another --out"
    desk.refuse(NoSpace, said, "pack", "model", "--out", "deep/er/out", *LOOSE)


@pytest.mark.engines
@pytest.mark.parametrize("source", ["llama", "encoder"])
@pytest.mark.parametrize("largest_file_bytes", [300, 3_000, 30_000, 200_000])
def test_a_disk_that_fills_half_way(
    desk: Desk, source: str, largest_file_bytes: int, request: pytest.FixtureRequest
) -> None:
    """Whoever writes too much: the strategies, torch, numpy, the measuring process, the report."""
    desk.copy(request.getfixturevalue(source))
    desk.refuse_in_child(NoSpace, "no space left while (writing|measuring)", "pack", "model", "--out", "out", *LOOSE,
                         largest_file_bytes=largest_file_bytes)  # fmt: skip


# Evaluation data.


@pytest.mark.engines
@pytest.mark.parametrize(
    ("source", "name", "content", "said"),
    [
        ("classifier", "e.jsonl", b'{"sentence": "a", "label": "positive"}\n',
         r"row 1 has no column text \(it has sentence, label\) - text-classification reads the columns text, label"),
        ("classifier", "e.csv", b"sentence,label\na,positive\n", "row 1 has no column text"),
        ("classifier", "e.csv", b"text,label\na,positive\nb\n", "row 2 has no label, though others have"),
        ("classifier", "e.jsonl", b"", r"e\.jsonl has no rows - give at least one row"),
        ("classifier", "e.csv", b"text,label\n", r"e\.csv has no rows"),
        ("classifier", "e.jsonl", b'{"text": "a", "label": "joyful"}\n',
         "row 1: label 'joyful' is not one of the model's - labels: negative, positive"),
        ("classifier", "e.csv", b"text,label\na,2\n", "label '2' is not one of the model's"),
        ("classifier", "e.jsonl", b'{"text": "caf\xe9"}\n', r"e\.jsonl is not UTF-8 at byte 13 - save it as UTF-8"),
        ("classifier", "e.csv", b"text,label\n\xff\xfe,positive\n", "is not UTF-8 at byte 11"),
        ("classifier", "e.csv", b"text,label\n" + b"a" * 200_000 + b",positive\n",
         r"e\.csv is not CSV: field larger than"),
        ("classifier", "e.jsonl", b'{"text": "a"\n', "line 1 is not JSON"),
        ("classifier", "e.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("classifier", "e.jsonl", b"[1]\n", "line 1 is not an object"),
        ("classifier", "e.jsonl", b'{"text": 5}\n', "row 1: text is 5, not text"),
        ("classifier", "e.txt", b"a\n", r"neither \.jsonl nor \.csv"),
        ("classifier", "gone.csv", None, r"cannot read .*gone\.csv: No such file or directory"),
        ("tagger", "e.jsonl", b'{"tokens": ["a", "b"], "labels": ["O"]}\n', "row 1 has 2 tokens and 1 labels"),
        ("tagger", "e.jsonl", b'{"tokens": ["a"], "labels": ["B-LOC"]}\n', "label 'B-LOC' is not one of the model's"),
        ("encoder", "e.csv", b"text_a,text_b,score\na,b,high\n", "row 1: score is 'high' - give a number"),
        ("encoder", "e.csv", b"text_a,text_b,score\na,b,nan\n", "row 1: score is 'nan' - give a number"),
        ("llama", "e.jsonl", b'{"prompt": "a"}\n', "row 1 has no column text"),
    ],
)  # fmt: skip
def test_evaluation_data_that_cannot_be_used(
    desk: Desk, source: str, name: str, content: bytes | None, said: str, request: pytest.FixtureRequest
) -> None:
    desk.copy(request.getfixturevalue(source))
    if content is not None:
        (desk.cwd / name).write_bytes(content)
    desk.refuse(BadEvalData, said, "pack", "model", "--eval", name, *LOOSE)


def test_evaluation_data_that_a_plan_is_told_of_must_be_there(desk: Desk) -> None:
    plain_folder(desk.cwd / "model")
    desk.refuse(BadEvalData, r"cannot read gone\.csv: no such file", "plan", "model", "--eval", "gone.csv")


# Bundles.


def one_byte_changed(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def a_missing_file(folder: Path) -> None:
    (folder / "config.json").unlink()


def a_file_too_many(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("raise SystemExit('run')")


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "edgekit.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def a_path_that_climbs_out(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest["files"][0].update(path="../outside.json"))


def an_absolute_path(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest["files"][0].update(path="/etc/hostname"))


def a_newer_schema(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest.update(schema_version=manifest["schema_version"] + 1))


def a_symbolic_link(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "outside.json")
    (folder / "config.json").symlink_to("../outside.json")


def a_linked_folder(folder: Path) -> None:
    (folder / "onnx").rename(folder.parent / "elsewhere")
    (folder / "onnx").symlink_to("../elsewhere")


def half_a_manifest(folder: Path) -> None:
    path = folder / "edgekit.json"
    path.write_bytes(path.read_bytes()[:-100])


def a_field_that_is_missing(folder: Path) -> None:
    _edit(folder, lambda manifest: manifest.pop("provenance"))


@pytest.mark.parametrize("words", [("verify", "b"), ("run", "b", "a text"), ("inspect", "b"), ("validate", "b")])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            one_byte_changed,
            r"onnx/model\.onnx was changed: sha256 \w{12}…, \w{12}… was packed - pack it again, or copy",
        ),
        (a_missing_file, r"config\.json is missing from the bundle"),
        (a_file_too_many, r"sitecustomize\.py is in the bundle's folder and not in its manifest"),
        (a_path_that_climbs_out, r"the path '\.\./outside\.json' climbs out of the bundle"),
        (an_absolute_path, r"the path '/etc/hostname' is absolute"),
        (a_newer_schema, r"schema_version \d, this runtime reads \d - update edgekit-runtime"),
        (a_symbolic_link, r"config\.json is a symbolic link"),
        (a_linked_folder, r"onnx is a symbolic link"),
        (half_a_manifest, r"edgekit\.json is not valid JSON"),
        (a_field_that_is_missing, r"edgekit\.json.*provenance"),
    ],
)
def test_a_bundle_that_is_not_what_was_packed(
    desk: Desk, words: tuple[str, ...], spoil: Callable[[Path], None], said: str
) -> None:
    assert main(["verify", str(bundles.plain_bundle(desk.cwd / "b"))]) == 0
    spoil(desk.cwd / "b")
    desk.refuse(BadBundle, said, *words)


@pytest.mark.parametrize("words", [("verify", "gone"), ("run", "gone", "a text"), ("validate", "gone")])
def test_a_bundle_that_is_not_there(desk: Desk, words: tuple[str, ...]) -> None:
    desk.refuse(BadBundle, "there is no gone - name the folder that edgekit pack wrote", *words)


@pytest.mark.engines
def test_a_page_that_cannot_be_written_is_known_before_anything_is_measured(desk: Desk, encoder: Path) -> None:
    desk.copy(encoder)
    assert start(["pack", "model", "--out", "b", *LOOSE], desk.folder).wait().code == 0
    desk.refuse(OutputUnwritable, "cannot write no/page.html: there is no folder no", "validate", "b", "--html",
                "no/page.html")  # fmt: skip
    desk.refuse_in_child(OutputUnwritable, "cannot write b: Is a directory", "validate", "b", "--html", "b")
    desk.refuse(UsageError, "--html and --save both name x", "validate", "b", "--html", "x", "--save", "x")
    ended = start(["validate", "b", "--html", "page.html", "--save", "report.json"], desk.folder).wait()
    assert (ended.code, ended.err) == (0, "")
    assert (desk.cwd / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    desk.refuse(OutputExists, "report.json exists - name another file, or --force", "validate", "b", "--save",
                "report.json")  # fmt: skip
    assert start(["compare", "b", "--reports", "report.json"], desk.folder).wait().code == 0
    desk.copy(encoder, "b/left-by-someone")
    said = "is in the bundle's folder and not in its manifest"
    desk.refuse(BadBundle, said, "compare", "b", "--reports", "report.json")


# What fits no device, and what holds no limit.


@pytest.mark.engines
@pytest.mark.parametrize("command", ["pack"])
def test_a_model_that_cannot_fit_says_by_how_much_and_what_would(desk: Desk, command: str, llama: Path) -> None:
    model = desk.copy(llama)
    longest = {"config.json": "max_position_embeddings", "tokenizer_config.json": "model_max_length"}
    for name, key in longest.items():
        write_json(model / name, json.loads((model / name).read_text()) | {key: 2**22})
    said = (
        r"cwd does not fit intel-n100: the smallest candidate, gguf \w+, needs an estimated [\d.]+ MiB against"
        r" [\d.]+ MiB, [\d.]+ [KM]iB too much - nearest: gguf \w+: --max-ram \d+MB would allow it"
    )
    desk.refuse(DoesNotFit, said, command, "model", "--max-ram", "1MiB", *LOOSE)
    said = r"needs an estimated .* against .* too much - a smaller context: gguf \w+ .*fits? with --context \d+"
    desk.refuse(DoesNotFit, said, command, "model", "--max-ram", "100MiB", "--context", "200000", *LOOSE)
    said = r"needs an estimated [\d.]+ [KM]iB against 10\.0 KiB, .* too much - .*--max-disk \d+KB would allow it"
    desk.refuse(DoesNotFit, said, command, "model", "--max-disk", "10KiB", *LOOSE)


@pytest.mark.engines
def test_when_every_candidate_misses_nothing_is_written_but_why(desk: Desk, encoder: Path) -> None:
    desk.copy(encoder)
    said = (
        r"no candidate held every limit: onnx-int8 missed mean cosine .*Nearest miss: .* - loosen the limit .*failed,"
        r" or pack what edgekit qat --for onnx-int8 --data FILE makes of it"
    )
    exact = ["1" if before == "--min-cosine" else word for before, word in zip(["", *LOOSE], LOOSE, strict=False)]
    desk.refuse_in_child(LimitMissed, said, "pack", "model", "--strategy", "onnx-int8", *exact)
    said = r"nothing can be packed: onnx-int8: is slower than --max-latency-ms - nearest: .* would allow it"
    desk.refuse(DoesNotFit, said, "pack", "model", "--strategy", "onnx-int8", *LOOSE, "--max-latency-ms", "0.0001")
