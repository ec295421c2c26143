// What a page answers beyond every JavaScript driver: for the tests of pages, and of this driver.
import { Answering } from "./answering.mjs";

const ANSWER_TOKENS = 64;

export class PageAnswering extends Answering {
  // `options` go into every open(), and so do the backend and the place of the engine's files that a request names.
  constructor(runtime, options = {}) {
    super({ ...runtime, open: (bundle, asked) => runtime.open(bundle, { ...asked, ...this.named }) });
    this.options = options;
  }

  async open(request) {
    this.named = { ...this.options };
    if (request.backend) this.named.backend = request.backend;
    if (request.wasm_paths) this.named.wasmPaths = request.wasm_paths;
    return super.open(request);
  }

  info() {
    return this.session.info.runtime;
  }

  // As cancel, by the app's own signal.
  async abort({ prompt }) {
    const controller = new AbortController();
    const options = { maxTokens: ANSWER_TOKENS, signal: controller.signal };
    for await (const _ of this.session.generate(prompt, options)) controller.abort();
    return null;
  }

  // Closes while an answer is on its way.
  async close_within({ prompt }) {
    let closed;
    try {
      for await (const _ of this.session.generate(prompt, { maxTokens: ANSWER_TOKENS })) closed = this.session.close();
    } finally {
      await closed;
    }
    return null;
  }

  // What the origin has stored, and where this runs.
  async place_told() {
    const stored = (await Array.fromAsync((await navigator.storage.getDirectory()).keys())).length;
    return { stored, isolated: crossOriginIsolated, worker: typeof document === "undefined" };
  }

  // Asks beyond the origin, as no runtime may.
  async leave({ url }) {
    await fetch(url, { mode: "no-cors" });
    return null;
  }
}
