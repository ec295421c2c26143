"""Every shipped profile: sound, sourced, within physical bounds, and of names that the engines know."""

from __future__ import annotations

import re

import pytest

from edgekit import resources
from edgekit.costs.factors import ISA_CLASSES, isa_class
from edgekit.device import DeviceProfile, Figure, check_profile, load_profile, profiles, siblings, summaries
from edgekit.device.variants import EVERY_VARIANT, best_variant

SHIPPED = {profile.name: profile for profile in profiles()}
FIGURES = [
    (name, key, figure)
    for name, profile in SHIPPED.items()
    for key, part in (("cpu", profile.cpu), ("ram", profile.ram), ("bandwidth", profile.memory_bandwidth))
    for field in type(part).model_fields
    if isinstance(figure := getattr(part, field), Figure)
    for key in (f"{key}.{field}",)
]
# CPU models of qemu-user -> the best class of int8 instructions that they emulate (TCG has no AVX-512 and no VNNI).
QEMU_CPUS = {
    "cortex-a53": "neon", "cortex-a72": "neon", "cortex-a76": "dotprod", "cortex-a710": "i8mm", "Haswell": "avx2",
}  # fmt: skip
PROVIDERS = {"cpu", "xnnpack", "openvino", "cuda", "tensorrt", "coreml", "nnapi", "qnn", "dml", "wasm"}
FAMILIES = {
    "raspberry-pi-zero-2-w", "raspberry-pi-4-2gb", "raspberry-pi-4-4gb", "raspberry-pi-4-8gb", "raspberry-pi-5-4gb",
    "raspberry-pi-5-8gb", "raspberry-pi-5-16gb", "intel-n100", "intel-n305", "laptop-avx2", "server-avx512-vnni",
    "amd-zen4", "jetson-orin-nano-8gb", "apple-m1", "apple-m2", "apple-m4", "iphone-13-pro", "iphone-15-pro",
    "iphone-16-pro", "ipad-air-m2", "pixel-8", "android-low-end-a53", "galaxy-s24", "snapdragon-x-elite",
    "browser-wasm", "browser-wasm-threads",
}  # fmt: skip

each_profile = pytest.mark.parametrize("profile", SHIPPED.values(), ids=SHIPPED)


def test_the_devices_that_are_promised_are_there_and_named_after_their_files() -> None:
    files = sorted(resources.device_profiles().glob("*.toml"), key=lambda path: path.stem)
    assert [path.stem for path in files] == list(SHIPPED)
    assert [check_profile(path) for path in files] == [[] for _ in files]
    assert set(SHIPPED) >= FAMILIES


def test_names_and_aliases_are_unique_and_each_finds_its_profile() -> None:
    names = [(name, profile) for profile in SHIPPED.values() for name in (profile.name, *profile.aliases)]
    assert len(names) == len({name for name, _ in names})
    assert "host" not in dict(names)
    assert all(load_profile(name) == profile for name, profile in names)


@each_profile
def test_a_shipped_profile_says_what_the_plan_asks(profile: DeviceProfile) -> None:
    assert set(profile.execution_providers) <= PROVIDERS
    assert profile.soc
    assert profile.form_factor != "host"
    assert all(cluster.source and cluster.status != "unknown" for cluster in profile.cpu.clusters)
    assert profile.cpu.isa.source
    assert (profile.ram.counted == "anonymous") == (profile.os in ("ios", "android"))
    assert profile.gpu is None or (profile.gpu.apis and profile.gpu.shared_memory)


@pytest.mark.parametrize(("name", "key", "figure"), FIGURES, ids=[f"{name} {key}" for name, key, _ in FIGURES])
def test_a_figure_has_a_source_in_words_and_a_derived_one_its_arithmetic(name: str, key: str, figure: Figure) -> None:
    assert figure.value is None or len(figure.source) > 5
    assert "http" not in figure.source
    if figure.status != "derived" or "by definition" in figure.source:
        return
    share = re.search(r"^([\d.]+) % of (total|[\d.]+ G)", figure.source)
    transfers = re.search(r"(\d+) MT/s x (\d+) bytes", figure.source)
    copied = re.search(r"(\d+) MB/s, which reads and writes twice", figure.source)
    if share:
        total = SHIPPED[name].ram.total_bytes.value if share[2] == "total" else float(share[2].removesuffix(" G")) * 1e9
        expected = float(share[1]) / 100 * (total or 0)
    elif transfers:
        expected = int(transfers[1]) * 1e6 * int(transfers[2])
    else:
        assert copied, "a derived figure shows its arithmetic"
        expected = 2 * int(copied[1]) * 1e6
    assert figure.value == pytest.approx(expected, rel=0.01)


@each_profile
def test_throughput_is_what_such_cores_can_do(profile: DeviceProfile) -> None:
    """No vector unit shipped here does more than 64 flop a cycle; int8 is at least as fast as fp32, at most 8 times."""
    fp32, int8 = profile.cpu.fp32_flops_per_s.value, profile.cpu.int8_ops_per_s.value
    assert (fp32 is None) == (int8 is None) == (profile.cpu.arch == "wasm32")
    if fp32 is None or int8 is None:
        return
    cycles_per_s = sum(cluster.count * (cluster.mhz or 4500) * 1e6 for cluster in profile.cpu.clusters)
    assert 2 < fp32 / cycles_per_s <= 64
    assert 1 < int8 / fp32 <= 8


@each_profile
def test_the_ggml_variant_is_the_best_that_the_features_allow(profile: DeviceProfile) -> None:
    features = frozenset(profile.cpu.isa.value)
    assert profile.cpu.ggml_variant == best_variant(profile.cpu.arch, profile.os, features)
    assert not profile.cpu.ggml_variant or EVERY_VARIANT[profile.cpu.ggml_variant] <= features


@each_profile
def test_clusters_features_and_the_emulated_cpu_agree_on_the_class_of_kernels(profile: DeviceProfile) -> None:
    kernels = isa_class(profile)
    assert kernels in ISA_CLASSES[profile.cpu.arch]
    if profile.cpu.qemu_cpu:
        assert QEMU_CPUS[profile.cpu.qemu_cpu] == kernels
    else:
        assert profile.cpu.arch == "wasm32" or kernels in ("avx512_vnni", "avx_vnni")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raspberry-pi-5-4gb", ["raspberry-pi-5-8gb", "raspberry-pi-5-16gb"]),
        ("raspberry-pi-5-16gb", []),
        ("raspberry-pi-4-2gb", ["raspberry-pi-4-4gb", "raspberry-pi-4-8gb"]),
        ("n100-8gb", ["intel-n100-16gb"]),
        ("intel-n100", []),  # nobody knows what it leaves an app
        ("apple-m2", []),  # the iPad has the same chip and is another device
        ("iphone-15-pro", []),
    ],
)
def test_siblings_are_larger_models_of_the_same_device_smallest_first(name: str, expected: list[str]) -> None:
    device = load_profile(name)
    found = siblings(device)
    assert [each.name for each in found] == expected
    assert all(each.app_bytes > (device.ram_budget_bytes or 0) for each in found)
    assert all(SHIPPED[each.name].title == each.title for each in found)


def test_a_device_of_ones_own_has_its_family_for_siblings() -> None:
    pi = load_profile("raspberry-pi-5-8gb")
    small = Figure(value=2**30, status="measured", source="what our service leaves")
    mine = pi.model_copy(update={"ram": pi.ram.model_copy(update={"app_bytes": small})})
    assert [each.name for each in siblings(mine)] == [f"raspberry-pi-5-{size}gb" for size in (4, 8, 16)]
    assert siblings(pi.model_copy(update={"soc": ""})) == ()


def test_summaries_say_what_the_profiles_say() -> None:
    assert [each.name for each in summaries()] == list(SHIPPED)
    for each in summaries():
        profile = SHIPPED[each.name]
        assert each.cores == profile.cores
        assert (each.total_bytes, each.app_bytes) == (profile.ram.total_bytes.value, profile.ram.app_bytes.value)
        assert (each.title, each.arch) == (profile.title, profile.cpu.arch)
        assert (each.soc, each.form_factor) == (profile.soc, profile.form_factor)
