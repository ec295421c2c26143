"""What the tests of refusals and interruptions share: tiny sources made once, and a desk to run commands at."""

from __future__ import annotations

import multiprocessing.util
import tempfile
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.commands import Desk


@pytest.fixture
def desk(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    multiprocessing.util.get_temp_dir()  # pytest's own, for good: not in the folder that is watched
    desk = Desk(tmp_path, capfd)
    desk.cwd.mkdir()
    desk.tmp.mkdir()
    monkeypatch.chdir(desk.cwd)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(desk.tmp))
    return desk


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llama(tmp_path_factory.mktemp("llama") / "tiny-llama")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("encoder") / "tiny-encoder")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_bert_classifier(tmp_path_factory.mktemp("classifier") / "tiny-classifier")


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_bert_tagger(tmp_path_factory.mktemp("tagger") / "tiny-tagger")
