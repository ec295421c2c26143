/** What onnxruntime-node and onnxruntime-web share: the same JavaScript interface. */
import { ARRAYS, isDtype } from "../tensors.js";
import { RunFailed } from "../errors.js";

/** @typedef {import("onnxruntime-common").InferenceSession} InferenceSession */
/** @typedef {import("onnxruntime-common").Tensor} OrtTensor */
/** @typedef {import("../index.d.ts").Tensor} Tensor */
/** @typedef {import("./contract.d.ts").Value} Value */

/** @param {readonly import("onnxruntime-common").InferenceSession.ValueMetadata[]} metadata @returns {Value[]} */
export function valuesOf(metadata) {
  return metadata.map((one) => ({
    name: one.name,
    dtype: one.isTensor ? one.type : "value that is no tensor",
    shape: one.isTensor ? [...one.shape] : [],
  }));
}

/** @param {typeof import("onnxruntime-common").Tensor} Made the class of the engine's own tensors
 * @param {InferenceSession} session @param {Record<string, Tensor>} tensors
 * @param {readonly string[] | undefined} wanted @returns {Promise<Record<string, Tensor>>} */
export async function runSession(Made, session, tensors, wanted) {
  /** @type {Record<string, OrtTensor>} */
  const feeds = {};
  for (const [name, { dtype, data, shape }] of Object.entries(tensors))
    feeds[name] = new Made(dtype, /** @type {any} */ (data), shape);
  const found = await session.run(feeds, wanted ?? session.outputNames);
  return Object.fromEntries(Object.entries(found).map(([name, one]) => [name, taken(name, /** @type {any} */ (one))]));
}

/** @param {string} name @param {OrtTensor} found @returns {Tensor} */
function taken(name, { type, dims, data }) {
  if (!isDtype(type)) throw new RunFailed(`the output ${name} is a ${type}, which this runtime cannot give`);
  const kind = ARRAYS[type];
  // Newer browsers have an array type for halves; here they are their bits everywhere.
  const bits = /** @type {any} */ (data);
  return {
    dtype: type,
    shape: [...dims],
    data: bits instanceof kind ? bits : new kind(bits.buffer, bits.byteOffset, bits.length),
  };
}
