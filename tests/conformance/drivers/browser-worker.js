// The runtime in a module worker. Import maps do not reach it: the server gives its modules with bare names resolved.
import * as runtime from "/edgekit/web.js?resolved";
import { PageAnswering } from "./browser-answering.js";

const WASM = ["single-thread/wllama.wasm", "multi-thread/wllama.wasm"];
const wasmPaths = Object.fromEntries(WASM.map((file) => [file, `/node_modules/@wllama/wllama/esm/${file}`]));
const answering = new PageAnswering(runtime, { wasmPaths });

addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  postMessage({ offence: `${violatedDirective} ${blockedURI}` });
});

addEventListener("message", async ({ data }) => {
  try {
    postMessage(await answering.answer(data));
  } catch (error) {
    postMessage({ error: String(error?.name), message: String(error?.stack ?? error) });
  }
});
