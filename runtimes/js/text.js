/** Text to the tensors an encoder takes: tokenizer.json, cut to a number of tokens. */
import { Tokenizer } from "@huggingface/tokenizers";
import { BadInput, LoadFailed, words } from "./errors.js";
import { kind } from "./manifest.js";
import { mend } from "./tokenizer-gaps.js";

/** @typedef {import("./index.d.ts").Tensor} Tensor */
/** @typedef {import("./engines/contract.d.ts").Value} Value */
/** `from` tells of each id which token of the text it is; -1 of those that stand around every text.
 * @typedef {{ ids: number[], typeIds: number[], from: number[] }} Encoding */

const COLUMNS = ["input_ids", "attention_mask", "token_type_ids"];
const PAD_TOKENS = ["[PAD]", "<pad>", "<|padding|>"];

/** @param {unknown} text @returns {string} */
export function checkText(text) {
  if (typeof text !== "string") throw new BadInput(`a text is ${kind(text)}, expected a string`);
  const at = text.search(/\p{Cs}/u);
  if (at >= 0) throw new BadInput(`a text holds a lone surrogate at position ${at}: it is not valid Unicode`);
  return text;
}

/** A bundle's tokenizer. `inputs` are the graph's: only those are fed; none for a language model. */
export class Encoder {
  /** @param {any} json tokenizer.json, parsed @param {number} maxTokens @param {readonly Value[]} inputs */
  constructor(json, maxTokens, inputs) {
    const unknown = inputs.filter((input) => !COLUMNS.includes(input.name)).map((input) => input.name);
    if (unknown.length) throw new LoadFailed(`the graph wants ${unknown.join(", ")}, which text alone does not give`);
    try {
      this.tokenizer = new Tokenizer(json, { unk_token: json.model?.unk_token });
    } catch (error) {
      throw new LoadFailed(`tokenizer.json is not one that @huggingface/tokenizers reads: ${words(error)}`, {
        cause: error,
      });
    }
    this.json = json;
    this.inputs = inputs;
    this.maxTokens = maxTokens;
    const special = this.#around([], null).ids.length;
    if (maxTokens <= special)
      throw new LoadFailed(`text.max_tokens is ${maxTokens}, and ${special} special tokens stand in every text`);
    this.padId = json.padding?.pad_id ?? this.#padId();
  }

  /** All ids of `text`, by default with special tokens, never cut.
   *
   * @param {string} text @param {boolean} [addSpecial] */
  ids(text, addSpecial = true) {
    const { ids } = this.plain(text);
    return addSpecial ? this.#around(ids, null).ids : ids;
  }

  /** Of a text or a pair, cut to the most tokens the model takes: the longer of two loses first.
   *
   * @param {string | [string, string]} text @returns {Encoding} */
  encode(text) {
    const [first, second] = Array.isArray(text) ? text : [text, null];
    const a = this.plain(first).ids;
    const b = second === null ? null : this.plain(second).ids;
    const room = Math.max(0, this.maxTokens - this.#around([], b && []).ids.length);
    const [keepA, keepB] = b ? lengths(a.length, b.length, room) : [room, 0];
    return this.#around(a.slice(0, keepA), b && b.slice(0, keepB));
  }

  /** Of a text that is longer than the model takes, consecutive pieces; `from` counts through the whole text.
   *
   * @param {number[]} ids of the text without special tokens @returns {Encoding[]} */
  windows(ids) {
    const room = this.maxTokens - this.#around([], null).ids.length;
    const found = [];
    for (let start = 0; start === 0 || start < ids.length; start += room) {
      const one = this.#around(ids.slice(start, start + room), null);
      found.push({ ...one, from: one.from.map((index) => (index < 0 ? index : index + start)) });
    }
    return found;
  }

  /** The text's own tokens and their ids, nothing around them. What has no id, where no token stands for the unknown
   * either, is left out.
   *
   * @param {string} text @returns {{ ids: number[], tokens: string[] }} */
  plain(text) {
    const { ids, tokens } = this.tokenizer.encode(mend(text, this.json), { add_special_tokens: false });
    const known = (/** @type {unknown} */ _, /** @type {number} */ index) => ids[index] !== undefined;
    return { ids: ids.filter(known), tokens: tokens.filter(known) };
  }

  /** One row of what the graph takes.
   *
   * @param {Encoding} encoding @returns {Record<string, Tensor>} */
  tensors({ ids, typeIds }) {
    /** @type {Record<string, number[]>} */
    const columns = { input_ids: ids, attention_mask: ids.map(() => 1), token_type_ids: typeIds };
    const empty = ids.length === 0;
    const rows = this.inputs.map(({ name, dtype }) => {
      const row = empty ? [name === "input_ids" ? this.padId : 0] : columns[name];
      const data = dtype === "int32" ? Int32Array.from(row) : BigInt64Array.from(row, BigInt);
      return [name, { dtype: dtype === "int32" ? "int32" : "int64", shape: [1, row.length], data }];
    });
    return Object.fromEntries(rows);
  }

  /** Special tokens around ids of a text or a pair. The library's post-processor works on tokens and does not look at
   * them, so that marks can stand for them, which tell afterwards where each of the text's went.
   *
   * @param {number[]} a @param {number[] | null} b @returns {Encoding} */
  #around(a, b) {
    const own = [...a, ...(b ?? [])];
    const mark = (/** @type {number} */ index) => `\0${index}`;
    const [first, second] = [a.map((_, i) => mark(i)), b && b.map((_, i) => mark(a.length + i))];
    const processor = this.tokenizer.post_processor;
    const { tokens, tokens_pair, token_type_ids } = processor
      ? processor.post_process(first, second, true)
      : { tokens: first, tokens_pair: second ?? undefined, token_type_ids: undefined };
    const all = [...tokens, ...(tokens_pair ?? [])];
    const from = all.map((token) => (token[0] === "\0" ? Number(token.slice(1)) : -1));
    return {
      ids: all.map((token, index) => (from[index] < 0 ? this.#specialId(token) : own[from[index]])),
      typeIds:
        processor && !hasTypeIds(this.json.post_processor)
          ? all.map(() => 0)
          : (token_type_ids ?? from.map((index) => (index >= a.length ? 1 : 0))),
      from,
    };
  }

  /** @param {string} token @returns {number} */
  #specialId(token) {
    const id = this.tokenizer.token_to_id(token);
    if (id === undefined) throw new LoadFailed(`tokenizer.json puts ${token} around texts and gives it no id`);
    return id;
  }

  /** @returns {number} */
  #padId() {
    const known = PAD_TOKENS.map((token) => this.tokenizer.token_to_id(token));
    return known.find((id) => id !== undefined) ?? 0;
  }
}

/** How much of two texts stays within `room` tokens; nothing is cut from a text before it is the longer one.
 *
 * @param {number} first @param {number} second @param {number} room @returns {[number, number]} */
export function lengths(first, second, room) {
  if (first + second <= room) return [first, second];
  let [short, long] = first <= second ? [first, second] : [second, first];
  long = short > room ? short : Math.max(short, room - short);
  if (short + long > room) {
    short = Math.floor(room / 2);
    long = short + (room % 2);
  }
  return first <= second ? [short, long] : [long, short];
}

/** RoBERTa's processing gives every token type 0.
 *
 * @param {any} processor */
function hasTypeIds(processor) {
  return processor?.type !== "RobertaProcessing";
}
