/** Goldens: recorded inputs with the outputs expected of them, replayed on the device. See docs/manifest.md. */
import { BundleInvalid, words } from "./errors.js";
import { Graph } from "./graph.js";
import { parseJson } from "./json.js";
import { GOLDEN, isObject, MAX_GOLDEN_BYTES, show } from "./manifest.js";
import { decoded, Malformed, wholeNumbers } from "./stored.js";
import { numbers } from "./tensors.js";
import { checkListed } from "./verdicts.js";

/** @typedef {import("./index.d.ts").GoldenResult} GoldenResult */
/** @typedef {import("./index.d.ts").Tensor} Tensor */
/** @typedef {import("./language.js").LanguageModel} LanguageModel */
/** @typedef {{ shape: readonly number[], data: Float64Array }} Answer */
/** @typedef {{ kind: string, values: Map<string, Answer>, tokenIds?: number[] }} Observed */
/** @typedef {{ name: string, input: any, expected: any, tolerance: any }} Case */
/** @typedef {{ arch: string, isaFeatures: () => Set<string> | null }} Machine */

const SCHEMA_VERSION = 1;
const PARTS = ["input", "expected", "tolerance"];

/** The bundle's cases, their shape checked.
 *
 * @param {import("./engines/contract.d.ts").BundleFiles} files @returns {Promise<Case[]>} */
export async function readGoldens(files) {
  if (checkListed(files.listed, GOLDEN).sizeBytes > MAX_GOLDEN_BYTES)
    throw new BundleInvalid(`${GOLDEN} is larger than ${MAX_GOLDEN_BYTES} bytes`);
  const found = parseJson(await files.bytes(GOLDEN), GOLDEN);
  if (!isObject(found) || found.schema_version !== SCHEMA_VERSION)
    throw new BundleInvalid(`${GOLDEN} has not the schema_version ${SCHEMA_VERSION}`);
  const { cases } = found;
  if (
    !Array.isArray(cases) ||
    !cases.every((one) => typeof one?.name === "string" && PARTS.every((key) => isObject(one[key])))
  )
    throw new BundleInvalid(`${GOLDEN}: cases is not a list of objects with name, ${PARTS.join(", ")}`);
  return cases;
}

/** Per case one result, and for text one more, "NAME tokens": how many token ids differ.
 *
 * @param {Graph | LanguageModel} model @param {Case[]} cases @param {Machine} machine @param {AbortSignal} signal
 * @returns {Promise<GoldenResult[]>} */
export async function replay(model, cases, machine, signal) {
  const results = [];
  for (const one of cases) {
    signal.throwIfAborted();
    try {
      results.push(...(await replayOne(model, one, machine, signal)));
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      throw new BundleInvalid(`${GOLDEN}: the case ${show(one.name)} is malformed: ${words(error)}`, { cause: error });
    }
  }
  return results;
}

/** @param {Graph | LanguageModel} model @param {Case} one @param {Machine} machine @param {AbortSignal} signal
 * @returns {Promise<GoldenResult[]>} */
async function replayOne(model, { name, input, expected, tolerance }, machine, signal) {
  const found = await observe(model, input, expected, signal);
  if (found.kind !== expected.kind)
    throw new Malformed(`expected is of kind ${show(expected.kind)}, this bundle gives ${show(found.kind)}`);
  const want = expectedValues(expected);
  const have = found.kind === "logits" ? levelled(found.values, want) : found.values;
  const away = difference(want, have, tolerance.metric);
  const most = limit(tolerance, machine.arch, machine.isaFeatures() ?? new Set());
  const result = { name, passed: away !== null && away <= most, difference: away, tolerance: most };
  if (expected.token_ids === undefined) return [result];
  const wrong = differing(wholeNumbers(expected.token_ids, "token_ids"), found.tokenIds ?? []);
  return [result, { name: `${name} tokens`, passed: !wrong, difference: wrong, tolerance: 0 }];
}

/** What the model answers now.
 *
 * @param {Graph | LanguageModel} model @param {any} input @param {any} expected @param {AbortSignal} signal
 * @returns {Promise<Observed>} */
async function observe(model, input, expected, signal) {
  if (model instanceof Graph)
    return input.tensors ? outputs(await model.run(decoded(input.tensors))) : ofText(model, input, signal);
  if (model.calls.includes("embed"))
    return embedding(await model.embed(textOf(input), signal), await model.tokenize(input.text));
  const asked = input.messages ? { tokenIds: await model.chatIds(input.messages) } : await plainIds(model, input);
  const wanted = wholeNumbers(expected.ids, "expected.ids");
  const values = await model.logits(asked.tokenIds, wanted, signal);
  return { kind: "logits", values: single(values), ...asked };
}

/** @param {LanguageModel} model @param {any} input */
async function plainIds(model, input) {
  return { tokenIds: input.ids ? wholeNumbers(input.ids, "ids") : await model.tokenize(textOf(input)) };
}

/** @param {Graph} model @param {any} input @param {AbortSignal} signal @returns {Promise<Observed>} */
async function ofText(model, input, signal) {
  const text = textOf(input);
  const tokenIds = await model.tokenize(text);
  const { task } = model.manifest;
  if (task === "embedding") return embedding(await model.embed(text), tokenIds);
  if (task !== "text-classification") return { ...outputs(await model.run(model.encode(text))), tokenIds };
  const labels = await model.classify(text, signal);
  const values = new Map(labels.map(({ label, score }) => [label, { shape: [], data: Float64Array.of(score) }]));
  return { kind: "scores", values, tokenIds };
}

/** @param {any} input @returns {string} */
function textOf(input) {
  if (typeof input.text !== "string") throw new Malformed(`its input ${show(input)} is none that this bundle takes`);
  return input.text;
}

/** @param {Float32Array} vector @param {number[]} tokenIds @returns {Observed} */
function embedding(vector, tokenIds) {
  return { kind: "embedding", values: single(vector), tokenIds };
}

/** @param {Record<string, Tensor>} tensors @returns {Observed} */
function outputs(tensors) {
  const values = Object.entries(tensors).map(([name, one]) => /** @type {const} */ ([name, answerOf(one)]));
  return { kind: "outputs", values: new Map(values) };
}

/** @param {Tensor} tensor @returns {Answer} */
function answerOf(tensor) {
  return { shape: tensor.shape, data: numbers(tensor) };
}

/** @param {ArrayLike<number>} values */
function single(values) {
  return new Map([["", { shape: [values.length], data: Float64Array.from(values) }]]);
}

/** @param {any} expected @returns {Map<string, Answer>} by name; under "" where there is only one */
function expectedValues({ kind, values }) {
  if (kind === "embedding" || kind === "logits") {
    if (!Array.isArray(values) || !values.every((one) => typeof one === "number"))
      throw new Malformed("its values are no list of numbers");
    return single(Float32Array.from(values));
  }
  if (!isObject(values)) throw new Malformed("its values are no object");
  if (kind === "outputs") return new Map(Object.entries(decoded(values)).map(([name, one]) => [name, answerOf(one)]));
  const scores = Object.entries(values).map(([label, score]) => {
    if (typeof score !== "number") throw new Malformed(`the score of ${show(label)} is no number`);
    return /** @type {const} */ ([label, { shape: [], data: Float64Array.of(Math.fround(score)) }]);
  });
  return new Map(scores);
}

/** Two of the engines here know logits only up to a number that is added to all of them, and say nothing of it: the
 * mean difference over the compared ids is taken out. What is left is what decides on probabilities.
 *
 * @param {Map<string, Answer>} have @param {Map<string, Answer>} want @returns {Map<string, Answer>} */
function levelled(have, want) {
  const [mine, theirs] = [have.get("")?.data, want.get("")?.data];
  if (!mine || !theirs || mine.length !== theirs.length) return have;
  const shift = mine.reduce((sum, one, index) => sum + one - theirs[index], 0) / (mine.length || 1);
  return single(mine.map((one) => one - shift));
}

/** 1 - cosine, or the largest absolute difference, the worst over all values; null where they do not compare.
 *
 * @param {Map<string, Answer>} want @param {Map<string, Answer>} have @param {unknown} metric */
export function difference(want, have, metric) {
  if (metric !== "cosine" && metric !== "max_abs")
    throw new Malformed(`metric ${show(metric)} is neither cosine nor max_abs`);
  if (want.size !== have.size) return null;
  let worst = 0;
  for (const [name, one] of want) {
    const other = have.get(name);
    if (!other || one.shape.join() !== other.shape.join() || one.data.length !== other.data.length) return null;
    const away = metric === "cosine" ? 1 - cosine(one.data, other.data) : largest(one.data, other.data);
    if (!Number.isFinite(away)) return null;
    worst = Math.max(worst, away);
  }
  return worst;
}

/** @param {Float64Array} a @param {Float64Array} b */
function cosine(a, b) {
  const dot = (/** @type {Float64Array} */ x, /** @type {Float64Array} */ y) =>
    x.reduce((sum, one, i) => sum + one * y[i], 0);
  const norms = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  return norms ? dot(a, b) / norms : 1 - largest(a, b);
}

/** @param {Float64Array} a @param {Float64Array} b */
function largest(a, b) {
  return a.reduce((most, one, index) => Math.max(most, Math.abs(one - b[index])), 0);
}

/** A CPU's tolerance. Keys are "default", an architecture ("aarch64"), or one with a feature ("aarch64+i8mm"); the most
 * particular one that applies wins, among equals the widest.
 *
 * @param {Record<string, unknown>} tolerance @param {string} arch @param {Set<string>} features */
export function limit(tolerance, arch, features) {
  const applies = (/** @type {string} */ key) => key.startsWith(`${arch}+`) && features.has(key.split("+")[1]);
  const particular = Object.keys(tolerance)
    .filter(applies)
    .map((key) => Number(tolerance[key]));
  const found = particular.length ? Math.max(...particular) : Number(tolerance[arch] ?? tolerance.default);
  if (Number.isNaN(found)) throw new Malformed("its tolerance is no number");
  return found;
}

/** @param {readonly number[]} want @param {readonly number[]} have */
function differing(want, have) {
  const shared = Math.min(want.length, have.length);
  return Math.abs(want.length - have.length) + want.slice(0, shared).filter((id, index) => id !== have[index]).length;
}
