// What each token of a GGUF file stands for, by the runtime's vocabulary in Node: `node llama-pieces.mjs APP MODEL` prints
// the bytes of every token as one JSON list of base64.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [app, modelPath] = process.argv.slice(2).map((argument) => path.resolve(argument));
const found = createRequire(path.join(app, "package.json")).resolve("node-llama-cpp");
const engine = await import(pathToFileURL(found));
const { Vocabulary } = await import(pathToFileURL(path.join(app, "edgekit", "engines", "node-llama-vocabulary.js")));
const llama = await engine.getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", progressLogs: false });
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const vocabulary = new Vocabulary(engine, model);
const pieces = vocabulary.entries.map((_entry, token) => Buffer.from(vocabulary.piece(token)).toString("base64"));
process.stdout.write(`${JSON.stringify(pieces)}\n`);
await llama.dispose();
