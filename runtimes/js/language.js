/** The calls of a bundle for a text engine (llama.cpp): a language model, or an encoder that embeds. */
import { render } from "./chat.js";
import { BadInput, LoadFailed, PromptTooLong, RunFailed, words, WrongTask } from "./errors.js";
import { setting, show } from "./manifest.js";
import { checkText, Encoder } from "./text.js";
import { readTokenizer } from "./tokenizer.js";

/** @typedef {import("./engines/contract.d.ts").Engine} Engine */
/** @typedef {import("./engines/contract.d.ts").Manifest} Manifest */
/** @typedef {import("./engines/contract.d.ts").BundleFiles} BundleFiles */
/** @typedef {import("./engines/contract.d.ts").Sampling} Sampling */
/** @typedef {Engine & Required<Pick<Engine, "tokenize" | "embedIds" | "logProbabilities" | "pieces">>} Speaking */

// The length of an answer when nobody names one.
const DEFAULT_MAX_TOKENS = 256;

export class LanguageModel {
  /** @param {Engine} engine @param {Manifest} manifest @param {BundleFiles} files */
  static async on(engine, manifest, files) {
    // The engine's own vocabulary, unless pack found that it does not give the source's ids on every text.
    const named = typeof manifest.text?.tokenizer === "string";
    const maxTokens = named ? setting(manifest, "text", "max_tokens", "number") : 0;
    const encoder = named ? new Encoder(await readTokenizer(manifest, files), maxTokens, []) : null;
    return new LanguageModel(/** @type {Speaking} */ (engine), manifest, files, encoder);
  }

  /** @param {Speaking} engine @param {Manifest} manifest @param {BundleFiles} files @param {Encoder | null} encoder */
  constructor(engine, manifest, files, encoder) {
    this.engine = engine;
    this.manifest = manifest;
    this.files = files;
    this.encoder = encoder;
    const embeds = manifest.task === "embedding";
    this.calls = embeds ? ["embed", "tokenize"] : ["chat", "generate", "tokenize"];
    this.limit = embeds
      ? setting(manifest, "text", "max_tokens", "number")
      : setting(manifest, "generation", "context_tokens", "number");
  }

  /** Ids with the special tokens the model wants, and those spelt out in the text taken for what they are.
   *
   * @param {string} text @param {boolean} [addSpecial] @returns {Promise<number[]>} */
  async tokenize(text, addSpecial = true) {
    checkText(text);
    if (this.encoder) return this.encoder.ids(text, addSpecial);
    const form = this.manifest.text?.unicode_form;
    return this.engine.tokenize(form === "NFC" ? text.normalize(form) : text, addSpecial);
  }

  /** Cut to max_tokens.
   *
   * @param {string} text @param {AbortSignal} signal @returns {Promise<Float32Array>} */
  async embed(text, signal) {
    let ids = this.#checked(await this.tokenize(text));
    if (ids.length > this.limit) ids = [...ids.slice(0, this.limit - 1), ids[ids.length - 1]]; // the closing one stays
    const found = await this.engine.embedIds(ids, signal);
    const width = setting(this.manifest, "embedding", "width", "number");
    if (found.length !== width)
      throw new RunFailed(`the engine gives ${found.length} values per text, the manifest says ${width}`);
    return setting(this.manifest, "embedding", "normalize", "boolean") ? unit(found) : found;
  }

  /** Logits of what follows `ids`, for the ids in `wanted`, right but for one number that is added to all.
   *
   * @param {readonly number[]} ids @param {readonly number[]} wanted @param {AbortSignal} signal */
  async logits(ids, wanted, signal) {
    if (ids.length > this.limit)
      throw new PromptTooLong(`${ids.length} tokens do not fit the context of ${this.limit}`);
    return this.engine.logProbabilities(this.#checked(ids), this.#checked(wanted), signal);
  }

  /** @param {unknown} prompt @param {number | undefined} maxTokens @param {Sampling} sampling
   * @param {AbortSignal} signal */
  async generate(prompt, maxTokens, sampling, signal) {
    return this.#answer(await this.tokenize(checkText(prompt)), maxTokens, sampling, signal);
  }

  /** As `generate`, of the bundle's chat template; the template alone decides on special tokens.
   *
   * @param {unknown} messages @param {number | undefined} maxTokens @param {Sampling} sampling
   * @param {AbortSignal} signal */
  async chat(messages, maxTokens, sampling, signal) {
    return this.#answer(await this.chatIds(messages), maxTokens, sampling, signal);
  }

  /** @param {unknown} messages @returns {Promise<number[]>} */
  async chatIds(messages) {
    const text = render(await this.#template(), messages, this.engine.bosToken ?? "", this.engine.eosToken ?? "");
    return this.tokenize(text, false);
  }

  /** @returns {Promise<string>} */
  async #template() {
    const path = this.manifest.generation?.chat_template;
    if (typeof path !== "string")
      throw new WrongTask(`${this.manifest.name} is a base model without a chat template: use generate()`);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(await this.files.bytes(path));
    } catch (error) {
      throw new LoadFailed(`the chat template ${path} cannot be read: ${words(error)}`, { cause: error });
    }
  }

  /** @param {number[]} given @param {number | undefined} maxTokens @param {Sampling} sampling
   * @param {AbortSignal} signal */
  #answer(given, maxTokens, sampling, signal) {
    const ids = this.#checked(given);
    const most = maxTokens ?? Math.max(1, Math.min(DEFAULT_MAX_TOKENS, this.limit - ids.length));
    if (!Number.isSafeInteger(most) || most < 1) throw new BadInput(`maxTokens is ${show(maxTokens)}, expected a whole number, 1 or more`);
    if (ids.length >= this.limit)
      throw new PromptTooLong(
        `a prompt of ${ids.length} tokens ${ids.length > this.limit ? "exceeds" : "fills"} the context of ` +
          `${this.limit}: shorten it`,
      );
    if (ids.length + most > this.limit)
      throw new PromptTooLong(
        `a prompt of ${ids.length} tokens and up to ${most} of answer exceed the context of ${this.limit}:` +
          " shorten the prompt or lower maxTokens",
      );
    return this.engine.pieces(ids, most, sampling, signal);
  }

  /** @template {readonly number[]} T @param {T} ids @returns {T} */
  #checked(ids) {
    if (!ids.length) throw new BadInput("there are no tokens: the text is empty and this model adds none of its own");
    const size = this.engine.vocabularySize ?? Infinity;
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= size);
    if (wrong !== undefined) throw new BadInput(`a token id is ${wrong}, the vocabulary has ${size}`);
    return ids;
  }
}

/** Scaled to length 1.
 *
 * @param {Float32Array} vector */
function unit(vector) {
  const length = Math.sqrt(vector.reduce((sum, one) => sum + one * one, 0));
  return vector.map((one) => one / Math.max(length, 1e-12));
}
