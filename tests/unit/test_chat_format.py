"""Chat templates are found to be a string of turns exactly where they are one: templates of models, and drawn ones."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from edgekit_runtime import _chat
from fixtures import chat_templates
from fixtures.chat_templates import KNOWN, MORE, Known
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.chat_format import Conversation, chat_format, prompt
from edgekit.manifest import ChatFormat, Turn


@pytest.mark.parametrize("name", KNOWN)
def test_a_model_s_template(name: str) -> None:
    known = KNOWN[name]
    found = chat_format(known.template, known.bos, known.eos)
    assert found is not None
    assert prompt(found, _conversation(known)) == known.prompt
    assert found.strip is known.strip
    assert ("system" in found.turns) == (name not in ("Gemma", "Mistral"))
    parts = [
        found.start,
        found.no_system,
        found.answer,
        *(p for t in found.turns.values() for p in (t.before, t.after)),
    ]
    assert all(part.count("<") == part.count(">") for part in parts), "a special token is cut in two"


def _conversation(known: Known) -> Conversation:
    said: Conversation = [("user", "U"), ("assistant", "A"), ("user", "V")]
    return [("system", "S"), *said] if known.system else said


@pytest.mark.parametrize("name", KNOWN)
def test_the_fixture_is_what_the_template_gives(name: str) -> None:
    known = KNOWN[name]
    messages = [{"role": role, "content": content} for role, content in _conversation(known)]
    assert _chat.render(known.template, messages, known.bos, known.eos) == known.prompt


def test_a_default_system_s_turn_stands_where_nobody_wrote_one() -> None:
    for name in ("Qwen2.5", "Llama 3.1"):
        known = KNOWN[name]
        found = chat_format(known.template, known.bos, known.eos)
        assert found is not None
        assert found.no_system
        said = [{"role": "user", "content": "U"}]
        assert prompt(found, [("user", "U")]) == _chat.render(known.template, said, known.bos, known.eos)


@pytest.mark.parametrize("name", MORE)
def test_a_template_that_is_more(name: str) -> None:
    assert chat_format(MORE[name], "<s>", "</s>") is None


CONDITIONS = {
    "a word": "{% if 'weather' in m.content %}!{% endif %}",
    "a beginning": "{% if m.content.startswith('/cmd') %}!{% endif %}",
    "an end": "{% if m.content.endswith('?!?') %}!{% endif %}",
    "the whole": "{% if m.content == 'ping' %}!{% endif %}",
    "upper case": "{% if m.content | upper == 'PING' %}!{% endif %}",
    "length": "{% if m.content | length > 1234 %}!{% endif %}",
    "exact length": "{% if m.content | length == 77 %}!{% endif %}",
    "words": "{% if m.content.split() | length > 50 %}!{% endif %}",
    "emptiness": "{% if not m.content %}!{% endif %}",
    "white space alone": "{% if not m.content.strip() %}!{% endif %}",
    "refuses words": "{% if 'secret' in m.content %}{{ raise_exception('no') }}{% endif %}",
    "number of messages": "{% if messages | length > 20 %}!{% endif %}",
    "the last one": "{% if loop.last %}!{% endif %}{% if loop.index == 5 %}!{% endif %}",
    "the date": "{% if strftime_now('%d') == '01' %}!{% endif %}",
    "the year, unused": "{% set year = strftime_now('%Y') %}",
    "the same again": "{% if not loop.first and m.content == messages[0].content %}!{% endif %}",
    "the special token": "{% if eos_token in m.content %}!{% endif %}",
    "counted": "{{ m.content | replace('a', '') | length }}",
    "twice": "{{ m.content }}",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_depends_on_more_than_turns_is_none(condition: str) -> None:
    body = "{% for m in messages %}<{{ m.role }}>{{ m.content }}HERE</>{% endfor %}<assistant>"
    assert chat_format(body, "<s>", "</s>") is not None
    assert chat_format(body.replace("HERE", CONDITIONS[condition]), "<s>", "</s>") is None


@pytest.mark.parametrize(
    ("content", "strips"),
    [("m.content", False), ("m.content | trim", True), ("m.content.strip()", True), ("m['content']", False)],
)
def test_stripping_is_told(content: str, strips: bool) -> None:
    found = chat_format("{% for m in messages %}[{{ m.role }}]{{ " + content + " }}.{% endfor %}", "", "")
    assert found is not None
    assert found.strip is strips


@pytest.mark.parametrize("content", ["m.content.rstrip()", "m.content.lstrip()", "m.content | lower", "m.content | e"])
def test_other_changes_of_contents_are_more(content: str) -> None:
    assert chat_format("{% for m in messages %}[{{ m.role }}]{{ " + content + " }}.{% endfor %}", "", "") is None


def test_one_role_stripped_and_another_not_is_more() -> None:
    content = "{{ m.content | trim if m.role == 'user' else m.content }}"
    assert chat_format("{% for m in messages %}[{{ m.role }}]" + content + "{% endfor %}", "", "") is None


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{{ messages[0].content",
        "{{ raise_exception('never') }}",
        "no content at all",
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",  # drops the others
        "{{ messages[-1].content }}",
        "{% for m in messages %}{{ m.content }}{{ cycler('a', 'b').next() }}{{ ['x', 'y'] | random }}{% endfor %}",
        "{{ messages | tojson }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_what_is_no_string_of_turns(template: str) -> None:
    assert chat_format(template, "<s>", "</s>") is None


def test_roles_that_are_refused_are_left_out() -> None:
    only_user = (
        "{% for m in messages %}{% if m.role != 'user' %}{{ raise_exception('no') }}{% endif %}Q:{{ m.content }}"
        "{% endfor %} A:"
    )
    found = chat_format(only_user, "", "")
    assert found is not None
    assert list(found.turns) == ["user"]
    assert prompt(found, [("user", "x")]) == "Q:x A:"


def test_a_role_that_is_refused_only_at_times_is_more() -> None:
    at_first = "{% if messages[0].role == 'system' and messages | length < 4 %}{{ raise_exception('no') }}{% endif %}"
    assert chat_format(at_first + chat_templates.CHATML, "", "") is None


def test_the_runtime_asks_the_clock_it_is_given() -> None:
    said = [{"role": "user", "content": "x"}]
    text = _chat.render("{{ strftime_now('%Y-%m-%d') }}", said, "", "", lambda: datetime(2031, 12, 28, 12))
    assert text == "2031-12-28"


PIECES = st.text(st.characters(exclude_categories=("Cs",), max_codepoint=0xFFFF), max_size=12)


@st.composite
def formats(draw: st.DrawFn) -> ChatFormat:
    turns = {role: Turn(before=draw(PIECES), after=draw(PIECES)) for role in ("system", "user", "assistant")}
    if not draw(st.booleans()):
        del turns["system"]
    start, no_system = draw(PIECES), draw(PIECES) if "system" in turns else ""
    return ChatFormat(start=start, no_system=no_system, turns=turns, answer=draw(PIECES), strip=draw(st.booleans()))


def as_template(drawn: ChatFormat) -> str:
    """A template that does just that."""

    def word(text: str) -> str:
        return json.dumps(text)

    lines = ["{% for m in messages %}"]
    if "system" not in drawn.turns:
        lines.append("{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}")
    for index, (role, turn) in enumerate(drawn.turns.items()):
        test = "{% " + ("elif" if index else "if") + f" m.role == '{role}' %}}"
        content = "m.content | trim" if drawn.strip else "m.content"
        lines.append(f"{test}{{{{ {word(turn.before)} }}}}{{{{ {content} }}}}{{{{ {word(turn.after)} }}}}")
    head = f"{{{{ {word(drawn.start)} }}}}"
    head += f"{{% if messages[0].role != 'system' %}}{{{{ {word(drawn.no_system)} }}}}{{% endif %}}"
    return head + "".join(lines) + "{% endif %}{% endfor %}" + f"{{{{ {word(drawn.answer)} }}}}"


CONTENTS = st.text(max_size=20).map(lambda text: text.encode("utf-8", "ignore").decode())


@settings(max_examples=60, deadline=None)
@given(formats(), st.lists(CONTENTS, min_size=4, max_size=4))
def test_any_string_of_turns_is_found(drawn: ChatFormat, contents: list[str]) -> None:
    template = as_template(drawn)
    found = chat_format(template, "<s>", "</s>")
    assert found is not None
    conversation: Conversation = [("user", contents[0]), ("assistant", contents[1]), ("user", contents[2])]
    if "system" in drawn.turns:
        conversation = [("system", contents[3]), *conversation]
    for said in (conversation, conversation[-1:]):
        messages = [{"role": role, "content": content} for role, content in said]
        expected = _chat.render(template, messages, "<s>", "</s>")
        assert prompt(found, said) == prompt(drawn, said) == expected


WORDS = st.text("abcdefghij", min_size=4, max_size=9)


@settings(max_examples=30, deadline=None)
@given(formats(), WORDS, st.sampled_from(["'{}' in m.content", "m.content | length > {}", "m.content == '{}'"]))
def test_a_string_of_turns_with_a_condition_is_not(drawn: ChatFormat, word: str, condition: str) -> None:
    value = str(len(word) * 100) if "length" in condition else word
    spoilt = "{% if " + condition.format(value) + " %}" + word + "{% endif %}{% endfor %}"
    assert chat_format(as_template(drawn).replace("{% endfor %}", spoilt), "<s>", "</s>") is None
