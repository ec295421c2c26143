"""What the words after "ssh:" mean."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from edgekit.errors import UsageError

# Names another configuration file than the user's own.
CONFIGURATION = "EDGEKIT_SSH_CONFIG"


@dataclass(frozen=True)
class Destination:
    """`rest` is as the user wrote it after "ssh:"; `host` may be an alias of their ssh configuration."""

    rest: str
    host: str
    user: str | None = None
    port: int | None = None

    @property
    def name(self) -> str:
        return f"ssh:{self.rest}"

    @property
    def words(self) -> list[str]:
        """What ssh is given."""
        port = ["-p", str(self.port)] if self.port else []
        user = ["-l", self.user] if self.user else []
        return [*port, *user, "--", self.host]

    @property
    def command(self) -> str:
        """What a person would type to reach it."""
        setup = os.environ.get(CONFIGURATION)
        file = f"-F {shlex.quote(setup)} " if setup else ""
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {file}{port}{f'{self.user}@' if self.user else ''}{self.host}"


def destination(rest: str) -> Destination:
    """Of "user@host", "user@host:port", "[2001:db8::1]:22" or "alias". Raises UsageError for anything else."""
    found = re.fullmatch(
        r"(?:(?P<user>[^@\s:-][^@\s:]*)@)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[\w][\w.-]*))(?::(?P<port>\d+))?",
        rest,
    )
    if not found:
        raise UsageError(f"ssh:{rest} names no host", "write ssh:USER@HOST, ssh:USER@HOST:PORT or ssh:ALIAS")
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"the port of ssh:{rest} is {port}", "ports are 1 to 65535")
    return Destination(rest, found["six"] or found["host"], found["user"], port)
