// What the JavaScript runtime costs beside the engine, in Node: `node overhead.mjs BUNDLE LIBRARY ROUNDS APP` of an ONNX text
// bundle, 128 tokens, one thread. The wrapper and the bare onnxruntime-node, its tensors made once, take turns on one
// session of the engine. LIBRARY is not looked at: onnxruntime-node brings its own. APP holds the runtime in edgekit/ and
// its packages in node_modules.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const TOKENS = 128;
const WARM_UP = 20;
const [bundle, , rounds, app] = process.argv.slice(2);
const { InferenceSession, Tensor } = createRequire(path.resolve(app, "overhead.js"))("onnxruntime-node");
let engine; // the session that the wrapper makes
const { create } = InferenceSession;
InferenceSession.create = async (...given) => (engine = await create.apply(InferenceSession, given));

const started = performance.now();
const { open } = await import(pathToFileURL(path.resolve(app, "edgekit", "node.js")));
const session = await open(bundle, { threads: 1 });
const open_ms = performance.now() - started;
const inputs = Object.fromEntries(session.info.inputs.map(({ name }) => [name, tokens(name)]));
const [, first_ms] = await timed(() => session.run(inputs));
const bare = bareRun();
const [wrapped, alone] = [await session.run(inputs), await bare()];
for (const [name, { data }] of Object.entries(wrapped))
  if (data.some((value, index) => value !== alone[name].data[index]))
    throw new Error(`the two answer differently: ${name}`);
await alternate(WARM_UP);
const told = await alternate(Number(rounds));
process.stdout.write(`${JSON.stringify({ ...told, open_ms, first_ms })}\n`);
await session.close();

function tokens(name) {
  const value = { attention_mask: () => 1n, token_type_ids: () => 0n }[name] ?? ((_, index) => BigInt(1000 + index));
  return { dtype: "int64", shape: [1, TOKENS], data: BigInt64Array.from({ length: TOKENS }, value) };
}

function bareRun() {
  const feeds = Object.entries(inputs).map(([name, { dtype, data, shape }]) => [name, new Tensor(dtype, data, shape)]);
  const fed = Object.fromEntries(feeds);
  return () => engine.run(fed);
}

async function alternate(count) {
  const [wrapper_ms, bare_ms] = [[], []];
  for (let round = 0; round < count; round++) {
    wrapper_ms.push((await timed(() => session.run(inputs)))[1]);
    bare_ms.push((await timed(bare))[1]);
  }
  return { wrapper_ms, bare_ms };
}

async function timed(call) {
  const begun = performance.now();
  return [await call(), performance.now() - begun];
}
