"""Debian packages, wheels and source archives, unpacked so that nothing lands outside the folder given."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from edgekit.errors import TargetNotPrepared

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60
# What one archive may unpack to; the largest, qemu-user, has 500 MB.
_MAX_BYTES = 4 * 2**30

Keep = Callable[[str], bool]


def unpack_deb(path: Path, root: Path, keep: Keep) -> None:
    """Files of a Debian package that `keep` wants (of "usr/bin/x"), with their links. Absolute links mean `root`.

    Raises TargetNotPrepared for what is no package or would leave `root`.
    """
    with path.open("rb") as file:
        _unpack_tar(path, _data_of(path, file), root, keep)


def unpack_sdist(path: Path, folder: Path, keep: Keep = lambda _: True) -> Path:
    """The one folder that the source archive holds."""
    with path.open("rb") as file:
        _unpack_tar(path, file, folder, keep)
    found = [each for each in folder.iterdir() if each.is_dir()]
    if len(found) != 1:
        raise _bad(path, f"holds {len(found)} folders, not one")
    return found[0]


def unpack_wheel(path: Path, folder: Path) -> None:
    """Every file of a wheel. Raises TargetNotPrepared as `unpack_deb` does."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, sum(entry.file_size for entry in archive.infolist()))
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                place = _placed(path, folder, entry.filename)
                with archive.open(entry) as source:
                    _write(source, place, 0o644)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise _bad(path, f"is no wheel: {error}") from error


def _data_of(path: Path, file: IO[bytes]) -> IO[bytes]:
    """The package's data.tar.*, still packed: ar holds members one after another, each under a header of text."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise _bad(path, "is no Debian package")
    while header := file.read(_AR_HEADER_BYTES):
        name, size = header[:16].decode("latin-1").strip().rstrip("/"), header[48:58].decode("latin-1").strip()
        if len(header) < _AR_HEADER_BYTES or not size.isdigit():
            raise _bad(path, "is damaged")
        if name.startswith("data.tar"):
            return io.BytesIO(file.read(int(size)))
        file.seek(int(size) + int(size) % 2, os.SEEK_CUR)
    raise _bad(path, "holds no data")


def _unpack_tar(path: Path, file: IO[bytes], root: Path, keep: Keep) -> None:
    try:
        with tarfile.open(fileobj=file, mode="r:*") as tar:
            total = 0
            for member in tar:
                total += member.size
                _check_size(path, total)
                name = member.name.removeprefix("./")
                if name in ("", ".") or not keep(name):
                    continue
                _unpack_member(path, tar, member, root, name)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _bad(path, f"cannot be unpacked: {error}") from error


def _unpack_member(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: str) -> None:
    place = _placed(path, root, name)
    if member.isdir():
        place.mkdir(exist_ok=True)
    elif member.issym():
        _link(path, root, place, member.linkname)
    elif member.islnk():
        target = _placed(path, root, member.linkname.removeprefix("./"))
        if target.is_symlink() or not target.is_file():
            raise _bad(path, f"links {name!r} to {member.linkname!r}, which is no file of it")
        place.unlink(missing_ok=True)
        place.hardlink_to(target)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None
        _write(content, place, 0o755 if member.mode & 0o100 else 0o644)
    else:
        raise _bad(path, f"holds {name!r}, which is neither file, folder nor link")


def _placed(archive: Path, root: Path, name: str) -> Path:
    """Where the member goes: below `root`, also after every link on the way was followed."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or not pure.parts:
        raise _bad(archive, f"holds {name!r}, which would be written outside its folder")
    place = root / pure
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise _bad(archive, f"holds {name!r}, which would be written outside its folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _link(archive: Path, root: Path, place: Path, target: str) -> None:
    """A symbolic link that stays in `root`; an absolute one is made relative, as a program in there sees it."""
    if target.startswith("/"):
        target = os.path.relpath(root / target.lstrip("/"), place.parent)
    inside = Path(os.path.normpath(place.parent.resolve() / target))
    if not inside.is_relative_to(root.resolve()):
        raise _bad(archive, f"links {place.relative_to(root)} to {target!r}, which is outside its folder")
    if place.is_dir() and not place.is_symlink():
        raise _bad(archive, f"links {place.relative_to(root)}, which is a folder already")
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _write(source: IO[bytes], place: Path, mode: int) -> None:
    if place.is_symlink():
        place.unlink()  # never through a link
    with place.open("wb") as file:
        shutil.copyfileobj(source, file, 2**20)
    place.chmod(mode)


def _check_size(path: Path, total_bytes: int) -> None:
    if total_bytes > _MAX_BYTES:
        raise _bad(path, f"unpacks to more than {_MAX_BYTES / 2**30:.0f} GiB")


def _bad(path: Path, what: str) -> TargetNotPrepared:
    return TargetNotPrepared(f"{path.name} {what}", "download it again: edgekit targets prepare --download DIR")
