from __future__ import annotations

import os

import pytest

from edgekit.device import Figure, burst
from edgekit.device.burst import (
    Speeds,
    has_onnx_runtime,
    measure_fp32_flops,
    measure_int8_ops,
    measure_read_bandwidth,
    measure_speeds,
)


@pytest.fixture(autouse=True)
def _short_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burst, "_SECONDS", 0.02)
    monkeypatch.setattr(burst, "_BUSY_SECONDS", 0.02)
    monkeypatch.setattr(burst, "_EDGE", 128)
    monkeypatch.setattr(burst, "_BLOCK_BYTES", 16 * 2**20)


def figures(speeds: Speeds) -> list[Figure]:
    return [getattr(speeds, name) for name in Speeds.__dataclass_fields__]


def test_every_speed_is_of_this_machine_and_says_how_and_when() -> None:
    speeds = measure_speeds(2, None)
    measured = [figure for figure in figures(speeds) if figure.value is not None]
    assert len(measured) >= 3
    assert all(1e8 < (figure.value or 0) < 1e14 for figure in measured)
    assert all(figure.status == "measured" and "best burst on 20" in figure.source for figure in measured)
    assert speeds.one_thread_bytes_per_s.source.startswith("1 thread reading 16 MiB")
    assert (speeds.one_thread_bytes_per_s.value or 0) <= (speeds.sustained_bytes_per_s.value or 0)


def test_one_core_is_measured_once() -> None:
    speeds = measure_speeds(1, None)
    assert speeds.one_thread_bytes_per_s is speeds.sustained_bytes_per_s


def test_several_threads_are_never_slower_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_busy_machine(threads: int, memory_bytes: int | None) -> Figure:
        return Figure(value=10e9 / threads, status="measured", source=f"{threads} threads")

    monkeypatch.setattr(burst, "measure_read_bandwidth", on_a_busy_machine)
    speeds = measure_speeds(4, None)
    assert speeds.sustained_bytes_per_s.value == speeds.one_thread_bytes_per_s.value == 10e9
    assert speeds.sustained_bytes_per_s.source == "1 threads; 4 threads were no faster"


def test_where_memory_is_short_one_thread_stands_for_all() -> None:
    speeds = measure_speeds(4, 512 * 2**20)
    assert speeds.sustained_bytes_per_s.value == speeds.one_thread_bytes_per_s.value
    assert "1 thread reading" in speeds.sustained_bytes_per_s.source
    assert "memory is too short for 4 blocks" in speeds.sustained_bytes_per_s.source


def test_bandwidth_is_unknown_where_memory_is_too_short_to_leave_the_cache() -> None:
    figure = measure_read_bandwidth(4, 512 * 2**20)
    assert (figure.value, figure.status) == (None, "unknown")
    assert "memory is too short for 4 blocks" in figure.source


def test_without_onnx_runtime_fp32_comes_from_numpy_and_int8_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burst, "find_spec", lambda name: None)
    assert not has_onnx_runtime()
    fp32, int8 = measure_fp32_flops(2), measure_int8_ops(2)
    assert fp32.source.startswith("numpy, product of 128 x 128 float32, the threads its BLAS takes for 2 cores")
    assert (int8.status, "not installed" in int8.source) == ("unknown", True)


def test_other_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burst.time, "process_time", lambda: 0.0)
    assert "with 0% of the cores' time: there was other load" in measure_read_bandwidth(1, None).source


@pytest.mark.engines
def test_onnx_runtime_multiplies_without_telemetry() -> None:
    assert measure_fp32_flops(1).source.startswith("ONNX Runtime ")
    int8 = measure_int8_ops(1)
    assert "MatMulInteger, product of 128 x 128 uint8 with int8, 1 thread" in int8.source
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
