"""The awkward texts are what their users rely on."""

from __future__ import annotations

import unicodedata

from edgekit.samples import AWKWARD_TEXTS, DECOMPOSED_TEXT


def test_awkward_texts_are_composed_and_distinct() -> None:
    assert [text for text in AWKWARD_TEXTS if not unicodedata.is_normalized("NFC", text)] == []
    assert len(set(AWKWARD_TEXTS)) == len(AWKWARD_TEXTS)
    assert not unicodedata.is_normalized("NFC", DECOMPOSED_TEXT)


def test_awkward_texts_hold_what_tokenizers_differ_on() -> None:
    text = "\n".join(AWKWARD_TEXTS)
    for block in ("\U0001f680", "\u200d", "素", "빠", "ال", "שָׁ", "\r\n", "   ", "'RE", "1234567890", "\t\t"):
        assert block in text
