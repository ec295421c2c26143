"""The pure parts of the C runtime against what they stand for: the Python runtime, NumPy, Pillow, JSON."""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from edgekit_runtime import goldens
from edgekit_runtime._image import pixel_values
from edgekit_runtime._stream import decode_utf8, until_stop
from fixtures.c_runtime import Inside
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit import chat_format
from edgekit.manifest import ChatFormat, Turn

pytestmark = pytest.mark.engines
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def _packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


@settings(max_examples=300, deadline=None)
@given(
    pieces=st.lists(
        st.one_of(st.text("ab\né🌍", max_size=6).map(str.encode), st.binary(min_size=1, max_size=5)), max_size=12
    ),
    cuts=st.lists(st.integers(0, 100), max_size=8),
    stops=st.lists(st.text("ab\né🌍", min_size=1, max_size=4), max_size=3),
)
def test_texts_come_as_in_python(inside: Inside, pieces: list[bytes], cuts: list[int], stops: list[str]) -> None:
    """Whatever the bytes, however they are cut; but a zero, which ends a C string, becomes U+FFFD."""
    whole = b"".join(pieces)
    edges = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    found = inside.ask("stream", pieces=[_packed(piece) for piece in pieces], stops=stops)
    decoded = (text.replace("\0", "\ufffd") for text in decode_utf8(pieces))
    expected = list(until_stop(decoded, stops))
    assert "".join(found) == "".join(expected)
    if not re.search(rb"\xed[\xa0-\xbf]", whole):  # half a surrogate, behind which Python waits for a byte more
        assert found == expected


def test_no_temperature_takes_the_best_and_of_equals_the_first(inside: Inside) -> None:
    for scores, best in (([1, 3, 2], 1), ([3, 3, 2], 0), ([-1e30, -2e30], 0), ([5], 0)):
        found = inside.ask("sample", scores=scores, temperature=0, top_p=1, seed=1, draws=3)
        assert found == [best] * 3


def _weights(scores: Sequence[float], temperature: float, top_p: float) -> Any:
    """What the Python runtime draws from."""
    weights = np.exp((np.asarray(scores, np.float64) - max(scores)) / temperature)
    order = np.argsort(-weights, kind="stable")
    mass = np.cumsum(weights[order])
    weights[order[int(np.searchsorted(mass, top_p * mass[-1])) + 1 :]] = 0
    return weights / weights.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.9), (1.0, 0.5), (1.0, 0.01)])
def test_tokens_are_drawn_as_often_as_they_should(inside: Inside, temperature: float, top_p: float) -> None:
    scores, draws = [0.0, 1.0, 2.0, -1.0, 1.0, -30.0], 20_000
    expected = _weights(scores, temperature, top_p)
    found = inside.ask("sample", scores=scores, temperature=temperature, top_p=top_p, seed=7, draws=draws)
    counts = Counter(found)
    for token, share in enumerate(expected):
        deviation = math.sqrt(share * (1 - share) / draws)
        assert abs(counts[token] / draws - share) <= 5 * deviation, token
    assert all(expected[token] > 0 for token in counts)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40),
    temperature=st.floats(0.05, 5),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 2**53),
)
def test_a_seed_repeats_and_nothing_outside_the_nucleus_is_drawn(
    inside: Inside, scores: list[float], temperature: float, top_p: float, seed: int
) -> None:
    asked = {"scores": scores, "temperature": temperature, "top_p": top_p, "seed": seed, "draws": 50}
    found = inside.ask("sample", **asked)
    assert found == inside.ask("sample", **asked)
    kept = _weights(scores, float(np.float32(temperature)), min(1.0, float(np.float32(top_p)) + 1e-6))
    assert all(kept[token] > 0 for token in found)


def test_without_a_seed_answers_differ(inside: Inside) -> None:
    asked = {"scores": [0.0] * 100, "temperature": 1, "top_p": 1, "seed": None, "draws": 20}
    assert len({tuple(inside.ask("sample", **asked)) for _ in range(4)}) > 1


def test_scores_that_are_no_numbers_still_give_a_token(inside: Inside) -> None:
    for scores in ([None, None], [1.0, None], [None, 1.0]):
        found = inside.ask("sample", scores=scores, temperature=1, top_p=0.5, seed=1, draws=10)
        assert set(found) <= {0, 1}


@pytest.mark.parametrize(("temperature", "top_p"), [(-1, 1), (1e39, 1), (1, 0), (1, 1.5), (1, -1)])
def test_settings_that_mean_nothing_are_refused(inside: Inside, temperature: float, top_p: float) -> None:
    told = inside.ask("sample", scores=[1], temperature=temperature, top_p=top_p, seed=1, draws=1)
    assert "expected" in told


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70)), max_size=20))
def test_numbers_are_read_as_python_reads_them(inside: Inside, values: list[float]) -> None:
    found = inside.ask("numbers", numbers=values)
    with np.errstate(over="ignore"):
        for value, (read, single, half) in zip(values, found, strict=True):
            assert read == pytest.approx(float(value), rel=1e-15, abs=1e-310)
            assert single == _finite(np.float32(value))
            assert half == _finite(np.float16(float(value)))


def _finite(number: Any) -> float | None:
    return float(number) if np.isfinite(number) else None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_what_goldens_store_comes_back_exactly(inside: Inside, values: list[float]) -> None:
    array = np.asarray(values, np.float32)
    assert inside.ask("decode", tensor=goldens.encode(array)) == [float(value) for value in array]


@pytest.mark.parametrize("dtype", goldens._DTYPES)
@pytest.mark.parametrize("count", [1, 2000])
def test_tensors_of_every_type_come_back(inside: Inside, dtype: str, count: int) -> None:
    array = np.random.default_rng(0).integers(-100 if dtype[0] != "u" else 0, 100, (count,)).astype(dtype)
    stored = goldens.encode(array)
    assert ("data" in stored) == (count == 1)
    assert inside.ask("decode", tensor=stored) == [float(value) for value in array]


ONE = {"dtype": "int8", "shape": [2], "data": [1, 2]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "int4"}, {"dtype": 3}, {"dtype": "uint64"}, {"shape": [3]}, {"shape": [-2]}, {"shape": [2.0]},
        {"shape": 2}, {"shape": [2**40, 2**40]}, {"shape": [1] * 9}, {"data": [1]}, {"data": [1, 128]},
        {"data": [1, -129]}, {"data": [1, 1.5]}, {"data": [1, "2"]}, {"data": [1, 10**30]}, {"data": [1, True]},
        {"data": {"a": 1, "b": 2}}, {"base64": "AQI"}, {"base64": "AQ=="}, {"base64": "A Q="}, {"base64": "AQ=I"},
        {"base64": "===="}, {"base64": 3}, {"dtype": "bool", "data": [0, 1]}, {"dtype": "float32", "data": [1, None]},
    ],
    ids=str,
)  # fmt: skip
def test_tensors_whose_pieces_do_not_fit_are_none(inside: Inside, wrong: dict[str, Any]) -> None:
    assert inside.ask("decode", tensor=ONE) == [1, 2]
    assert inside.ask("decode", tensor=ONE | wrong) is None


@pytest.mark.parametrize("filter_", FILTERS)
def test_pictures_are_resized_as_pillow_does_bit_for_bit(inside: Inside, filter_: int) -> None:
    random = np.random.default_rng(filter_)
    sizes = [((7, 5), (3, 4)), ((4, 4), (9, 13)), ((37, 61), (16, 16)), ((1, 9), (5, 2)), ((50, 3), (50, 7))]
    sizes += [((8, 9), (3, 9)), ((6, 6), (6, 6)), ((1, 1), (3, 2)), ((90, 90), (7, 7))]
    for (height, width), to in sizes:
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pixels[: height // 2] = np.where(pixels[: height // 2] > 127, 255, 0)  # edges that overshoot
        found = inside.ask("resize", rgb=_packed(pixels.tobytes()), height=height, width=width, to=to, filter=filter_)
        expected = np.asarray(Image.fromarray(pixels).resize(to[::-1], resample=filter_))
        assert np.array_equal(np.asarray(found, np.uint8).reshape(expected.shape), expected)


IMAGE = {"height": 6, "width": 8, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
IMAGE |= {"rescale": 1 / 255, "resample": 2, "shortest_edge": None}


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    to=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    edge=st.none() | st.integers(1, 14),
    resample=st.sampled_from(sorted(FILTERS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_pixels_become_what_python_feeds(
    inside: Inside, size: tuple[int, int], to: tuple[int, int], edge: int | None, resample: int, seed: int
) -> None:
    image = IMAGE | {"height": to[0], "width": to[1], "shortest_edge": edge, "resample": resample}
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = pixel_values(pixels, {"image": image})
    found = inside.ask(
        "pixels", manifest={"image": image}, rgb=_packed(pixels.tobytes()), height=size[0], width=size[1]
    )
    assert np.array_equal(np.asarray(found, np.float32), expected.ravel())


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0}, {"width": -1}, {"height": 2**31}, {"width": 1.5}, {"height": "6"}, {"mean": [0.5]},
        {"std": [0.5, 0.5, "0.5"]}, {"mean": None}, {"std": [1, 1, 1, 1]}, {"rescale": None}, {"resample": 6},
        {"resample": -1}, {"shortest_edge": 0}, {"shortest_edge": 2**40}, {"shortest_edge": "big"},
        {"rescale": 1e39}, {"std": [1, 1, -1e300]}, {"rescale": True},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_no_picture_are_refused(inside: Inside, wrong: dict[str, Any]) -> None:
    asked = {"rgb": _packed(bytes(3)), "height": 1, "width": 1}
    assert isinstance(inside.ask("pixels", manifest={"image": IMAGE}, **asked), list)
    assert inside.ask("pixels", manifest={"image": IMAGE | wrong}, **asked) == "BundleInvalid"


def test_a_picture_so_narrow_that_it_would_become_endless_is_refused(inside: Inside) -> None:
    image = IMAGE | {"shortest_edge": 16384}
    asked = {"rgb": _packed(bytes(3 * 40_000)), "height": 1, "width": 40_000}
    assert inside.ask("pixels", manifest={"image": image}, **asked) == "BadInput"


FORMAT = ChatFormat(
    start="<s>",
    no_system="<<be brief>>",
    turns={
        "system": Turn(before="[sys]", after="[/sys]"),
        "user": Turn(before="[é]", after="\n"),
        "assistant": Turn(before="", after="</s>"),
    },
    answer="[a]",
    strip=True,
)


def _chat(inside: Inside, messages: Any, formatted: Any = FORMAT, template: Any = "t.jinja") -> Any:
    stored = formatted.model_dump() if isinstance(formatted, ChatFormat) else formatted
    manifest = {"generation": {"chat_template": template, "chat_format": stored}}
    return inside.ask("chat", manifest=manifest, messages=messages)


@settings(max_examples=200, deadline=None)
@given(
    system=st.none() | st.text(max_size=10),
    turns=st.lists(st.text(max_size=12), min_size=1, max_size=5).filter(lambda turns: len(turns) % 2 == 1),
    strip=st.booleans(),
)
def test_messages_become_the_prompt_that_pack_proved(
    inside: Inside, system: str | None, turns: list[str], strip: bool
) -> None:
    contents = [text.replace("\0", "") for text in turns]
    conversation: list[tuple[Any, str]] = [] if system is None else [("system", system.replace("\0", ""))]
    conversation += [(("user", "assistant")[index % 2], text) for index, text in enumerate(contents)]
    formatted = FORMAT.model_copy(update={"strip": strip})
    messages = [{"role": role, "content": text} for role, text in conversation]
    assert _chat(inside, messages, formatted) == chat_format.prompt(formatted, conversation)


def test_white_space_is_what_python_says_it_is(inside: Inside) -> None:
    points = [point for point in range(1, 0x3100) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(points), 64):
        for point in points[start : start + 64]:
            if chr(point).isspace() or chr(point - 1).isspace():
                text = f"{chr(point)} x {chr(point)}"
                assert _chat(inside, [{"role": "user", "content": text}]) == f"<s><<be brief>>[é]{text.strip()}\n[a]"


@pytest.mark.parametrize(
    "roles",
    [
        [], ["system"], ["assistant"], ["user", "user"], ["user", "assistant"], ["user", "system", "user"],
        ["system", "system", "user"], ["system", "assistant", "user"], ["tool"], ["user", "assistant", "tool"], [""],
    ],
    ids=str,
)  # fmt: skip
def test_messages_in_no_order_are_refused(inside: Inside, roles: list[str]) -> None:
    assert _chat(inside, [{"role": role, "content": "x"} for role in roles]) == ["BadInput"]


def test_a_role_that_the_template_refuses_is_refused(inside: Inside) -> None:
    formatted = FORMAT.model_dump()
    del formatted["turns"]["system"]
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    assert _chat(inside, messages, formatted) == ["BadInput"]
    assert _chat(inside, messages[1:], formatted) == "<s><<be brief>>[é]y\n[a]"


def test_without_a_format_there_is_no_chat(inside: Inside) -> None:
    messages = [{"role": "user", "content": "x"}]
    assert _chat(inside, messages, None) == ["WrongTask"]
    assert _chat(inside, messages, FORMAT, template=None) == ["WrongTask"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": None}, {"no_system": 3}, {"answer": ["x"]}, {"strip": "yes"}, {"strip": None}, {"turns": []},
        {"turns": {"user": "x"}}, {"turns": {"user": {"before": "x"}}}, {"turns": {"user": {"before": 1, "after": ""}}},
        {"turns": {"tool": {"before": "", "after": ""}}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_damaged_format_is_refused(inside: Inside, wrong: dict[str, Any]) -> None:
    assert _chat(inside, [{"role": "user", "content": "x"}], FORMAT.model_dump() | wrong) == ["BundleInvalid"]
    assert _chat(inside, [{"role": "user", "content": "x"}], "<s>") == ["BundleInvalid"]
