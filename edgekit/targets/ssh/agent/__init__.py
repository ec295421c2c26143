"""What edgekit runs on the other machine, over one ssh connection: sent as source, never installed there.

Standard library of Python >= 3.11 only. It answers requests on standard input, one JSON line each, followed by bytes
where the request says how many; answers are of the same form. Blank lines say that edgekit is still there. Whatever is
refused ends the agent. When edgekit or the connection is gone, everything it started is killed and the run's folder
removed; only the store remains:

    ~/.cache/edgekit-target/blobs     files by their SHA-256; SHA.partial while one arrives
                            envs      packages, one folder for each set of versions
                            runs      empty while no agent runs

    session       requests and what they do; clearing up
    packages      what the bundle's runtime imports, by pip
    store         the files
    supervision   programs that end with the agent
    protocol      lines and signals
"""

from __future__ import annotations

from pathlib import Path

# In the order in which they import one another.
_MODULES = ("protocol", "supervision", "store", "packages", "session")
# There is no edgekit there: the names of its packages are bound to empty modules.
_LAUNCH = """
import sys, types
for name, source in {modules!r}:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""


def source() -> str:
    """The agent as one Python program."""
    parts = __name__.split(".")
    modules = [(".".join(parts[: depth + 1]), "") for depth in range(len(parts))]
    folder = Path(__file__).parent
    modules += [(f"{__name__}.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES]
    return _LAUNCH.format(modules=modules)
