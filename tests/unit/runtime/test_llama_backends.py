"""llama.cpp built with one library for each kind of CPU: the runtime has it choose one, and only then."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edgekit_runtime import _llama
from edgekit_runtime.errors import LoadFailed

SITE = Path("site") / "llama_cpp"


class Library:
    """ggml's registry: `inside` devices from the start, `found` more once it has looked into a folder."""

    def __init__(self, inside: int, found: int) -> None:
        self.devices, self.looked = inside, []

        def load(folder: bytes) -> None:
            self.looked.append(folder)
            self.devices += found

        self.ggml_backend_load_all_from_path = load

    looked: list[bytes]

    def ggml_backend_dev_count(self) -> int:
        return self.devices


def functions(library: Library) -> Any:
    return SimpleNamespace(_lib=library, __file__=str(SITE / "llama_cpp.py"))


def test_a_build_with_the_cpu_inside_is_left_alone() -> None:
    library = Library(inside=1, found=1)
    _llama._load_backends(functions(library))
    assert library.looked == []


def test_else_it_looks_beside_the_engines_own_library() -> None:
    library = Library(inside=0, found=1)
    _llama._load_backends(functions(library))
    assert library.looked == [os.fsencode(SITE / "lib")]


def test_no_library_for_this_cpu_is_refused() -> None:
    with pytest.raises(LoadFailed, match="finds no library for this CPU"):
        _llama._load_backends(functions(Library(inside=0, found=0)))
