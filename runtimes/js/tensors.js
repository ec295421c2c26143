/** Tensors as apps give them and goldens store them. */
import { BadInput } from "./errors.js";
import { isObject, show } from "./manifest.js";

/** @typedef {import("./index.d.ts").Tensor} Tensor */
/** @typedef {import("./engines/contract.d.ts").Value} Value */

export const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};

/** @typedef {keyof typeof ARRAYS} Dtype */

/** The graph's inputs of what an app gave, in the graph's types where that keeps the kind of number.
 *
 * @param {unknown} given @param {readonly Value[]} inputs @returns {Record<string, Tensor>} */
export function checkInputs(given, inputs) {
  if (!isObject(given)) throw new BadInput(`inputs are ${show(given)}, expected tensors by name`);
  const [have, want] = [Object.keys(given).sort(), inputs.map((input) => input.name).sort()];
  if (have.length !== want.length || have.some((name, index) => name !== want[index]))
    throw new BadInput(`inputs are ${have.join(", ") || "none"}, the model takes ${want.join(", ")}`);
  return Object.fromEntries(inputs.map((input) => [input.name, conform(given[input.name], input)]));
}

/** @param {unknown} given @param {Value} input @returns {Tensor} */
function conform(given, { name, dtype, shape }) {
  if (!isDtype(dtype)) throw new BadInput(`the input ${name} is a ${dtype}, which this runtime cannot feed`);
  if (!isTensor(given)) throw new BadInput(`the input ${name} is no tensor: { dtype, shape, data } is expected`);
  if (count(given.shape) !== given.data.length)
    throw new BadInput(`the input ${name} has ${given.data.length} values for the shape [${given.shape.join(", ")}]`);
  if (rank(given.dtype) > rank(dtype) || (given.dtype === "float16") !== (dtype === "float16"))
    throw new BadInput(`the input ${name} is ${given.dtype}, expected ${dtype}`);
  if (
    shape.length !== given.shape.length ||
    shape.some((axis, i) => typeof axis === "number" && axis !== given.shape[i])
  )
    throw new BadInput(`the input ${name} is [${given.shape.join(", ")}], expected [${shape.join(", ")}]`);
  return given.dtype === dtype ? given : { dtype, shape: given.shape, data: converted(given, dtype) };
}

/** @param {Tensor} tensor @param {Dtype} dtype @returns {Tensor["data"]} */
function converted({ data }, dtype) {
  if (dtype === "int64") return BigInt64Array.from(/** @type {Int32Array} */ (data), BigInt);
  const numbers = Array.from(/** @type {Int32Array} */ (data), Number);
  return ARRAYS[dtype].from(/** @type {any} */ (numbers));
}

/** Kinds of number in the order in which they hold one another.
 *
 * @param {Dtype} dtype */
function rank(dtype) {
  return ["bool", "uint", "int", "float"].indexOf(dtype.replace(/\d+$/u, ""));
}

/** @param {unknown} given @returns {given is Tensor} */
export function isTensor(given) {
  return (
    isObject(given) &&
    isDtype(given.dtype) &&
    given.data instanceof ARRAYS[given.dtype] &&
    Array.isArray(given.shape) &&
    given.shape.every((axis) => Number.isInteger(axis) && axis >= 0)
  );
}

/** @param {unknown} dtype @returns {dtype is Dtype} */
export function isDtype(dtype) {
  return typeof dtype === "string" && Object.hasOwn(ARRAYS, dtype);
}

/** @param {readonly number[]} shape */
export function count(shape) {
  return shape.reduce((product, axis) => product * axis, 1);
}

/** Values as numbers, whatever their type.
 *
 * @param {Tensor} tensor @returns {Float64Array} */
export function numbers({ dtype, data }) {
  if (dtype === "float16") return Float64Array.from(/** @type {Uint16Array} */ (data), halfToNumber);
  return Float64Array.from(/** @type {ArrayLike<any>} */ (data), Number);
}

/** @param {number} bits of an IEEE half */
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** The nearest IEEE half's bits, of two equally near the even one.
 *
 * @param {number} value */
export function numberToHalf(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  const exponent = size ? Math.max(-14, Math.floor(Math.log2(size))) : -14;
  const steps = size / 2 ** (exponent - 10);
  const down = Math.floor(steps);
  const up = steps - down > 0.5 || (steps - down === 0.5 && down % 2 === 1) ? 1 : 0;
  return sign | ((exponent + 14) * 1024 + down + up);
}
