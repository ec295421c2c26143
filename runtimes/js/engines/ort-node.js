/** Bundles for ONNX Runtime in Node, on the CPU: that is what was measured. The model is loaded by path. */
import { LoadFailed, words } from "../errors.js";
import { arch, isaFeatures } from "../machine-node.js";
import { runSession, valuesOf } from "./ort.js";
import { checkVersion, load } from "./package.js";

/** @typedef {import("./contract.d.ts").Engine} Engine */
/** @typedef {import("./contract.d.ts").EngineRequest} EngineRequest */

const NAME = "onnxruntime-node";
const TESTED = "1.30.0";

/** @param {EngineRequest} request @returns {Promise<Engine>} */
export async function create({ files, manifest, threads, lowMemory, backend }) {
  if (backend === "webgpu") throw new LoadFailed("in Node models run on the CPU: open the bundle with backend auto");
  process.env.ORT_DISABLE_TELEMETRY = "1";
  const { InferenceSession, Tensor, env } = await load(NAME, TESTED, () => import("onnxruntime-node"));
  checkVersion(NAME, env.versions.node, "1.22.0", 2, TESTED);
  const version = `${NAME} ${env.versions.node}`;
  const path = files.location(manifest.model_file) ?? "";
  /** @type {import("onnxruntime-node").InferenceSession} */
  let session;
  try {
    session = await InferenceSession.create(path, sessionOptions(threads, lowMemory));
  } catch (error) {
    throw new LoadFailed(`${version} refuses ${manifest.model_file}: ${words(error)}`, { cause: error });
  }
  return {
    version,
    backend: "cpu",
    inputs: valuesOf(session.inputMetadata),
    outputs: valuesOf(session.outputMetadata),
    run: (tensors, wanted) => runSession(Tensor, session, tensors, wanted),
    close: () => session.release(),
  };
}

/** @param {number} threads @param {boolean} lowMemory
 * @returns {import("onnxruntime-node").InferenceSession.SessionOptions} */
export function sessionOptions(threads, lowMemory) {
  /** @type {Record<string, string>} */
  const entries = {};
  if (saturates()) entries.x64quantprecision = "1";
  if (lowMemory) entries.disable_prepacking = "1";
  return {
    executionProviders: ["cpu"],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 4, // the exception says it all
    enableCpuMemArena: !lowMemory,
    enableMemPattern: !lowMemory,
    extra: { session: entries },
  };
}

/** Whether int8 products saturate here, and answers change silently, unless the session forbids it: x86 without VNNI.
 * Where there is VNNI the entry changes no answer and costs three quarters of the speed, so it is not set. */
function saturates() {
  const features = isaFeatures() ?? new Set();
  return arch === "x86_64" && !features.has("avx512_vnni") && !features.has("avx_vnni");
}
