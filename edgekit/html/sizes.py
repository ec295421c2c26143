"""Where the model file's bytes are: one stacked bar, and the table it was drawn from."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.html.bars import bar, strip
from edgekit.html.markup import Html, element, figure, join, table
from edgekit.report import Size, show

_COLOURS = 8
_LEAST_SHARE = 0.002


def size_chart(sizes: Sequence[Size]) -> Html | None:
    total = sum(size.size_bytes for size in sizes)
    if not total:
        return None
    groups: dict[str, int] = {}
    for size in sizes:
        groups[size.group] = groups.get(size.group, 0) + size.size_bytes
    ordered = sorted(groups, key=lambda group: -groups[group])
    colours = {group: f"g{min(index, _COLOURS - 1)}" for index, group in enumerate(ordered)}
    shapes, start = [], 0.0
    for group in ordered:
        end = start + 100 * groups[group] / total
        if end - start > 0.15:
            width = max(end - start - 0.25, 0.1)
            shapes.append(
                element("rect", x=f"{start:.2f}", y=0, width=f"{width:.2f}", height=10, class_=colours[group])
            )
        start = end
    label = ", ".join(f"{group} {groups[group] / total:.1%}" for group in ordered)
    rows = [_row(size, total, colours.get(size.group)) for size in _shown(sizes, total)]
    header = ("group", "stored as", "tensors", "bytes", "share")
    stacked = element("div", strip(*shapes, label=f"Size by tensor group: {label}"), class_="stack")
    return figure("Model file by tensor group", stacked, table("Model file by tensor group", header, rows, "tight"))


def _shown(sizes: Sequence[Size], total: int) -> list[Size]:
    """Largest first; two or more that are not worth a line are told together."""
    ordered = sorted(sizes, key=lambda size: -size.size_bytes)
    small = [size for size in ordered if size.size_bytes < _LEAST_SHARE * total]
    if len(small) < 2:
        return ordered
    tensors, size_bytes = sum(size.tensors for size in small), sum(size.size_bytes for size in small)
    rest = Size(group=f"{len(small)} smaller entries", dtype="", tensors=tensors, size_bytes=size_bytes)
    return [*ordered[: -len(small)], rest]


def _row(size: Size, total: int, colour: str | None) -> list[object]:
    share = 100 * size.size_bytes / total
    name = join([element("span", class_=f"swatch {colour or 'base'}", aria_hidden="true"), size.group])
    drawn = strip(bar(0, share, colour or "base", 6), label=f"{share:.1f} percent")
    told = element("span", f"{share:.1f} %" if share >= 0.05 or not share else "< 0.1 %")
    count = f"{size.tensors:,}" if size.tensors else None
    return [
        name,
        size.dtype or None,
        count,
        show(float(size.size_bytes), "bytes"),
        element("div", told, drawn, class_="share"),
    ]
