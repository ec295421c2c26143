"""Which number format a run computes in."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.training.recipe import Precision

_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def resolved(asked: Precision, device: str) -> Precision:
    """ "fp32", "bf16" or "fp16" for a device ("cuda", "cpu", "mps", ...); weights and moments stay float32.

    On a CPU, bfloat16 only where it is asked for and the CPU computes in it; UsageError otherwise.
    """
    import torch

    if device == "cuda":
        if asked == "auto":
            return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        if asked == "bf16" and not torch.cuda.is_bf16_supported():
            raise UsageError("training in bf16: this GPU does not compute in it", "leave it at auto")
        return asked
    if asked == "fp16" or (asked == "bf16" and device != "cpu"):
        raise UsageError(f"training in {asked}: {device} has no fast arithmetic for it", "leave it at auto")
    if asked == "bf16" and not cpu_has_bfloat16():
        raise UsageError(
            "training in bf16: this CPU has none of avx512_bf16, amx_bf16, bf16 and would emulate it", "use fp32"
        )
    return "bf16" if asked == "bf16" else "fp32"


def cpu_has_bfloat16() -> bool:
    from edgekit.device import detect

    features = detect(measure=False).cpu.isa.value or ()
    return bool(_CPU_BFLOAT16 & set(features))
