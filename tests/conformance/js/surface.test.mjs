// What an app in Node may rely on beyond what the suite of all languages asks. $APP holds the runtime, $BUNDLES hand-made
// bundles (tests/fixtures/bundles.py) by name.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const rt = await import(pathToFileURL(path.join(process.env.APP, "edgekit", "index.js")));
const bundle = (name) => path.join(process.env.BUNDLES, name);
const failing = (name) => (error) => error instanceof rt.RuntimeFailure && error.code === name && error.name === name;
const PROMPT = "A";

async function opened(t, name, options) {
  const session = await rt.open(bundle(name), { threads: 1, ...options });
  t.after(() => session.close());
  return session;
}

async function collected(texts) {
  const found = [];
  for await (const text of texts) found.push(text);
  return found.join("");
}

test("errors are the classes and names of every language", () => {
  const error = new rt.PromptTooLong("one\n  line");
  assert.ok(error instanceof rt.BadInput && error instanceof rt.RuntimeFailure && error instanceof Error);
  assert.deepEqual([error.code, error.name, error.message], ["PromptTooLong", "PromptTooLong", "one line"]);
  assert.match(String(error), /^PromptTooLong: one line$/);
});

test("a bundle is named by its path or its URL", async (t) => {
  assert.equal((await rt.verify(pathToFileURL(bundle("embedding")))).name, "embedding");
  assert.equal((await rt.verify(pathToFileURL(bundle("embedding")).href)).name, "embedding");
  for (const wrong of [undefined, 3, "", "a\0b"]) await assert.rejects(rt.open(wrong), failing("BadInput"));
  await assert.rejects(rt.open(new URL("https://example.org/bundle")), failing("BadInput"));
});

test("info says what runs here", async (t) => {
  const session = await opened(t, "embedding", { lowMemory: true });
  const { engine, threads, lowMemory, backend, notes } = session.info.runtime;
  assert.match(engine, /^onnxruntime-node 1\./);
  assert.deepEqual([threads, lowMemory, backend, notes], [1, true, "cpu", []]);
  assert.equal(session.info.embedding.width, 8);
  assert.equal(process.env.ORT_DISABLE_TELEMETRY, "1");
});

test("texts in a list give their vectors in order, each as alone", async (t) => {
  const session = await opened(t, "embedding");
  const texts = ["the sky is blue", "", "red"];
  const found = await session.embed(texts);
  assert.equal(found.length, 3);
  for (const [index, text] of texts.entries()) assert.deepEqual(found[index], await session.embed(text));
  assert.deepEqual(await session.embed([]), []);
});

test("inputs are held against the graph", async (t) => {
  const session = await opened(t, "tensor");
  const x = { dtype: "float32", shape: [1, 4], data: Float32Array.of(1, 2, 3, 4) };
  assert.deepEqual([...(await session.run({ x })).y.data], [2, 4, 6, 8]);
  const whole = { dtype: "int32", shape: [1, 4], data: Int32Array.of(1, 2, 3, 4) };
  assert.deepEqual([...(await session.run({ x: whole })).y.data], [2, 4, 6, 8]);
  const wrong = [
    {},
    { x, y: x },
    { x: { ...x, shape: [4] } },
    { x: { ...x, shape: [2, 4] } },
    { x: { ...x, shape: [1, -4] } },
    { x: { ...x, dtype: "float64" } },
    { x: { ...x, dtype: "strings" } },
    { x: [1, 2, 3, 4] },
    { x: { dtype: "float16", shape: [1, 4], data: new Uint16Array(4) } },
    null,
  ];
  for (const inputs of wrong) await assert.rejects(session.run(inputs), failing("BadInput"));
});

test("calls of another task are refused by name", async (t) => {
  const session = await opened(t, "tensor");
  for (const call of ["embed", "classify", "tokenize"]) await assert.rejects(session[call]("x"), failing("WrongTask"));
  await assert.rejects(collected(session.generate("x")), failing("WrongTask"));
  await assert.rejects(collected(session.chat([{ role: "user", content: "x" }])), failing("WrongTask"));
  const base = await opened(t, "base");
  await assert.rejects(collected(base.chat([{ role: "user", content: "x" }])), failing("WrongTask"));
});

test("texts that are none are refused", async (t) => {
  const session = await opened(t, "classifier");
  for (const wrong of ["\ud800", "a\udc00b", 3, null, undefined, ["a", "\udfff"], ["a", 3], ["a"], {}])
    await assert.rejects(session.classify(wrong), failing("BadInput"));
  assert.equal((await session.classify("🌍")).length, 3);
});

test("a second call is Busy, and the first goes on", async (t) => {
  const session = await opened(t, "embedding");
  const first = session.embed(["red", "green"]);
  await assert.rejects(session.embed("blue"), failing("Busy"));
  await assert.rejects(session.selfTest(), failing("Busy"));
  assert.equal((await first).length, 2);
  assert.equal((await session.embed("blue")).length, 8);
});

test("cancel() ends the running call between two texts, and nothing where none runs", async (t) => {
  const session = await opened(t, "embedding");
  session.cancel();
  const running = session.embed(Array(10_000).fill("red sky"));
  setTimeout(() => session.cancel(), 20);
  await assert.rejects(running, failing("Cancelled"));
  assert.equal((await session.embed("red")).length, 8);
});

test("an app's own signal cancels", async (t) => {
  const session = await opened(t, "embedding");
  await assert.rejects(session.embed("red", { signal: AbortSignal.abort() }), failing("Cancelled"));
  const controller = new AbortController();
  const running = session.embed(Array(10_000).fill("red"), { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(running, failing("Cancelled"));
  await assert.rejects(rt.open(bundle("embedding"), { signal: AbortSignal.abort() }), failing("Cancelled"));
  await assert.rejects(rt.verify(bundle("embedding"), { signal: AbortSignal.abort() }), failing("Cancelled"));
  const late = new AbortController();
  const onProgress = () => late.abort();
  await assert.rejects(rt.open(bundle("embedding"), { signal: late.signal, onProgress }), failing("Cancelled"));
});

test("closing cancels, waits, and is idempotent; everything after it is Closed", async () => {
  const session = await rt.open(bundle("embedding"), { threads: 1 });
  const running = session.embed(Array(10_000).fill("red"));
  const ended = assert.rejects(running, failing("Closed"));
  await Promise.all([session.close(), session.close()]);
  await ended;
  await session.close();
  session.cancel();
  for (const call of ["embed", "tokenize", "classify", "run"])
    await assert.rejects(session[call]("x"), failing("Closed"));
  await assert.rejects(session.selfTest(), failing("Closed"));
  await assert.rejects(collected(session.generate("x")), failing("Closed"));
  await (await rt.open(bundle("embedding")))[Symbol.asyncDispose]();
});

test("an answer streams, and the session is free when it is left", async (t) => {
  const session = await opened(t, "chain");
  for await (const text of session.generate(PROMPT, { maxTokens: 30 })) {
    assert.equal(text, "é");
    await assert.rejects(session.tokenize("x"), failing("Busy"));
    break;
  }
  assert.deepEqual(await session.tokenize("A"), [1, 68]);
  assert.equal(await collected(session.generate(PROMPT, { maxTokens: 30 })), "é🌍z!");
  assert.equal(await collected(session.chat([{ role: "user", content: PROMPT }])), "é🌍z!");
});

test("an answer that nobody reads on is cancelled at once, and the session is free", async (t) => {
  const session = await opened(t, "chain");
  const answer = session.generate(PROMPT)[Symbol.asyncIterator]();
  await answer.next();
  session.cancel();
  assert.deepEqual(await session.tokenize("A"), [1, 68]);
  await assert.rejects(answer.next(), failing("Cancelled"));
  assert.deepEqual(await answer.next(), { done: true, value: undefined });
  assert.deepEqual(await session.generate(PROMPT).return(), { done: true, value: undefined });
});

test("closing between two texts frees the engine; the reader hears that it is closed", async () => {
  const session = await rt.open(bundle("chain"), { threads: 1 });
  const answer = session.generate(PROMPT);
  await answer.next();
  await session.close();
  await assert.rejects(answer.next(), failing("Closed"));
});

test("a stop string and what begins one never show", async (t) => {
  const session = await opened(t, "chain");
  const texts = (stop) => collected(session.generate(PROMPT, { stop }));
  assert.equal(await texts("z!"), "é🌍");
  assert.equal(await texts(["zx", "🌍"]), "é");
  assert.equal(await texts("zx"), "é🌍z!");
  assert.equal(await texts([]), "é🌍z!");
  for (const stop of ["", ["a", ""], 3, "\ud800"]) await assert.rejects(texts(stop), failing("BadInput"));
});

test("options of an answer are checked", async (t) => {
  const session = await opened(t, "chain");
  const wrong = [
    { maxTokens: 0 },
    { maxTokens: 1.5 },
    { temperature: -1 },
    { temperature: NaN },
    { topP: 0 },
    { topP: 1.1 },
    { topP: "0.5" },
    { seed: -1 },
    { seed: 0.5 },
  ];
  for (const options of wrong) await assert.rejects(collected(session.generate(PROMPT, options)), failing("BadInput"));
  await assert.rejects(collected(session.generate(PROMPT, { maxTokens: 255 })), failing("PromptTooLong"));
  await assert.rejects(collected(session.generate(PROMPT.repeat(256))), failing("PromptTooLong"));
  for (const messages of [[], "Hello", [{ role: "user" }], [{ role: "user", content: 3 }], [null]])
    await assert.rejects(collected(session.chat(messages)), failing("BadInput"));
  assert.equal(await collected(session.generate(PROMPT, { maxTokens: 254 })), "é🌍z!");
});

test("a temperature next to nothing is greedy", async (t) => {
  const session = await opened(t, "chain");
  for (const temperature of [1e-310, Number.MIN_VALUE])
    assert.equal(await collected(session.generate(PROMPT, { temperature, seed: 1 })), "é🌍z!");
});

test("an answer that is left while it starts keeps the engine until it has started", async () => {
  const part = (name) => import(pathToFileURL(path.join(process.env.APP, "edgekit", name)));
  const [{ Answer }, { Flights }] = [await part("answer.js"), await part("flight.js")];
  const flights = new Flights("an engine");
  const tick = () => new Promise((told) => setImmediate(told));
  let go;
  async function* texts() {
    yield "one";
    yield "two";
  }
  const start = () => new Promise((told) => (go = () => told(texts())));
  const answer = new Answer(() => flights.begin(), start);
  const first = answer.next();
  await tick();
  const left = answer.return();
  await tick();
  await assert.rejects(flights.begin(), failing("Busy"));
  go();
  assert.deepEqual(await first, { done: false, value: "one" });
  assert.deepEqual(await left, { done: true, value: undefined });
  (await flights.begin()).end();
  assert.deepEqual(await answer.next(), { done: true, value: undefined });
});

test("what is no picture is refused", async (t) => {
  const session = await opened(t, "image");
  const data = new Uint8Array(12);
  const sized = (width, height) => ({ data, width, height });
  for (const wrong of [null, {}, sized(-2, -2), sized(0, 0), sized(5, 5), sized(2, 1.5), { ...sized(2, 2), data: [1] }])
    await assert.rejects(session.classify(wrong), failing("BadInput"));
});

test("where one file of a bundle behind a URL is refused, the others are not fetched on", async (t) => {
  const { openFiles } = await import(pathToFileURL(path.join(process.env.APP, "edgekit", "files-web.js")));
  const files = ["a", "a.gguf"].map((path) => ({ path, size_bytes: 2 ** 40, sha256: "0".repeat(64) }));
  const manifest = { schema_version: 1, name: "x", task: "tensors", engine: "onnxruntime", model_file: "a.gguf" };
  const ended = [];
  let left = 500; // so that a failure ends too
  const endless = (name) =>
    new ReadableStream({
      async pull(controller) {
        await new Promise((told) => setTimeout(told, 1));
        if (left-- > 0) controller.enqueue(new Uint8Array(8));
        else controller.close();
      },
      cancel: () => void ended.push(name),
    });
  const original = globalThis.fetch;
  t.after(() => (globalThis.fetch = original));
  globalThis.fetch = async (url) => {
    const name = new URL(url).pathname.slice(1);
    if (name === "edgekit.json") return new Response(JSON.stringify({ ...manifest, files }));
    if (name === "a") return new Promise((told) => setTimeout(() => told(new Response("", { status: 404 })), 20));
    return new Response(endless(name));
  };
  await assert.rejects(openFiles("http://127.0.0.1/", {}), (error) => /a is missing/.test(error.message));
  await new Promise((told) => setTimeout(told, 100));
  assert.deepEqual(ended, ["a.gguf"]);
});

test("a template that refuses is BadInput with its words", async (t) => {
  const session = await opened(t, "strict");
  const refused = collected(session.chat([{ role: "system", content: "x" }]));
  await assert.rejects(refused, (error) => failing("BadInput")(error) && error.message.includes("no system here"));
});

test("a budget is held against the measured peak, else the model's file, before anything is read", async (t) => {
  await assert.rejects(rt.open(bundle("embedding"), { memoryBudget: 100 * 2 ** 20 - 1 }), failing("MemoryBudget"));
  await opened(t, "embedding", { memoryBudget: 100 * 2 ** 20 });
  const { notes } = (await opened(t, "unmeasured", { memoryBudget: 2 ** 20 })).info.runtime;
  assert.equal(notes.length, 1);
  await assert.rejects(rt.open(bundle("unmeasured"), { memoryBudget: 10 }), failing("MemoryBudget"));
  for (const options of [{ memoryBudget: 0 }, { threads: 0 }, { threads: 1.5 }, { backend: "cuda" }])
    await assert.rejects(rt.open(bundle("embedding"), options), failing("BadInput"));
});

test("a CPU that lacks what the bundle needs is refused", async () => {
  await assert.rejects(
    rt.open(bundle("demanding")),
    (error) => failing("UnsupportedDevice")(error) && /warp9/.test(error),
  );
});

test("threads are the device's, as far as there are so many cores", async (t) => {
  assert.equal((await opened(t, "one-core", { threads: undefined })).info.runtime.threads, 1);
  const { threads, notes } = (await opened(t, "many-cores", { threads: undefined })).info.runtime;
  assert.ok(threads < 4096 && notes.length === 1 && notes[0].includes("4096"));
});

test("WebGPU is a browser's", async () => {
  await assert.rejects(rt.open(bundle("embedding"), { backend: "webgpu" }), failing("LoadFailed"));
});

test("a model that the engine refuses is LoadFailed", async () => {
  await assert.rejects(rt.open(bundle("plain")), (error) => failing("LoadFailed")(error) && /model.onnx/.test(error));
});

test("progress tells each file to its end", async (t) => {
  const done = new Map();
  await opened(t, "embedding", { onProgress: ({ file, ...bytes }) => done.set(file, bytes) });
  assert.ok(done.has("onnx/model.onnx") && done.has("tokenizer.json"));
  for (const { loadedBytes, totalBytes } of done.values()) assert.equal(loadedBytes, totalBytes);
});

test("goldens of texts, ids and messages are replayed by a language model", async (t) => {
  const results = await (await opened(t, "chat-goldens")).selfTest();
  const [text, ids, messages] = ["text", "ids", "messages"];
  assert.deepEqual(
    results.map(({ name }) => name),
    [text, `${text} tokens`, ids, messages, `${messages} tokens`],
  );
  assert.ok(
    results.every(({ passed }) => passed),
    JSON.stringify(results),
  );
});

test("halves go to numbers and back, each of them", async () => {
  const { numbers, numberToHalf } = await import(pathToFileURL(path.join(process.env.APP, "edgekit", "tensors.js")));
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  const values = numbers({ dtype: "float16", shape: [2 ** 16], data: all });
  for (const [bits, value] of values.entries())
    if (!Number.isNaN(value)) assert.equal(numberToHalf(value), bits, `${value}`);
  const between = [
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [2 ** -25, 0],
    [65519, 0x7bff],
    [65520, 0x7c00],
  ];
  for (const [value, bits] of between) assert.equal(numberToHalf(value), bits, `${value}`);
});

test("goldens that are wrong fail, and malformed ones are BundleInvalid", async (t) => {
  const results = await (await opened(t, "wrong-goldens")).selfTest();
  assert.deepEqual(
    results.map(({ name, passed }) => [name, passed]),
    [
      ["a", false],
      ["a tokens", false],
      ["b", true],
      ["b tokens", true],
      ["c", false],
    ],
  );
  assert.equal(results[1].difference, 1);
  assert.equal(results[4].difference, null);
  for (const name of ["malformed-0", "malformed-1", "malformed-2", "malformed-3", "malformed-4"])
    await assert.rejects((await opened(t, name)).selfTest(), failing("BundleInvalid"), name);
  await assert.rejects((await opened(t, "classifier")).selfTest(), failing("BundleInvalid"));
});

test("an option that nobody knows is refused, with the nearest that is known", async (t) => {
  const told = (message) => (error) => error instanceof rt.BadInput && message.test(error.message);
  await assert.rejects(rt.open(bundle("embedding"), { thread: 1 }), told(/"thread": did you mean threads\?$/));
  await assert.rejects(rt.open(bundle("embedding"), "fast"), told(/options are string, expected an object/));
  await assert.rejects(rt.verify(bundle("embedding"), { colour: 1 }), told(/"colour": there are signal, onProgress$/));
  const session = await opened(t, "embedding");
  await assert.rejects(session.embed("a", { sginal: null }), told(/did you mean signal\?$/));
  await assert.rejects(session.embed("a", null), told(/options are null/));
  await assert.rejects(session.embed(new Uint8Array(2)), told(/a text is Uint8Array, expected a string$/));
});

test("what is no prompt, no list of messages and no length is told by what it is", async (t) => {
  const told = (name, message) => (error) => error.code === name && message.test(error.message);
  const session = await opened(t, "chain");
  const answer = (prompt, options) => collected(session.generate(prompt, options));
  await assert.rejects(collected(session.chat("hello")), told("BadInput", /^messages are string, expected a list of/));
  await assert.rejects(collected(session.chat(null)), told("BadInput", /^messages are null/));
  await assert.rejects(answer(PROMPT, { max_tokens: 5 }), told("BadInput", /"max_tokens": did you mean maxTokens\?$/));
  await assert.rejects(answer(PROMPT, { maxTokens: "5" }), told("BadInput", /maxTokens is "5", expected a whole number/));
  await assert.rejects(answer("x".repeat(400)), told("PromptTooLong", /^a prompt of 401 tokens exceeds the context of 256: shorten it$/));
  await assert.rejects(answer("x".repeat(255)), told("PromptTooLong", /^a prompt of 256 tokens fills the context of 256/));
});
