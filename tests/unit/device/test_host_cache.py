from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgekit.device import DeviceProfile, Figure, check_profile, host_cache, load_profile
from edgekit.device.host import with_speeds
from edgekit.device.profile import MemoryBandwidth


class Bursts:
    """Stands in for the bursts: each measurement gives another figure."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, profile: DeviceProfile) -> DeviceProfile:
        self.count += 1
        figure = Figure(value=self.count * 1e9, status="measured", source=f"measurement {self.count}")
        return with_speeds(
            profile, fp32=figure, int8=Figure(status="unknown"), bandwidth=MemoryBandwidth(sustained_bytes_per_s=figure)
        )


@pytest.fixture
def bursts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bursts:
    measured = Bursts()
    monkeypatch.setattr(host_cache, "measured", measured)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return measured


def only_file(folder: Path) -> Path:
    (path,) = (folder / "edgekit").iterdir()
    return path


def test_without_measuring_speeds_are_unknown_until_there_are_some(bursts: Bursts) -> None:
    assert load_profile("host").cpu.fp32_flops_per_s.status == "unknown"
    measured = load_profile("host", measure_host="cached")
    assert measured.cpu.fp32_flops_per_s.value == 1e9
    assert load_profile("host") == load_profile("host", measure_host="cached") == measured
    assert bursts.count == 1


def test_measuring_on_demand_measures_again_and_keeps_it(bursts: Bursts, tmp_path: Path) -> None:
    for count in (1, 2):
        assert load_profile("host", measure_host=True).cpu.fp32_flops_per_s.value == count * 1e9
    assert load_profile("host").memory_bandwidth.sustained_bytes_per_s.source == "measurement 2"
    assert check_profile(only_file(tmp_path)) == []


def test_a_week_later_the_machine_is_measured_again(bursts: Bursts, tmp_path: Path) -> None:
    load_profile("host", measure_host="cached")
    path = only_file(tmp_path)
    for age_seconds, count in ((6 * 86400, 1), (8 * 86400, 2), (-86400, 3)):
        os.utime(path, (0, time.time() - age_seconds))
        assert load_profile("host", measure_host="cached").cpu.fp32_flops_per_s.value == count * 1e9


@pytest.mark.parametrize("broken", [b"", b"not toml [", b"\xff\xfe", b'name = "host"\n', b"x" * (2**20 + 1)])
def test_a_broken_cache_is_measured_again_and_written_over(bursts: Bursts, tmp_path: Path, broken: bytes) -> None:
    load_profile("host", measure_host="cached")
    path = only_file(tmp_path)
    path.write_bytes(broken)
    assert load_profile("host").cpu.fp32_flops_per_s.status == "unknown"
    assert load_profile("host", measure_host="cached").cpu.fp32_flops_per_s.value == 2e9
    assert check_profile(path) == []


def test_a_cache_that_cannot_be_written_is_no_error(
    bursts: Bursts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_profile("host", measure_host="cached").cpu.fp32_flops_per_s.value == 1e9
    assert load_profile("host", measure_host="cached").cpu.fp32_flops_per_s.value == 2e9


def test_what_the_machine_says_of_itself_is_never_taken_from_the_cache(
    bursts: Bursts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_profile("host", measure_host="cached")
    limited = first.ram.model_copy(
        update={"app_bytes": Figure(value=float(2**28), status="derived", source="a tighter control group")}
    )
    detect = host_cache.detect
    monkeypatch.setattr(
        host_cache, "detect", lambda *, measure: detect(measure=measure).model_copy(update={"ram": limited})
    )
    again = load_profile("host", measure_host="cached")
    assert (again.ram, again.cpu.fp32_flops_per_s.value) == (limited, 2e9)


def test_installing_onnx_runtime_makes_the_cache_of_before_void(
    bursts: Bursts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count, there in ((1, False), (2, True), (2, True)):
        monkeypatch.setattr(host_cache, "has_onnx_runtime", lambda there=there: there)
        load_profile("host", measure_host="cached")
        assert bursts.count == count


def test_no_part_is_left_behind(bursts: Bursts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    load_profile("host", measure_host=True)
    assert list((tmp_path / "edgekit").iterdir()) == []
