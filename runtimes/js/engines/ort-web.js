/** Bundles for ONNX Runtime in a browser: WebAssembly, or WebGPU when it is asked for. */
import { LoadFailed, words } from "../errors.js";
import { threadsWork } from "../machine-web.js";
import { runSession, valuesOf } from "./ort.js";
import { checkVersion, load } from "./package.js";

/** @typedef {import("./contract.d.ts").Engine} Engine */
/** @typedef {import("./contract.d.ts").EngineRequest} EngineRequest */

const NAME = "onnxruntime-web";
const TESTED = "1.30.0";

/** @param {EngineRequest} request @returns {Promise<Engine>} */
export async function create({ files, manifest, threads, backend, wasmPaths, lowMemory }) {
  const gpu = backend === "webgpu";
  if (gpu) await checkGpu();
  const { InferenceSession, Tensor, env } = await load(NAME, TESTED, () =>
    gpu ? import("onnxruntime-web/webgpu") : import("onnxruntime-web/wasm"),
  );
  checkVersion(NAME, env.versions.web, "1.22.0", 2, TESTED);
  const version = `${NAME} ${env.versions.web}`;
  const { used, notes } = setUp(env, threads, wasmPaths);
  /** @type {import("onnxruntime-web/wasm").InferenceSession} */
  let session;
  try {
    session = await InferenceSession.create(await files.bytes(manifest.model_file), {
      executionProviders: [gpu ? "webgpu" : "wasm"],
      externalData: await externalData(files, manifest.model_file),
      logSeverityLevel: 4,
      enableCpuMemArena: !lowMemory,
      enableMemPattern: !lowMemory,
      extra: { session: lowMemory ? { disable_prepacking: "1" } : {} },
    });
  } catch (error) {
    throw new LoadFailed(`${version} refuses ${manifest.model_file}: ${words(error)}`, { cause: error });
  }
  for (const path of beside(files, manifest.model_file)) files.release(path);
  files.release(manifest.model_file);
  return {
    version,
    backend: gpu ? "webgpu" : "wasm",
    threads: used,
    notes,
    inputs: valuesOf(session.inputMetadata),
    outputs: valuesOf(session.outputMetadata),
    run: async (tensors, wanted) => {
      await turn();
      return runSession(Tensor, session, tensors, wanted);
    },
    close: () => session.release(),
  };
}

async function checkGpu() {
  const { gpu } = /** @type {{ gpu?: { requestAdapter(): Promise<unknown> } }} */ (navigator);
  if (!(await gpu?.requestAdapter()))
    throw new LoadFailed("this browser gives no WebGPU adapter: open the bundle with backend auto");
}

/** The engine's settings hold for the page, from its first session on.
 *
 * @param {import("onnxruntime-web").Env} env @param {number} threads @param {EngineRequest["wasmPaths"]} wasmPaths */
function setUp(env, threads, wasmPaths) {
  const notes = [];
  const possible = threadsWork() ? threads : 1;
  if (possible < threads)
    notes.push("one thread: the page is not cross-origin isolated (serve it with COOP and COEP headers)");
  if (!started.has(env)) {
    env.wasm.numThreads = possible;
    env.wasm.proxy = false; // an app that wants a worker opens the bundle in one
    env.logLevel = "fatal";
    if (wasmPaths) env.wasm.wasmPaths = wasmPaths;
    started.add(env);
  }
  const used = env.wasm.numThreads ?? 1;
  if (used !== possible) notes.push(`${used} threads: the engine was started with so many by an earlier session`);
  return { used, notes };
}

/** Settings of engines that run already. @type {WeakSet<object>} */
const started = new WeakSet();

/** Weights that stand in files of their own, beside the model.
 *
 * @param {EngineRequest["files"]} files @param {string} model */
async function externalData(files, model) {
  const folder = model.slice(0, model.lastIndexOf("/") + 1);
  return Promise.all(
    beside(files, model).map(async (path) => ({ path: path.slice(folder.length), data: await files.bytes(path) })),
  );
}

/** @param {EngineRequest["files"]} files @param {string} model @returns {string[]} */
function beside(files, model) {
  const folder = model.slice(0, model.lastIndexOf("/") + 1);
  return folder ? [...files.listed.keys()].filter((path) => path.startsWith(folder) && path !== model) : [];
}

/** Lets the page hear what happened meanwhile, a cancel() among it: the engine itself works without a pause. */
function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });
}
