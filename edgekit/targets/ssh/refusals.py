"""What ssh's own words mean, and the agent's: errors, each of its class, in a line that a person can act on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.errors import (
    EdgekitError,
    HostKeyChanged,
    TargetFull,
    TargetLacksPython,
    TargetNotPrepared,
    TargetUnreachable,
    ValidationFailed,
)
from edgekit.targets.received import plain
from edgekit.targets.ssh.destination import Destination


def of_ssh(to: Destination, words: Sequence[str]) -> EdgekitError:
    """What ssh's last lines mean."""
    everything = "\n".join(words)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in everything:
        return _changed(to, everything)
    if "Host key verification failed" in everything:
        return TargetUnreachable(
            f"the host key of {to.name} is not known here, so who answers there cannot be told",
            f"compare and accept it by {to.command}, once",
        )
    said = next((line for line in reversed(words) if re.match(r"ssh: |\S+: Permission denied", line)), "")
    said = said or (words[-1] if words else "ssh ended without a word")
    if "Permission denied" in said:
        return TargetUnreachable(
            f"{to.name} does not let you in: {said}", f"have {to.command} work without a question first"
        )
    return TargetUnreachable(f"{to.name} cannot be reached: {said}", f"try {to.command}")


def _changed(to: Destination, words: str) -> EdgekitError:
    where = re.search(r"Offending \S+ key in (\S+):\d+", words)
    kind = re.search(r"fingerprint for the (\w+) key", words)
    shown = re.search(r"^(SHA256:\S+?)\.?$", words, re.MULTILINE)
    host = re.search(r"^Host key for (\S+) has changed", words, re.MULTILINE)
    line = f"{where[0].rpartition(' ')[2]}" if where else "known_hosts"
    file = f"-f {where[1]} " if where else ""
    return HostKeyChanged(
        f"the host key of {to.name} is not the one in {line}: it shows {shown[1] if shown else 'another'} now",
        "someone may be listening; if the key was meant to change, compare it with what ssh-keygen -lf"
        f" /etc/ssh/ssh_host_{kind[1].lower() if kind else '*'}_key.pub says there, then here"
        f" ssh-keygen {file}-R '{host[1] if host else to.host}'",
    )


def of_agent(to: Destination, answer: Mapping[str, Any]) -> EdgekitError:
    """The error for what the agent refused."""
    reason, message = str(answer["refused"]), plain(str(answer.get("message", "")))
    name = to.name
    if reason == "full":
        needed, free = answer.get("needed_bytes"), answer.get("free_bytes")
        figures = [f"{int(needed) / 2**20:.1f} MiB are needed"] if isinstance(needed, int) else []
        figures += [f"{int(free) / 2**20:.1f} MiB are free"] if isinstance(free, int) else []
        told = "; ".join(filter(None, [message, ", ".join(figures)]))
        return TargetFull(f"the disk of {name} is full: {told}", f"free some there, or edgekit targets clean {name}")
    errors: dict[str, tuple[type[EdgekitError], str, str]] = {
        "busy": (
            TargetUnreachable,
            f"{name} is taken: {message}",
            "wait for it; two at once would time each other",
        ),
        "pip": (TargetLacksPython, message, f"install python3-pip or python3-venv on {name}"),
        "timeout": (ValidationFailed, f"on {name}, {message}", "give fewer --eval rows, or a smaller model"),
        "changed": (TargetUnreachable, f"{message}; it was removed from {name}", "run again: it is copied anew"),
    }
    kind, what, remedy = errors.get(
        reason, (TargetNotPrepared, f"{name} cannot be used: {message}", "its home must be writable, with space")
    )
    return kind(what, remedy)
