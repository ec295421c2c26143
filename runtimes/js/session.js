/** An open bundle. One call at a time; `cancel` and `close` may come at any moment. */
import { Answer } from "./answer.js";
import { BadInput, WrongTask } from "./errors.js";
import { Flights } from "./flight.js";
import { readGoldens, replay } from "./goldens.js";
import { show } from "./manifest.js";
import { checkOptions } from "./options.js";
import { checkStops, decodeUtf8, untilStop } from "./stream.js";

/** @typedef {import("./index.d.ts").Session} Surface */
/** @typedef {import("./index.d.ts").CallOptions} CallOptions */
/** @typedef {import("./index.d.ts").GenerateOptions} GenerateOptions */
/** @typedef {import("./index.d.ts").Label} Label */
/** @typedef {import("./index.d.ts").Message} Message */
/** @typedef {import("./index.d.ts").Pixels} Pixels */
/** @typedef {import("./index.d.ts").Tensor} Tensor */
/** @typedef {import("./index.d.ts").TokenLabel} TokenLabel */
/** @typedef {import("./graph.js").Graph} Graph */
/** @typedef {import("./language.js").LanguageModel} LanguageModel */
/** @typedef {import("./engines/contract.d.ts").Sampling} Sampling */

const CALL_OPTIONS = ["signal"];
const ANSWER_OPTIONS = ["maxTokens", "temperature", "topP", "seed", "stop", ...CALL_OPTIONS];

/** @implements {Surface} */
export class Session {
  #model;
  #files;
  #machine;
  #flights;
  /** @type {Promise<void> | null} */
  #closing = null;

  /** @param {Graph | LanguageModel} model @param {import("./engines/contract.d.ts").BundleFiles} files
   * @param {Record<string, any>} info @param {import("./goldens.js").Machine} machine */
  constructor(model, files, info, machine) {
    this.#model = model;
    this.#files = files;
    this.#machine = machine;
    this.#flights = new Flights(model.engine.version);
    this.info = info;
  }

  /** @param {Record<string, Tensor>} inputs @param {CallOptions} [options]
   * @returns {Promise<Record<string, Tensor>>} */
  run(inputs, options) {
    return this.#call("run", options, () => /** @type {Graph} */ (this.#model).run(inputs));
  }

  /** @param {string} text @returns {Promise<number[]>} */
  tokenize(text) {
    return this.#call("tokenize", undefined, () => this.#model.tokenize(text));
  }

  /** @overload @param {string[]} texts @param {CallOptions} [options] @returns {Promise<Float32Array[]>} */
  /** @overload @param {string} texts @param {CallOptions} [options] @returns {Promise<Float32Array>} */
  /** @param {string | string[]} texts @param {CallOptions} [options] @returns {Promise<any>} */
  embed(texts, options) {
    return this.#call("embed", options, async (signal) => {
      const found = [];
      for (const text of Array.isArray(texts) ? texts : [texts]) {
        signal.throwIfAborted();
        found.push(await this.#model.embed(text, signal));
      }
      return Array.isArray(texts) ? found : found[0];
    });
  }

  /** @overload @param {string | [string, string]} input @param {CallOptions} [options]
   * @returns {Promise<Label[] | TokenLabel[]>} */
  /** @overload @param {Pixels} input @param {CallOptions} [options] @returns {Promise<Label[]>} */
  /** @param {string | [string, string] | Pixels} input @param {CallOptions} [options] @returns {Promise<any>} */
  classify(input, options) {
    return this.#call("classify", options, (signal) => /** @type {Graph} */ (this.#model).classify(input, signal));
  }

  /** @param {string} prompt @param {GenerateOptions} [options] @returns {AsyncIterableIterator<string>} */
  generate(prompt, options = {}) {
    return this.#answer("generate", options, (sampling, signal) =>
      /** @type {LanguageModel} */ (this.#model).generate(prompt, options.maxTokens, sampling, signal),
    );
  }

  /** @param {Message[]} messages @param {GenerateOptions} [options] @returns {AsyncIterableIterator<string>} */
  chat(messages, options = {}) {
    return this.#answer("chat", options, (sampling, signal) =>
      /** @type {LanguageModel} */ (this.#model).chat(messages, options.maxTokens, sampling, signal),
    );
  }

  /** @param {CallOptions} [options] @returns {Promise<import("./index.d.ts").GoldenResult[]>} */
  selfTest(options) {
    return this.#call(null, options, async (signal) =>
      replay(this.#model, await readGoldens(this.#files), this.#machine, signal),
    );
  }

  cancel() {
    this.#flights.cancel();
  }

  close() {
    this.#closing ??= this.#flights.close().then(() => this.#model.engine.close());
    return this.#closing;
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }

  /** @template T @param {string | null} name @param {CallOptions | undefined} options
   * @param {(signal: AbortSignal) => Promise<T>} work @returns {Promise<T>} */
  async #call(name, options, work) {
    this.#checkTask(name);
    checkOptions(options, CALL_OPTIONS);
    return this.#flights.call(options?.signal, work);
  }

  /** @param {string} name @param {GenerateOptions} options
   * @param {(sampling: Sampling, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>} start */
  #answer(name, options, start) {
    const begin = async () => {
      this.#checkTask(name);
      checkOptions(options, ANSWER_OPTIONS);
      return this.#flights.begin(options.signal);
    };
    return new Answer(begin, async (signal) => {
      const [sampling, stops] = [checkSampling(options), checkStops(options.stop)];
      return untilStop(decodeUtf8(await start(sampling, signal)), stops);
    });
  }

  /** @param {string | null} name */
  #checkTask(name) {
    this.#flights.checkOpen();
    if (name === null || this.#model.calls.includes(name)) return;
    const { task, engine } = this.info;
    const others = this.#model.calls.map((call) => `${call}()`).join(", ");
    throw new WrongTask(`a bundle for ${task} with ${engine} has no ${name}(), but ${others}`);
  }
}

/** @param {GenerateOptions} options @returns {Sampling} */
function checkSampling({ temperature = 0, topP = 1, seed }) {
  if (!(Number.isFinite(temperature) && temperature >= 0))
    throw new BadInput(`temperature is ${show(temperature)}, expected 0 or more`);
  if (!(Number.isFinite(topP) && topP > 0 && topP <= 1)) throw new BadInput(`topP is ${show(topP)}, expected more than 0 and at most 1`);
  if (seed !== undefined && !(Number.isSafeInteger(seed) && seed >= 0))
    throw new BadInput(`seed is ${show(seed)}, expected a whole number, 0 or more`);
  return { temperature, topP, seed };
}
