/** GGUF in Node: llama.cpp through node-llama-cpp, on the CPU, its file memory-mapped. */
import { open } from "node:fs/promises";
import { LoadFailed, RunFailed, words } from "../errors.js";
import { Vocabulary } from "./node-llama-vocabulary.js";
import { checkVersion, load } from "./package.js";
import { pick, randomNumbers } from "./sample.js";

/** @typedef {import("./contract.d.ts").EngineRequest} EngineRequest */
/** @typedef {import("./contract.d.ts").Sampling} Sampling */
/** @typedef {typeof import("node-llama-cpp")} Package */
/** @typedef {import("node-llama-cpp").Llama} Llama */
/** @typedef {import("node-llama-cpp").LlamaModel} LlamaModel */
/** @typedef {import("node-llama-cpp").LlamaContext} LlamaContext */
/** @typedef {import("node-llama-cpp").LlamaEmbeddingContext} LlamaEmbeddingContext */
/** @typedef {import("node-llama-cpp").Token} Token */

const NAME = "node-llama-cpp";
const TESTED = "3.21.1";
// A prompt goes in by pieces of this many tokens: cancel() is heard between them, and the engine's buffers stay small.
const BATCH_TOKENS = 128;
const COMPLAINTS = 4;
const VERSIONS = [2, 3];
const CPU_ONLY = { gpuLayers: 0, useMmap: true };
const NO_LOW_MEMORY = `${NAME} has no mode of lower memory: weights may be held twice, once in an order that is faster`;

/** What llama.cpp complained of last: its own words for why it failed.
 * @type {string[]} */
const complaints = [];
/** One for the process: the library's state is the process's.
 * @type {Promise<Llama> | undefined} */
let library;

/** @param {EngineRequest} request @returns {Promise<import("./contract.d.ts").Engine>} */
export async function create({ files, manifest, threads, lowMemory, signal }) {
  const engine = await load(NAME, TESTED, () => import("node-llama-cpp"));
  const version = await engine.getModuleVersion();
  checkVersion(NAME, version, TESTED, 4, TESTED);
  library ??= start(engine).catch((error) => {
    library = undefined;
    throw error;
  });
  const llama = await library;
  const modelPath = files.location(manifest.model_file);
  if (modelPath === null) throw new LoadFailed(`${NAME} loads a model by its path, and this bundle has none`);
  complaints.length = 0;
  /** @type {LlamaModel | undefined} */
  let model;
  try {
    await checkHeader(modelPath);
    // What is free is not estimated: the session holds the budget against what was measured.
    model = await llama.loadModel({ modelPath, ...CPU_ONLY, ignoreMemorySafetyChecks: true, loadSignal: signal });
    const about = { version: `${NAME} ${version}`, notes: lowMemory ? [NO_LOW_MEMORY] : [] };
    const vocabulary = new Vocabulary(engine, model);
    const make = manifest.task === "embedding" ? embedder : decoder;
    return await make({ about, model, vocabulary, manifest, threads, signal });
  } catch (error) {
    await model?.dispose();
    if (signal?.aborted || error instanceof LoadFailed) throw error;
    throw new LoadFailed(`llama.cpp refuses ${manifest.model_file}: ${reason(error)}`, { cause: error });
  }
}

/** @param {Package} engine @returns {Promise<Llama>} */
async function start(engine) {
  try {
    return await engine.getLlama({
      gpu: false,
      build: "never",
      skipDownload: true,
      progressLogs: false,
      logLevel: engine.LlamaLogLevel.error,
      logger: (_level, message) => {
        complaints.push(message.trim());
        if (complaints.length > COMPLAINTS) complaints.shift();
      },
      maxThreads: 0, // no limit over what each session asks for
    });
  } catch (error) {
    const built = `@node-llama-cpp/${process.platform}-${process.arch}@${TESTED}`;
    throw new LoadFailed(`${NAME} finds no library for this machine (${words(error)}): npm install ${built}`);
  }
}

/** The package reads the file's header too, and tells the console where it is none.
 *
 * @param {string} modelPath */
async function checkHeader(modelPath) {
  const file = await open(modelPath);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
    const version = buffer.readUInt32LE(4);
    if (bytesRead < 8 || buffer.toString("latin1", 0, 4) !== "GGUF" || !VERSIONS.includes(version))
      throw new Error(`it does not begin as a GGUF file of version ${VERSIONS.join(" or ")} does`);
  } finally {
    await file.close();
  }
}

/** @param {unknown} error @returns {string} */
function reason(error) {
  return [words(error), ...complaints].join("; ");
}

/** @param {Record<string, unknown> | null | undefined} section @param {string} name @param {string} key
 * @returns {number} */
function tokens(section, name, key) {
  const found = section?.[key];
  if (typeof found === "number" && Number.isInteger(found) && found >= 1 && found < 2 ** 31) return found;
  throw new LoadFailed(`${name}.${key} is ${found}, expected 1 to ${2 ** 31 - 1}`);
}

/** @typedef {{ about: { version: string, notes: string[] }, model: LlamaModel, vocabulary: Vocabulary,
 *   manifest: import("./contract.d.ts").Manifest, threads: number, signal?: AbortSignal }} Loaded */

/** What every engine here has, whatever its task.
 *
 * @param {Loaded} loaded @param {LlamaContext | LlamaEmbeddingContext} context */
function shared({ about, model, vocabulary }, context) {
  return {
    ...about,
    backend: /** @type {const} */ ("cpu"),
    vocabularySize: vocabulary.entries.length,
    bosToken: vocabulary.bosToken,
    eosToken: vocabulary.eosToken,
    tokenize: async (/** @type {string} */ text, /** @type {boolean} */ addSpecial) => vocabulary.ids(text, addSpecial),
    close: async () => {
      await context.dispose();
      await model.dispose();
    },
  };
}

/** @param {Loaded} loaded @param {number} limit @param {number} batchSize */
function sizes({ threads, signal }, limit, batchSize) {
  // One more than is used: the package shifts the context, and so forgets its beginning, before the last place is taken.
  return { contextSize: limit + 1, batchSize, threads, createSignal: signal, ignoreMemorySafetyChecks: true };
}

/** @param {Loaded} loaded @returns {Promise<import("./contract.d.ts").Engine>} */
async function embedder(loaded) {
  const limit = tokens(loaded.manifest.text, "text", "max_tokens");
  const context = await loaded.model.createEmbeddingContext(sizes(loaded, limit, limit));
  return {
    ...shared(loaded, context),
    async embedIds(ids) {
      const { vector } = await context.getEmbeddingFor(/** @type {Token[]} */ ([...ids]));
      return Float32Array.from(vector);
    },
  };
}

/** @param {Loaded} loaded @returns {Promise<import("./contract.d.ts").Engine>} */
async function decoder(loaded) {
  const limit = tokens(loaded.manifest.generation, "generation", "context_tokens");
  const context = await loaded.model.createContext(sizes(loaded, limit, Math.min(BATCH_TOKENS, limit)));
  const sequence = context.getSequence();
  const ends = new Set(/** @type {number[]} */ (loaded.manifest.generation?.eos_token_ids ?? []));
  const { model, vocabulary } = loaded;

  /** What is asked of the last of `ids`, which go in by pieces. `signal` is heard before each.
   *
   * @param {readonly number[]} ids @param {Ask} ask @param {AbortSignal} signal */
  async function feed(ids, ask, signal) {
    const given = /** @type {readonly Token[]} */ (ids);
    for (let start = 0; ; start += BATCH_TOKENS) {
      signal.throwIfAborted();
      /** @type {import("node-llama-cpp").ControlledEvaluateInputItem[]} */
      const piece = given.slice(start, start + BATCH_TOKENS);
      const last = start + BATCH_TOKENS >= given.length;
      if (last) piece.push([/** @type {Token} */ (piece.pop()), { generateNext: ask }]);
      const found = await sequence.controlledEvaluate(piece);
      if (last) return /** @type {Answer} */ (found.at(-1)?.next);
    }
  }

  return {
    ...shared(loaded, context),
    async logProbabilities(ids, wanted, signal) {
      await sequence.clearHistory();
      const { probabilities } = await feed(ids, { probabilities: true }, signal);
      return Float32Array.from(wanted, (id) => Math.log(probabilities?.get(/** @type {Token} */ (id)) || LEAST));
    },
    async *pieces(ids, maxTokens, sampling, signal) {
      await sequence.clearHistory();
      const greedy = sampling.temperature === 0;
      const random = randomNumbers(sampling.seed);
      let next = ids;
      for (let count = 0; count < maxTokens; count += 1) {
        const { token, probabilities } = await feed(next, greedy ? { token: true } : { probabilities: true }, signal);
        const chosen = greedy ? token : draw(probabilities ?? new Map(), sampling, random);
        if (typeof chosen !== "number") throw new RunFailed(`llama.cpp gives no next token: ${complaints.join("; ")}`);
        if (ends.has(chosen) || model.isEogToken(chosen)) return;
        yield vocabulary.piece(chosen);
        next = [chosen];
      }
    },
  };
}

/** @typedef {{ token?: boolean, probabilities?: boolean }} Ask */
/** @typedef {{ token?: Token | null, probabilities?: Map<Token, number> }} Answer */

// The least float32 above 0: what is below has been rounded to 0.
const LEAST = 2 ** -149;

/** @param {Map<Token, number>} probabilities the largest first @param {Sampling} sampling
 * @param {() => number} random @returns {Token} */
function draw(probabilities, { temperature, topP }, random) {
  const ids = [...probabilities.keys()];
  return ids[pick(Float32Array.from(probabilities.values()), temperature, topP, random)];
}
