"""What a chat template comes to: fixed words around each message, found by rendering it, and proven to be all it does.

Few languages have an engine for Jinja. The pieces are cut out of renderings of messages that stand nowhere else; then
every conversation that may come is rendered both ways, with contents that a template could treat in a way of its own.
Nothing is concluded from how the template is written but which words and numbers to try.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Literal

from edgekit.manifest import ChatFormat, Turn
from edgekit.resources import use_python_runtime

Role = Literal["system", "user", "assistant"]
Conversation = Sequence[tuple[Role, str]]

MAX_MESSAGES = 7
_MARKS = ("zq0 Erste zq0", "zq1 Zweite zq1", "zq2 Dritte zq2", "zq3 Vierte zq3")
# White space of several kinds at either end, and what means something to templates, tokenizers and formatters.
_AWKWARD = (
    "Hello", "", " ", "\n", " padded ", "\ttab\n", "\nline\n\nline\n", "  two  words  ", "{}", "%s %d", "\\n \\", "'\"",
    "{0} {{x}} {% if %} {#", "<|im_start|>user\n", "<|im_end|>", "<s>[INST] x [/INST]</s>", "<<SYS>>",
    "<think>a</think>b", "Grüße, 世界 🌍 e\u0301",
    "\u00a0\u3000no-break\u2009", "\u200bzero\ufeff", "\x1c\x1dseparators\x1f",
    "a\r\nb", "0", "None", "true", "system", "user", "assistant", "x" * 5000, "word " * 700,
)  # fmt: skip
_MIXED = 200
_MOST_LITERALS = 400
_MOST_LENGTH = 100_000
_MOST_TURNS = 65
# A template that takes this long is not tried any further: what was not proven is not told.
_PATIENCE_S = 30.0


class _Asked(Exception):
    """The template asked for the date: what it gives is not the same every day."""


class _Unproven(Exception):
    """It does something else, or was not tried to the end."""


def chat_format(template: str, bos_token: str, eos_token: str) -> ChatFormat | None:
    """The format of `template` for a model whose special tokens are spelt so; None where it is more than that."""
    prompts = _Prompts(template, bos_token, eos_token)
    try:
        found = _pieces(prompts)
        for strip in (False, True):
            formatted = found.model_copy(update={"strip": strip})
            padded: Conversation = [("user", f" {_MARKS[0]}\n")]
            if prompt(formatted, padded) == prompts.rendered(padded):
                _prove(formatted, prompts)
                return formatted
    except (_Asked, _Unproven):
        pass
    return None


def prompt(formatted: ChatFormat, conversation: Conversation) -> str:
    """What docs/manifest.md says that a prompt is."""
    text = formatted.start + ("" if conversation[0][0] == "system" else formatted.no_system)
    for role, content in conversation:
        turn = formatted.turns[role]
        text += turn.before + (content.strip() if formatted.strip else content) + turn.after
    return text + formatted.answer


@dataclass
class _Prompts:
    """The template, as the Python runtime renders it."""

    template: str
    bos_token: str
    eos_token: str

    def __post_init__(self) -> None:
        self._until = time.monotonic() + _PATIENCE_S

    def rendered(self, conversation: Conversation) -> str | None:
        """None where the template refuses. Raises _Asked, _Unproven after too long a time."""
        use_python_runtime()
        from edgekit_runtime import BadInput, _chat

        if time.monotonic() > self._until:
            raise _Unproven
        asked = []

        def now() -> datetime:
            asked.append(True)
            return datetime(2001, 2, 3, 4, 5, 6)

        messages = [{"role": role, "content": content} for role, content in conversation]
        try:
            text = _chat.render(self.template, messages, self.bos_token, self.eos_token, now)
        except BadInput:
            text = None
        if asked:
            raise _Asked
        return text


def _pieces(prompts: _Prompts) -> ChatFormat:
    """A format that gives the same prompts as the template where every role speaks once, if any format does.

    The words between two contents belong to the turn before or to the one after: every way of sharing them out gives
    the same prompts, and this one leaves special tokens whole.
    """
    alone = prompts.rendered([("user", _MARKS[0])])
    if alone is None:
        raise _Unproven
    first, tail = _cut(alone, 1)
    after_user, answer = "", tail
    turns: dict[Role, Turn] = {}
    spoken = prompts.rendered([("user", _MARKS[0]), ("assistant", _MARKS[1]), ("user", _MARKS[2])])
    asked = prompts.rendered([("system", _MARKS[0]), ("user", _MARKS[1])])
    cut_spoken = None if spoken is None else _cut(spoken, 3)
    cut_asked = None if asked is None else _cut(asked, 2)
    ends = [first, *([cut_spoken[2]] if cut_spoken else []), *([cut_asked[1]] if cut_asked else [])]
    before_user = _shared_end(ends, first.removeprefix(prompts.bos_token))
    if cut_spoken is not None:
        after_assistant = cut_spoken[2].removesuffix(before_user)
        after_user = _shared_start([cut_spoken[1], tail], after_assistant)
        turns["assistant"] = Turn(before=cut_spoken[1].removeprefix(after_user), after=after_assistant)
        answer = tail.removeprefix(after_user)
    head = first.removesuffix(before_user)
    start, no_system = head, ""
    if cut_asked is not None:
        both_begin_so = all(text.startswith(prompts.bos_token) for text in (head, cut_asked[0]))
        start = prompts.bos_token if both_begin_so else ""
        no_system = head.removeprefix(start)
        turns["system"] = Turn(before=cut_asked[0].removeprefix(start), after=cut_asked[1].removesuffix(before_user))
    turns["user"] = Turn(before=before_user, after=after_user)
    ordered = {role: turns[role] for role in ("system", "user", "assistant") if role in turns}
    return ChatFormat(start=start, no_system=no_system, turns=ordered, answer=answer, strip=False)


def _cut(text: str, count: int) -> list[str]:
    """The text around the first `count` marks, each of which stands in it once, in order. Raises _Unproven."""
    pieces = []
    for mark in _MARKS[:count]:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise _Unproven
        pieces.append(before)
    return [*pieces, text]


def _shared_end(texts: Sequence[str], wanted: str) -> str:
    """`wanted`, if all texts end in it, else the longest end they share that does not begin within a <token>."""
    if all(text.endswith(wanted) for text in texts):
        return wanted
    shared = _common_start([text[::-1] for text in texts])[::-1]
    while shared and any(_is_within_token(text.removesuffix(shared)) for text in texts):
        shared = shared[1:]
    return shared


def _shared_start(texts: Sequence[str], wanted: str) -> str:
    """`wanted`, if all texts start with it, else the longest start they share that does not end within a <token>."""
    if all(text.startswith(wanted) for text in texts):
        return wanted
    shared = _common_start(texts)
    while shared and _is_within_token(shared):
        shared = shared[:-1]
    return shared


def _common_start(texts: Sequence[str]) -> str:
    shared = 0
    for letters in zip(*texts, strict=False):
        if len(set(letters)) > 1:
            break
        shared += 1
    return texts[0][:shared]


def _is_within_token(text: str) -> bool:
    return text.rfind("<") > text.rfind(">") or text.rfind("[") > text.rfind("]")


def _prove(formatted: ChatFormat, prompts: _Prompts) -> None:
    """Raises _Unproven where the format and the template differ, _Asked where the template asks for the date."""
    for conversation in _conversations(formatted, _contents(prompts), _counts(prompts.template)):
        if prompts.rendered(conversation) != prompt(formatted, conversation):
            raise _Unproven
    for role in ("system", "assistant"):  # a role that is left out is refused, wherever it may stand
        if role not in formatted.turns:
            for conversation in _shapes({"system", "user", "assistant"}, "Hello", MAX_MESSAGES):
                if any(said == role for said, _ in conversation) and prompts.rendered(conversation) is not None:
                    raise _Unproven


def _conversations(formatted: ChatFormat, contents: Sequence[str], counts: Sequence[int]) -> Iterator[Conversation]:
    """Every shape of up to 7 messages with every content in all messages, and in each message alone; a few contents in
    every mixture; all contents in a few; and longer conversations, where the template knows a number.
    """
    roles = set(formatted.turns)
    shapes = list(_shapes(roles, "Hello", MAX_MESSAGES))
    for shape in shapes:
        for content in contents[: len(_AWKWARD)]:
            yield [(role, content) for role, _ in shape]
    for content in contents:
        yield [(role, content) for role, _ in shapes[-1]]
        for position in range(len(shapes[-1])):
            yield [(role, content if index == position else said) for index, (role, said) in enumerate(shapes[-1])]
        for shape in shapes[:2]:
            yield [(role, content) for role, _ in shape]
    for shape in (each for each in shapes if len(each) <= 3):
        for mixed in product(("Hello", "", " a\n", "{}"), repeat=len(shape)):
            yield [(role, content) for (role, _), content in zip(shape, mixed, strict=True)]
    drawn = random.Random(0)  # noqa: S311 (the same conversations each time)
    for _ in range(_MIXED):
        yield [(role, drawn.choice(contents)) for role, _ in drawn.choice(shapes)]
    if "assistant" in roles:
        for most in {15, 31, *counts}:
            yield from (shape for shape in _shapes(roles, "Hello", most) if len(shape) >= most - 2)


def _shapes(roles: set[Role] | set[str], content: str, most: int) -> Iterator[Conversation]:
    """At most one of the system, then user and assistant in turn, the user first and last, in rising length."""
    for length in range(1, most + 1, 2) if "assistant" in roles else (1,):
        turns: list[tuple[Role, str]] = [
            ("assistant" if index % 2 else "user", f"{content} {index}") for index in range(length)
        ]
        yield turns
        if "system" in roles and length < most:
            yield [("system", content), *turns]


def _contents(prompts: _Prompts) -> list[str]:
    """Contents to try: awkward ones first, then every word that stands in the template, alone and amid others, and
    contents as long as the numbers in it.
    """
    words = {prompts.bos_token, prompts.eos_token, *_literals(prompts.template)}
    words |= {word.strip() for word in words}
    found = [*_AWKWARD]
    for word in sorted(words - {""})[:_MOST_LITERALS]:
        found += [word, f"a {word} b", f"{word}c", f"d{word}"]
    for count in _numbers(prompts.template):
        found += ["y" * length for length in (count - 1, count, count + 1) if 0 <= length <= _MOST_LENGTH]
        found += ["z " * length for length in (count, count + 1) if 0 <= length <= _MOST_LENGTH // 2]
    return list(dict.fromkeys(found))


def _counts(template: str) -> list[int]:
    """Numbers of messages to try, for what the template's numbers might count."""
    return sorted({count + more for count in _numbers(template) for more in (1, 2, 3) if count + 3 <= _MOST_TURNS})


def _literals(template: str) -> set[str]:
    """The strings that the template names, and the text between its tags."""
    from jinja2 import nodes

    tree = _tree(template)
    named = {str(node.value) for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return named | {node.data for node in tree.find_all(nodes.TemplateData)}


def _numbers(template: str) -> list[int]:
    from jinja2 import nodes

    found = {node.value for node in _tree(template).find_all(nodes.Const)}
    return sorted({int(abs(each)) for each in found if type(each) in (int, float) and abs(each) <= _MOST_LENGTH})


def _tree(template: str) -> Any:
    use_python_runtime()
    from edgekit_runtime import _chat

    return _chat._environment().parse(template)
