"""Texts that tokenizers disagree on: what two implementations must tokenize alike before they count as the same."""

from __future__ import annotations

# All are in Unicode's composed form (NFC), which text from keyboards and editors has: some tokenizers compose their
# input first and some engines do not, and that one difference is reported by name where it exists.
AWKWARD_TEXTS: tuple[str, ...] = (
    "Hello, world!",
    "",
    " ",
    "a",
    " leading and trailing ",
    "I'm sure they'RE here, it'S what we'Ve said; he'll, don't 'quote' rock'n'roll O'Neill",
    "3 33 333 3333 33333 333333 3333333 33333333 1234567890123456789012345678901234567890",
    "3.14159 -1,000,000.00 0x1F 1e-5 2026-11-21T03:04:05Z v1.2.3-rc4 ½ ² Ⅷ ٣٤٥ १२३",
    "one  two   three    four     five      six       seven        eight",
    "\ttab\t\ttabs \t mixed\n\nnewlines\n\n\n\r\nwindows\r\n \n  \n   indented\n\n",
    "trailing spaces   \nand more   \n   ",
    "def f(x: list[int]) -> dict:\n    return {k: v**2 for k, v in enumerate(x) if v != 0}  # ok\n\n\nclass A:\n\tpass",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] && c[i] || !d[i]; } // éà\n/* <<= >>= ... */",
    '<div class="a">&amp; &lt;b&gt;</div> {"key": [1, null, true]} $x = @$y["z"]; \\n \\t \\\\ ``` ~~~ ___ *** ---',
    "https://example.org/a/b?c=d&e=%20f#g user@example.com C:\\path\\file.txt ../../etc ~/.bashrc",
    "🚀 😶\u200d🌫️ 👩\u200d👩\u200d👧\u200d👦 🇪🇺🇯🇵 👍🏽 ✅ ☺️ 1️⃣ emoji🙂in🙂words",
    "素早い茶色の狐は、のろまな犬を飛び越える。カタカナ ひらがな ｶﾀｶﾅ 全角ＡＢＣ１２３",
    "敏捷的棕色狐狸跳过了懒狗。《书名》“引号”——破折号……我想在apple工作1314151天～",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 안녕하세요?",
    "الثعلب البني السريع يقفز فوق الكلب الكسول، أليس كذلك؟ مُحَمَّد ١٢٣",
    "השועל החום המהיר קופץ מעל הכלב העצלן. שָׁלוֹם",
    "शीघ्र भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। বাংলা தமிழ் తెలుగు ไทยไม่มีวรรค",
    "Быстрая коричневая лиса ΑΒΓ αβγ ἀρχή Straße GROSS ÇĞÖŞÜ çğıöşü Łódź naïve Zoë Ǆ ﬁ",
    "combining x\u0332y\u0332 q\u0323\u0307 a\u20d7 zero\u200bwidth soft\u00adhyphen no\u00a0break \u2009thin\u3000",
    "rtl\u200fmark \u202eoverride\u202c bom\ufeffinside line\u2028separator private\ue000use \U0001f9ff \U00020000 𝕞𝕒𝕥",
    "!!!!????....,,,,;;;;::::'''''\"\"\"\"\"-----=====_____#####@@@@@%%%%%^^^^^&&&&&*****((((()))))",
    "ALLCAPS camelCase snake_case kebab-case SCREAMING_SNAKE aLtErNaTe x1y2z3 mp3 H2O COVID19",
    "antidisestablishmentarianism Donaudampfschifffahrtsgesellschaft " + "ha" * 24 + " " + "z" * 40,
)

# The same letters decomposed (NFD): what a tokenizer that composes its input reads as "é", "ñ" and "각".
DECOMPOSED_TEXT = "e\u0301 n\u0303 \u1100\u1161\u11a8"
