"""Markup that cannot be broken by what it shows: plain text is escaped wherever it goes in."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = frozenset(["meta", "rect", "line", "circle", "path"])
_NO_BLANKS = str.maketrans(dict.fromkeys("\x00\x0b\x0c"))


class Html(str):
    """Finished markup. Whatever else is put into an element is text."""

    __slots__ = ()


def escaped(text: object) -> Html:
    return Html(html.escape(str(text).translate(_NO_BLANKS)))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """`<name ...>children</name>`. `class_` is class, `aria_label` is aria-label; None and False leave one out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{told}>" if name == "meta" else f"<{name}{told}/>")
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    return Html(
        "".join(child if isinstance(child, Html) else escaped(child) for child in children if child is not None)
    )


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], classes: str = "") -> Html:
    """A table whose rows become cards on a narrow screen: the roles keep it a table for those who do not look at it.

    Each row's first cell is its header. A cell that is None stands empty, and is left out of the cards.
    """
    head = [element("th", name, scope="col", role="columnheader") for name in header]
    body = [_row(header, cells) for cells in rows]
    return element(
        "table",
        element("caption", caption, class_="hidden"),
        element("thead", element("tr", *head, role="row"), role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        class_=f"fold {classes}".strip(),
        role="table",
    )


def _row(header: Sequence[str], cells: Sequence[object]) -> Html:
    first, *others = cells
    told = [
        element("td", element("div", cell), role="cell", data_label=name)
        if cell is not None
        else element("td", role="cell", class_="none")
        for name, cell in zip(header[1:], others, strict=True)
    ]
    return element("tr", element("th", first, scope="row", role="rowheader"), *told, role="row")


def section(title: str, *children: object, lead: str = "") -> Html:
    """A titled section; empty children leave nothing but the title."""
    anchor = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    opening = element("p", lead, class_="lead") if lead else None
    return element("section", element("h2", title, id=anchor), opening, *children, aria_labelledby=anchor)


def figure(title: str, *children: object, caption: object = None) -> Html:
    told = None if caption is None else element("figcaption", caption)
    return element("figure", element("h3", title), *children, told)


def facts(told: Iterable[tuple[str, object]]) -> Html:
    """A list of terms with what is known of each; those with nothing are left out."""
    return element("dl", *(join([element("dt", name), element("dd", value)]) for name, value in told if value))
