/** What golden.json stores: tensors and lists of numbers, from strangers. */
import { words } from "./errors.js";
import { isObject, show } from "./manifest.js";
import { ARRAYS, count, isDtype, numberToHalf } from "./tensors.js";

/** @typedef {import("./index.d.ts").Tensor} Tensor */

/** A golden that cannot be understood. */
export class Malformed extends Error {}

/** @param {unknown} given @param {string} what @returns {number[]} */
export function wholeNumbers(given, what) {
  if (!Array.isArray(given) || !given.every(Number.isInteger)) throw new Malformed(`${what} are no whole numbers`);
  return given;
}

/** Stored tensors by name.
 *
 * @param {unknown} stored @returns {Record<string, Tensor>} */
export function decoded(stored) {
  if (!isObject(stored)) throw new Malformed("its tensors are no object");
  return Object.fromEntries(Object.entries(stored).map(([name, one]) => [name, decode(one)]));
}

/** { dtype, shape, data: flat numbers } or { dtype, shape, base64: little-endian bytes }.
 *
 * @param {any} stored @returns {Tensor} */
function decode(stored) {
  const { dtype, shape, base64, data } = stored ?? {};
  if (!isDtype(dtype)) throw new Malformed(`dtype ${show(dtype)} is unknown`);
  if (!Array.isArray(shape) || !shape.every((axis) => Number.isInteger(axis) && axis >= 0))
    throw new Malformed(`shape ${show(shape)} is not made of whole numbers`);
  const found = base64 === undefined ? fromNumbers(dtype, data) : fromBase64(dtype, base64);
  if (found.length !== count(shape)) throw new Malformed(`${found.length} values do not make the shape ${show(shape)}`);
  return { dtype, shape, data: found };
}

/** @param {import("./tensors.js").Dtype} dtype @param {unknown} data @returns {Tensor["data"]} */
function fromNumbers(dtype, data) {
  if (!Array.isArray(data)) throw new Malformed("its data is no list");
  try {
    if (dtype === "int64") return BigInt64Array.from(data, BigInt);
    if (dtype === "float16") return Uint16Array.from(data, (one) => numberToHalf(Number(one)));
    return ARRAYS[dtype].from(data.map(Number));
  } catch (error) {
    throw new Malformed(`its data is no ${dtype}: ${words(error)}`);
  }
}

/** @param {import("./tensors.js").Dtype} dtype @param {unknown} base64 @returns {Tensor["data"]} */
function fromBase64(dtype, base64) {
  try {
    const bytes = Uint8Array.from(atob(String(base64)), (one) => one.charCodeAt(0));
    return new ARRAYS[dtype](bytes.buffer);
  } catch (error) {
    throw new Malformed(`base64 is damaged: ${words(error)}`);
  }
}
