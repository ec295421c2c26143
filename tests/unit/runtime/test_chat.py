from __future__ import annotations

from typing import Any

import pytest
from edgekit_runtime import BadInput
from edgekit_runtime._chat import render

HELLO = [{"role": "user", "content": "Hello <b>é</b>"}]

CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\nBe kind.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""


def _render(template: str, messages: Any = None) -> str:
    return render(template, HELLO if messages is None else messages, "<s>", "</s>")


def test_chatml() -> None:
    system, user = "<|im_start|>system\nBe kind.<|im_end|>\n", "<|im_start|>user\nHello <b>é</b><|im_end|>\n"
    assert _render(CHATML) == system + user + "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}", "<s>Hello <b>é</b></s>"),
        ("{{ {'b': 'é<', 'a': 1} | tojson }}", '{"b": "é<", "a": 1}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{% if true %}\nx\n{% endif %}", "x\n"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("a{% generation %}b{{ 1 }}{% endgeneration %}c", "ab1c"),
        ("{{ tools is none }}{{ documents is none }}{{ enable_thinking is defined }}", "TrueTrueFalse"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ],
)
def test_what_templates_use(template: str, expected: str) -> None:
    assert _render(template) == expected


def test_templates_as_transformers_renders_them() -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    (expected,), _ = utils.render_jinja_template(
        conversations=[HELLO], chat_template=CHATML, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
    )
    assert _render(CHATML) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{% if %}",
        "{{ messages[0].nothing.at_all }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ range(10**9) | list }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_fails_or_breaks_out_is_refused(template: str) -> None:
    with pytest.raises(BadInput, match="chat template refuses"):
        _render(template)


def test_the_templates_own_words_are_passed_on() -> None:
    with pytest.raises(BadInput, match="roles must alternate"):
        _render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize("messages", [[], ["hello"], [{"role": "user"}], [{"content": "x"}]])
def test_messages_have_a_role_and_content(messages: Any) -> None:
    with pytest.raises(BadInput, match="message"):
        _render(CHATML, messages)
