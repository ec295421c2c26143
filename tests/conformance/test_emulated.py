"""Bundles on emulated CPUs: they start, their answers hold, and the kernels picked are seen. What runs them is prepared
by `make targets`.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import pytest
from fixtures import tiny_models
from fixtures.devices import device
from fixtures.packing import LOOSE

import edgekit
from edgekit.device import load_profile
from edgekit.errors import TargetNotPrepared, UnknownCpu, UsageError, ValidationFailed
from edgekit.progress import Silent
from edgekit.report import Report
from edgekit.targets import Conditions, open_target
from edgekit.targets.preparing import wheels

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 ONNX bundle."""
    folder = tmp_path_factory.mktemp("emulated")
    model = tiny_models.tiny_sentence_encoder(folder / "model")
    return edgekit.pack(model, "raspberry-pi-5-8gb", out=folder / "int8", strategy="onnx-int8", limits=LOOSE).folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF bundle."""
    folder = tmp_path_factory.mktemp("emulated")
    model = tiny_models.tiny_llama(folder / "model")
    return edgekit.pack(model, "raspberry-pi-5-8gb", out=folder / "gguf", strategy="gguf", limits=LOOSE).folder


@cache
def validated(bundle: Path, cpu: str) -> Report:
    """Once for all tests: each takes seconds."""
    report = edgekit.validate(bundle, target=f"emulated:{cpu}")
    assert report.status == "passed"
    assert report.figure("goldens that fail") == 0
    assert report.host.cpu == cpu
    assert report.host.target == f"emulated:{cpu}"
    assert report.host.emulator.startswith("qemu-user ")
    assert not report.device_is_host
    return report


def open_(spec: str, profile: str = "raspberry-pi-5-8gb", engine: str | None = None) -> str:
    """The name of the target that `spec` opens."""
    with open_target(spec, Conditions(load_profile(profile), 1, Silent(), engine)) as target:
        return target.name


def test_an_arm_cpu_without_dotprod_multiplies_by_neon_alone(encoder: Path) -> None:
    report = validated(encoder, "cortex-a53")
    (int8,) = [words for words in report.host.kernels if words.startswith("int8 products")]
    assert "(NEON; " in int8
    assert "dotprod" not in report.host.isa


def test_an_arm_cpu_with_dotprod_uses_it(encoder: Path) -> None:
    report = validated(encoder, "cortex-a76")
    assert any("DOT (dotprod; " in words for words in report.host.kernels)
    assert "dotprod" in report.host.isa


def test_no_time_and_no_memory_is_told_from_an_emulator(encoder: Path) -> None:
    report = validated(encoder, "cortex-a76")
    assert not [row.name for row in report.rows if row.unit == "ms" or "per_s" in row.name or "tokens/s" in row.unit]
    assert {row.name for row in report.rows if row.unit == "bytes"} == {"model file", "bundle on disk"}
    assert not {name for name in report.series if "latency" in name}


def test_an_x86_cpu_without_vnni_answers_right_by_the_guard_and_wrong_without(encoder: Path) -> None:
    """Its own /proc/cpuinfo is this machine's: unless that is put right, the runtime believes in VNNI."""
    report = validated(encoder, "Haswell")
    assert not set(report.host.isa) & {"avx512f", "avx512_vnni", "avx_vnni"}
    (int8,) = [words for words in report.host.kernels if words.startswith("int8 products")]
    assert int8.startswith("int8 products: VPMADDWD (AVX2; ")  # and no VPMADDUBSW, which saturates
    failing = report.figure("goldens that fail without the guard")
    assert failing is not None
    assert failing > 0
    assert any("saturate" in note and "x64quantprecision" in note for note in report.notes)


def test_llama_cpp_loads_the_variant_for_the_cpu(decoder: Path) -> None:
    report = validated(decoder, "cortex-a76")
    assert report.host.kernels[0].startswith("ggml CPU variant armv8.2_2 (NEON ")
    assert any("DOT (dotprod; " in words for words in report.host.kernels)


def test_a_cpu_that_the_bundle_is_not_for_is_refused_by_the_bundle_itself(decoder: Path) -> None:
    with pytest.raises(
        ValidationFailed, match=r"on emulated:Nehalem .*: UnsupportedDevice: this x86_64 CPU lacks avx2"
    ):
        edgekit.validate(decoder, target="emulated:Nehalem")


def test_an_illegal_instruction_is_told_with_what_was_being_done_and_nothing_is_left(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ValidationFailed, match=r"^illegal instruction on core2duo while importing numpy - numpy 2"):
        edgekit.validate(encoder, target="emulated:core2duo")
    assert list(tmp_path.iterdir()) == []


def test_cpus_are_found_by_any_spelling_and_by_device() -> None:
    assert open_("emulated:Cortex-A76") == "emulated:cortex-a76"
    assert open_("emulated:haswell") == "emulated:Haswell"
    assert open_("emulated:max") == "emulated:max"
    assert open_("device", "raspberry-pi-4-4gb") == "emulated:cortex-a72"
    with pytest.raises(UsageError, match="test-device names no CPU to emulate"):
        open_target("device", Conditions(device(), 1, Silent())).__enter__()


def test_a_misspelt_cpu_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownCpu, match=r"knows no CPU 'cortex-a67' - did you mean .*cortex-a76"):
        open_("emulated:cortex-a67")


def test_a_cpu_that_is_emulated_only_in_part_is_refused() -> None:
    with pytest.raises(UnknownCpu, match=r"knows Cascadelake-Server, but not its avx512bw.*--on ssh"):
        open_("emulated:Cascadelake-Server")


def test_a_cpu_without_64_bits_is_refused() -> None:
    with pytest.raises(UnknownCpu, match=r"486 runs no 64-bit program.* - name a CPU such as Haswell"):
        open_("emulated:486")


def test_what_is_not_prepared_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "installed", lambda names: dict.fromkeys(names, "99.0"))
    with pytest.raises(TargetNotPrepared, match=r"aarch64 is not prepared: it was prepared for numpy .* here is 99\.0"):
        open_("emulated:cortex-a76")
    monkeypatch.undo()
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path))
    with pytest.raises(
        TargetNotPrepared, match=r"qemu is not prepared: .* - edgekit targets prepare cortex-a76.*--from"
    ):
        open_("emulated:cortex-a76")


def test_an_engine_that_is_not_prepared_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.targets.preparing import store

    for name in ("qemu", "aarch64"):
        (tmp_path / name).symlink_to(store.home() / name)
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path))
    with pytest.raises(TargetNotPrepared, match=r"edgekit targets prepare aarch64 --engine llama\.cpp"):
        open_("emulated:cortex-a76", engine="llama.cpp")
