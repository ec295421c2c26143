"""llama.cpp for the emulated CPUs: llama-cpp-python's own sources, compiled here with one library for each kind of CPU.

ggml then chooses among those libraries as it would on the device. GCC 12 cannot compile all its kinds; these suffice
for the CPUs that qemu knows, and the report names the one that ran.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from edgekit.errors import MissingTool
from edgekit.progress import Progress
from edgekit.targets.preparing import wheels
from edgekit.targets.preparing.archives import unpack_sdist
from edgekit.targets.preparing.tools import run

SDIST = "llama-cpp-python"
# What the Python part imports, beside what every root has.
NEEDS = ("typing-extensions", "diskcache")
VARIANTS = {
    "aarch64": ("armv8.0_1", "armv8.2_2", "armv8.6_1", "armv8.6_2"),
    "x86_64": ("haswell",),
}
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "GGML_BACKEND_DL": "ON",
    "GGML_CPU_ALL_VARIANTS": "ON",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_CCACHE": "OFF",
    "LLAMA_BUILD_COMMON": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
    "CMAKE_FIND_ROOT_PATH_MODE_PROGRAM": "NEVER",
    "CMAKE_FIND_ROOT_PATH_MODE_LIBRARY": "ONLY",
    "CMAKE_FIND_ROOT_PATH_MODE_INCLUDE": "ONLY",
}
# Otherwise ggml is not built before every kind of CPU, those that this compiler does not know included.
_ONLY_WANTED = """
function(add_dependencies target)
    if(NOT target STREQUAL "ggml")
        _add_dependencies(${target} ${ARGN})
    endif()
endfunction()
"""


def fetch(version: str, arch: str, folder: Path) -> None:
    """Put the sources, and the wheels that the Python part imports, into `folder`."""
    options = ["--no-binary", SDIST, "--no-deps", "--quiet", "--no-input", f"--dest={folder}", f"{SDIST}=={version}"]
    remedy = "see what pip says of it; without a network, --from DIR takes what --download DIR fetched elsewhere"
    run([*wheels.pip(), "download", *options], f"fetching {SDIST} {version}", remedy)
    wheels.fetch(wheels.installed(NEEDS), arch, folder)


def build(downloaded: Path, arch: str, work: Path, progress: Progress) -> None:
    """Compile into `work`/site, which PYTHONPATH can name. Raises MissingTool before anything is unpacked."""
    compilers = _compilers(arch)
    extra = _build_tools(work)
    sources = work / "sources"
    sources.mkdir()
    (archive,) = downloaded.glob("llama_cpp_python-*.tar.gz")
    top = unpack_sdist(archive, sources, _is_needed)
    include = sources / "only-wanted.cmake"
    include.write_text(_ONLY_WANTED, encoding="utf-8")
    options = {**_OPTIONS, **compilers, "CMAKE_PROJECT_INCLUDE": str(include)}
    if platform.machine() != arch:
        options |= {"CMAKE_SYSTEM_NAME": "Linux", "CMAKE_SYSTEM_PROCESSOR": arch}
    remedy = "see what the compiler says of it; --engine onnxruntime prepares without llama.cpp"
    made = sources / "build"
    flags = [f"-D{name}={value}" for name, value in options.items()]
    configure = ["cmake", "-G", "Ninja", "-S", str(top / "vendor" / "llama.cpp"), "-B", str(made), *flags]
    run(configure, "configuring llama.cpp", remedy, extra=extra)
    progress.step(f"compile llama.cpp for {arch}: minutes")
    targets = ["llama", "ggml", "ggml-base", *(f"ggml-cpu-{each}" for each in VARIANTS[arch])]
    jobs = str(os.cpu_count() or 1)
    run(["ninja", "-C", str(made), "-j", jobs, *targets], "compiling llama.cpp", remedy, extra=extra)
    site = work / "site"
    wheels.unpack(downloaded, site)
    _install(top / "llama_cpp", made / "bin", site / "llama_cpp")
    shutil.rmtree(sources)
    shutil.rmtree(work / "tools", ignore_errors=True)


def _is_needed(name: str) -> bool:
    """Of the sources: what is compiled, and the Python part. The rest is web pages, tests and other languages."""
    below = name.partition("/")[2]
    wanted = ("llama_cpp/", "vendor/llama.cpp/")
    unwanted = tuple(
        f"vendor/llama.cpp/{each}/" for each in ("tools", "docs", "tests", "models", "examples", "media", "gguf-py")
    )
    return below.startswith(wanted) and not below.startswith(unwanted)


def _install(python: Path, libraries: Path, place: Path) -> None:
    shutil.copytree(python, place, ignore=shutil.ignore_patterns("lib", "server", "__pycache__"))
    (place / "lib").mkdir()
    for path in libraries.glob("lib*.so*"):
        shutil.copy2(path, place / "lib" / path.name, follow_symlinks=False)


def _compilers(arch: str) -> dict[str, str]:
    prefix = "" if platform.machine() == arch else f"{arch}-linux-gnu-"
    if shutil.which(f"{prefix}g++") is None:
        package = "g++" if not prefix else f"g++-{arch.replace('_', '-')}-linux-gnu"
        raise MissingTool(
            f"there is no {prefix}g++ here, which compiles llama.cpp for {arch}",
            f"apt-get install {package}, or --engine onnxruntime to prepare without it",
        )
    return {"CMAKE_C_COMPILER": f"{prefix}gcc", "CMAKE_CXX_COMPILER": f"{prefix}g++"}


def _build_tools(work: Path) -> dict[str, str]:
    """cmake and ninja: those here, or PyPI's, for this build only. Environment variables that find them."""
    missing = [name for name in ("cmake", "ninja") if shutil.which(name) is None]
    if not missing:
        return {}
    place = work / "tools"
    command = [*wheels.pip(), "install", "--quiet", "--no-input", f"--target={place}", *missing]
    run(
        command,
        f"fetching {' and '.join(missing)}",
        f"apt-get install {' '.join(missing).replace('ninja', 'ninja-build')}",
    )
    search = os.pathsep.join([str(place / "bin"), os.environ.get("PATH", os.defpath)])
    return {"PATH": search, "PYTHONPATH": str(place)}
