/** Opening a bundle: everything that can be refused is refused before the engine is imported. */
import { BadInput, Cancelled, LoadFailed, MemoryBudget, RuntimeFailure, UnsupportedDevice, words } from "./errors.js";
import { show } from "./manifest.js";
import { checkOptions } from "./options.js";

/** @typedef {import("./index.d.ts").OpenOptions} OpenOptions */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./engines/contract.d.ts").Manifest} Manifest */
/** @typedef {import("./engines/contract.d.ts").ListedFile} ListedFile */
/** @typedef {import("./engines/contract.d.ts").EngineModule} EngineModule */
/** @typedef {import("./verdicts.js").Opening} Opening */
/** @typedef {import("./verdicts.js").OpenedBundle} OpenedBundle */
/** @typedef {(manifest: Manifest, listed: ReadonlyMap<string, ListedFile>, backend: OpenOptions["backend"]) => void
 * } Refusing */
/** What differs between Node and a browser.
 * @typedef {object} Platform
 * @property {(bundle: string | URL, options: Opening) => Promise<OpenedBundle>} openFiles
 * @property {string} arch
 * @property {() => Set<string> | null} isaFeatures
 * @property {() => number} usableCores
 * @property {Record<string, () => Promise<EngineModule>>} engines
 * @property {Record<string, Refusing>} [refuse] what an engine cannot run here, told by the manifest alone
 */

const VERIFY_OPTIONS = ["signal", "onProgress"];
const OPEN_OPTIONS = ["threads", "memoryBudget", "lowMemory", "verify", "backend", "wasmPaths", ...VERIFY_OPTIONS];
const BACKENDS = ["auto", "cpu", "webgpu"];
const MIB = 2 ** 20;
// What llama.cpp takes at the most; far beyond it the engines end the process.
const MAX_THREADS = 512;
const PACKAGES = "@huggingface/tokenizers @huggingface/jinja";

/** @param {Platform} platform @param {string | URL} bundle @param {OpenOptions} options @returns {Promise<Session>} */
export async function openBundle(platform, bundle, options) {
  checkOptions(options, OPEN_OPTIONS);
  checkValues(options);
  const calls = loadCalls(); // while the bundle's files are read
  /** @type {string[]} */
  const notes = [];
  const accept = (/** @type {Manifest} */ manifest, /** @type {ReadonlyMap<string, ListedFile>} */ listed) => {
    notes.push(...checkMemory(manifest, listed, options.memoryBudget), ...checkIsa(manifest, platform));
    platform.refuse?.[manifest.engine]?.(manifest, listed, options.backend);
  };
  const { verify, signal, onProgress } = options;
  const { manifest, files } = await cancellable(signal, () =>
    platform.openFiles(bundle, { verify, signal, onProgress, accept }),
  );
  const asked = threadsFor(manifest, options.threads, platform.usableCores());
  const { lowMemory = false, backend = "auto", wasmPaths } = options;
  const { Session, Graph, LanguageModel } = await calls;
  const request = { files, manifest, threads: asked.threads, lowMemory, backend, wasmPaths, signal };
  const engine = await cancellable(signal, async () => (await platform.engines[manifest.engine]()).create(request));
  try {
    signal?.throwIfAborted();
    const model = await (engine.run ? Graph : LanguageModel).on(engine, manifest, files);
    const threads = engine.threads ?? asked.threads;
    const all = [...notes, ...asked.notes, ...(engine.notes ?? [])];
    const runtime = { engine: engine.version, threads, lowMemory, backend: engine.backend, notes: all };
    return new Session(model, files, { ...manifest, runtime }, platform);
  } catch (error) {
    await engine.close();
    throw named(error, signal);
  }
}

/** @param {Platform} platform @param {string | URL} bundle @param {Opening} options
 * @returns {Promise<Manifest>} */
export async function verifyBundle(platform, bundle, options) {
  checkOptions(options, VERIFY_OPTIONS);
  const { signal, onProgress } = options;
  const check = { verify: true, all: true, signal, onProgress };
  return (await cancellable(signal, () => platform.openFiles(bundle, check))).manifest;
}

/** What a session is made of. It needs packages, which verify() does not: LoadFailed where one is missing. */
function loadCalls() {
  const loading = Promise.all([import("./session.js"), import("./graph.js"), import("./language.js")]).then(
    ([session, graph, language]) => ({ ...session, ...graph, ...language }),
    (error) => {
      throw new LoadFailed(`a package of the runtime cannot be imported (${words(error)}): npm install ${PACKAGES}`, {
        cause: error,
      });
    },
  );
  loading.catch(() => {}); // heard where it is awaited, unless the bundle is refused first
  return loading;
}

/** @template T @param {AbortSignal | undefined} signal @param {() => Promise<T>} work @returns {Promise<T>} */
async function cancellable(signal, work) {
  try {
    signal?.throwIfAborted();
    return await work();
  } catch (error) {
    throw named(error, signal);
  }
}

/** @param {unknown} error @param {AbortSignal | undefined} signal */
function named(error, signal) {
  if (signal?.aborted) return new Cancelled("opening was cancelled", { cause: error });
  return error instanceof RuntimeFailure ? error : new LoadFailed(words(error), { cause: error });
}

/** @param {OpenOptions} options */
function checkValues({ threads, memoryBudget, backend }) {
  for (const [name, value] of Object.entries({ threads, memoryBudget }))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1))
      throw new BadInput(`${name} is ${show(value)}, expected 1 or more`);
  if (threads !== undefined && threads > MAX_THREADS)
    throw new BadInput(`threads is ${threads}, expected 1 to ${MAX_THREADS}`);
  if (backend !== undefined && !BACKENDS.includes(backend))
    throw new BadInput(`backend is ${show(backend)}, expected one of ${BACKENDS.join(", ")}`);
}

/** MemoryBudget if the measured peak, or where none was measured the model's file alone, exceeds the budget.
 *
 * @param {Manifest} manifest @param {ReadonlyMap<string, ListedFile>} listed @param {number | undefined} budget
 * @returns {string[]} notes */
function checkMemory(manifest, listed, budget) {
  if (budget === undefined) return [];
  const peak = manifest.memory?.peak_rss_bytes;
  const measured = typeof peak === "number";
  const need = measured ? peak : (listed.get(manifest.model_file)?.sizeBytes ?? 0);
  if (need > budget)
    throw new MemoryBudget(
      `${manifest.name} ${measured ? "took at its measured peak" : "has in its file alone"} ` +
        `${(need / MIB).toFixed(0)} MiB, ${(budget / MIB).toFixed(0)} MiB are allowed:` +
        " raise the budget or pack for a smaller one",
    );
  return measured
    ? []
    : ["the manifest has no measured peak: the memory budget was held against the model's file only"];
}

/** UnsupportedDevice if this CPU lacks a feature demanded of its architecture.
 *
 * @param {Manifest} manifest @param {Platform} platform @returns {string[]} notes on what cannot be checked */
function checkIsa(manifest, { arch, isaFeatures }) {
  const demanded = manifest.min_isa?.[arch] ?? [];
  if (!demanded.length) return [];
  const features = isaFeatures();
  if (!features) return [`the CPU's features cannot be read here; the bundle needs ${demanded.join(", ")} on ${arch}`];
  const missing = demanded.filter((name) => !features.has(name));
  if (missing.length)
    throw new UnsupportedDevice(
      `this ${arch} CPU lacks ${missing.join(", ")}, which the bundle needs: pack it again for this device`,
    );
  return [];
}

/** @param {Manifest} manifest @param {number | undefined} asked @param {number} cores
 * @returns {{ threads: number, notes: string[] }} */
function threadsFor(manifest, asked, cores) {
  if (asked !== undefined) return { threads: asked, notes: [] };
  const device = manifest.device?.threads;
  if (typeof device !== "number" || !Number.isInteger(device) || device < 1) return { threads: cores, notes: [] };
  if (device <= cores) return { threads: device, notes: [] };
  return { threads: cores, notes: [`the bundle was packed for ${device} threads, here are ${cores} cores to use`] };
}
