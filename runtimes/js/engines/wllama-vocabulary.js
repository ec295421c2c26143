/** Ids of texts and bytes of ids in a browser, where the engine tells neither which tokens are control tokens nor where
 * special tokens stand: both are found out. */

/** @typedef {import("@wllama/wllama/esm/wllama.js").Wllama} Wllama */

// llama.cpp's, where a WordPiece file names none.
const WORDPIECE_SEP = 102;

export class Vocabulary {
  #wllama;
  #first;
  #last;
  /** @type {Map<number, Uint8Array>} */
  #pieces = new Map();

  /** @param {Wllama} wllama @param {{ vocabularySize: number, bosToken: string, eosToken: string }} told */
  constructor(wllama, told) {
    const { meta } = wllama.getModelMetadata();
    const kind = meta["tokenizer.ggml.model"];
    this.told = told;
    this.#wllama = wllama;
    // WordPiece has its [CLS] and [SEP] whatever the file's flags say, RWKV nothing.
    const flagged = kind !== "rwkv" && kind !== "bert";
    this.#first = kind === "bert" || (flagged && wllama.mustAddBosToken()) ? wllama.getBOS() : -1;
    this.#last = flagged && wllama.mustAddEosToken() ? wllama.getEOS() : -1;
    // GGUF spells it so.
    if (kind === "bert") this.#last = Number(meta["tokenizer.ggml.seperator_token_id"] ?? WORDPIECE_SEP);
  }

  /** @param {Wllama} wllama @returns {Promise<Vocabulary>} */
  static async of(wllama) {
    /** @param {number} token */
    const spelt = async (token) => (token < 0 ? "" : new TextDecoder().decode(await wllama.detokenize([token])));
    return new Vocabulary(wllama, {
      vocabularySize: wllama.getModelMetadata().hparams.nVocab,
      bosToken: await spelt(wllama.getBOS()),
      eosToken: await spelt(wllama.getEOS()),
    });
  }

  /** @param {string} text @param {boolean} addSpecial @returns {Promise<number[]>} */
  async ids(text, addSpecial) {
    const ids = await this.#wllama.tokenize(text, true);
    if (!addSpecial) return ids;
    return [this.#first, ...ids, this.#last].filter((id) => id >= 0);
  }

  /** The token's bytes; none for control tokens, which are not text.
   *
   * @param {number} token @returns {Promise<Uint8Array>} */
  async piece(token) {
    let bytes = this.#pieces.get(token);
    if (!bytes) {
      const spelt = await this.#wllama.detokenize([token]);
      bytes = (await this.#isControl(token, spelt)) ? new Uint8Array() : spelt;
      this.#pieces.set(token, bytes);
    }
    return bytes;
  }

  /** Whether the token is found in its own spelling, but only where special tokens are looked for.
   *
   * @param {number} token @param {Uint8Array} spelt */
  async #isControl(token, spelt) {
    const text = new TextDecoder().decode(spelt);
    /** @param {boolean} special */
    const found = async (special) => {
      const ids = await this.#wllama.tokenize(text, special);
      return ids.length === 1 && ids[0] === token;
    };
    return (await found(true)) && !(await found(false));
  }
}
