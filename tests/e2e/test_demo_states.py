"""The page of `edgekit demo` in Chromium: offline, damaged, failed, narrow, dark; what it asks for and says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import edgekit_runtime as rt
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, reports
from fixtures.browser import LOOK
from fixtures.page import KEYS, Browser, look, serving
from fixtures.page_bundles import MAKERS

pytestmark = pytest.mark.engines
Made = Callable[[str], Path]


def test_a_golden_that_differs_is_shown(browser: Browser, tmp_path: Path) -> None:
    bundle = MAKERS["embedding"](tmp_path / "b")
    golden = json.loads((bundle / goldens.GOLDEN).read_text())
    golden["cases"][1]["expected"]["values"][0] += 5
    (bundle / goldens.GOLDEN).write_text(json.dumps(golden))
    seen = look(
        browser,
        bundles.reseal(bundle),
        KEYS + """
        await to("Run the self-test"); await page.keyboard.press("Enter");
        await settled("#self-test", "as recorded");
        return [await told("#self-test .verdict"), await told("#self-test .results .bad")];
        """,
    )  # fmt: skip
    assert seen.value[0][0].startswith("✗")
    assert seen.value[1] == ["✗ differs"]


def test_everything_works_on_when_offline(browser: Browser, made: Made) -> None:
    seen = look(
        browser,
        made("classifier"),
        KEYS + """
        await context.setOffline(true);
        await to("Text"); await retyped("red red red");
        await to("Classify"); await page.keyboard.press("Enter");
        await page.waitForTimeout(700);
        return await told(".bars .score");
        """,
    )  # fmt: skip
    with rt.open(made("classifier"), threads=1) as session:
        assert seen.value == [f"{100 * each['score']:.1f} %" for each in session.classify(["red red red"])[0]]


def test_a_file_that_changed_since_is_refused_by_name(browser: Browser, tmp_path: Path) -> None:
    bundle = bundles.classifier_bundle(tmp_path / "b")
    with serving(bundle) as page:
        model = bundle / "onnx" / "model.onnx"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        seen = browser.run(
            page.url, "return [await page.getAttribute('html', 'data-state'), await page.innerText('#alert')]"
        )
    state, told = seen.value
    assert state == "failed"
    assert told.startswith("BundleInvalid: onnx/model.onnx was changed")
    assert told.endswith("Try again")


def test_a_bundle_that_did_not_pass_says_so(browser: Browser, tmp_path: Path) -> None:
    bundle = bundles.embedding_bundle(tmp_path / "b", status="failed")
    rows = [reports.row(0.5, "min", 0.98, passed=False)]
    (bundle / "report.json").write_text(reports.report(*rows, status="failed").to_json(), encoding="utf-8")
    seen = look(browser, bundles.reseal(bundle), "return await page.innerText('header')")
    assert "This bundle did not pass." in seen.value
    assert "It missed: mean cosine." in seen.value
    assert "✗ missed its limits when packed" in seen.value


def test_an_engine_that_is_not_there_is_told(browser: Browser, made: Made) -> None:
    seen = look(browser, made("tensors"), "return await page.innerText('#alert')", "?backend=webgpu")
    assert seen.value.startswith("LoadFailed:")


def test_threads_as_asked(browser: Browser, made: Made) -> None:
    script = "return [await page.evaluate(() => crossOriginIsolated), await page.innerText('.figures')]"
    isolated, figures = look(browser, made("tensors"), script, "?threads=2").value
    assert isolated
    assert "2 threads" in figures


def test_the_report_is_looked_at_and_nothing_in_it_runs(browser: Browser, made: Made) -> None:
    with serving(made("embedding")) as page:
        seen = browser.run(
            page.url + "bundle/report.html", "await page.goto(url); return page.innerText('body')", opened=False
        )
    assert seen.value == "a report"


def test_that_a_request_elsewhere_would_be_noticed(browser: Browser, made: Made) -> None:
    with serving(made("tensors")) as page:
        script = "return page.evaluate(() => fetch('http://127.0.0.2:9/').then(() => 'sent', (error) => error.name))"
        seen = browser.run(page.url, script)
    assert seen.value == "TypeError"
    assert any("Content Security Policy" in each for each in seen.errors)


@pytest.mark.parametrize("name", MAKERS)
def test_the_goldens_are_replayed_offline_and_all_can_be_read(browser: Browser, made: Made, name: str) -> None:
    seen = look(
        browser,
        made(name),
        KEYS + """
        await context.setOffline(true);
        await to("Run the self-test"); await page.keyboard.press("Enter");
        await settled("#self-test", "as recorded");
        if (await page.$(".log")) {
          await page.focus("textarea"); await retyped("A"); await page.keyboard.press("Enter");
          await settled(".turn.assistant", "tokens");
        }
        await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
        const found = { verdict: await told("#self-test .verdict") };
        for (const width of [320, 1280]) for (const colorScheme of ["light", "dark"]) {
          await page.setViewportSize({ width, height: 900 });
          await page.emulateMedia({ colorScheme });
          const frame = "{ contentWindow: window, contentDocument: document }";
          found[`${width} ${colorScheme}`] = await page.evaluate(`(() => { ${values}; return look(${frame}); })()`);
        }
        return found;
        """,
        values=LOOK,
        calm=True,
    )  # fmt: skip
    (verdict,) = seen.value.pop("verdict")
    assert verdict.startswith("✓")
    assert len(seen.value) == 4
    for way, found in seen.value.items():
        width, scheme = way.split()
        assert found["width"] <= found["window"] == int(width), way
        assert found["outside"] == [], way
        assert found["faint"] == [], way
        assert found["texts"] > 20, way
        light = sum(int(part) for part in found["background"][4:-1].split(",")[:3]) > 600
        assert light == (scheme == "light"), way


def test_calm_where_motion_is_not_wanted(browser: Browser, made: Made) -> None:
    script = "return page.evaluate(() => getComputedStyle(document.querySelector('.fill')).transitionDuration)"
    assert look(browser, made("classifier"), script, calm=True).value == "0s"
    assert look(browser, made("classifier"), script).value != "0s"
