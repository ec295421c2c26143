from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import resources
from edgekit.device import (
    KNOWN_FEATURES,
    Cluster,
    Cpu,
    DeviceProfile,
    Features,
    Figure,
    Gpu,
    MemoryBandwidth,
    Ram,
    check_profile,
    detect,
    load_profile,
    markdown_table,
    profiles,
    to_toml,
)
from edgekit.device.checks import check
from edgekit.errors import BadProfile, UnknownDevice

PI = resources.device_profiles() / "raspberry-pi-5-8gb.toml"
DOCS = Path(__file__).parents[3] / "docs" / "devices.md"


APP = next(line for line in PI.read_text(encoding="utf-8").splitlines() if line.startswith("app_bytes"))


def fact(gib: float) -> str:
    return f'{{ value = {int(gib * 2**30)}, status = "press", source = "test" }}'


def pi_with(tmp_path: Path, old: str, new: str) -> Path:
    text = PI.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_figures_the_plan_rests_on() -> None:
    pi = load_profile("rpi5-8gb")
    assert pi == load_profile("raspberry-pi-5-8gb")
    assert (pi.name, pi.cores, pi.ram_budget_bytes) == ("raspberry-pi-5-8gb", 4, 6 * 2**30)
    assert pi.memory_bandwidth.sustained_bytes_per_s.value == 11.4e9
    assert pi.has("dotprod")
    assert not load_profile("rpi-zero-2w").has("dotprod")
    assert load_profile("pixel-8").ram_budget_bytes is None
    assert not {"avx_vnni", "avx512_vnni"} & set(load_profile("laptop-avx2").cpu.isa.value)


def test_extends_replaces_figures_whole_and_keeps_the_rest() -> None:
    small, large = load_profile("rpi5-4gb"), load_profile("rpi5-8gb")
    assert small.cpu == large.cpu
    assert small.memory_bandwidth == large.memory_bandwidth
    assert small.ram.total_bytes.value == 4 * 2**30
    assert not set(small.aliases) & set(large.aliases)


def test_a_profile_may_extend_another_file(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(PI.read_text(encoding="utf-8"), encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "base.toml"\nname = "mine"\n[ram]\napp_bytes = { status = "unknown" }\n')
    profile = load_profile(str(mine))
    assert (profile.name, profile.ram_budget_bytes, profile.title) == ("mine", None, "Raspberry Pi 5, 8 GB")


def test_host_is_detected() -> None:
    assert load_profile("host").name == "host"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("raspbery-pi-5-8gb", "raspberry-pi-5-8gb"),
        ("rpi5-8g", "rpi5-8gb"),
        ("hots", "host"),
        ("Pixel-8", "pixel-8"),
        ("raspberry-pi-5", "raspberry-pi-5-4gb, raspberry-pi-5-8gb or raspberry-pi-5-16gb"),
        ("rpi5", "raspberry-pi-5-4gb, raspberry-pi-5-8gb or raspberry-pi-5-16gb"),
        ("intel-n305-", "intel-n305"),
        ("browser-w", "browser-wasm or browser-wasm-threads"),
    ],
)
def test_an_unknown_device_names_the_nearest_or_its_whole_family(name: str, near: str) -> None:
    with pytest.raises(UnknownDevice, match=rf"no device '{name}' - did you mean {near}\?"):
        load_profile(name)


def test_an_unknown_device_like_none_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownDevice, match="devices list"):
        load_profile("zzzzzzzz")
    with pytest.raises(UnknownDevice, match="no device profile at"):
        load_profile(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("value = 8589934592", "value = 8", "total_bytes: 8 is below 16 MiB: is this gigabytes? Bytes are expected"),
        ("value = 8589934592", "value = 8192", "8192 is below 16 MiB: is this megabytes?"),
        ("value = 17000000000", "value = 17", "below 10 MB/s: is this gigabytes per second? Bytes per second are"),
        ("value = 8589934592", 'value = "8 GB"', "ram.total_bytes.value: '8 GB' is text, a number is expected"),
        ("value = 8589934592", "value = true", "ram.total_bytes.value: True is true or false, a number is expected"),
        ("value = 8589934592", "value = -1", "a number above 0 is expected"),
        ("value = 8589934592", "value = inf", "ram.total_bytes: inf is above 4 TiB"),
        ("mhz = 2400", "mhz = 2.4", "cpu.clusters.0.mhz: 2.4 is outside 10 to 10000: is this gigahertz?"),
        ("mhz = 2400", "mhz = 2400000", "is this hertz or kilohertz? Megahertz are expected"),
        ("count = 4", "count = 0", "cpu.clusters.0.count: 0: greater than or equal to 1 is expected"),
        ("count = 4", "count = 4.5", "a whole number is expected"),
        ('os = "linux"', 'os = "linx"', "os: 'linx' is none of 'linux', 'android'"),
        ('form_factor = "single-board computer"\n', "", "form_factor: missing; it must be stated"),
        ("qemu_cpu", "qemu_cpo", "cpu.qemu_cpo: no such key, did you mean qemu_cpu?"),
        ('"dotprod"', '"dotprodd"', "cpu.isa.value: 'dotprodd' is no aarch64 feature; did you mean dotprod?"),
        ('source = "product brief: 8 GB"', 'source = " "', "ram.total_bytes.source: missing: a vendor figure names"),
        ("value = 6442450944", "value = 9442450944", "app_bytes: 9442450944 is more than ram.total_bytes, 8589934592"),
        (APP, f"{APP}\napp_entitled_bytes = {fact(5)}", "app_bytes: 6442450944 is more than ram.app_entitled_b"),
        (APP, f"{APP}\napp_entitled_bytes = {fact(9)}", "entitled_bytes: 9663676416 is more than ram.total_bytes, 85"),
        (APP, f"{APP}\napp_background_bytes = {fact(7)}", "background_bytes: 7516192768 is more than ram.app_bytes, 6"),
        (APP, f"{APP}\napp_background_bytes = {fact(0.5 / 2**20)}", "512 is below 16 MiB: is this megabytes?"),
        ("value = 11400000000", "value = 17400000000", "17400000000 is more than memory_bandwidth.peak_byt"),
        ("value = 11300000000", "value = 11500000000", "one_thread_bytes_per_s: 11500000000 is more than memory_bandw"),
        ("value = 11300000000", "value = 11.3", "one_thread_bytes_per_s: 11.3 is below 10 MB/s: is this gigabytes per"),
        ("value = 92100000000", "value = 92.1", "fp32_flops_per_s: 92.1 is below 1e6: is this billions per second?"),
        ("value = 368000000000", "value = 368e15", "int8_ops_per_s: 3.68e+17 is above 1e15; operations per second"),
        (APP, f'{APP}\ncounted = "all"', "ram.counted: 'all' is none of 'resident' or 'anonymous'"),
        (APP, f'{APP}\ncounted = "anonymous"', "ram.counted: counted_source is missing: who says that anonymous mem"),
        ('source = "product brief: quad-core Cortex-A76 at 2.4 GHz"', "", "cpu.clusters.0.mhz: status and source are"),
        ('status = "vendor"\nsource', 'status = "unknown"\nsource', "cpu.clusters.0.mhz: status and source are"),
        ('status = "vendor"\nsource', 'status = "guess"\nsource', "cpu.clusters.0.status: 'guess' is none of"),
        ('"armv8.2_2"', '"armv8.2-2"', "'armv8.2-2' is no CPU variant of ggml; did you mean armv8.2_2?"),
        ('"armv8.2_2"', '"armv8.6_1"', "cpu.ggml_variant: armv8.6_1 needs i8mm, sve, which cpu.isa does not have"),
        ('"rpi5-8gb", "pi5-8gb"', '"pi", "pi"', "aliases: 'pi' is given twice"),
        ('"rpi5-8gb", "pi5-8gb"', '"host"', "aliases: 'host' means the machine at hand"),
        ('shared_memory = true', 'shared_memory = "yes"', "gpu.shared_memory: 'yes' is text, true or false"),
        ('status = "vendor", source = "product', 'status = "unknown", source = "product', "exclude each other"),
        ("value = 8589934592, ", "", "exclude each other"),
        ("schema_version = 1", "schema_version = 2", "schema_version: 2 is none of 1"),
        ('name = "raspberry-pi-5-8gb"', 'name = "Pi 5"', "small letters, digits, dots and hyphens are expected"),
        ("[ram]", "[ram", "not TOML"),
        ("count = 4", f"count = {'9' * 5000}", "not TOML: Exceeds the limit (4300 digits)"),
        ("count = 4", f"count = {'9' * 400}", f"cpu.clusters.0.count: {'9' * 60}: less than or equal to 1024"),
        ("[storage]", "[[storage]]", "mine.toml:34: storage: ({'kind': 'microSD'},) is a list, a table"),
        ("mhz = 2400", "mhz = nan", "cpu.clusters.0.mhz: nan is outside 10 to 10000"),
        ("value = 8589934592", "value = nan", "ram.total_bytes.value: nan is a number, a number above 0 is expected"),
        ("schema_version = 1", 'extends = "mine.toml"', "extends: mine -> mine goes in a circle"),
        ("schema_version = 1", 'extends = "rpi5-8g"', "no device 'rpi5-8g' - did you mean rpi5-8gb?"),
        ("schema_version = 1", "extends = 5", "extends: 5 is not the name of a profile"),
        ("schema_version = 1", 'extends = "other.toml"', "extends: there is no"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_value_and_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = pi_with(tmp_path, old, new)
    with pytest.raises(BadProfile) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine.toml")
    assert "\n" not in str(caught.value)
    assert any(said in line for line in check_profile(path))


def test_check_lists_every_fault_with_its_line(tmp_path: Path) -> None:
    path = pi_with(tmp_path, "value = 8589934592", "value = 8")
    path.write_text(path.read_text().replace("value = 11400000000", "value = 11.4").replace("count = 4\n", ""))
    text = path.read_text().splitlines()
    assert [line.split(": ")[0] for line in check_profile(path)] == [
        f"mine.toml:{text.index('[[cpu.clusters]]') + 1}"
    ]  # what the schema refuses comes first: units are checked on sound types
    path.write_text(path.read_text().replace("mhz = 2400", "count = 4\nmhz = 2400"))
    faults = check_profile(path)
    lines = [int(re.match(r"mine\.toml:(\d+): ", fault)[1]) for fault in faults]  # type: ignore[index]
    starts = [path.read_text().splitlines()[line - 1].split(" =")[0] for line in lines]
    assert starts == ["total_bytes", "app_bytes", "sustained_bytes_per_s", "one_thread_bytes_per_s"]


def test_an_oversized_or_binary_profile_is_refused(tmp_path: Path) -> None:
    big, binary = tmp_path / "big.toml", tmp_path / "binary.toml"
    big.write_bytes(b"#" * (2**20 + 1))
    binary.write_bytes(b"name = '\xff'")
    with pytest.raises(BadProfile, match="1048577 bytes, the limit is 1048576"):
        load_profile(str(big))
    with pytest.raises(BadProfile, match="not UTF-8 at byte 8"):
        load_profile(str(binary))


def test_the_table_in_the_documentation_is_up_to_date() -> None:
    assert markdown_table(profiles()) in DOCS.read_text(encoding="utf-8"), (
        "run: python -m edgekit.device docs/devices.md"
    )


def test_what_is_detected_round_trips(tmp_path: Path) -> None:
    profile = detect(measure=False)
    path = tmp_path / "host.toml"
    path.write_text(to_toml(profile), encoding="utf-8")
    assert check_profile(path) == []
    assert load_profile(str(path)) == profile


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(str.strip)
RAM_BYTES = st.integers(16 * 2**20, 2**42)


def figures(values: st.SearchStrategy[float]) -> st.SearchStrategy[Figure]:
    known = st.builds(
        Figure, value=values, status=st.sampled_from(["measured", "vendor", "press", "derived"]), source=TEXT
    )
    return known | st.just(Figure(status="unknown"))


@st.composite
def any_profile(draw: st.DrawFn) -> DeviceProfile:
    arch = draw(st.sampled_from(["x86_64", "aarch64", "armv7", "wasm32"]))
    cluster = st.builds(
        Cluster,
        microarchitecture=TEXT,
        count=st.integers(1, 1024),
        mhz=st.none() | st.floats(10, 10000),
        status=st.sampled_from(["measured", "vendor", "press", "derived"]),
        source=TEXT,
    )
    total = draw(figures(RAM_BYTES.map(float)))
    features = draw(st.sets(st.sampled_from(sorted(KNOWN_FEATURES[arch]))))
    return DeviceProfile(
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9.-]{0,9}", fullmatch=True)),
        title=draw(TEXT),
        aliases=tuple(draw(st.lists(TEXT.map("alias ".__add__), max_size=2, unique=True))),
        os=draw(st.sampled_from(["linux", "android", "ios", "macos", "windows", "browser"])),
        form_factor=draw(TEXT),
        cpu=Cpu(
            arch=arch,
            isa=Features(value=tuple(features), status="vendor", source=draw(TEXT)),
            clusters=tuple(draw(st.lists(cluster, min_size=1, max_size=3))),
            fp32_flops_per_s=draw(figures(st.floats(1e6, 1e15))),
            int8_ops_per_s=draw(figures(st.floats(1e6, 1e15))),
        ),
        ram=Ram(total_bytes=total, app_bytes=total, counted="anonymous", counted_source=draw(TEXT)),
        memory_bandwidth=MemoryBandwidth(peak_bytes_per_s=draw(figures(st.floats(1e7, 1e13)))),
        gpu=draw(st.none() | st.builds(Gpu, name=TEXT, apis=st.tuples(TEXT), shared_memory=st.booleans())),
    )  # fmt: skip


@given(any_profile())
@settings(max_examples=60, deadline=None)
def test_writing_and_reading_give_the_same_profile(profile: DeviceProfile) -> None:
    again, faults = check(tomllib.loads(to_toml(profile)))
    assert faults == []
    assert again == profile


RAM_UPWARDS = ("app_background_bytes", "app_bytes", "app_entitled_bytes", "total_bytes")
BANDWIDTH_UPWARDS = ("one_thread_bytes_per_s", "sustained_bytes_per_s", "peak_bytes_per_s")


def any_figure(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Figure]]:
    known = st.integers(2**30, 2**33).map(lambda value: Figure(value=value, status="vendor", source="test"))
    return st.fixed_dictionaries({name: known | st.just(Figure(status="unknown")) for name in names})


@given(
    any_figure(RAM_UPWARDS),
    any_figure(BANDWIDTH_UPWARDS),
)
@settings(max_examples=100, deadline=None)
def test_a_profile_is_sound_exactly_if_its_known_sums_ascend(
    ram: dict[str, Figure], bandwidth: dict[str, Figure]
) -> None:
    pi = load_profile("raspberry-pi-5-8gb")
    update = {"ram": Ram(**ram), "memory_bandwidth": MemoryBandwidth(**bandwidth)}
    chains = ([ram[name].value for name in RAM_UPWARDS], [bandwidth[name].value for name in BANDWIDTH_UPWARDS])
    values = [[value for value in chain if value is not None] for chain in chains]
    _, faults = check(tomllib.loads(to_toml(pi.model_copy(update=update))))
    assert (faults == []) == all(known == sorted(known) for known in values)
