"""Short bursts that measure this machine: sustained read bandwidth and fp32 throughput, with numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from edgekit.device.profile import Figure

_BLOCK_BYTES = 128 * 2**20
_SMALLEST_BLOCK_BYTES = 16 * 2**20
_SECONDS = 0.7
_EDGE = 768


def measure_read_bandwidth(threads: int, memory_bytes: int | None) -> Figure:
    """Bytes per second that `threads` together read from memory (what decoding does): the best of the bursts.

    Each thread takes the maximum of a block of its own, 128 MiB, or less where memory is short: all blocks together
    stay within a sixteenth of it. Below 16 MiB a block would lie in the cache: unknown.
    """
    import numpy as np

    block = min(_BLOCK_BYTES, (memory_bytes or 1 << 40) // 16 // threads)
    if block < _SMALLEST_BLOCK_BYTES:
        return Figure(status="unknown")
    blocks = [np.arange(block // 8, dtype=np.int64) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(np.max, blocks)))
    source = f"{threads} threads reading {block >> 20} MiB each, best burst"
    return Figure(value=float(round(threads * block / seconds, -6)), status="measured", source=source)


def measure_fp32_flops() -> Figure:
    """Floating-point operations per second of a 768 x 768 matrix product, float32, all threads of numpy's BLAS."""
    import numpy as np

    matrix = np.linspace(-1, 1, _EDGE * _EDGE, dtype=np.float32).reshape(_EDGE, _EDGE)
    out = np.empty_like(matrix)
    seconds = _best(lambda: np.matmul(matrix, matrix, out=out))
    source = f"numpy matrix product of {_EDGE} x {_EDGE}, best burst"
    return Figure(value=float(round(2 * _EDGE**3 / seconds, -6)), status="measured", source=source)


def _best(burst: Callable[[], object]) -> float:
    """Seconds of the fastest of at least three bursts, repeated for 0.7 s after one that warms up."""
    burst()
    best, until, done = float("inf"), time.perf_counter() + _SECONDS, 0
    while done < 3 or time.perf_counter() < until:
        started = time.perf_counter()
        burst()
        best = min(best, time.perf_counter() - started)
        done += 1
    return best
