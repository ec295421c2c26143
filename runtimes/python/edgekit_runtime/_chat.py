"""Chat templates, rendered as transformers renders them, in a sandbox: they come with a model, from strangers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from ._text import check_text
from .errors import BadInput, LoadFailed

Message = dict[str, Any]


def render(
    template: str,
    messages: Sequence[Message],
    bos_token: str,
    eos_token: str,
    now: Callable[[], datetime] = datetime.now,
) -> str:
    """The prompt that ends where the assistant's answer begins; the special tokens stand in it as text.

    `now` is asked where the template asks for the date.
    """
    if not isinstance(messages, list | tuple):
        raise BadInput(f"messages are {type(messages).__name__}, expected a list of objects with role and content")
    if not messages:
        raise BadInput("there is no message")
    for message in messages:
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            raise BadInput(f"a message is {message!r}, expected an object with role and content")
        check_text(message["role"])
        check_text(message["content"])
    compiled = _compiled(template)
    try:
        text = compiled.render(
            messages=list(messages),
            bos_token=bos_token,
            eos_token=eos_token,
            add_generation_prompt=True,
            tools=None,
            documents=None,
            strftime_now=lambda pattern: now().astimezone().strftime(pattern),
        )
    except Exception as error:  # a template is a program: it may fail in any way
        raise BadInput(f"the chat template refuses these messages: {error}") from error
    return str(text)


@lru_cache(maxsize=4)
def _compiled(template: str) -> Any:
    """The template as a program, made once for all the answers of a session."""
    environment = _environment()
    try:
        return environment.from_string(template)
    except Exception as error:
        raise BadInput(f"the chat template refuses these messages: {error}") from error


def _environment() -> Any:
    try:
        from jinja2 import TemplateError
        from jinja2.ext import Extension
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise LoadFailed("chat templates need Jinja: pip install jinja2") from error

    class Generation(Extension):
        """{% generation %} marks the assistant's words for training; here they are just words."""

        tags = {"generation"}  # noqa: RUF012 - Jinja's own attribute

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=raise_exception)
    return environment
