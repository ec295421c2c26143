from __future__ import annotations

import math

import pytest
from fixtures.costing import ENGINE, machine, row
from fixtures.devices import device

from edgekit.costs.factors import (
    BUILT_FOR,
    ISA_CLASSES,
    Factors,
    Row,
    isa_class,
    read_factors,
    shipped_factors,
    write_factors,
)
from edgekit.device.profile import KNOWN_FEATURES

ANY = row({"file": 1.0}, "memory", isa="any")


@pytest.mark.parametrize(
    ("features", "arch", "expected"),
    [
        (("avx2", "avx512f", "avx512_vnni"), "x86_64", "avx512_vnni"),
        (("avx2", "avx_vnni"), "x86_64", "avx_vnni"),
        (("avx2",), "x86_64", "avx2"),
        ((), "x86_64", "x86_64"),
        (("neon", "dotprod"), "aarch64", "dotprod"),
        (("simd128",), "wasm32", "simd128"),
    ],
)
def test_the_best_feature_names_the_class(features: tuple[str, ...], arch: str, expected: str) -> None:
    assert isa_class(device(*features, arch=arch)) == expected


def test_an_engine_built_for_less_runs_the_kernels_it_has() -> None:
    wide = device("sse4_2", "avx2", "avx512f", "avx512_vnni")
    assert (isa_class(wide, "llama.cpp"), isa_class(wide, "onnxruntime")) == ("avx2", "avx512_vnni")
    assert isa_class(device("neon", "dotprod", arch="aarch64"), "llama.cpp") == "dotprod"
    measured = row({"a": 1.0}, engine="llama.cpp", isa="avx2")
    assert Factors((measured,)).row("llama.cpp", "encode", wide) == (measured, False)


def test_classes_are_features_that_profiles_know() -> None:
    for arch, classes in ISA_CLASSES.items():
        assert set(classes) <= KNOWN_FEATURES[arch]
    for (_, arch), built in BUILT_FOR.items():
        assert set(built) <= set(ISA_CLASSES[arch])


def test_the_row_of_the_devices_own_isa_comes_first() -> None:
    other, own = row({"a": 1.0}, isa="avx512_vnni"), row({"a": 2.0}, isa="avx2")
    assert Factors((other, ANY, own)).row(ENGINE, "encode", machine("avx2")) == (own, False)
    everywhere = row({"a": 3.0}, isa="any")
    assert Factors((everywhere, own)).row(ENGINE, "encode", machine("avx2")) == (own, False)
    assert Factors((other, everywhere)).row(ENGINE, "encode", machine("avx2")) == (everywhere, False)


def test_else_the_nearest_of_its_architecture_else_any() -> None:
    far, near, foreign = (row({"a": 1.0}, isa=isa) for isa in ("avx512_vnni", "sse4_2", "dotprod"))
    assert Factors((foreign, far, near)).row(ENGINE, "encode", machine("avx2")) == (near, True)
    assert Factors((foreign, far)).row(ENGINE, "encode", machine("avx2")) == (far, True)
    assert Factors((foreign,)).row(ENGINE, "encode", machine("avx2")) == (foreign, True)


def test_of_another_engine_or_phase_there_is_none() -> None:
    factors = Factors((row({"a": 1.0}, "decode"), row({"a": 1.0}, engine="llama.cpp")))
    assert factors.row(ENGINE, "encode", machine()) is None


def test_memory_is_the_same_everywhere() -> None:
    assert Factors((ANY,)).row(ENGINE, "memory", device(arch="aarch64")) == (ANY, False)


def test_written_factors_read_the_same() -> None:
    factors = Factors((row({"a": 1.0, "b": 2e-6}), ANY))
    assert read_factors(write_factors(factors)) == factors


@pytest.mark.parametrize("each", shipped_factors().rows, ids=lambda each: each.name)
def test_every_shipped_row_is_sane(each: Row) -> None:
    assert each.engine in ("onnxruntime", "llama.cpp")
    assert each.phase in ("encode", "prefill", "decode", "memory")
    assert each.isa == "any" or any(each.isa in classes for classes in ISA_CLASSES.values())
    assert each.factors
    assert all(0 < value < math.inf for value in each.factors.values())
    assert 0 < each.low < 1 < each.high < 10
    assert each.points >= 8
    for told in (
        "benchmarks/planner_fit.py",
        each.engine if each.engine == "onnxruntime" else "llama-cpp",
        " on ",
        "20",
    ):
        assert told in each.provenance


def test_no_two_shipped_rows_are_for_the_same() -> None:
    keys = [(each.engine, each.phase, each.isa) for each in shipped_factors().rows]
    assert len(keys) == len(set(keys))
