"""Text that goes into markup stays text, wherever it goes in."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from edgekit.html.markup import Html, element, escaped, join, section, table

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["<script>", "</td>", '"><b onclick="x">', "&lt;", "-->", "]]>", "' autofocus onfocus='x"]
)  # fmt: skip


class Read(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def plain(text: str) -> str:
    """As a parser hands it back: line ends are one, and what no page may hold is gone."""
    return text.translate({0: None, 11: None, 12: None}).replace("\r\n", "\n").replace("\r", "\n")


@given(TEXT, TEXT)
def test_text_and_attributes_come_back_as_they_went_in(text: str, attribute: str) -> None:
    read = Read(element("p", text, element("b", "x"), class_=attribute))
    assert read.tags == ["p", "b"]
    assert plain(read.text) == plain(text) + "x"
    assert list(read.attributes[0]) == ["class"]


@given(TEXT, TEXT)
def test_a_table_has_the_cells_it_was_given(name: str, cell: str) -> None:
    read = Read(table(name, ("figure", name), [(name, cell), (cell, None)]))
    assert read.tags.count("tr") == 3
    assert read.tags.count("td") == 2
    assert not [each for each in read.attributes if any(key.startswith("on") for key in each)]


def test_what_is_markup_stays_markup() -> None:
    assert join([Html("<b>"), "<b>", None]) == "<b>&lt;b&gt;"
    assert escaped('"') == "&quot;"
    assert element("line", x1=0, y1=None, hidden=False) == '<line x1="0"/>'
    assert section("A & B").startswith('<section aria-labelledby="a---b"><h2 id="a---b">A &amp; B</h2>')
