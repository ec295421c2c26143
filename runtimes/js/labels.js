/** Logits to labelled scores. */
import { RunFailed } from "./errors.js";

/** @typedef {import("./index.d.ts").Label} Label */

/** Softmax; the logistic function where labels are independent, or there is only one.
 *
 * @param {Float32Array} logits of one input or token @param {string | null | undefined} problemType
 * @returns {Float32Array} */
export function probabilities(logits, problemType) {
  if (problemType === "multi_label_classification" || logits.length === 1)
    return logits.map((one) => 1 / (1 + Math.exp(-one)));
  const largest = logits.reduce((most, one) => Math.max(most, one), -Infinity);
  const raised = logits.map((one) => Math.exp(one - largest));
  const sum = raised.reduce((total, one) => total + one, 0);
  return raised.map((one) => one / sum);
}

/** The manifest's labels, or LABEL_0, LABEL_1, ... where it has none.
 *
 * @param {readonly string[]} labels @param {number} count @returns {string[]} */
export function names(labels, count) {
  if (labels.length && labels.length !== count)
    throw new RunFailed(`the model scores ${count} labels, the manifest names ${labels.length}`);
  return labels.length ? [...labels] : Array.from({ length: count }, (_, index) => `LABEL_${index}`);
}

/** Labels of one input, best first.
 *
 * @param {Float32Array} scores @param {readonly string[]} labels @returns {Label[]} */
export function ranked(scores, labels) {
  const named = names(labels, scores.length);
  return Array.from(scores, (score, index) => ({ label: named[index], score })).sort((a, b) => b.score - a.score);
}
