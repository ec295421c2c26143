"""What the words after "ssh:" mean, and what ssh's own do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import (
    EdgekitError,
    HostKeyChanged,
    TargetFull,
    TargetLacksPython,
    TargetNotPrepared,
    TargetUnreachable,
    UsageError,
    ValidationFailed,
)
from edgekit.targets.ssh import refusals
from edgekit.targets.ssh.destination import destination

PI = destination("pi@raspberrypi:2222")
CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:5tMCtyjhIyT+Fj7Xr1CZ3xHpwx1CN3Yxs1FUiuDXUDY.
Please contact your system administrator.
Add correct host key in /home/me/.ssh/known_hosts to get rid of this message.
Offending ED25519 key in /home/me/.ssh/known_hosts:12
Host key for [raspberrypi]:2222 has changed and you have requested strict checking.
Host key verification failed."""


@pytest.mark.parametrize(
    ("rest", "host", "user", "port", "command"),
    [
        ("pi@raspberrypi", "raspberrypi", "pi", None, "ssh pi@raspberrypi"),
        ("pi@10.0.0.7:2222", "10.0.0.7", "pi", 2222, "ssh -p 2222 pi@10.0.0.7"),
        ("board", "board", None, None, "ssh board"),
        ("board:22", "board", None, 22, "ssh -p 22 board"),
        ("me@[2001:db8::1]:22", "2001:db8::1", "me", 22, "ssh -p 22 me@2001:db8::1"),
        ("[fe80::1%eth0]", "fe80::1%eth0", None, None, "ssh fe80::1%eth0"),
    ],
)
def test_destinations(rest: str, host: str, user: str | None, port: int | None, command: str) -> None:
    to = destination(rest)
    assert (to.host, to.user, to.port, to.command, to.name) == (host, user, port, command, f"ssh:{rest}")


@pytest.mark.parametrize(
    "rest",
    [
        *("", "@", "pi@", "a b", "-oProxyCommand=touch", "pi@-oProxyCommand=touch", "-l@host", "host:"),
        *("host:22:23", "ho;st", "$(host)", "host\n"),
    ],
)
def test_what_names_no_host_is_refused(rest: str) -> None:
    with pytest.raises(UsageError, match="names no host - write ssh:USER@HOST"):
        destination(rest)


@pytest.mark.parametrize("rest", ["host:0", "pi@host:65536", "[::1]:99999"])
def test_a_port_that_is_none_is_refused(rest: str) -> None:
    with pytest.raises(UsageError, match=r"the port of ssh:.* is \d+ - ports are 1 to 65535"):
        destination(rest)


def test_what_a_person_is_told_to_type_reads_the_same_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", "my ssh/config")
    assert destination("pi@board:2222").command == "ssh -F 'my ssh/config' -p 2222 pi@board"


@given(st.text(max_size=30))
def test_no_destination_becomes_an_option(rest: str) -> None:
    try:
        to = destination(rest)
    except UsageError:
        return
    assert not to.host.startswith("-")
    assert to.user is None or not to.user.startswith("-")
    assert to.words[-2:] == ["--", to.host]


def test_a_changed_host_key_tells_where_it_stands_and_how_to_check() -> None:
    error = refusals.of_ssh(PI, CHANGED.splitlines())
    assert isinstance(error, HostKeyChanged)
    assert error.message == (
        "the host key of ssh:pi@raspberrypi:2222 is not the one in /home/me/.ssh/known_hosts:12:"
        " it shows SHA256:5tMCtyjhIyT+Fj7Xr1CZ3xHpwx1CN3Yxs1FUiuDXUDY now"
    )
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub says there" in error.remedy
    assert error.remedy.endswith("ssh-keygen -f /home/me/.ssh/known_hosts -R '[raspberrypi]:2222'")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Host key verification failed."], "is not known here.* - compare and accept it by ssh -p 2222 pi@raspb"),
        (["ssh: connect to host raspberrypi port 2222: Connection refused"], "cannot be reached: .*refused - try ssh"),
        (
            ["x", "pi@raspberrypi: Permission denied (publickey)."],
            "does not let you in: pi@.* - have ssh .* without a quest",
        ),
        (["kex_exchange_identification: read: Connection reset by peer"], "cannot be reached: kex_exchange"),
        ([], "cannot be reached: ssh ended without a word"),
    ],
)
def test_words_of_ssh(words: list[str], said: str) -> None:
    error = refusals.of_ssh(PI, words)
    assert type(error) is TargetUnreachable
    assert re.search(said, str(error))


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (
            {"refused": "full", "needed_bytes": 3 * 2**20, "free_bytes": 2**20},
            TargetFull,
            "3.0 MiB are needed, 1.0 MiB",
        ),
        ({"refused": "full", "message": "x", "needed_bytes": "a", "free_bytes": None}, TargetFull, "is full: x - free"),
        ({"refused": "busy"}, TargetUnreachable, "is taken"),
        ({"refused": "pip", "message": "neither"}, TargetLacksPython, "neither - install python3-pip"),
        ({"refused": "timeout", "message": "took 9 s"}, ValidationFailed, "took 9 s"),
        ({"refused": "changed"}, TargetUnreachable, "run again"),
        ({"refused": "system", "message": "\x1b[31mRead-only"}, TargetNotPrepared, r"cannot be used: \[31mRead-only"),
        ({"refused": ["?"], "message": {}}, TargetNotPrepared, "cannot be used"),
    ],
    ids=str,
)
def test_words_of_the_agent(answer: dict[str, object], kind: type[EdgekitError], said: str) -> None:
    error = refusals.of_agent(PI, answer)
    assert type(error) is kind
    assert re.search(said, str(error))
