"""The page of `edgekit demo` in Chromium: offline, damaged, failed, narrow, dark; what it asks for and says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import edgekit_runtime as rt
import pytest
from edgekit_runtime import goldens
from fixtures import bundles, reports
from fixtures.browser import LOOK
from fixtures.page import KEYS, Browser, look, serving
from fixtures.page_bundles import MAKERS

from edgekit import demo
from edgekit.demo.server import HEADERS, PAGE_POLICY

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


def test_what_a_bundle_says_is_text_and_a_broken_report_is_none(browser: Browser, tmp_path: Path) -> None:
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    bundle = bundles.classifier_bundle(tmp_path / "b", (markup, "warm", "w" * 300), name=markup)
    (bundle / "report.json").write_text('{"rows": [null], "host": 7}')
    seen = look(
        browser,
        bundles.reseal(bundle),
        """
        await page.setViewportSize({ width: 320, height: 900 });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        return [await page.innerText("h1"), await page.innerText(".bars"), await page.innerText("#figures"), wide];
        """,
    )
    name, labels, figures, width = seen.value
    assert name == markup
    assert markup in labels
    assert "holds no report that can be read" in figures
    assert width <= 320


def test_an_engine_that_is_not_there_is_told(browser: Browser, made: Made) -> None:
    seen = look(browser, made("tensors"), "return await page.innerText('#alert')", "?backend=webgpu")
    assert seen.value.startswith("LoadFailed:")


def test_threads_as_asked(browser: Browser, made: Made) -> None:
    script = "return [await page.evaluate(() => crossOriginIsolated), await page.innerText('.figures')]"
    isolated, figures = look(browser, made("tensors"), script, "?threads=2").value
    assert isolated
    assert "2 threads" in figures


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?threads=0", "BadInput: threads is 0, expected 1 to"),
        ("?backend=tpu", "BadInput: backend is tpu, expected one"),
    ],
)
def test_settings_that_are_none_are_told(browser: Browser, made: Made, query: str, told: str) -> None:
    assert look(browser, made("tensors"), "return await page.innerText('#alert')", query).value.startswith(told)


def test_more_threads_than_there_are_become_those(browser: Browser, made: Made) -> None:
    script = "return [await page.evaluate(() => navigator.hardwareConcurrency), await page.innerText('.figures')]"
    cores, figures = look(browser, made("tensors"), script, "?threads=99").value
    assert f"{cores} thread" in figures


def test_no_gpu_is_offered_where_there_is_none(browser: Browser, made: Made) -> None:
    script = """return page.evaluate(async () => {
        const has = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
        await new Promise((done) => setTimeout(done, 200));
        return [has, [...document.querySelectorAll("option")].map((each) => each.value)];
    });"""
    has, offered = look(browser, made("tensors"), script).value
    assert offered == (["cpu", "webgpu"] if has else ["cpu"])


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
    script = """
    const found = [];
    for (const reducedMotion of ["reduce", "no-preference"]) {
      await page.emulateMedia({ reducedMotion });
      found.push(await page.evaluate(() => getComputedStyle(document.querySelector(".fill")).transitionDuration));
    }
    return found;
    """
    calm, lively = look(browser, made("classifier"), script).value
    assert calm == "0s" != lively


class _Static(SimpleHTTPRequestHandler):
    """Anybody's server of files; with `isolated` it sends the headers that the export asks for."""

    isolated = True

    def end_headers(self) -> None:
        if self.isolated:
            for name, value in (*HEADERS.items(), ("Content-Security-Policy", PAGE_POLICY)):
                self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Nothing."""


@pytest.mark.parametrize("isolated", [True, False], ids=["isolated", "not isolated"])
def test_the_exported_page_runs_below_any_path_of_another_server(
    browser: Browser, made: Made, tmp_path: Path, isolated: bool
) -> None:
    demo.export(made("embedding"), tmp_path / "below" / "a path")
    handler = type("Static", (_Static,), {"isolated": isolated})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/below/a%20path/"
        script = """
        await to("Run the self-test"); await page.keyboard.press("Enter");
        await settled("#self-test", "as recorded");
        return [await told(".verdict"), await told(".figures td"), await page.innerText("#engine")];
        """
        seen = browser.run(url, KEYS + script)
        server.shutdown()
        thread.join()
    (verdict,), figures, engine = seen.value
    assert verdict.startswith("✓")
    assert all(each.startswith((url, "blob:")) for each in seen.requests)
    assert ("not cross-origin isolated" in engine) != isolated
    if not isolated:
        assert any("1 thread" in each for each in figures)
