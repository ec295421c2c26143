"""A page as one file: no network, no script, readable on a phone."""

from __future__ import annotations

from edgekit.html.markup import Html, element
from edgekit.html.style import STYLE


def document(title: str, parts: list[Html | None] | list[Html]) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        Html(f"<style>{STYLE}</style>"),
    )
    footer = element("footer", "Written by edgekit. Every figure says whether it was measured, and on what.")
    body = element("body", element("main", *parts, footer))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
