"""Models and bundles that several end-to-end tests share, made once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.packing import LOOSE, minilm_folder
from fixtures.page import Browser
from fixtures.page_bundles import MAKERS

import edgekit
from edgekit.packer import Packed

TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="session")
def packed_minilm(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """all-MiniLM-L6-v2 with its real weights, packed for this machine with the default limits but speed."""
    out = tmp_path_factory.mktemp("minilm") / "bundle"
    limits = edgekit.Limits(max_slowdown=100)  # speed is for benchmarks: another load here must not fail a test
    return edgekit.pack(minilm_folder(), "host", out=out, name="all-minilm-l6-v2", limits=limits)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llama(tmp_path_factory.mktemp("source") / "tiny-llama", chat_template=TEMPLATE)


@pytest.fixture(scope="session")
def packed_chat(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return edgekit.pack(chat_model, "host", out=tmp_path_factory.mktemp("chat") / "bundle", limits=LOOSE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = Browser()
    yield found
    found.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of `page_bundles.MAKERS` by that name, made once."""
    folder, found = tmp_path_factory.mktemp("page"), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in found:
            found[name] = MAKERS[name](folder / name)
        return found[name]

    return get
