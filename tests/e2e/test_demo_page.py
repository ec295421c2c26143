"""The page of `edgekit demo` in Chromium: each task's main job, by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import edgekit_runtime as rt
import numpy as np
import pytest
from fixtures import bundles, page_bundles
from fixtures.page import KEYS, Browser, look
from fixtures.page_bundles import TEXTS

pytestmark = pytest.mark.engines
Made = Callable[[str], Path]


def test_sentences_are_compared_by_keyboard(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("embedding"),
        KEYS + """
        for (const [index, text] of values.entries()) { await to(`Sentence ${index + 1}`); await retyped(text); }
        await to("Remove sentence 5"); await page.keyboard.press("Enter");
        await to("Remove sentence 4"); await page.keyboard.press("Enter");
        await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelectorAll(".heat tbody tr").length === 3);
        await page.waitForTimeout(600);
        const three = { cells: await told(".heat tbody td"), closest: await told(".answer") };
        three.figures = await told(".figures td");
        await to("Add a sentence"); await page.keyboard.press("Enter");
        await page.keyboard.type("the sky is blue"); await page.keyboard.press("Enter");
        await settled(".answer", "1 and 4");
        return { three, closest: await told(".answer"), origin: await told("#figures p") };
        """,
        values=TEXTS,
    )  # fmt: skip
    with rt.open(made("embedding"), threads=1) as session:
        vectors = session.embed(list(TEXTS))
    cosines = [float(cell.replace("\N{MINUS SIGN}", "-")) for cell in seen.value["three"]["cells"]]
    np.testing.assert_allclose(np.reshape(cosines, (3, 3)), vectors @ vectors.T, atol=0.0051)
    pair = {(0, 1): "1 and 2", (0, 2): "1 and 3", (1, 2): "2 and 3"}[
        max(((0, 1), (0, 2), (1, 2)), key=lambda each: float(vectors[each[0]] @ vectors[each[1]]))
    ]
    assert seen.value["three"]["closest"][0].startswith(f"Closest pair: {pair}")
    assert seen.value["closest"] == ["Closest pair: 1 and 4, cosine 1.000"]
    figures = " | ".join(seen.value["three"]["figures"])
    assert "12.5 ms" in figures
    assert "0.75 ms" in figures
    assert "3 MiB" in figures
    assert "reserved by wasm" in figures
    assert "onnxruntime-web" in figures
    assert "\N{EN DASH}" not in figures
    assert "not on This machine" in seen.value["origin"][0]


def test_a_text_is_labelled_by_keyboard(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("classifier"),
        KEYS + """
        await to("Text"); await retyped(values[0]);
        await to("Classify"); await page.keyboard.press("Enter");
        await page.waitForTimeout(700);
        const one = [await told(".bars .label"), await told(".bars .score")];
        await page.keyboard.press("Shift+Tab"); await page.keyboard.press("Enter");
        await to("For models"); await retyped(values[1]);
        await page.waitForTimeout(900);
        return [one, [await told(".bars .label"), await told(".bars .score")]];
        """,
        values=TEXTS,
    )  # fmt: skip
    with rt.open(made("classifier"), threads=1) as session:
        for (labels, scores), given in zip(seen.value, (TEXTS[0], TEXTS[:2]), strict=True):
            expected = session.classify([given])[0]
            assert labels == [each["label"] for each in expected]
            assert scores == [f"{100 * each['score']:.1f} %" for each in expected]


def test_words_are_highlighted(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("tagger"),
        KEYS + """
        await to("Text"); await retyped("the sky is blue, red grass");
        await to("Label the words"); await page.keyboard.press("Space");
        await settled(".tagged", "grass");
        await to("Every token"); await page.keyboard.press("Enter");
        return { marks: await told("mark"), text: await told(".tagged"), tokens: await told(".result tbody th") };
        """,
    )  # fmt: skip
    assert seen.value["marks"] == ["blueCOLOUR", "redCOLOUR"]
    assert seen.value["text"] == ["the sky is blueCOLOUR, redCOLOUR grass"]
    assert seen.value["tokens"] == ["the", "sky", "is", "blue", ",", "red", "grass"]


def test_a_picture_is_picked_dropped_drawn_or_a_sample(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("image"),
        KEYS + """
        const best = async () => { await page.waitForTimeout(300); return (await told(".bars .label"))[0]; };
        const painted = (colour) => page.evaluate(async (colour) => {
          const canvas = new OffscreenCanvas(9, 7), draw = canvas.getContext("2d");
          draw.fillStyle = colour; draw.fillRect(0, 0, 9, 7);
          return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
        }, colour);
        const type = { name: "a.png", mimeType: "image/png" };
        const file = async (colour) => ({ ...type, buffer: Buffer.from(await painted(colour)) });
        page.on("filechooser", () => {});  // choosers are intercepted from now on
        await to("Pick a picture");
        const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.keyboard.press("Enter")]);
        await chooser.setFiles(await file("#00ff20"));
        const found = { picked: await best() };
        await to("Sunset"); await page.keyboard.press("Enter");
        found.sunset = await best();
        await page.evaluate((bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "b.png", { type: "image/png" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }, await painted("#2000ff"));
        found.dropped = await best();
        await to("Blank"); await page.keyboard.press("Enter");
        const box = await page.locator("canvas").boundingBox();
        await page.mouse.move(box.x + 20, box.y + 20); await page.mouse.down();
        await page.mouse.move(box.x + 200, box.y + 180, { steps: 8 }); await page.mouse.up();
        found.drawn = await best();
        await page.setInputFiles("#file", { name: "c.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
        await settled("#alert", "no picture that this browser can read");
        return found;
        """,
    )  # fmt: skip
    assert seen.value == {"picked": "green", "sunset": "red", "dropped": "blue", "drawn": "red"}


def test_a_chat_streams_and_is_measured(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("chain"),
        KEYS + """
        await to("Your message"); await retyped("A"); await page.keyboard.press("Enter");
        await settled(".turn.assistant", "tokens");
        const first = { turns: await told(".turn"), figures: await told(".figures td") };
        await page.keyboard.type("A"); await page.keyboard.press("Enter");
        await page.waitForFunction(() => document.querySelectorAll(".turn .soft").length === 2);
        const second = await told(".turn p:first-of-type");
        await to("New conversation"); await page.keyboard.press("Enter");
        return { first, second, after: await told(".turn") };
        """,
    )  # fmt: skip
    you, model = seen.value["first"]["turns"]
    assert you.split() == ["You", "A"]
    rest = bundles.CHAIN[1:]
    assert model.split("\n")[0] == "Model"
    assert f"\n{rest}\n" in model
    assert f"{len(rest.encode())} tokens · first after " in model
    assert model.endswith("tokens/s")
    assert seen.value["second"] == ["A", rest, "A", rest]
    assert seen.value["after"] == []
    assert "\N{EN DASH}" not in " | ".join(seen.value["first"]["figures"])


def test_an_answer_can_be_stopped(browser: Browser, made: Made, tmp_path: Path) -> None:
    bundle = page_bundles.endless(tmp_path)
    seen = look(
        browser,
        bundle,
        KEYS + """
        await page.fill("#most", String((await page.getAttribute("#most", "max")) - 20));  // long, for busy machines
        await to("Text to continue"); await retyped("hello");
        await page.evaluate(() => {
          const log = document.querySelector(".log"), text = document.getElementById("text");
          new MutationObserver((_, observer) => {
            if (!log.querySelector(".assistant p").textContent) return;
            observer.disconnect();
            text.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
          }).observe(log, { childList: true, subtree: true, characterData: true });
        });
        await page.keyboard.press("Enter");
        await settled(".turn.assistant .soft", "token");
        const told1 = await told(".turn.assistant .soft");
        await to("Run the self-test"); await page.keyboard.press("Enter");
        await settled("#self-test", "as recorded");
        return [told1, await told("#self-test .verdict")];
        """,
    )  # fmt: skip
    (told,), (verdict,) = seen.value
    assert "stopped" in told
    assert int(told.split()[0]) < 2000  # of the 2048 that its context has
    assert verdict.startswith("✓")


def test_escape_stops_an_answer_that_was_sent_by_a_click(browser: Browser, tmp_path: Path) -> None:
    seen = look(
        browser,
        page_bundles.endless(tmp_path),
        KEYS + """
        await page.fill("#most", String((await page.getAttribute("#most", "max")) - 20));
        await page.evaluate(() => {
          const log = document.querySelector(".log");
          new MutationObserver((_, observer) => {
            if (!log.querySelector(".assistant p").textContent) return;
            observer.disconnect();
            window.focused = document.activeElement.innerText;
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
          }).observe(log, { childList: true, subtree: true, characterData: true });
        });
        await page.click("button.main");
        await settled(".turn.assistant .soft", "token");
        return [await page.evaluate(() => window.focused), await told(".turn.assistant .soft")];
        """,
    )  # fmt: skip
    focused, (told,) = seen.value
    assert focused == "Stop"
    assert "stopped" in told


def test_a_prompt_beyond_the_context_is_told_and_kept(browser: Browser, tmp_path: Path) -> None:
    bundle = bundles.chain_bundle(tmp_path / "b", context_tokens=32)
    seen = look(
        browser,
        bundle,
        KEYS + """
        await to("Your message"); await retyped("A".repeat(60)); await page.keyboard.press("Enter");
        await settled("#alert", "PromptTooLong");
        return [await told("#alert"), await page.inputValue("#text"), await told(".turn")];
        """,
    )  # fmt: skip
    (told,), kept, turns = seen.value
    assert "\n" not in told
    assert kept == "A" * 60
    assert turns == []
