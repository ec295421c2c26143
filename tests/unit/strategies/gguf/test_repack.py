"""Which types are copied on which CPU, and what is said of it."""

from __future__ import annotations

import pytest
from fixtures.devices import device
from fixtures.gguf_models import stored_llama

from edgekit.strategies.gguf.repack import note, repacked
from edgekit.strategies.gguf.weights import weigh

LAYERS = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64)


@pytest.mark.parametrize(
    ("features", "arch", "layer_type", "expected"),
    [
        (("avx2",), "x86_64", "Q4_0", {"Q4_0": LAYERS // 32 * 18}),
        (("avx2",), "x86_64", "Q8_0", {}),
        (("sse4_2",), "x86_64", "Q4_0", {}),
        (("neon",), "aarch64", "Q4_0", {}),
        # 100 rows of the output are whole groups of four, which ARM's Q8_0 takes.
        (("neon", "dotprod"), "aarch64", "Q4_0", {"Q4_0": LAYERS // 32 * 18, "Q8_0": 100 * 64 // 32 * 34}),
        (("neon", "dotprod", "i8mm"), "aarch64", "F16", {"Q8_0": 100 * 64 // 32 * 34}),
    ],
)
def test_copies_follow_the_cpu_the_type_and_the_rows(
    features: tuple[str, ...], arch: str, layer_type: str, expected: dict[str, int]
) -> None:
    weights = weigh(stored_llama(layer_type), decodes=True)
    assert repacked(weights, device(*features, arch=arch)) == expected


def test_the_note_names_types_bytes_and_the_way_out() -> None:
    weights = weigh(stored_llama(), decodes=True)
    told = note(weights, device("avx2"))
    assert told is not None
    assert told.startswith("Q4_0 blocks are repacked for avx2")
    assert f"{LAYERS / 32 * 18 / 2**20:.1f} MiB" in told
    assert "low_memory=True" in told
    assert note(weights, device("neon", arch="aarch64")) is None
