// What the JavaScript runtime costs in a page of Chromium: `node browser.mjs BUNDLE ROUNDS APP` of an ONNX text bundle, 128
// tokens, one thread. `page_ms`: from opening the page's address, in a browser that runs but has never seen it, to its
// first embedding, the median of `pages_ms`. Then the wrapper and the bare onnxruntime-web, on the same tensors, take
// turns in one page. APP holds the runtime in edgekit/ and its packages in node_modules.
import { createRequire } from "node:module";
import path from "node:path";
import { launch } from "../../tests/conformance/drivers/browser-launch.mjs";
import { serve } from "../../tests/conformance/drivers/browser-server.mjs";

const PAGES = 5;
const TOKENS = 128;
const WARM_UP = 20;
const TEXT = "The ferry leaves the harbour at half past six, whatever the weather.";
const [bundle, rounds, app] = process.argv.slice(2);

const site = await serve(path.resolve(app), { isolated: true, policy: true, nonce: "benchmark" });
const url = site.bundle(path.resolve(bundle));
const { chromium } = createRequire(path.resolve(app, "benchmark.js"))("playwright-core");
const browser = await launch(chromium, false);
try {
  const pages_ms = [];
  for (let count = 0; count < PAGES; count += 1) pages_ms.push(await firstEmbedding());
  const page = await opened();
  const told = await page.evaluate(inTurn, { url, text: TEXT, tokens: TOKENS, warmUp: WARM_UP, rounds: Number(rounds) });
  const page_ms = pages_ms.toSorted((a, b) => a - b)[Math.floor(PAGES / 2)];
  process.stdout.write(`${JSON.stringify({ ...told, page_ms, pages_ms })}\n`);
} finally {
  await browser.close();
  site.close();
}

async function opened() {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${site.origin}/`);
  await page.waitForFunction(() => globalThis.ask);
  return page;
}

async function firstEmbedding() {
  const begun = performance.now();
  const page = await opened();
  const found = await page.evaluate(
    async ({ url, text }) => {
      const told = await globalThis.ask({ op: "open", bundle: url, threads: 1 });
      return told.error ? told : globalThis.ask({ op: "embed", text });
    },
    { url, text: TEXT },
  );
  const taken = performance.now() - begun;
  if (!found.ok) throw new Error(found.message);
  await page.context().close();
  return taken;
}

/** In the page. */
async function inTurn({ url, text, tokens, warmUp, rounds }) {
  const timed = async (call) => {
    const begun = performance.now();
    return [await call(), performance.now() - begun];
  };
  const { open } = await import("/edgekit/web.js");
  const [session, open_ms] = await timed(() => open(url, { threads: 1 }));
  const [, first_ms] = await timed(() => session.embed(text));
  const { InferenceSession, Tensor } = await import("onnxruntime-web/wasm");
  const model = new Uint8Array(await (await fetch(url + session.info.model_file)).arrayBuffer());
  const engine = await InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 4 });
  const fill = { attention_mask: () => 1n, token_type_ids: () => 0n };
  const inputs = {};
  for (const { name } of session.info.inputs) {
    const data = BigInt64Array.from({ length: tokens }, fill[name] ?? ((_, index) => BigInt(1000 + index)));
    inputs[name] = { dtype: "int64", shape: [1, tokens], data };
  }
  const feeds = Object.entries(inputs).map(([name, { data, shape }]) => [name, new Tensor("int64", data, shape)]);
  const fed = Object.fromEntries(feeds);
  const [wrapped, alone] = [await session.run(inputs), await engine.run(fed)];
  for (const [name, { data }] of Object.entries(wrapped))
    if (data.some((value, index) => value !== alone[name].data[index]))
      throw new Error(`the two answer differently: ${name}`);
  const [wrapper_ms, bare_ms] = [[], []];
  for (let round = -warmUp; round < rounds; round += 1) {
    const [[, wrapper], [, bare]] = [await timed(() => session.run(inputs)), await timed(() => engine.run(fed))];
    if (round >= 0) [wrapper_ms, bare_ms].forEach((list, index) => list.push(index ? bare : wrapper));
  }
  await session.close();
  return { wrapper_ms, bare_ms, open_ms, first_ms };
}
