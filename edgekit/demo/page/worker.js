// The runtime, in a thread of its own: the page never freezes. A request is {id, op, ...}; an answer {id, ok} or
// {id, error: {name, message}}, and before it any number of {id, piece} or {id, progress}.

import { wasmBytes } from "./wasm-memory.js";

// llama.cpp's wasm is not found beside its module in a worker; ONNX Runtime's is.
const WASM_PATHS = { "llama.cpp": new URL("../vendor/@wllama/wllama/esm/", import.meta.url).href };
const runtime = import("../runtime/web.js");
let session = null;

/** What `call` gives, and how long it took. */
async function timed(call) {
  const start = performance.now();
  const value = await call();
  return { value, ms: performance.now() - start };
}

const operations = {
  async open({ bundle, engine, options }, tell) {
    const { open } = await runtime;
    const start = performance.now();
    let [fetched, shown] = [start, start];
    session = await open(bundle, {
      ...options,
      wasmPaths: WASM_PATHS[engine],
      onProgress(progress) {
        fetched = performance.now();
        if (fetched - shown < 50 && progress.loadedBytes < progress.totalBytes) return;
        shown = fetched;
        tell({ progress });
      },
    });
    const end = performance.now();
    return { info: session.info, fetchMs: fetched - start, engineMs: end - fetched, totalMs: end - start };
  },

  async embed({ texts }) {
    const vectors = [];
    const ms = [];
    for (const text of texts) {
      const one = await timed(() => session.embed(text));
      vectors.push(one.value);
      ms.push(one.ms);
    }
    return { value: vectors, ms };
  },

  classify: ({ input }) => timed(() => session.classify(input)),

  async stream({ messages, prompt, options }, tell) {
    const start = performance.now();
    const at = [];
    let text = "";
    let stopped = false;
    try {
      const pieces = messages ? session.chat(messages, options) : session.generate(prompt, options);
      for await (const piece of pieces) {
        at.push(performance.now() - start);
        text += piece;
        tell({ piece });
      }
    } catch (error) {
      if (error.name !== "Cancelled") throw error;
      stopped = true;
    }
    const end = performance.now() - start;
    return { text, stopped, tokens: await tokensIn(text, at.length), firstMs: at[0] ?? null, endMs: at.at(-1) ?? end };
  },

  selfTest: () => timed(() => session.selfTest()),
  memory: wasmBytes,
};

/** How many tokens the answer is: pieces are fewer, where a character takes several tokens. */
async function tokensIn(text, pieces) {
  try {
    const [whole, nothing] = [await session.tokenize(text), await session.tokenize("")];
    return Math.max(whole.length - nothing.length, pieces);
  } catch {
    return pieces;
  }
}

addEventListener("message", async ({ data: { id, op, ...request } }) => {
  if (op === "cancel") {
    session?.cancel();
    return;
  }
  try {
    postMessage({ id, ok: await operations[op](request, (told) => postMessage({ id, ...told })) });
  } catch (error) {
    postMessage({ id, error: { name: error?.code ?? error?.name ?? "Error", message: String(error?.message ?? error) } });
  }
});
