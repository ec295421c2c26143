"""What the words after "ssh:" mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.errors import UsageError


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
        port = f"-p {self.port} " if self.port else ""
        return f"ssh {port}{f'{self.user}@' if self.user else ''}{self.host}"


def destination(rest: str) -> Destination:
    """Of "user@host", "user@host:port", "[2001:db8::1]:22" or "alias". Raises UsageError for anything else."""
    found = re.fullmatch(
        r"(?:(?P<user>[^@\s:-][^@\s:]*)@)?(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[\w][\w.-]*))(?::(?P<port>\d+))?",
        rest,
    )
    port = int(found["port"]) if found and found["port"] else None
    if not found or (port is not None and not 0 < port < 65536):
        raise UsageError(f"ssh:{rest} names no host", "write ssh:USER@HOST, ssh:USER@HOST:PORT or ssh:ALIAS")
    return Destination(rest, found["six"] or found["host"], found["user"], port)
