"""Debian's Swift toolchain, without a root user, into EDGEKIT_TARGETS/swift: once, for `make test-swift`.

python tools/prepare_swift.py           # fetches 520 MB, keeps 1.2 GB; instant where it is there already

swift/root/     what the packages hold, but for debuggers, editors' helpers and static libraries
swift/run       runs a program of it: swift/run swift-build --package-path ...
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from edgekit.errors import EdgekitError, Interrupted, TargetNotPrepared
from edgekit.targets.preparing import debian, store
from edgekit.targets.preparing.archives import unpack_deb
from edgekit.targets.preparing.downloads import described

NAME = "swift"
# The last two are what Foundation and libc need to be compiled against; swiftlang only recommends them.
PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev")
NEED_BYTES = 2 * 2**30
_LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
_LEFT_OUT = (
    *("lldb", "sourcekit", "clangd", "docc", "swift-format", "libLTO", "InternalSwiftStaticMirror"),
    *("swift_static", "lib/swift/embedded", "FrameworkABIBaseline", "usr/share"),
)

# The toolchain is of a newer Debian than this machine may be, with a C library of its own: it runs with its /usr in
# this machine's place, which only the program started and its children see. Everything else stays where it is.
_RUN = """#!/bin/sh
set -e
root="$(cd "$(dirname "$0")" && pwd)/root"
user=""
[ "$(id -u)" = 0 ] || user="--user --map-root-user"
exec unshare $user --mount sh -c '
    mount --bind "$0/usr" /usr
    PATH=/usr/libexec/swift/bin:/usr/bin
    export PATH
    exec "$@"' "$root" "$@"
"""


def prepared() -> Path | None:
    """The folder, where this suite's toolchain is in it."""
    found = store.read(NAME)
    return found.folder if found is not None and found.versions.get("suite") == debian.SUITE else None


def prepare(mirror: str) -> Path:
    """Raises MissingTool, TargetNotPrepared, OutputBusy, OutputUnwritable or NoSpace; nothing half-made stays."""
    _check_machine()
    with store.preparing(NEED_BYTES) as temporary:
        downloaded, work = temporary / "files", temporary / NAME
        downloaded.mkdir()
        work.mkdir()
        sys.stderr.write(f"fetch {', '.join(PACKAGES)} of Debian {debian.SUITE}\n")
        debian.fetch(PACKAGES, platform.machine(), downloaded, mirror, with_dependencies=True)
        sys.stderr.write("unpack\n")
        for link, target in _LINKS.items():
            (work / "root" / target).mkdir(parents=True)
            (work / "root" / link).symlink_to(target)
        for path in sorted(downloaded.glob("*.deb")):
            unpack_deb(path, work / "root", lambda name: not any(part in name for part in _LEFT_OUT))
        (work / "run").write_text(_RUN, encoding="utf-8")
        (work / "run").chmod(0o755)
        (version,) = (path.name.split("_")[1] for path in downloaded.glob("swiftlang_*.deb"))
        store.record(work, NAME, {"suite": debian.SUITE, "swiftlang": version}, described(downloaded))
        store.put(work, NAME)
    return store.home() / NAME


def _check_machine() -> None:
    if platform.system() != "Linux" or platform.machine() not in debian.NAMES:
        raise TargetNotPrepared(
            f"Debian has no Swift for {platform.system()} {platform.machine()}", "on macOS, use Xcode's toolchain"
        )
    if not Path("/lib").is_symlink():
        raise TargetNotPrepared(
            "/lib is no link to /usr/lib here: the toolchain cannot stand in for it", "use Debian 12"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Debian's Swift toolchain into EDGEKIT_TARGETS/swift.")
    parser.add_argument("--mirror", default=debian.MIRROR, help=f"a Debian archive (default: {debian.MIRROR})")
    parser.add_argument("--force", action="store_true", help="also where it is there already")
    arguments = parser.parse_args()
    try:
        folder = None if arguments.force else prepared()
        sys.stdout.write(f"{folder or prepare(debian.check_mirror(arguments.mirror))}\n")
    except EdgekitError as error:
        sys.stderr.write(f"prepare_swift: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("prepare_swift: interrupted; nothing is left half made\n")
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
