"""Targets: where a validation runs. Adding one is a module and a row in TARGETS."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

from edgekit.device import DeviceProfile
from edgekit.errors import UsageError
from edgekit.progress import Progress

Kind = Literal["local", "emulated", "ssh", "adb"]


@dataclass(frozen=True)
class Conditions:
    """What a target is opened for: the device validated for, the threads that will run, who is told how it goes, and
    the bundle's engine, where it is known by then.
    """

    device: DeviceProfile
    threads: int
    progress: Progress
    engine: str | None = None


class Target(Protocol):
    """A place where a bundle's own runtime can be started, opened and not yet closed.

    `name` is as the user spelt it, completed: "emulated:cortex-a76". `max_inputs` is how many of the evaluation's
    inputs are worth asking there, and `max_parameter_tokens` how many tokens, times the model's parameters, of a
    language model: None for all. `times` says whether what a clock or a memory gauge shows there means anything.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def max_inputs(self) -> int | None: ...
    @property
    def max_parameter_tokens(self) -> float | None: ...
    @property
    def times(self) -> bool: ...

    def run(self, bundle: Path, job: Path, timeout_s: float) -> None:
        """Run the bundle's `edgekit_runtime.probe` (or one that writes the same) on `job`; its results lie beside the
        job afterwards.

        The job's paths are relative to its folder, but for `bundle` and `baseline.model_file`, which are absolute and
        of this machine. A target may add to result.json `emulator` (a name with its version), `kernels` (words) and
        `unsafe_goldens` (as `goldens`, without the runtime's guard against saturation).

        Raises ValidationFailed with the probe's own words if it breaks, TargetError if the place cannot be used.
        """
        ...


@dataclass(frozen=True)
class MemoryLimit:
    """What a device lets an app use, as it counts: all resident pages, or those that no file backs.

    `elsewhere_bytes` are resident pages of Python's and the engine's own files: a machine that measures holds them for
    other processes already and charges none of them twice, while on the device they count.
    """

    limit_bytes: int
    counted: Literal["resident", "anonymous"]
    elsewhere_bytes: int = 0

    @property
    def enforced_bytes(self) -> int:
        """What is left for what the process itself is charged for, a MiB at least."""
        return max(2**20, self.limit_bytes - (self.elsewhere_bytes if self.counted == "resident" else 0))


class OverLimit(Exception):
    """A process did not get by within its memory limit; the message says how that showed."""


class Confined(Target, Protocol):
    """A target that runs one bundle within a memory limit. `told` names what enforces it; `peak_bytes`, once it has
    run, is what that saw at most, None where it cannot tell. `run` raises OverLimit where the limit was too small.
    """

    @property
    def told(self) -> str: ...
    @property
    def peak_bytes(self) -> int | None: ...


@runtime_checkable
class Confining(Protocol):
    """A target that can also limit the memory of what it runs. `within` raises CannotConfine where its system lends no
    means to.
    """

    def within(self, limit: MemoryLimit) -> AbstractContextManager[Confined]: ...


class CannotConfine(Exception):
    """This machine offers no way to limit a process's memory; the message says why."""


class Module(Protocol):
    """What a target's module offers: the target that the words after the colon mean, checked to be usable."""

    def opened(self, rest: str, conditions: Conditions) -> AbstractContextManager[Target]: ...


TARGETS: Mapping[str, str] = {
    "local": "edgekit.targets.local",
    "emulated": "edgekit.targets.emulated",
    "ssh": "edgekit.targets.ssh",
    "adb": "edgekit.targets.adb",
}

# `--on device` is the emulated CPU that the device's profile names.
_SHORT = {"device": "emulated"}


def parse(spec: str) -> tuple[str, str]:
    """("ssh", "pi@raspberrypi") of "ssh:pi@raspberrypi". Raises UsageError for what is no target."""
    kind, _, rest = spec.partition(":")
    kind = _SHORT.get(kind, kind)
    if kind not in TARGETS or (kind == "local" and rest):
        raise UsageError(
            f"there is no target {spec!r}", "choose local, device, emulated:CPU, ssh:USER@HOST or adb:SERIAL"
        )
    return kind, rest


def clean(spec: str) -> str:
    """What `edgekit targets clean SPEC` removed, in words: what earlier validations left on a target to be reused."""
    kind, rest = parse(spec)
    module = import_module(TARGETS[kind])
    if not hasattr(module, "clean"):
        raise UsageError(f"nothing is kept on {spec}", "name ssh:USER@HOST, adb:SERIAL or what is prepared")
    return str(module.clean(rest))


def open_target(spec: str, conditions: Conditions) -> AbstractContextManager[Target]:
    """The target that `spec` names, ready to run until the block is left."""
    kind, rest = parse(spec)
    return cast(Module, import_module(TARGETS[kind])).opened(rest, conditions)
