"""The command line: text in, text out, nothing else.

Fire would run a command before it notices a misspelt flag, turn 1.10 into a float and print tracebacks. So flags are
checked against the command's signature first; each command returns an unexecuted call; Fire consumes every argument;
then `main` runs the call. Values stay text until a command parses them.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import io
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edgekit import __version__
from edgekit.commands import COMMANDS, Call
from edgekit.errors import EdgekitError, Interrupted, UsageError

_GLOBAL_FLAGS = ("json", "debug", "help")
_WRITE_NOTHING = ("plan", "run", "inspect", "verify", "devices")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 or the error's own code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _stoppable():
            return _run(words)
    except EdgekitError as error:
        if debug:
            raise
        sys.stderr.write(f"edgekit: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(_interrupted(words))
        return Interrupted.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"edgekit: unexpected {told} - --debug shows where; please report it\n")
        return 1


def _print_pieces(pieces: Iterator[str]) -> None:
    """As they come; what goes wrong in the middle of a line is told on the next."""
    written = ""
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
            written = piece
    except Exception:
        if written and not written.endswith("\n"):
            print(flush=True)
        raise
    print()


def _interrupted(words: Sequence[str]) -> str:
    """On a line of its own: a terminal shows ^C where the cursor is."""
    command = next((word for word in words if not word.startswith("-")), "")
    kept = "" if command in _WRITE_NOTHING else "; nothing is left half written"
    return f"{chr(10) if sys.stderr.isatty() else ''}edgekit: interrupted{kept}\n"


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops the block as Ctrl-C does, and no interrupt is lost in it.

    One that falls into an engine's callback or a destructor, where Python drops it, comes again a moment later.
    """

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            again = threading.Timer(0.02, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            hook(unraisable)

    hook, sys.unraisablehook = sys.unraisablehook, dropped
    terminate = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminate)
        sys.unraisablehook = hook


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt


def _run(words: list[str]) -> int:
    from edgekit import manual

    if not words or words[0] in ("-h", "--help", "help"):
        print(manual.page(words[1:]))
        return 0
    if words[0] in ("--version", "-V"):
        print(__version__)
        return 0
    _check_unicode(words)
    while words and words[0] in ("--json", "--debug"):  # wherever they stand
        words = [*words[1:], words[0]]
    if words[0] in _groups() and not {"--help", "-h"}.isdisjoint(words[1:2]):
        print(manual.page(words[:1]))
        return 0
    name, rest = _command(words)
    if "--help" in rest or "-h" in rest:
        print(manual.page(name.split()))
        return 0
    as_json = "--json" in rest
    rest = [word for word in rest if word not in ("--json", "--debug")]
    _check_flags(name, rest)
    call = _parse(name, rest)
    outcome = call._run()
    if as_json:
        value = outcome.value() if callable(outcome.value) else outcome.value
        for each in value if isinstance(value, Iterator) else [value]:  # of several one line each, as they come
            print(json.dumps(each, ensure_ascii=False), flush=True)
    elif isinstance(outcome.text, str):
        print(outcome.text)
    else:
        _print_pieces(outcome.text)
    if outcome.error is not None:
        raise outcome.error
    return 0


def _command(words: list[str]) -> tuple[str, list[str]]:
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, words[length:]
    if words[0] in _groups():
        known = [name.split()[1] for name in COMMANDS if name.startswith(f"{words[0]} ")]
        given = next((word for word in words[1:2] if not word.startswith("-")), "")
        told = f"edgekit {words[0]} has no {given!r}" if given else f"edgekit {words[0]} needs a word more"
        raise UsageError(told, _nearest(given, known))
    raise UsageError(f"there is no command {words[0]!r}", _nearest(words[0], [name.split()[0] for name in COMMANDS]))


def _check_unicode(words: Sequence[str]) -> None:
    """Bytes that are no text come as lone surrogates, which neither a file name in UTF-8 nor a model takes."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            shown = word.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UsageError(
                f'"{shown}" on the command line is not UTF-8 at character {error.start}', "give text and names in UTF-8"
            ) from None


def _groups() -> set[str]:
    """The first words of commands that have two: devices, targets."""
    return {name.split()[0] for name in COMMANDS if " " in name}


def _nearest(given: str, known: Iterable[str]) -> str:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"


def _check_flags(name: str, words: Sequence[str]) -> None:
    """Unknown flags and missing values are refused before Fire sees them, and before anything runs."""
    parameters = inspect.signature(COMMANDS[name]).parameters
    named = {_flag(each): parameter for each, parameter in parameters.items()}
    known = {*named, *map(_flag, _GLOBAL_FLAGS)}
    for index, word in enumerate(words):
        if word == "-" or not word.startswith("-") or re.fullmatch(r"-[0-9.]+", word):
            continue
        flag, equals, _ = word.partition("=")
        spelt = flag.replace("_", "-")
        if spelt not in known:
            raise UsageError(f"edgekit {name} has no flag {flag}", _nearest(spelt, sorted(known)))
        default = named[spelt].default
        following = words[index + 1] if index + 1 < len(words) else "--"
        if not equals and default is not False and following.startswith("--"):
            raise UsageError(f"{flag} needs a value", f"edgekit {name} --help")


def _flag(parameter: str) -> str:
    """ "--max-ram" of max_ram; one that Python reserves has an underscore more: from_."""
    return f"--{parameter.rstrip('_').replace('_', '-')}"


def _parse(name: str, words: list[str]) -> Call:
    """Let Fire bind the words to the command's parameters, every value as text."""
    import fire
    from fire.core import FireExit
    from fire.decorators import SetParseFn

    command = SetParseFn(str)(COMMANDS[name])
    reserved = {_flag(each): f"--{each}" for each in inspect.signature(COMMANDS[name]).parameters if each[-1] == "_"}
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        words[index] = f"{reserved.get(flag, flag)}{equals}{value}"
    silence = io.StringIO()
    try:
        with contextlib.redirect_stderr(silence), contextlib.redirect_stdout(silence):
            call = fire.Fire(command, command=words, name=f"edgekit {name}", serialize=lambda _: None)
    except FireExit as error:
        raise UsageError(_fire_fault(name, error), f"edgekit {name} --help") from None
    if not isinstance(call, Call):
        raise UsageError(f"edgekit {name} does not take {words}", f"edgekit {name} --help")
    return call


def _fire_fault(name: str, error: Any) -> str:
    told = error.trace.elements[-1].ErrorAsStr() if error.trace.HasError() else str(error)
    surplus = re.search(r"Could not consume arg: (.*)$", told)
    if surplus:
        return f"edgekit {name} takes no further word, but was given {surplus[1].strip()!r}"
    missing = re.search(r"(?:missing|did not specify|received no value).*?: (.*)$", told)
    if missing:
        return f"edgekit {name} needs {missing[1].strip().upper()}"
    return f"edgekit {name}: {told}"
