"""Memory limits hold: for real by the means that this machine lends, the others against trees made like theirs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.targets import CannotConfine
from edgekit.targets.confinement import Watcher, fence
from edgekit.targets.control_groups import machine_limit_bytes

MIB = 2**20
V1_FILES = {
    "memory.limit_in_bytes": "9223372036854771712",
    "memory.memsw.limit_in_bytes": "9223372036854771712",
    "memory.max_usage_in_bytes": "4096",
    "memory.oom_control": "oom_kill_disable 0\noom_kill 0",
    "cgroup.procs": "",
}
V2_FILES = {
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.peak": "8192",
    "memory.events": "oom 0\noom_kill 0",
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
}
V1_MOUNT = "35 31 0:32 {root} {at} rw,relatime - cgroup cgroup rw,memory"
V2_MOUNT = "35 31 0:32 {root} {at} rw,relatime - cgroup2 cgroup2 rw"


class Kernel:
    """Below `root`, folders made come with the files of a control group, and go with them."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
        self.root, self.files = root, dict(files)
        self.made: list[Path] = []
        self._mkdir, self._rmdir = os.mkdir, os.rmdir
        patch.setattr(os, "mkdir", self.mkdir)
        patch.setattr(os, "rmdir", self.rmdir)
        patch.setenv("PATH", str(root / "no-programs"))

    def mkdir(self, path: str | Path, *rest: int) -> None:
        self._mkdir(path, *rest)
        if Path(path).is_relative_to(self.root) and Path(path).name.startswith("edgekit-"):
            self.made.append(Path(path))
            for name, text in self.files.items():
                if text.startswith("/dev/"):
                    (Path(path) / name).symlink_to(text)
                else:
                    (Path(path) / name).write_text(text)

    def rmdir(self, path: str | Path) -> None:
        if Path(path).is_relative_to(self.root):
            for file in Path(path).iterdir():
                file.unlink()
        self._rmdir(path)

    def machine(self, own: str, mounts: str, group: Path, files: dict[str, str], **extra: str) -> None:
        """A /proc that names the process's `own` groups and the `mounts`; its group's folder, with its files."""
        (self.root / "proc/self").mkdir(parents=True)
        (self.root / "proc/self/cgroup").write_text(own)
        (self.root / "proc/self/mountinfo").write_text(mounts)
        (self.root / "proc/meminfo").write_text("MemTotal:       2097152 kB\n")
        group.mkdir(parents=True, exist_ok=True)
        for name, text in (files | extra).items():
            (group / name).write_text(text)


@pytest.fixture
def v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path, monkeypatch, V1_FILES)
    mounts = V1_MOUNT.format(root="/", at="/sys/fs/cgroup/memory")
    group = tmp_path / "sys/fs/cgroup/memory/job/7"
    kernel.machine("4:memory:/job/7\n0::/", mounts, group, V1_FILES)
    return kernel


@pytest.fixture
def v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path, monkeypatch, V2_FILES)
    group = tmp_path / "sys/fs/cgroup/app.slice/shell.scope"
    kernel.machine("0::/app.slice/shell.scope\n", V2_MOUNT.format(root="/", at="/sys/fs/cgroup"), group, V2_FILES)
    (group.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return kernel


def test_version_1_makes_a_group_below_its_own_and_limits_swap_with_memory(v1: Kernel) -> None:
    with fence(64 * MIB, v1.root) as found:
        (group,) = v1.made
        assert group.parent == v1.root / "sys/fs/cgroup/memory/job/7"
        assert found.told == "control group v1"
        assert (group / "memory.limit_in_bytes").read_text() == str(64 * MIB)
        assert (group / "memory.memsw.limit_in_bytes").read_text() == str(64 * MIB)
        done = subprocess.run([*found.prefix, "/bin/sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
        assert (group / "cgroup.procs").read_text() == done.stdout  # the very process, from its start
        (group / "memory.max_usage_in_bytes").write_text("123456")
        assert found.peak_bytes() == 123456
        assert not found.was_hit()
        (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
        assert found.was_hit()
    assert not group.exists()


def test_version_2_makes_a_group_beside_its_own_where_only_there_memory_is_handed_down(v2: Kernel) -> None:
    with fence(64 * MIB, v2.root) as found:
        (group,) = v2.made
        assert group.parent == v2.root / "sys/fs/cgroup/app.slice"
        assert found.told == "control group v2"
        assert (group / "memory.max").read_text() == str(64 * MIB)
        assert (group / "memory.swap.max").read_text() == "0"
        assert found.peak_bytes() == 8192
        (group / "memory.events").write_text("max 12\noom 1\noom_kill 1\n")
        assert found.was_hit()
    assert not group.exists()


def test_version_2_makes_it_below_its_own_where_memory_is_handed_down_there(v2: Kernel) -> None:
    own = v2.root / "sys/fs/cgroup/app.slice/shell.scope"
    (own / "cgroup.subtree_control").write_text("memory\n")
    with fence(MIB, v2.root):
        assert v2.made[0].parent == own


def test_a_container_sees_its_own_group_as_the_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch, V1_FILES)
    mount = tmp_path / "sys/fs/cgroup/memory"
    mounts = V1_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup/memory")
    kernel.machine("4:memory:/docker/abc\n", mounts, mount, V1_FILES)
    with fence(MIB, tmp_path):
        assert kernel.made[0].parent == mount


@pytest.mark.parametrize("own", ["4:memory:/../outside\n", "4:memory:/elsewhere\n", "4:cpu:/\n", ""])
def test_a_group_that_is_not_below_the_mount_is_no_place(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, monkeypatch, V1_FILES)
    mounts = V1_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup/memory")
    kernel.machine(own, mounts, tmp_path / "sys/fs/cgroup/memory", V1_FILES)
    with pytest.raises(CannotConfine, match="neither control groups nor"), fence(MIB, tmp_path):
        pass
    assert kernel.made == []


def test_where_nothing_hands_memory_down_no_group_is_made(v2: Kernel) -> None:
    (v2.root / "sys/fs/cgroup/app.slice/cgroup.subtree_control").write_text("cpu pids\n")
    with pytest.raises(CannotConfine), fence(MIB, v2.root):
        pass
    assert v2.made == []


def test_swap_that_cannot_be_limited_is_told(v1: Kernel) -> None:
    del v1.files["memory.memsw.limit_in_bytes"]
    with fence(MIB, v1.root) as found:
        assert found.told == "control group v1 (swap not limited)"


@pytest.mark.parametrize("refused", ["memory.limit_in_bytes", "cgroup.procs"])
def test_a_group_that_takes_no_limit_or_no_process_is_removed_and_the_next_means_taken(
    refused: str, v1: Kernel
) -> None:
    v1.files[refused] = "/dev/full"
    (v1.root / "proc/self/status").write_text("RssAnon:\t    100 kB\n")
    with fence(MIB, v1.root) as found:
        assert "watcher" in found.told
    assert len(v1.made) == 1
    assert not v1.made[0].exists()


def test_what_a_killed_edgekit_left_is_removed_and_nothing_else(v1: Kernel) -> None:
    parent = v1.root / "sys/fs/cgroup/memory/job/7"
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    left, living = parent / f"edgekit-{ended.pid}-0123abcd", parent / f"edgekit-{os.getpid()}-0123abcd"
    others = [parent / "edgekit-1-x", parent / f"other-{ended.pid}-0123abcd", parent / "docker"]
    for folder in (left, living, *others):
        v1._mkdir(folder)
    with fence(MIB, v1.root):
        pass
    assert not left.exists()
    assert all(folder.exists() for folder in (living, *others))


def test_the_group_goes_also_when_what_runs_in_it_breaks(v1: Kernel) -> None:
    with pytest.raises(KeyboardInterrupt), fence(MIB, v1.root):
        raise KeyboardInterrupt
    assert not v1.made[0].exists()


def test_the_machine_s_own_limit_is_the_least_of_its_memory_and_the_groups_around(v1: Kernel) -> None:
    assert machine_limit_bytes(v1.root) == 2**31
    (v1.root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes").write_text(str(2**30))
    assert machine_limit_bytes(v1.root) == 2**30
    assert machine_limit_bytes(v1.root / "nowhere") is None


def test_systemd_gives_a_scope_where_groups_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/systemd-run"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    with fence(64 * MIB, tmp_path) as found:
        words = list(found.prefix)
        assert words[:3] == ["systemd-run", "--user", "--scope"]
        assert {f"MemoryMax={64 * MIB}", "MemorySwapMax=0"} <= set(words)
        assert subprocess.run([*words, "/bin/sh", "-c", "exit 7"], check=False).returncode == 7
    program.write_text("#!/bin/sh\necho no bus >&2; exit 1\n")
    with pytest.raises(CannotConfine), fence(MIB, tmp_path):
        pass


# For real.

ALLOCATE = (
    "import sys; held = bytearray(int(sys.argv[1]) * 2**20); held[::4096] = b'1' * len(held[::4096]); print('held')"
)


def allocate(mib: int, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen([*prefix, sys.executable, "-c", ALLOCATE, str(mib)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def ours() -> Iterator[None]:
    """No group of this process is left anywhere."""
    yield
    assert not list(Path("/sys/fs/cgroup").rglob(f"edgekit-{os.getpid()}-*"))


@pytest.mark.parametrize(("mib", "code"), [(20, 0), (200, -signal.SIGKILL)])
def test_the_best_means_of_this_machine_holds(mib: int, code: int, ours: None) -> None:
    with fence(100 * MIB) as found:
        process = allocate(mib, tuple(found.prefix))
        found.watch(process.pid)
        said, _ = process.communicate(timeout=30)
        assert (process.returncode, said) == (code, "held\n" if code == 0 else "")
        assert found.was_hit() is (code != 0)
        assert mib * MIB <= (found.peak_bytes() or 0) <= 100 * MIB or code != 0


@pytest.mark.parametrize(("mib", "code"), [(20, 0), (400, -signal.SIGKILL)])
def test_the_watcher_ends_what_grows_over_its_limit(mib: int, code: int) -> None:
    watcher = Watcher(100 * MIB)
    process = allocate(mib)
    watcher.watch(process.pid)
    process.communicate(timeout=30)
    assert (process.returncode, watcher.was_hit()) == (code, code != 0)
    assert (watcher.peak_bytes() or 0) > (100 * MIB if code else 0)
    watcher.stop()
