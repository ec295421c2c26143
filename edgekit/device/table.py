"""The table of shipped devices in docs/devices.md: made from the profiles, so that it cannot say anything else."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.device.profile import DeviceProfile, Figure

_HEAD = ("Name", "Device", "Aliases", "CPU", "ISA features", "RAM", "For one app", "Bandwidth")


def markdown_table(shipped: Iterable[DeviceProfile]) -> str:
    """One row a device. A figure without a mark is the vendor's; m measured, p press, d derived, ? unknown."""
    rows = [_HEAD, tuple("---" for _ in _HEAD), *(_row(profile) for profile in shipped)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(profile: DeviceProfile) -> tuple[str, ...]:
    bandwidth = profile.memory_bandwidth
    best = bandwidth.sustained_bytes_per_s if bandwidth.sustained_bytes_per_s.value else bandwidth.peak_bytes_per_s
    kind = "" if best.value is None else " sustained" if best is bandwidth.sustained_bytes_per_s else " peak"
    clusters = " + ".join(
        f"{cluster.count} x {cluster.microarchitecture}" + (f" {cluster.mhz / 1000:g} GHz" if cluster.mhz else "")
        for cluster in profile.cpu.clusters
    )
    return (
        f"`{profile.name}`",
        profile.title,
        ", ".join(f"`{alias}`" for alias in profile.aliases) or "-",
        clusters,
        ", ".join(profile.cpu.isa.value) or "-",
        _shown(profile.ram.total_bytes, 2**30, "GiB"),
        _shown(profile.ram.app_bytes, 2**30, "GiB"),
        _shown(best, 1e9, "GB/s") + kind,
    )


def _shown(figure: Figure, unit: float, name: str) -> str:
    if figure.value is None:
        return "?"
    mark = {"measured": " (m)", "press": " (p)", "derived": " (d)"}.get(figure.status, "")
    return f"{figure.value / unit:.3g} {name}{mark}"
