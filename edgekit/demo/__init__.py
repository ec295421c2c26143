"""`edgekit demo BUNDLE`: a page on this machine that runs the bundle in the browser, by its JavaScript runtime."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from edgekit.bundle import verify
from edgekit.demo.files import HEADERS_FILE, write
from edgekit.demo.server import LOOPBACK, Server
from edgekit.demo.site import Resource, served
from edgekit.errors import TooLargeForPage, plain
from edgekit.manifest import Manifest
from edgekit.npm import install
from edgekit.progress import Progress, Silent

__all__ = ["LOOPBACK", "Demo", "demo", "events", "export", "prepared", "should_open", "told", "told_export"]

LOCK = Path(__file__).resolve().parent / "vendor"
# A browser holds a file in one ArrayBuffer, of 2 GiB at most, and wasm has 4 GiB for the model and all else.
MAX_MODEL_BYTES = 2 * 2**30


class Demo:
    """A page that waits to be served. The socket is open: `url` answers as soon as `serve` runs."""

    def __init__(self, manifest: Manifest, server: Server) -> None:
        self.manifest = manifest
        self.server = server

    @property
    def url(self) -> str:
        return self.server.url

    def serve(self) -> None:
        """Until Ctrl-C, or `server.shutdown()` from another thread."""
        try:
            self.server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            pass
        finally:
            self.server.server_close()


def demo(bundle: str | Path, *, port: int = 0, host: str = LOOPBACK, progress: Progress | None = None) -> Demo:
    """Prove the bundle and open the socket that its page will be served on; port 0 is any that is free.

    Raises BadBundle, TooLargeForPage, PortTaken, UsageError, and what `edgekit.npm.install` raises.
    """
    manifest, resources = prepared(Path(bundle), progress or Silent())
    return Demo(manifest, Server(resources, port, host))


def export(bundle: str | Path, out: str | Path, *, force: bool = False, progress: Progress | None = None) -> Path:
    """Write the page and the bundle it runs into `out`; a page that was written there before is replaced with `force`.
    Raises as `demo`, and what writing a folder raises.
    """
    _, resources = prepared(Path(bundle), progress or Silent())
    return write(resources, Path(out), force=force)


def told_export(written: Path) -> str:
    folder = shlex.quote(str(written))
    return (
        f"page: {written}\n"
        f"look at it with: python3 -m http.server --bind {LOOPBACK} --directory {folder} 8000\n"
        f"a server that sends the headers in {HEADERS_FILE} gives it more than one thread"
    )


def prepared(bundle: Path, progress: Progress) -> tuple[Manifest, dict[str, Resource]]:
    """The verified manifest, and every path of the page with what lies behind it."""
    progress.step(f"verify {bundle}")
    manifest = verify(bundle)
    size = next(entry.size_bytes for entry in manifest.files if entry.path == manifest.model_file)
    if size > MAX_MODEL_BYTES:
        raise TooLargeForPage(
            f"{manifest.model_file} has {size / 2**30:.2f} GiB, and a page holds at most {MAX_MODEL_BYTES / 2**30:.0f}",
            "pack a smaller one with --max-disk, or use edgekit run",
        )
    modules = install(LOCK, progress=progress) / "node_modules"
    return manifest, served(bundle.resolve(), manifest, modules.resolve())


def should_open(wanted: bool, unwanted: bool) -> bool:
    """Whether to show the page: as asked, else where a person watches who has a screen."""
    if wanted or unwanted:
        return wanted
    has_screen = sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    return sys.stdout.isatty() and has_screen


def events(demo: Demo, *, show: bool) -> Iterator[dict[str, object]]:
    """For machines: where it is, before it is served; nothing more."""
    elsewhere = demo.server.url_elsewhere
    others = {"url_elsewhere": elsewhere} if elsewhere else {}
    yield {"url": demo.url, **others, "bundle": demo.manifest.name, "status": demo.manifest.status}
    _shown_and_served(demo, show)


def told(demo: Demo, *, show: bool) -> Iterator[str]:
    """The address, then silence while the page is served, then that it ended."""
    manifest = demo.manifest
    verdict = "" if manifest.status == "passed" else ", which missed its limits (it was packed with --force)"
    what = plain(f"{manifest.name}: {manifest.strategy} for {manifest.device.title}")
    elsewhere = demo.server.url_elsewhere
    others = f"{elsewhere}  from other machines\n" if elsewhere else ""
    yield f"{what}{verdict}\n{demo.url}  (Ctrl-C ends it)\n{others}"
    _shown_and_served(demo, show)
    yield "\nended" if sys.stdout.isatty() else "ended"  # a terminal shows ^C where the cursor is


def _shown_and_served(demo: Demo, show: bool) -> None:
    if not demo.server.is_private:
        sys.stderr.write(
            "edgekit: warning: whoever reaches this address can fetch the whole bundle; browsers on other machines "
            "give a page that comes by http neither threads nor WebGPU\n"
        )
    if show:
        webbrowser.open(demo.url)
    demo.serve()
