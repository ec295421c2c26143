"""Downloads through the real huggingface_hub client from a hub on this machine; the network is never asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.hub import Hub, Repository, serve
from fixtures.plain_folders import sentence_folder

from edgekit.errors import BadModel, GatedModel, HubUnreachable, ModelNotFound, UnsafeModel
from edgekit.model import open_model, source_sha256

COMMIT, OLDER = "a" * 40, "b" * 40
EXTRA = ("onnx/model.onnx", "pytorch_model.bin", "tf_model.h5", "openvino/openvino_model.bin", "modeling_x.py")
SAFE = {
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_folder(tmp_path_factory.mktemp("source") / "m")


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pickled = {name: data for name, data in files.items() if name != "model.safetensors"} | {"pytorch_model.bin": b"x"}
    repositories = {
        "org/Encoder": Repository(files | dict.fromkeys(EXTRA, b"x"), {"main": COMMIT, "v1": OLDER}),
        "org/pickled": Repository(pickled),
        "org/gguf": Repository({"README.md": b"", "model-Q4_K_M.gguf": b"x"}),
        "org/gated": Repository(files, fault=(403, "GatedRepo")),
        "org/gated-unknown": Repository(files, fault=(401, "GatedRepo")),
        "org/private": Repository(files, fault=(401, "")),
        "org/forbidden": Repository(files, fault=(403, "")),
        "org/hidden": Repository(files, fault=(401, "RepoNotFound")),
        "org/down": Repository(files, fault=(503, "")),
    }
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve(repositories) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def test_only_what_is_needed_is_downloaded_and_the_commit_is_recorded(hub: Hub, folder: Path, tmp_path: Path) -> None:
    model = open_model("org/Encoder", cache=tmp_path)
    assert (model.name, model.source, model.revision) == ("encoder", "org/Encoder", COMMIT)
    assert (model.task, model.pooling, model.normalize) == ("embedding", "mean", True)
    assert set(hub.downloaded()) == SAFE
    assert source_sha256(model) == source_sha256(open_model(folder, cache=tmp_path))


def test_a_revision_becomes_its_commit(hub: Hub, tmp_path: Path) -> None:
    assert open_model("org/Encoder", revision="v1", cache=tmp_path).revision == OLDER
    assert open_model("hf://org/Encoder", revision=COMMIT, cache=tmp_path).revision == COMMIT
    with pytest.raises(ModelNotFound, match="org/Encoder has no revision 'v2'"):
        open_model("org/Encoder", revision="v2", cache=tmp_path)


def test_the_second_time_nothing_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    open_model("org/Encoder", cache=tmp_path)
    hub.asked.clear()
    open_model("org/Encoder", cache=tmp_path)
    assert hub.downloaded() == []


@pytest.mark.parametrize("revision", [None, "v1", OLDER])
def test_offline_the_cached_copy_is_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    online = open_model("org/Encoder", revision=revision, cache=tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    offline = open_model("org/Encoder", revision=revision, cache=tmp_path)
    assert (offline.revision, offline.files) == (online.revision, online.files)


def test_a_hub_that_is_down_serves_from_the_cache_too(hub: Hub, tmp_path: Path) -> None:
    open_model("org/Encoder", cache=tmp_path)
    hub.repositories["org/Encoder"].fault = (503, "")
    assert open_model("org/Encoder", cache=tmp_path).revision == COMMIT


def test_an_unreachable_hub_says_that_a_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match="not in the cache - a folder on this machine works"):
        open_model("org/Encoder", cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("org/none", ModelNotFound, "the hub has no model org/none"),
        ("org/hidden", ModelNotFound, "a private one needs HF_TOKEN"),
        ("org/gated", GatedModel, "accept its terms"),
        ("org/gated-unknown", GatedModel, "accept its terms"),
        ("org/private", GatedModel, "org/private is gated or private"),
        ("org/forbidden", GatedModel, "org/forbidden is gated or private"),
        ("org/down", HubUnreachable, "a folder on this machine works"),
        ("org/pickled", UnsafeModel, "pickles only .* --allow-pickle"),
        ("org/gguf", BadModel, r"download model-Q4_K_M\.gguf and name the file"),
        ("hf://nobody", ModelNotFound, "organisation/model"),
        ("org/a--b", ModelNotFound, "no valid hub id"),
    ],
)
def test_refusals_in_one_line(hub: Hub, tmp_path: Path, name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        open_model(name, cache=tmp_path)
    assert "\n" not in str(caught.value)
    assert hub.downloaded() == []


def test_pickles_are_downloaded_when_they_are_allowed(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"pytorch_model\.bin"):  # three bytes are no pickle, but they did arrive
        open_model("org/pickled", allow_pickle=True, cache=tmp_path)
    assert "pytorch_model.bin" in hub.downloaded()


def test_code_is_downloaded_only_when_it_is_trusted(hub: Hub, tmp_path: Path) -> None:
    open_model("org/Encoder", cache=tmp_path, trust_remote_code=True)
    assert "modeling_x.py" in hub.downloaded()


def test_a_download_that_breaks_off_can_be_repeated(hub: Hub, tmp_path: Path) -> None:
    whole = hub.repositories["org/Encoder"].files
    listed = dict(whole)

    class Losing(dict[str, bytes]):
        def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
            return None if name == "model.safetensors" else super().get(name)

    hub.repositories["org/Encoder"].files = Losing(listed)
    with pytest.raises(HubUnreachable, match=r"broke off|answers"):
        open_model("org/Encoder", cache=tmp_path)
    hub.repositories["org/Encoder"].files = whole
    assert open_model("org/Encoder", cache=tmp_path).revision == COMMIT


def test_stderr_stays_clean_where_nobody_watches(hub: Hub, tmp_path: Path) -> None:
    code = "import sys; from edgekit.model import open_model; from pathlib import Path;"
    code += "print(open_model('org/Encoder', cache=Path(sys.argv[1])).revision)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (COMMIT, "")
