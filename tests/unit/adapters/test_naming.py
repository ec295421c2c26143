"""Under which names an adapter's modules lie in its base."""

from __future__ import annotations

import pytest

from edgekit.adapters.naming import Naming, naming, require
from edgekit.errors import BadAdapter

STORED = ("bert.embeddings.weight", "bert.layer.0.query.weight", "cls.bias")


@pytest.mark.parametrize(
    ("modules", "stored", "heads", "found"),
    [
        (["bert.layer.0.query"], STORED, (), Naming()),
        (["layer.0.query"], STORED, (), Naming(adapter_prefix="bert.")),
        (["bert.layer.0.query"], [name.removeprefix("bert.") for name in STORED], (), Naming(base_prefix="bert.")),
        (["bert.layer.0.query", "lm_head"], STORED, {"lm_head"}, Naming()),
        (["bert.layer.0.query", "lm_head"], ["layer.0.query.weight"], {"lm_head"}, Naming(base_prefix="bert.")),
        (["gpt.h.0"], STORED, (), Naming()),
    ],
)  # fmt: skip
def test_naming(modules: list[str], stored: list[str], heads: set[str], found: Naming) -> None:
    assert naming(modules, stored, heads) == found


def test_a_module_that_is_missing_is_named() -> None:
    require("bert.layer.0.query", STORED, "here", "there")
    with pytest.raises(BadAdapter, match=r"here was made for another architecture: it changes gpt\.h\.0, .* there"):
        require("gpt.h.0", STORED, "here", "there")
