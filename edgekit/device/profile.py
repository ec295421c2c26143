"""What a device profile holds. Every figure carries its status and source; unknown is allowed."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Status = Literal["measured", "vendor", "press", "derived", "unknown"]

KNOWN_FEATURES = {
    "x86_64": frozenset((
        "sse3", "ssse3", "sse4_1", "sse4_2", "avx", "f16c", "fma", "bmi2", "avx2", "avx_vnni", "avx512f", "avx512bw",
        "avx512cd", "avx512dq", "avx512vl", "avx512vbmi", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
        "amx_bf16", "amx_int8",
    )),
    "aarch64": frozenset(("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme", "sme2")),
    "armv7": frozenset(("neon", "vfpv4")),
    "wasm32": frozenset(("simd128", "relaxed_simd")),
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """A number with its origin. `value` is None exactly when `status` is "unknown"."""

    value: Annotated[float, Field(gt=0)] | None = None
    status: Status
    source: str = ""

    @model_validator(mode="after")
    def _value_unless_unknown(self) -> Self:
        if (self.value is None) != (self.status == "unknown"):
            raise ValueError("a value and the status unknown exclude each other, and one of them is needed")
        return self


class Features(_Strict):
    """ISA features by their standard names, those of KNOWN_FEATURES: avx2, avx512_vnni, dotprod, i8mm, ..."""

    value: tuple[str, ...]
    status: Status
    source: str = ""


class Cluster(_Strict):
    """Cores of one kind; `mhz` is their highest clock. `status` and `source` are of both numbers."""

    microarchitecture: str
    count: Annotated[int, Field(ge=1, le=1024)]
    mhz: Annotated[float, Field(ge=10, le=10_000)] | None = None
    status: Status = "unknown"
    source: str = ""


class Cpu(_Strict):
    """`fp32_flops_per_s` and `int8_ops_per_s` are of all cores together, in a large matrix product; a multiplication
    and an addition count as two. `ggml_variant` is the build of ggml's CPU backend that fits (edgekit.device.variants),
    `qemu_cpu` the CPU of qemu-user that has the same int8 instructions.
    """

    arch: Literal["x86_64", "aarch64", "armv7", "wasm32"]
    isa: Features
    clusters: tuple[Cluster, ...]
    ggml_variant: str = ""
    qemu_cpu: str = ""
    int8_ops_per_s: Figure = Figure(status="unknown")
    fp32_flops_per_s: Figure = Figure(status="unknown")


class Ram(_Strict):
    """`app_bytes` is what one foreground app may use; the budget a bundle is proven against. `counted` says what the
    system holds against it: all resident memory, or only anonymous pages (those that no file backs); `counted_source`
    says who says so.
    """

    total_bytes: Figure
    app_bytes: Figure
    app_entitled_bytes: Figure = Figure(status="unknown")
    app_background_bytes: Figure = Figure(status="unknown")
    counted: Literal["resident", "anonymous"] = "resident"
    counted_source: str = ""


class MemoryBandwidth(_Strict):
    """Of reading. `sustained` is of all cores together, `one_thread` of a single one."""

    peak_bytes_per_s: Figure = Figure(status="unknown")
    sustained_bytes_per_s: Figure = Figure(status="unknown")
    one_thread_bytes_per_s: Figure = Figure(status="unknown")


class Storage(_Strict):
    """`kind` in words ("microSD", "eMMC", "NVMe"); `app_bytes` is what one app may occupy."""

    kind: str = ""
    app_bytes: Figure = Figure(status="unknown")


class Gpu(_Strict):
    name: str
    apis: tuple[str, ...] = ()
    shared_memory: bool = True


class DeviceProfile(_Strict):
    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    title: str
    aliases: tuple[str, ...] = ()
    os: Literal["linux", "android", "ios", "macos", "windows", "browser"]
    form_factor: str
    soc: str = ""
    cpu: Cpu
    ram: Ram
    memory_bandwidth: MemoryBandwidth = MemoryBandwidth()
    storage: Storage = Storage()
    gpu: Gpu | None = None
    execution_providers: tuple[str, ...] = ("cpu",)

    @property
    def cores(self) -> int:
        return sum(cluster.count for cluster in self.cpu.clusters)

    @property
    def ram_budget_bytes(self) -> int | None:
        """What an app may use, or None where nobody knows."""
        return None if self.ram.app_bytes.value is None else int(self.ram.app_bytes.value)

    def has(self, feature: str) -> bool:
        return feature in self.cpu.isa.value
