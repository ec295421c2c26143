"""The runtime on GGUF bundles: a hand-made decoder whose every answer is known, and encoders that edgekit wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit_runtime as rt
import numpy as np
import pytest
from edgekit_runtime import _llama, goldens
from edgekit_runtime._session import Session
from fixtures import bundles, gguf_bundles, tiny_models

pytestmark = pytest.mark.engines

BOS, EOS = 1, 2


def _ids(text: str) -> list[int]:
    return [3 + byte for byte in text.encode("utf-8")]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = bundles.chain_bundle(tmp_path_factory.mktemp("chain") / "b")
    with rt.open(folder, threads=1) as opened:
        yield opened


def test_the_chain_is_told_to_its_end_in_whole_characters(session: Session) -> None:
    assert list(session.generate("A")) == ["é", "🌍", "z", "!"]
    assert "".join(session.generate(_ids("A"))) == "é🌍z!"


def test_the_chain_ends_at_max_tokens_even_within_a_character(session: Session) -> None:
    assert list(session.generate("A", max_tokens=2)) == ["é"]
    assert list(session.generate("A", max_tokens=4)) == ["é", "\N{REPLACEMENT CHARACTER}"]


@pytest.mark.parametrize(("stop", "told"), [("z", "é🌍"), (["🌍z"], "é"), (["!", "é🌍"], ""), ("y", "é🌍z!")])
def test_no_part_of_a_stop_string_is_told(session: Session, stop: Any, told: str) -> None:
    assert "".join(session.generate("A", stop=stop)) == told


def test_tokens_begin_with_the_models_own(session: Session) -> None:
    assert session.tokenize("é") == [BOS, *_ids("é")]
    assert session.tokenize("") == [BOS]
    assert session.tokenize("a</s>b") == [BOS, *_ids("a"), EOS, *_ids("b")]
    assert session.tokenize("x" * 5000) == [BOS, *_ids("x" * 5000)]
    assert session.tokenize("a\x00b") == [BOS, *_ids("a\x00b")]


def test_logits_are_teacher_forced_whatever_the_length(session: Session) -> None:
    assert _llama.OUTPUT_ROWS < _llama.BATCH_TOKENS < 200
    ids = [BOS, *_ids(bundles.CHAIN * 25)]
    ids = ids[:200]
    logits = session.logits(ids)
    assert logits.shape == (200, 259)
    assert logits.dtype == np.float32
    follows = dict(zip(_ids(bundles.CHAIN), [*_ids(bundles.CHAIN)[1:], EOS], strict=True))
    assert [int(row.argmax()) for row in logits[1:]] == [follows[token] for token in ids[1:]]
    assert np.array_equal(session.logits(ids[:50]), logits[:50])


def test_logits_are_written_where_they_are_wanted(session: Session) -> None:
    out = np.full((2, 259), np.nan, np.float32)
    assert session.logits([BOS, *_ids("A")], out) is out
    assert np.isfinite(out).all()
    for wrong in (np.empty((3, 259), np.float32), np.empty((2, 259), np.float64)):
        with pytest.raises(rt.BadInput, match="expected float32"):
            session.logits([BOS, 4], wrong)


def test_a_seed_repeats_an_answer(session: Session) -> None:
    def told(seed: int) -> str:
        return "".join(session.generate("A", max_tokens=40, temperature=8.0, seed=seed))

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_a_nucleus_that_holds_one_token_is_greedy(session: Session) -> None:
    assert "".join(session.generate("A", temperature=1.0, top_p=0.5, seed=0)) == "é🌍z!"


def test_chat_applies_the_template_and_no_second_bos(session: Session) -> None:
    engine = session.engine
    messages = [{"role": "user", "content": "oA"}]
    assert engine.chat_prompt(messages, 5) == ([BOS, *_ids("[user]oA")], 5)
    assert "".join(session.chat(messages)) == "é🌍z!"


def test_a_base_model_does_not_chat(tmp_path: Path) -> None:
    with (
        rt.open(bundles.chain_bundle(tmp_path / "b", template=None), threads=1) as session,
        pytest.raises(rt.WrongTask, match="base model"),
    ):
        session.chat([{"role": "user", "content": "A"}])


def test_what_does_not_fit_the_context_is_refused_with_figures(session: Session) -> None:
    with pytest.raises(rt.PromptTooLong, match="201 tokens and up to 100 of answer exceed the context of 256"):
        session.generate("x" * 200, max_tokens=100)
    with pytest.raises(rt.PromptTooLong, match=r"301 tokens exceeds the context of 256: shorten it$"):
        session.generate("x" * 300)
    with pytest.raises(rt.PromptTooLong, match="256 tokens fills the context of 256"):
        session.generate("x" * 255, max_tokens=1)
    with pytest.raises(rt.PromptTooLong, match="257"):
        session.logits([BOS] * 257)
    assert len(list(session.generate("x" * 254, max_tokens=1))) <= 1
    assert "".join(session.generate("x" * 254)) is not None


def test_the_whole_context_can_be_used(session: Session) -> None:
    assert len(session.engine.step_seconds([BOS] * 156, 100)) == 100


@pytest.mark.parametrize("ids", [[], [259], [-1]])
def test_ids_outside_the_vocabulary_are_refused(session: Session, ids: list[int]) -> None:
    for call in (lambda: session.logits(ids), lambda: session.generate(ids)):
        with pytest.raises(rt.BadInput, match="token"):
            call()


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, True])
def test_max_tokens_is_a_positive_whole_number(session: Session, max_tokens: Any) -> None:
    with pytest.raises(rt.BadInput, match="max_tokens"):
        session.generate("A", max_tokens=max_tokens)


def test_a_stream_is_cancelled_from_another_thread(tmp_path: Path) -> None:
    with rt.open(bundles.chain_bundle(tmp_path / "b", context_tokens=100_000), threads=1) as session:
        told: list[str] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                told.extend(session.generate("A", max_tokens=90_000, temperature=8.0, seed=0, stop="never"))
            except rt.RuntimeFailure as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.3)
        session.cancel()
        thread.join(10)
        assert not thread.is_alive()
        assert [type(error) for error in errors] in ([rt.Cancelled], [])
        assert "".join(session.generate("A")) == "é🌍z!"


NOT_TEXT = ("\ud83c", b"A", bytearray(b"A"), "a\udc80")


@pytest.mark.parametrize("text", NOT_TEXT)
def test_what_is_no_unicode_text_is_refused_everywhere(session: Session, text: Any) -> None:
    said = [{"role": "user", "content": "A"}]
    calls: list[Callable[[], object]] = [
        lambda: session.tokenize(text),
        lambda: session.generate(text),
        lambda: session.generate("A", stop=[text]),
        lambda: session.chat([{"role": "user", "content": text}]),
        lambda: session.chat([{"role": text, "content": "A"}]),
        lambda: session.chat(said, stop=[text]),
        lambda: session.chat_ids([{"role": "user", "content": text}]),
    ]
    for call in calls:
        with pytest.raises(rt.BadInput):
            call()
    assert "".join(session.generate("A")) == "é🌍z!"


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": 5},
        {"prompt": None},
        {"prompt": ["a"]},
        {"prompt": [1.5]},
        {"prompt": {}},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": "8"},
        {"temperature": -1},
        {"temperature": "hot"},
        {"temperature": True},
        {"temperature": float("nan")},
        {"temperature": 10**400},
        {"top_p": 0},
        {"top_p": None},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": "x"},
        {"stop": 5},
        {"stop": [""]},
        {"stop": [5]},
    ],
    ids=str,
)
def test_arguments_of_a_wrong_kind_are_refused_at_once(session: Session, given: Any) -> None:
    with pytest.raises(rt.BadInput):
        session.generate(**({"prompt": "A"} | given))
    assert "".join(session.generate("A", seed=np.int64(3), temperature=np.float32(0), top_p=np.float64(1))) == "é🌍z!"


@pytest.mark.parametrize("messages", [5, None, "hello", [], ["hello"], {"role": "user", "content": "A"}, [{"role": 1}]])
def test_messages_of_a_wrong_kind_are_refused_at_once(session: Session, messages: Any) -> None:
    with pytest.raises(rt.BadInput, match="message"):
        session.chat(messages)


def test_the_prompt_of_a_chat_is_that_of_its_template(session: Session) -> None:
    said = [{"role": "user", "content": "A"}]
    assert session.chat_ids(said) == [BOS, *_ids("[user]A")]


def test_a_long_prompt_is_cancelled_between_its_pieces(session: Session) -> None:
    stream = session.generate("x" * 200)
    session.cancel()
    with pytest.raises(rt.Cancelled):
        next(stream)


@pytest.mark.parametrize("damage", [lambda raw: raw[:1000], lambda raw: b"GGUF" + b"\xff" * 100, lambda raw: b"junk"])
def test_a_file_the_engine_refuses(tmp_path: Path, damage: Any, capfd: pytest.CaptureFixture[str]) -> None:
    folder = bundles.chain_bundle(tmp_path / "b")
    path = folder / "model-F32.gguf"
    path.write_bytes(damage(path.read_bytes()))
    bundles.reseal(folder)
    with pytest.raises(rt.LoadFailed, match=r"llama\.cpp refuses model-F32\.gguf: \w"):
        rt.open(folder)
    assert capfd.readouterr() == ("", "")


def test_a_missing_engine_is_named_with_the_command(tmp_path: Path) -> None:
    folder = bundles.chain_bundle(tmp_path / "b")
    program = f"""
import sys
sys.modules["llama_cpp"] = None
import edgekit_runtime as rt
try:
    rt.open({str(folder)!r})
except rt.LoadFailed as error:
    print(error)
"""
    environment = {"PYTHONPATH": str(bundles.RUNTIME)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert "pip install llama-cpp-python" in ran.stdout


def test_the_engine_is_silent_and_freed_by_close_and_when_forgotten(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = bundles.chain_bundle(tmp_path / "b")
    for low_memory in (False, True):
        session = rt.open(folder, threads=1, low_memory=low_memory, verify=False)
        assert "".join(session.generate("A")) == "é🌍z!"
        session.close()
        session.close()
        with pytest.raises(rt.Closed):
            session.generate("A")
        free = rt.open(folder, threads=1, verify=False).engine._free  # the session is forgotten at once
        assert not free.alive
    assert capfd.readouterr() == ("", "")


def test_two_sessions_do_not_mix(tmp_path: Path, session: Session) -> None:
    with rt.open(bundles.chain_bundle(tmp_path / "b"), threads=1) as other:
        pairs = zip(session.generate("A"), other.generate("A"), strict=True)
        assert [one for one, same in pairs if one == same] == ["é", "🌍", "z", "!"]


@pytest.mark.parametrize("given", ["A", [BOS, *_ids("Aé")]])
def test_self_test_replays_and_notices(tmp_path: Path, given: Any) -> None:
    folder = bundles.chain_bundle(tmp_path / "b")
    with rt.open(folder, threads=1) as session:
        document = goldens.document([goldens.make_case(session, given, "first")])
    for change, passed in ((0.0, True), (9.0, False)):
        document["cases"][0]["expected"]["values"][0] += change
        (folder / "golden.json").write_text(json.dumps(document), encoding="utf-8")
        with rt.open(bundles.reseal(folder), threads=1) as session:
            assert session.self_test()[0]["passed"] is passed


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tiny_models.tiny_sentence_encoder(tmp_path_factory.mktemp("encoder") / "source")
    return gguf_bundles.encoder_bundle(source)


def test_an_encoder_embeds_with_pooling_and_length_one(encoder: Path) -> None:
    texts = ["hello there", "", "the sky is blue", "hello there"]
    with rt.open(encoder, threads=1) as session:
        vectors = session.embed(texts)
        assert vectors.shape == (4, 64)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(vectors[0], vectors[3])
        assert session.embed("the sky is blue")[0] == pytest.approx(vectors[2], abs=1e-6)
        assert session.embed([]).shape == (0, 64)
        with pytest.raises(rt.WrongTask):
            session.logits([1])


def test_an_encoders_long_text_is_cut_as_its_tokenizer_would(encoder: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder.parent / "source" / "tokenizer.json"))
    tokenizer.enable_truncation(16)
    long = "the sky is blue and the grass is green and so on and on " * 4
    with rt.open(encoder, threads=1) as session:
        whole = session.tokenize(long)
        assert len(whole) > 16
        assert session.embed(long)[0] == pytest.approx(session.embed(_text_of(tokenizer, long))[0], abs=1e-6)
        assert [*whole[:15], whole[-1]] == tokenizer.encode(long).ids


def _text_of(tokenizer: Any, long: str) -> str:
    """The beginning of `long` that fits: up to the end of the last token kept."""
    return long[: max(end for _, end in tokenizer.encode(long).offsets)]


def test_a_width_that_is_not_the_models_is_refused(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "model-F32.gguf").hardlink_to(encoder / "model-F32.gguf")
    (folder / "edgekit.json").write_text((encoder / "edgekit.json").read_text(encoding="utf-8"), encoding="utf-8")
    bundles.reseal(folder, embedding={"pooling": "mean", "normalize": True, "width": 65})
    with rt.open(folder, threads=1) as session, pytest.raises(rt.RunFailed, match=r"64 values per text.*65"):
        session.embed("a")
