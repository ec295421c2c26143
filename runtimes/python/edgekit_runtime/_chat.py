"""Chat templates, rendered as transformers renders them, in a sandbox: they come with a model, from strangers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .errors import BadInput, LoadFailed

Message = dict[str, Any]


def render(template: str, messages: Sequence[Message], bos_token: str, eos_token: str) -> str:
    """The prompt that ends where the assistant's answer begins; the special tokens stand in it as text."""
    for message in messages:
        if not isinstance(message, dict) or not {"role", "content"} <= set(message):
            raise BadInput(f"a message is {message!r}, expected an object with role and content")
    if not messages:
        raise BadInput("there is no message")
    environment = _environment()
    try:
        text = environment.from_string(template).render(
            messages=list(messages),
            bos_token=bos_token,
            eos_token=eos_token,
            add_generation_prompt=True,
            tools=None,
            documents=None,
        )
    except Exception as error:  # a template is a program: it may fail in any way
        raise BadInput(f"the chat template refuses these messages: {error}") from error
    return str(text)


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

    def strftime_now(pattern: str) -> str:
        return datetime.now().astimezone().strftime(pattern)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return environment
