"""An adapter on the hub whose base is there too: both are found, each at its revision."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.hub import Repository, serve
from fixtures.tiny_adapters import factors, plain, plain_base

from edgekit.errors import UnsafeModel
from edgekit.model import open_model


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_adapter_and_base_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_base(tmp_path / "base")
    plain(tmp_path / "lora", "org/base", factors(), revision="v1")
    adapter = files(tmp_path / "lora") | {"optimizer.pt": b"x", "checkpoint-5/adapter_model.safetensors": b"x"}
    base = Repository(files(tmp_path / "base"), {"main": "b" * 40, "v1": "c" * 40})
    with serve({"org/lora": Repository(adapter), "org/base": base}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        model = open_model("org/lora", cache=tmp_path / "cache")
        assert (model.name, model.source, model.revision) == ("lora", "org/lora", "a" * 40)
        assert model.merged is not None
        assert (model.merged.base.source, model.merged.base.revision) == ("org/base", "c" * 40)
        assert "optimizer.pt" not in hub.downloaded()


def test_a_pickled_adapter_needs_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(tmp_path / "lora", "org/base", factors())
    (tmp_path / "lora" / "adapter_model.safetensors").rename(tmp_path / "lora" / "adapter_model.bin")
    with serve({"org/lora": Repository(files(tmp_path / "lora"))}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        with pytest.raises(UnsafeModel, match=r"pickles only \(adapter_model\.bin\)"):
            open_model("org/lora", cache=tmp_path / "cache")
