"""Short bursts that measure this machine: read bandwidth, and matrix products in fp32 and int8. The best burst counts:
other load only ever slows one down.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle
from typing import TYPE_CHECKING, Any

from edgekit.device.profile import Figure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_BYTES = 128 * 2**20
_SMALLEST_BLOCK_BYTES = 16 * 2**20
_SECONDS = 0.7
_BUSY_SECONDS = 2.0
_UNDISTURBED = 0.75
# Short bursts: each has to find every core free of other load.
_SLICES = 2
_EDGE = 512


@dataclass(frozen=True)
class Speeds:
    """What the bursts measured; figures are unknown, with the reason as source, where they could not."""

    sustained_bytes_per_s: Figure
    one_thread_bytes_per_s: Figure
    fp32_flops_per_s: Figure
    int8_ops_per_s: Figure


def measure_speeds(threads: int, memory_bytes: int | None) -> Speeds:
    """About four seconds of bursts with `threads` threads, those of all cores that this process may use."""
    one = measure_read_bandwidth(1, memory_bytes)
    every = measure_read_bandwidth(threads, memory_bytes) if threads > 1 else one
    if one.value is not None and (every.value is None or every.value < one.value):
        why = f"{threads} threads were no faster" if every.value is not None else every.source
        every = Figure(value=one.value, status="measured", source=f"{one.source}; {why}")
    return Speeds(every, one, measure_fp32_flops(threads), measure_int8_ops(threads))


def measure_read_bandwidth(threads: int, memory_bytes: int | None) -> Figure:
    """Bytes per second that `threads` together read from memory (what decoding does): the best of the bursts.

    Each thread takes the maximum of a block of its own, 128 MiB, or less where memory is short: all blocks together
    stay within a sixteenth of it. Below 16 MiB a block would lie in the cache: unknown. A burst reads half of each
    block, the other half than the burst before: by then the caches have forgotten it.
    """
    import numpy as np

    block = min(_BLOCK_BYTES, (memory_bytes or 1 << 40) // 16 // threads)
    if block < _SMALLEST_BLOCK_BYTES:
        return _unknown(f"memory is too short for {threads} blocks that no cache holds")
    blocks = [np.arange(block // 8 // _SLICES * _SLICES, dtype=np.int64) for _ in range(threads)]
    turns = cycle(list(zip(*(np.split(each, _SLICES) for each in blocks), strict=True)))
    with ThreadPoolExecutor(threads) as pool:
        best = _best(lambda: list(pool.map(np.max, next(turns))), threads)
    read_bytes = sum(each.nbytes for each in blocks) / _SLICES
    return _measured(read_bytes, best, f"{_threads(threads)} reading {block >> 20} MiB each")


def measure_fp32_flops(threads: int) -> Figure:
    """Floating-point operations per second of a 512 x 512 matrix product, float32: by ONNX Runtime, whose kernels the
    estimates are about, or else by numpy.
    """
    import numpy as np

    operations = 2 * _EDGE**3
    matrix = np.linspace(-1, 1, _EDGE * _EDGE, dtype=np.float32).reshape(_EDGE, _EDGE)
    product = _ort_product("MatMul", matrix, matrix, threads)
    if product is not None:
        return _measured(operations, _best(product, threads), _ort_source("MatMul", "float32", threads))
    out = np.empty_like(matrix)
    best = _best(lambda: np.matmul(matrix, matrix, out=out), threads)
    how = f"numpy, product of {_EDGE} x {_EDGE} float32, the threads its BLAS takes for {threads} cores"
    return _measured(operations, best, how)


def measure_int8_ops(threads: int) -> Figure:
    """Integer operations per second of a 512 x 512 product of uint8 with int8 by ONNX Runtime, the product that
    dynamic quantization runs. Unknown where it is not installed.
    """
    import numpy as np

    left = (np.arange(_EDGE * _EDGE) % 251).astype(np.uint8).reshape(_EDGE, _EDGE)
    right = (np.arange(_EDGE * _EDGE) % 127 - 63).astype(np.int8).reshape(_EDGE, _EDGE)
    product = _ort_product("MatMulInteger", left, right, threads)
    if product is None:
        return _unknown("onnx and onnxruntime are not installed: nothing to measure int8 products with")
    source = _ort_source("MatMulInteger", "uint8 with int8", threads)
    return _measured(2 * _EDGE**3, _best(product, threads), source)


def has_onnx_runtime() -> bool:
    return find_spec("onnx") is not None and find_spec("onnxruntime") is not None


def _ort_product(
    operator: str, left: NDArray[np.generic], right: NDArray[np.generic], threads: int
) -> Callable[[], object] | None:
    """`left` times the constant `right` in a session of its own; None where ONNX Runtime is not installed."""
    if not has_onnx_runtime():
        return None
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(left.dtype)
    result = TensorProto.FLOAT if kind == TensorProto.FLOAT else TensorProto.INT32
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", kind, left.shape)],
        [helper.make_tensor_value_info("product", result, [len(left), right.shape[1]])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"left": left})


def _ort_source(operator: str, kinds: str, threads: int) -> str:
    from importlib.metadata import version

    engine = f"ONNX Runtime {version('onnxruntime')} {operator}"
    return f"{engine}, product of {_EDGE} x {_EDGE} {kinds}, {_threads(threads)}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _measured(operations: float, best: _Best, how: str) -> Figure:
    busy = "" if best.share >= _UNDISTURBED else f", with {best.share:.0%} of the cores' time: there was other load"
    source = f"{how}, best burst on {time.strftime('%Y-%m-%d')}{busy}"
    return Figure(value=float(round(operations / best.seconds, -6)), status="measured", source=source)


def _unknown(why: str) -> Figure:
    return Figure(status="unknown", source=why)


@dataclass(frozen=True)
class _Best:
    """`share` is the CPU time that all bursts got over what `threads` threads could have had meanwhile."""

    seconds: float
    share: float


def _best(burst: Callable[[], object], threads: int) -> _Best:
    """The fastest of at least three bursts, repeated for 0.7 s after one that warms up; for 2 s while other load takes
    its part of the cores.
    """
    burst()
    best, share, done = float("inf"), 1.0, 0
    cpu, begun = time.process_time(), time.perf_counter()
    ended = begun
    while done < 3 or ended < begun + (_SECONDS if share >= _UNDISTURBED else _BUSY_SECONDS):
        started = time.perf_counter()
        burst()
        ended = time.perf_counter()
        best = min(best, ended - started)
        share = min(1.0, (time.process_time() - cpu) / (ended - begun) / threads)
        done += 1
    return _Best(best, share)
