"""What a GGUF file is expected to cost on a device. Pure arithmetic over shapes and types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekit.costs import Estimate
from edgekit.device import DeviceProfile
from edgekit.model import TensorInfo
from edgekit.strategies.gguf.presets import GgmlType, TypeChoice, tensor_bytes
from edgekit.strategies.gguf.rope import Metadata
from edgekit.strategies.gguf.targets import Target

ALIGNMENT = 32
# The interpreter, the engine's library and its buffers before a model is loaded, as measured on x86-64 Linux.
_PROCESS_BYTES = (40 << 20, 110 << 20)
# The engine copies these types into another order on CPUs with the feature; the copy is anonymous memory (ggml's
# repack.cpp).
_REPACKED: Mapping[str, tuple[GgmlType, ...]] = {
    "avx2": ("Q4_0", "Q4_K"),
    "dotprod": ("Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"),
}


def padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def data_bytes(targets: Iterable[Target], choice: TypeChoice) -> int:
    return sum(padded(tensor_bytes(target, choice(target))) for target in targets)


def metadata_bytes(metadata: Metadata) -> int:
    return sum(8 + len(key.encode()) + 4 + _value_bytes(value) for key, value in metadata.items())


def header_bytes(metadata_size: int, targets: Iterable[Target]) -> int:
    """Bytes before the first tensor's data, as the format lays them out."""
    size = 24 + metadata_size
    return padded(size + sum(8 + len(target.name) + 4 + 8 * len(target.shape) + 4 + 8 for target in targets))


def _value_bytes(value: Any) -> int:
    if isinstance(value, bool):
        return 1
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, list):
        return 12 + sum(_value_bytes(item) for item in value)
    return 4


def repacked_bytes(targets: Iterable[Target], choice: TypeChoice, device: DeviceProfile) -> int:
    """What of the layers the engine copies on this device."""
    types = {ggml_type for feature, copied in _REPACKED.items() if device.has(feature) for ggml_type in copied}
    return sum(
        tensor_bytes(target, choice(target))
        for target in targets
        if target.layer is not None and choice(target) in types
    )


def ram_bytes(file_bytes: int, kv_bytes: int, repacked: int, width: int, vocabulary: int) -> Estimate:
    """Peak resident memory: the mapped file is counted whole, since every token reads all of it."""
    buffers = 4 * (128 * 16 * width + 64 * vocabulary)
    low = file_bytes + kv_bytes + _PROCESS_BYTES[0]
    high = file_bytes + kv_bytes + repacked + buffers + _PROCESS_BYTES[1]
    return Estimate(low, high, "mapped file + KV cache + process; high with repacked copies and compute buffers")


def tokens_per_s(bytes_per_token: int, device: DeviceProfile) -> Estimate | None:
    """Decoding reads every weight for a token; quantized kernels reached 0.4 to 1.0 of the memory's bandwidth."""
    bandwidth = device.memory_bandwidth.sustained_bytes_per_s
    if bandwidth.value is None or bytes_per_token <= 0:
        return None
    bound = bandwidth.value / bytes_per_token
    return Estimate(0.4 * bound, bound, f"0.4 to 1.0 of {bandwidth.value / 1e9:.1f} GB/s ({bandwidth.status})")


def stored_kv_bytes_per_token(tensors: Iterable[TensorInfo], width: int) -> int:
    """K and V in float16 for one token of a GGUF file that is taken as it is, from the rows of its K and V weights."""
    rows = 0
    for tensor in tensors:
        part = tensor.name.split(".")[-2] if tensor.name.endswith(".weight") else ""
        if part in ("attn_k", "attn_v"):
            rows += tensor.shape[0]
        elif part == "attn_qkv":
            rows += max(tensor.shape[0] - width, 0)
    return 2 * rows
