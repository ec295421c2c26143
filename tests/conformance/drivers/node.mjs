// The JavaScript runtime in Node behind the suite's lines of JSON; see README.md. `node node.mjs APP`: a folder that
// holds the runtime as an app does (tests/fixtures/js_runtime.py).
import path from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { Answering } from "./answering.mjs";

const [app] = process.argv.slice(2);
const answering = new Answering(await import(pathToFileURL(path.resolve(app, "edgekit", "index.js"))));
for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await answering.answer(JSON.parse(line)))}\n`);
await answering.close();
