/** GGUF in pages and workers: llama.cpp as WebAssembly, through wllama, of the bytes that were proven. */
import { BadInput, LoadFailed, words } from "../errors.js";
import { threadsWork } from "../machine-web.js";
import { load } from "./package.js";
import { pick, randomNumbers } from "./sample.js";
import { Vocabulary } from "./wllama-vocabulary.js";

/** @typedef {import("./contract.d.ts").EngineRequest} EngineRequest */
/** @typedef {import("./contract.d.ts").Manifest} Manifest */
/** @typedef {import("@wllama/wllama/esm/wllama.js").Wllama} Wllama */

const NAME = "@wllama/wllama";
const TESTED = "2.3.7";
// A prompt goes in by pieces of this many tokens: cancel() is heard between them, and the engine's buffers stay small.
const BATCH_TOKENS = 128;
// An encoder sees a text at once, and the engine's physical batch cannot be made larger than this.
const MAX_EMBED_TOKENS = 512;
const COMPLAINTS = 4;
const SINGLE = "single-thread/wllama.wasm";
const MULTI = "multi-thread/wllama.wasm";
const GRACE_MS = 2000;
const NOT_ISOLATED = "one thread: the page is not cross-origin isolated (serve it with COOP and COEP headers)";
const NO_LOW_MEMORY = "wllama has no mode of lower memory: the model's file lies in the engine's memory";

/** @param {EngineRequest} request @returns {Promise<import("./contract.d.ts").Engine>} */
export async function create({ files, manifest, threads, lowMemory, wasmPaths }) {
  const { Wllama } = await load(NAME, TESTED, imported);
  if (typeof Wllama.prototype.getLogits !== "function")
    throw new LoadFailed(`this ${NAME} gives no scores, as none from 3.0 on does: npm install ${NAME}@${TESTED}`);
  const voice = new Voice();
  const urls = wasmUrls(wasmPaths);
  const wllama = new Wllama(urls, { logger: voice });
  const embedding = manifest.task === "embedding";
  const limit = contextTokens(manifest, embedding);
  const used = threadsWork() ? threads : 1;
  try {
    const blob = await files.blob(manifest.model_file);
    const loading = inWorkersToo(() =>
      wllama.loadModel([blob], {
        embeddings: embedding,
        n_ctx: limit,
        n_batch: Math.min(limit, embedding ? MAX_EMBED_TOKENS : BATCH_TOKENS),
        n_threads: used,
        seed: 1,
      }),
    );
    await Promise.race([loading, voice.silenced]);
  } catch (error) {
    await end(wllama);
    await checkServed(urls[used > 1 ? MULTI : SINGLE]);
    throw new LoadFailed(`llama.cpp refuses ${manifest.model_file}: ${voice.reason(error)}`, { cause: error });
  }
  files.release(manifest.model_file); // the engine has its copy
  const vocabulary = await Vocabulary.of(wllama);
  const shared = {
    version: `${NAME} (llama.cpp ${Wllama.getLibllamaVersion()})`,
    backend: /** @type {const} */ ("wasm"),
    threads: wllama.getNumThreads(),
    notes: [...(lowMemory ? [NO_LOW_MEMORY] : []), ...(used < threads ? [NOT_ISOLATED] : [])],
    ...vocabulary.told,
    tokenize: (/** @type {string} */ text, /** @type {boolean} */ special) => vocabulary.ids(text, special),
    close: () => end(wllama),
  };
  return { ...shared, ...(embedding ? embedder(wllama) : decoder(wllama, vocabulary, manifest)) };
}

/** Its declarations lie beside the one module that is all of it.
 *
 * @returns {Promise<typeof import("@wllama/wllama/esm/wllama.js")>} */
async function imported() {
  return /** @type {any} */ (await import("@wllama/wllama/esm/index.js"));
}

/** @param {Manifest} manifest @param {boolean} embedding @returns {number} */
function contextTokens(manifest, embedding) {
  const [section, key] = embedding ? ["text", "max_tokens"] : ["generation", "context_tokens"];
  const found = /** @type {Record<string, unknown> | null | undefined} */ (manifest[section])?.[key];
  if (typeof found === "number" && Number.isInteger(found) && found >= 1 && found < 2 ** 31) return found;
  throw new LoadFailed(`${section}.${key} is ${found}, expected 1 to ${2 ** 31 - 1}`);
}

/** Where the engine's .wasm files are: beside its module, or where the app says. Never wllama's own default, a CDN.
 *
 * @param {EngineRequest["wasmPaths"]} given */
function wasmUrls(given) {
  /** @param {string} file */
  const at = (file) => {
    if (typeof given === "string") return new URL(file, new URL(given.replace(/\/*$/u, "/"), location.href)).href;
    if (given?.[file]) return new URL(given[file], location.href).href;
    try {
      return import.meta.resolve(`${NAME}/esm/${file}`);
    } catch (error) {
      throw new LoadFailed(`where ${file} of ${NAME} is served is not known (${words(error)}): pass wasmPaths`);
    }
  };
  return { [SINGLE]: at(SINGLE), [MULTI]: at(MULTI) };
}

/** What the engine says where its .wasm file is missing tells nobody so.
 *
 * @param {string} url */
async function checkServed(url) {
  const status = await fetch(url, { method: "HEAD" }).then(
    (response) => (response.ok ? "" : `HTTP status ${response.status}`),
    (error) => words(error),
  );
  if (status) throw new LoadFailed(`the engine is not at ${url} (${status}): serve it there, or pass wasmPaths`);
}

/** wllama asks the document for the page's address, and a worker has none: it gets one for as long as it takes to ask.
 *
 * @template T @param {() => Promise<T>} loading @returns {Promise<T>} */
async function inWorkersToo(loading) {
  if ("document" in globalThis) return await loading();
  const gone = () => Reflect.deleteProperty(globalThis, "document");
  const get = () => (gone(), { baseURI: location.href });
  Object.defineProperty(globalThis, "document", { configurable: true, get });
  try {
    return await loading();
  } finally {
    gone();
  }
}

/** wllama's logger: silent, but what was complained of last is kept, and a worker that cannot start is heard of. */
class Voice {
  /** @type {string[]} */
  #complaints = [];
  /** @type {(error: Error) => void} */
  #fail = () => {};
  /** Rejects where the engine's worker fails, which nothing else tells. @type {Promise<never>} */
  silenced = new Promise((_resolve, reject) => {
    this.#fail = reject;
  });

  constructor() {
    this.silenced.catch(() => {}); // heard while the model loads
  }

  debug() {}
  log() {}
  warn() {}

  /** Called without `this`. @param {unknown[]} said */
  error = (...said) => {
    const [first] = said;
    if (typeof Event === "function" && first instanceof Event)
      this.#fail(new Error(`its worker did not start ${"message" in first ? `(${first.message})` : ""}`));
    else this.#complaints.push(said.map(String).join(" ").trim());
    if (this.#complaints.length > COMPLAINTS) this.#complaints.shift();
  };

  /** @param {unknown} error @returns {string} */
  reason(error) {
    return this.#complaints.join("; ") || words(error);
  }
}

/** @param {Wllama} wllama */
function embedder(wllama) {
  return {
    /** @param {readonly number[]} ids */
    async embedIds(ids) {
      if (ids.length > MAX_EMBED_TOKENS)
        throw new BadInput(`a text of ${ids.length} tokens exceeds the ${MAX_EMBED_TOKENS} that wllama embeds at once`);
      await wllama.kvClear();
      return Float32Array.from(await wllama.embeddings([...ids]));
    },
  };
}

/** @param {Wllama} wllama @param {Vocabulary} vocabulary @param {Manifest} manifest */
function decoder(wllama, vocabulary, manifest) {
  const ends = new Set(/** @type {number[]} */ (manifest.generation?.eos_token_ids ?? []));

  /** @param {readonly number[]} ids @param {AbortSignal} signal */
  async function feed(ids, signal) {
    for (let start = 0; start < ids.length; start += BATCH_TOKENS) {
      signal.throwIfAborted();
      const piece = ids.slice(start, start + BATCH_TOKENS);
      await wllama.decode(piece, { skipLogits: start + BATCH_TOKENS < ids.length });
    }
    signal.throwIfAborted();
  }

  return {
    /** @param {readonly number[]} ids @param {readonly number[]} wanted @param {AbortSignal} signal */
    async logProbabilities(ids, wanted, signal) {
      await wllama.kvClear();
      await feed(ids, signal);
      const found = new Map((await wllama.getLogits(-1)).map(({ token, p }) => [token, p]));
      return Float32Array.from(wanted, (id) => Math.log(found.get(id) || LEAST));
    },
    /** @param {readonly number[]} ids @param {number} maxTokens @param {import("./contract.d.ts").Sampling} sampling
     * @param {AbortSignal} signal */
    async *pieces(ids, maxTokens, sampling, signal) {
      await wllama.kvClear();
      const next = await chooser(wllama, sampling);
      await feed(ids, signal);
      for (let count = 0; count < maxTokens; count += 1) {
        const token = await next();
        if (ends.has(token) || wllama.isTokenEOG(token)) return;
        yield await vocabulary.piece(token);
        if (count + 1 < maxTokens) await feed([token], signal);
      }
    },
  };
}

// The least float32 above 0: what is below has been rounded to 0.
const LEAST = 2 ** -149;

/** What comes next by what was fed last. The best is found in the engine; drawing takes every probability out of it.
 *
 * @param {Wllama} wllama @param {import("./contract.d.ts").Sampling} sampling @returns {Promise<() => Promise<number>>} */
async function chooser(wllama, { temperature, topP, seed }) {
  if (temperature === 0) {
    await wllama.samplingInit({ temp: 0, top_k: 1 });
    return async () => (await wllama.samplingSample()).token;
  }
  const random = randomNumbers(seed);
  return async () => {
    const found = await wllama.getLogits(-1);
    return found[pick(Float64Array.from(found, ({ p }) => p), temperature, topP, random)].token;
  };
}

/** The engine's worker ends with all that it holds; a worker that no longer answers is not waited for.
 *
 * @param {Wllama} wllama */
async function end(wllama) {
  let timer;
  const waited = new Promise((resolve) => {
    timer = setTimeout(resolve, GRACE_MS);
  });
  const proxy = /** @type {{ proxy: { worker?: Worker } | null }} */ (/** @type {unknown} */ (wllama)).proxy;
  await Promise.race([wllama.exit().catch(() => {}), waited]);
  clearTimeout(timer);
  proxy?.worker?.terminate();
}
