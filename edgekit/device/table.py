"""The table of shipped devices in docs/devices.md: made from the profiles, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.device.profile import DeviceProfile, Figure, MemoryBandwidth

_HEAD = (
    "Name", "Device", "Aliases", "CPU", "ISA features", "ggml variant", "RAM", "For one app", "Counted", "Bandwidth",
    "fp32", "int8", "GPU",
)  # fmt: skip


def markdown_table(shipped: Iterable[DeviceProfile]) -> str:
    """One row a device. A figure without a mark is the vendor's; m measured, p press, d derived, ? unknown."""
    rows = [_HEAD, tuple("---" for _ in _HEAD), *(_row(profile) for profile in shipped)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(profile: DeviceProfile) -> tuple[str, ...]:
    clusters = " + ".join(
        f"{cluster.count} x {cluster.microarchitecture}" + (f" {cluster.mhz / 1000:g} GHz" if cluster.mhz else "")
        for cluster in profile.cpu.clusters
    )
    ram = profile.ram
    entitled = f", entitled {_shown(ram.app_entitled_bytes, 2**30, 'GiB')}" if ram.app_entitled_bytes.value else ""
    return (
        f"`{profile.name}`",
        profile.title,
        ", ".join(f"`{alias}`" for alias in profile.aliases) or "-",
        clusters,
        ", ".join(profile.cpu.isa.value) or "-",
        profile.cpu.ggml_variant or "-",
        _shown(ram.total_bytes, 2**30, "GiB"),
        _shown(ram.app_bytes, 2**30, "GiB") + entitled,
        ram.counted,
        _bandwidth(profile.memory_bandwidth),
        _shown(profile.cpu.fp32_flops_per_s, 1e9, "Gflop/s"),
        _shown(profile.cpu.int8_ops_per_s, 1e9, "Gop/s"),
        f"{profile.gpu.name} ({', '.join(profile.gpu.apis)})" if profile.gpu else "-",
    )


def _bandwidth(bandwidth: MemoryBandwidth) -> str:
    known = (
        (bandwidth.one_thread_bytes_per_s, "one thread"),
        (bandwidth.sustained_bytes_per_s, "sustained"),
        (bandwidth.peak_bytes_per_s, "peak"),
    )
    shown = [f"{_shown(figure, 1e9, 'GB/s')} {kind}" for figure, kind in known if figure.value is not None]
    return ", ".join(shown) or "?"


def _shown(figure: Figure, unit: float, name: str) -> str:
    if figure.value is None:
        return "?"
    mark = {"measured": " (m)", "press": " (p)", "derived": " (d)"}.get(figure.status, "")
    scaled = figure.value / unit
    return f"{scaled:.0f} {name}{mark}" if scaled >= 1000 else f"{scaled:.3g} {name}{mark}"
