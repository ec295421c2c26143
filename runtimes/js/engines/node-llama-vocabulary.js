/** Ids of texts and bytes of ids, as llama.cpp has them. */
import { pieceBytes } from "./pieces.js";

/** @typedef {typeof import("node-llama-cpp")} Package */
/** @typedef {import("node-llama-cpp").LlamaModel} LlamaModel */
/** @typedef {import("node-llama-cpp").Token} Token */

export class Vocabulary {
  /** @param {Package} engine @param {LlamaModel} model */
  constructor(engine, model) {
    this.model = model;
    /** @type {readonly string[]} */
    this.entries = model.fileInfo.metadata.tokenizer.ggml.tokens;
    this.bosToken = model.tokens.bosString ?? "";
    this.eosToken = model.tokens.eosString ?? "";
    const { wpm, rwkv } = engine.LlamaVocabularyType;
    const kind = model.vocabularyType;
    // WordPiece has its [CLS] and [SEP] whatever the file's flags say, RWKV nothing.
    this.first = kind === wpm || (kind !== rwkv && model.tokens.shouldPrependBosToken) ? model.tokens.bos : null;
    this.last = kind === wpm ? model.tokens.sep : null;
    if (kind !== wpm && kind !== rwkv && model.tokens.shouldAppendEosToken) this.last = model.tokens.eos;
  }

  /** @param {string} text @param {boolean} addSpecial @returns {number[]} */
  ids(text, addSpecial) {
    const ids = /** @type {number[]} */ (this.model.tokenize(text, true));
    if (!addSpecial) return ids;
    return [...(this.first === null ? [] : [this.first]), ...ids, ...(this.last === null ? [] : [this.last])];
  }

  /** The token's bytes; none for control tokens, which are not text.
   *
   * @param {Token} token @returns {Uint8Array} */
  piece(token) {
    const attributes = this.model.getTokenAttributes(token);
    if (attributes.control || attributes.unknown) return new Uint8Array();
    return (
      pieceBytes(this.model.vocabularyType, this.entries[token], attributes) ??
      new TextEncoder().encode(this.model.detokenize([token]))
    );
  }
}
