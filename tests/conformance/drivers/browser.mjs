// The driver of the browser: Chromium, headless, with the runtime in a page or, with --worker, in a module worker.
//
//   node browser.mjs APP [--worker] [--not-isolated] [--webgpu] [--no-policy]
//
// APP is a folder that holds the runtime as an app does (tests/fixtures/js_runtime.py). It is served at 127.0.0.1,
// cross-origin isolated unless --not-isolated, under a strict policy unless --no-policy. A request that leaves the
// page's origin ends the driver with status 1. $CHROMIUM names the browser, else it is looked for on PATH.
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";
import readline from "node:readline";
import { launch } from "./browser-launch.mjs";
import { serve } from "./browser-server.mjs";

const FLAGS = ["--worker", "--not-isolated", "--webgpu", "--no-policy"];
const [app, ...flags] = process.argv.slice(2);
const unknown = flags.find((flag) => !FLAGS.includes(flag));
if (!app || app.startsWith("-") || unknown) fail(`usage: browser.mjs APP ${FLAGS.map((flag) => `[${flag}]`).join(" ")}`);
const asked = Object.fromEntries(FLAGS.map((flag) => [flag.slice(2), flags.includes(flag)]));

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

const nonce = randomBytes(12).toString("base64");
const site = await serve(path.resolve(app), { isolated: !asked["not-isolated"], policy: !asked["no-policy"], nonce });
const { chromium } = createRequire(path.resolve(app, "driver.js"))("playwright-core");
const offences = [];
const browser = await launch(chromium, asked.webgpu).catch((error) => fail(error.message));
const page = await (await browser.newContext()).newPage();
watch(page);
await page.goto(`${site.origin}/${asked.worker ? "?worker" : ""}`);
await page.waitForFunction(() => globalThis.ask, undefined, { timeout: 30_000 });

/** What the page asks for beyond its own origin is an offence, whoever in it asks, and whether or not it was let out. */
function watch(page) {
  const outside = (url) => !/^(blob|data):/u.test(url) && new URL(url).origin !== site.origin;
  page.context().on("request", (request) => outside(request.url()) && offences.push(`request of ${request.url()}`));
  page.on("websocket", (socket) => offences.push(`WebSocket to ${socket.url()}`));
  page.on("pageerror", (error) => process.stderr.write(`page: ${error.stack}\n`));
  page.on("console", (message) => {
    if (message.text().startsWith("Failed to load resource")) return; // the runtime says what is missing
    process.stderr.write(`console.${message.type()}: ${message.text()}\n`);
    // Workers of workers tell of what they were refused nowhere else.
    if (message.text().includes("Content Security Policy")) offences.push(message.text());
  });
  return page.exposeFunction("tellOffence", (said) => offences.push(`policy: ${said}`));
}

async function answerTo(line) {
  const request = JSON.parse(line);
  if (request.bundle !== undefined) request.bundle = site.bundle(request.bundle);
  const answer = await page
    .evaluate((given) => globalThis.ask(given), request)
    .catch((error) => ({ error: "Crashed", message: String(error?.stack ?? error) }));
  await page.evaluate(() => new Promise((told) => setTimeout(told))); // what was refused meanwhile is heard of
  return offences.length ? { error: "LeftOrigin", message: offences.join("; ") } : answer;
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answerTo(line))}\n`);
  if (offences.length) break;
}
await browser.close();
site.close();
if (offences.length) fail(`the page left its origin: ${offences.join("; ")}`);
process.exit(0);
