/** The calls of a bundle whose model is a graph of tensors (ONNX). */
import { LoadFailed, RunFailed } from "./errors.js";
import { pixelValues } from "./image.js";
import { names, probabilities, ranked } from "./labels.js";
import { setting } from "./manifest.js";
import { offsets } from "./offsets.js";
import { checkInputs, count, numbers } from "./tensors.js";
import { checkText, Encoder } from "./text.js";
import { readTokenizer } from "./tokenizer.js";

/** @typedef {import("./engines/contract.d.ts").Engine} Engine */
/** @typedef {import("./engines/contract.d.ts").Manifest} Manifest */
/** @typedef {import("./engines/contract.d.ts").BundleFiles} BundleFiles */
/** @typedef {import("./index.d.ts").Tensor} Tensor */
/** @typedef {import("./index.d.ts").Label} Label */
/** @typedef {import("./index.d.ts").TokenLabel} TokenLabel */
/** @typedef {Engine & Required<Pick<Engine, "run" | "inputs" | "outputs">>} Running */

export class Graph {
  /** @param {Engine} engine @param {Manifest} manifest @param {BundleFiles} files */
  static async on(engine, manifest, files) {
    const json = manifest.text ? await readTokenizer(manifest, files) : null;
    const maxTokens = json && setting(manifest, "text", "max_tokens", "number");
    const encoder = json && maxTokens !== null ? new Encoder(json, maxTokens, engine.inputs ?? []) : null;
    return new Graph(/** @type {Running} */ (engine), manifest, encoder);
  }

  /** @param {Running} engine @param {Manifest} manifest @param {Encoder | null} encoder */
  constructor(engine, manifest, encoder) {
    this.engine = engine;
    this.manifest = manifest;
    this.encoder = encoder;
    this.calls = { embedding: ["embed", "tokenize"], tensors: [], "image-classification": ["classify"] }[
      manifest.task
    ] ?? ["classify", "tokenize"];
    this.calls = [...this.calls, "run"];
  }

  /** @param {unknown} inputs @returns {Promise<Record<string, Tensor>>} */
  async run(inputs) {
    return this.engine.run(checkInputs(inputs, this.engine.inputs), undefined);
  }

  /** @param {string} text */
  async tokenize(text) {
    return this.#text().ids(checkText(text));
  }

  /** The tensors that one text becomes.
   *
   * @param {string} text */
  encode(text) {
    return this.#text().tensors(this.#text().encode(checkText(text)));
  }

  /** @param {string} text @returns {Promise<Float32Array>} */
  async embed(text) {
    const output = this.#embeddingOutput();
    const width = setting(this.manifest, "embedding", "width", "number");
    const { [output]: found } = await this.engine.run(this.encode(text), [output]);
    if (found.shape.length !== 2 || found.shape[0] !== 1 || found.shape[1] !== width)
      throw new RunFailed(`${output} is [${found.shape.join(", ")}], expected [1, ${width}]`);
    return Float32Array.from(numbers(found));
  }

  /** By the manifest's task: of a text, a pair, a picture; one label a token for token classification.
   *
   * @param {unknown} given @param {AbortSignal} signal @returns {Promise<Label[] | TokenLabel[]>} */
  async classify(given, signal) {
    const { task, labels = [] } = this.manifest;
    if (task === "token-classification") return this.#classifyTokens(checkText(given), signal);
    if (task === "text-classification") return ranked(await this.#score(this.#tensorsOf(given)), labels);
    return ranked(await this.#score({ [this.engine.inputs[0].name]: pixelValues(given, this.manifest) }), labels);
  }

  /** Over the whole text, by pieces of max_tokens.
   *
   * @param {string} text @param {AbortSignal} signal @returns {Promise<TokenLabel[]>} */
  async #classifyTokens(text, signal) {
    const encoder = this.#text();
    const places = offsets(encoder, text);
    const found = [];
    for (const window of encoder.windows(encoder.plain(text).ids)) {
      signal.throwIfAborted();
      const { data, width } = await this.#logits(encoder.tensors(window));
      const named = names(this.manifest.labels ?? [], width);
      for (const [row, index] of window.from.entries()) {
        if (index < 0) continue;
        const scores = probabilities(data.slice(row * width, (row + 1) * width), this.manifest.problem_type);
        const best = scores.indexOf(scores.reduce((most, one) => Math.max(most, one), -Infinity));
        const [start, end] = places[index];
        found.push({ start, end, word: text.slice(start, end), label: named[best], score: scores[best] });
      }
    }
    return found;
  }

  /** @param {unknown} given @returns {Record<string, Tensor>} */
  #tensorsOf(given) {
    const [first, second] = Array.isArray(given) && given.length === 2 ? given : [given];
    const text =
      second === undefined ? checkText(first) : /** @type {[string, string]} */ ([first, second].map(checkText));
    return this.#text().tensors(this.#text().encode(text));
  }

  /** @param {Record<string, Tensor>} tensors @returns {Promise<Float32Array>} */
  async #score(tensors) {
    return probabilities((await this.#logits(tensors)).data, this.manifest.problem_type);
  }

  /** @param {Record<string, Tensor>} tensors @returns {Promise<{ data: Float32Array, width: number }>} */
  async #logits(tensors) {
    const all = this.engine.outputs.map((output) => output.name);
    const output = all.includes("logits") ? "logits" : all[0];
    const { [output]: found } = await this.engine.run(tensors, [output]);
    const width = found.shape.at(-1) ?? 0;
    const rows = this.manifest.task === "token-classification" ? (found.shape.at(-2) ?? 0) : 1;
    if (count(found.shape) !== rows * width || !width)
      throw new RunFailed(`${output} is [${found.shape.join(", ")}], expected the scores of one input`);
    return { data: Float32Array.from(numbers(found)), width };
  }

  #embeddingOutput() {
    const all = this.engine.outputs.map((output) => output.name);
    if (all.includes("sentence_embedding")) return "sentence_embedding";
    const flat = this.engine.outputs.find((output) => output.shape.length === 2);
    if (!flat) throw new RunFailed(`none of the outputs (${all.join(", ")}) is one vector per text`);
    return flat.name;
  }

  #text() {
    if (!this.encoder) throw new LoadFailed("the bundle has no tokenizer: its manifest's text is null");
    return this.encoder;
  }
}
