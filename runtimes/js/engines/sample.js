/** Choosing the next token from probabilities: what both engines for GGUF give of one. */
import { RunFailed } from "../errors.js";

/** A number in [0, 1) at each call; the same ones for the same seed.
 *
 * @param {number | undefined} seed @returns {() => number} */
export function randomNumbers(seed) {
  if (seed === undefined) return Math.random;
  // mulberry32 over the seed's low 32 bits, mixed with those above.
  let state = (seed ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The position of the token that is drawn: softmax(logits / temperature), cut to the nucleus of mass `topP`.
 *
 * @param {ArrayLike<number>} probabilities of temperature 1, the largest first
 * @param {number} temperature more than 0 @param {number} topP @param {() => number} random
 * @returns {number} */
export function pick(probabilities, temperature, topP, random) {
  const best = probabilities[0];
  if (!(best > 0 && best < Infinity)) throw new RunFailed(`the engine's probabilities are not numbers: ${best}`);
  const edges = new Float64Array(probabilities.length);
  const power = Math.min(1 / temperature, Number.MAX_VALUE); // 1 to the power of Infinity is no number here
  let mass = 0;
  for (let index = 0; index < edges.length; index += 1) {
    mass += (probabilities[index] / best) ** power;
    edges[index] = mass;
  }
  const kept = topP < 1 ? firstAbove(edges, topP * mass, false) + 1 : edges.length;
  return firstAbove(edges, random() * edges[kept - 1], true);
}

/** The first position whose edge exceeds `value`, or reaches it.
 *
 * @param {Float64Array} edges @param {number} value @param {boolean} exceed @returns {number} */
function firstAbove(edges, value, exceed) {
  const found = edges.findIndex((edge) => (exceed ? edge > value : edge >= value));
  return found < 0 ? edges.length - 1 : found;
}
