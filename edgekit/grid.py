"""Plain text tables and paragraphs for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

PAGE_COLUMNS = 110
REPORT_COLUMNS = 100
_LEAST_COLUMNS = 24


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None = None) -> str:
    """Columns as wide as their widest cell, two spaces between; with `columns`, the last is wrapped to that width."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    if columns is not None:
        room = columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(room, _LEAST_COLUMNS, len(header[-1])))
    lines = [line for row in [header, ["-" * width for width in widths], *rows] for line in _wrapped(row, widths[-1])]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def fitted(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> str:
    """One table at most `columns` wide: the widest columns give way, and wrap their cells."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > columns and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            textwrap.wrap(cell, max(1, width), break_on_hyphens=False) for cell, width in zip(row, widths, strict=True)
        ]
        for index in range(max(1, *map(len, cells))):
            parts = [cell[index] if index < len(cell) else "" for cell in cells]
            lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


def tables(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int = PAGE_COLUMNS) -> str:
    """One table, or, where the page is too narrow, several under one another with the first column in each."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    widths[-1] = min(widths[-1], _LEAST_COLUMNS)
    blocks: list[list[int]] = [[0]]
    for column in range(1, len(header)):
        used = sum(widths[each] + 2 for each in blocks[-1])
        if len(blocks[-1]) > 1 and used + widths[column] > columns:
            blocks.append([0])
        blocks[-1].append(column)
    told = [table([header[n] for n in block], [[row[n] for n in block] for row in rows], columns) for block in blocks]
    return "\n\n".join(told)


def _wrapped(row: Sequence[str], width: int) -> list[list[str]]:
    """The row's lines: its last cell may need more than one."""
    pieces = textwrap.wrap(row[-1], width, break_long_words=False, break_on_hyphens=False) or [""]
    return [[*row[:-1], pieces[0]], *([*("" for _ in row[:-1]), piece] for piece in pieces[1:])]


def paragraph(text: str, indent: str = "  ", columns: int = PAGE_COLUMNS) -> str:
    """`text` wrapped to the page, further lines indented."""
    return textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
