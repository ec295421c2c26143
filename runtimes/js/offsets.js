/** Where in a text its tokens stand. @huggingface/tokenizers does not tell, so the way from text to tokens is gone once
 * more, step by step with the library's own parts; unless that leads to the very same tokens, the text is refused. */
import { align } from "./alignment.js";
import { RunFailed } from "./errors.js";
import { mend } from "./tokenizer-gaps.js";

/** @typedef {import("./alignment.js").Span} Span */
/** @typedef {import("./alignment.js").Aligned} Aligned */
/** A letter of what the model's vocabulary is written in.
 * @typedef {{ letter: string, span: Span, blank: boolean }} Written */
/** @typedef {{ token: string, span: Span }} Placed */
/** @typedef {import("@huggingface/tokenizers").AddedToken} AddedToken */

const SPACE = "▁";
const BYTE_TOKEN = /^<0x[0-9A-F]{2}>$/u;

/** Of each token of `encoder.plain(text)`: [start, end] in UTF-16 units. RunFailed where they cannot be known.
 *
 * @param {import("./text.js").Encoder} encoder @param {string} text @returns {Span[]} */
export function offsets(encoder, text) {
  const placed = new Walk(encoder).through(text);
  const { tokens } = encoder.plain(text);
  if (!placed || placed.length !== tokens.length || placed.some(({ token }, index) => token !== tokens[index]))
    throw new RunFailed(
      "the places of this text's tokens cannot be told with this tokenizer: use run() for its logits",
    );
  return placed.map(({ span }) => span);
}

class Walk {
  /** @param {import("./text.js").Encoder} encoder */
  constructor({ tokenizer, json }) {
    this.tokenizer = tokenizer;
    this.json = json;
    const steps = flat(json.pre_tokenizer, "pretokenizers");
    this.bytes = steps.some((step) => step.type === "ByteLevel") ? byteLetters() : null;
    const closing = flat(json.post_processor, "processors").find((one) => /ByteLevel|Roberta/u.test(one.type));
    this.prefixed = closing?.add_prefix_space ?? true;
    this.trims = this.bytes !== null && (closing?.trim_offsets ?? Boolean(closing));
    const added = [...tokenizer.get_added_tokens_decoder().values()];
    const normalized = (/** @type {AddedToken} */ one) => one.normalized === true && tokenizer.normalizer !== null;
    this.asWritten = added.filter((one) => !normalized(one)).map((one) => ({ one, content: one.content }));
    this.asNormalized = added.filter(normalized).map((one) => ({ one, content: this.#normalize(one.content) }));
  }

  /** @param {string} text @returns {Placed[] | null} */
  through(text) {
    const whole = { text, spans: Array.from({ length: text.length }, (_, i) => /** @type {Span} */ ([i, i + 1])) };
    const found = [];
    for (const [index, section] of split(whole, this.asWritten).entries()) {
      if (section.added) found.push({ token: section.added, span: around(section.part) });
      else {
        const aligned = align(section.part.text, (one) => this.#normalize(one), section.part.spans[0][0]);
        const placed = aligned && this.#section(aligned, index);
        if (!placed) return null;
        found.push(...placed);
      }
    }
    return found;
  }

  /** @param {Aligned} aligned @param {number} index @returns {Placed[] | null} */
  #section(aligned, index) {
    const found = [];
    for (const { added, part } of split(aligned, this.asNormalized)) {
      const placed = added ? [{ token: added, span: around(part) }] : this.#words(part, index);
      if (!placed) return null;
      found.push(...placed);
    }
    return found;
  }

  /** @param {Aligned} part @param {number} index @returns {Placed[] | null} */
  #words(part, index) {
    const before = this.tokenizer.pre_tokenizer;
    const words = before ? before.pre_tokenize(part.text, { section_index: index }) : [part.text];
    const found = [];
    let at = 0;
    for (const word of words) {
      const located = this.#locate(word, part, at);
      const placed = located && this.#tokens(word, located.symbols);
      if (!placed) return null;
      found.push(...placed);
      at = located.end;
    }
    return found;
  }

  /** The first place from `at` on where `word` stands, letter by letter.
   *
   * @param {string} word @param {Aligned} part @param {number} at
   * @returns {{ symbols: Written[], end: number } | null} */
  #locate(word, part, at) {
    const text = this.bytes ? this.#decoded(word) : word;
    const spaced = part.text.replaceAll(SPACE, " ");
    for (const [want, put] of [
      [text, 0],
      [text.slice(1), 1],
    ]) {
      const start = spaced.indexOf(String(want).replaceAll(SPACE, " "), at);
      if (start < 0 || (put && !/^[\s▁]/u.test(text))) continue;
      const spans = part.spans.slice(start, start + String(want).length);
      // A blank that the library put before the text has the place of what follows it.
      if (put) spans.unshift(spans[0] ?? [0, 0]);
      return { symbols: this.#symbols(text, spans), end: start + String(want).length };
    }
    return null;
  }

  /** @param {string} text @param {Span[]} spans @returns {Written[]} */
  #symbols(text, spans) {
    const found = [];
    let at = 0;
    for (const letter of text) {
      const span = /** @type {Span} */ ([spans[at][0], spans[at + letter.length - 1][1]]);
      at += letter.length;
      const written = this.bytes
        ? [...new TextEncoder().encode(letter)].map((byte) => this.bytes?.[byte] ?? "")
        : [letter];
      found.push(...written.map((one) => ({ letter: one, span, blank: letter === " " })));
    }
    return found;
  }

  /** The model's tokens of one word, each over the letters it stands for.
   *
   * @param {string} word @param {Written[]} symbols @returns {Placed[] | null} */
  #tokens(word, symbols) {
    const tokens = this.tokenizer.model?._call([word]) ?? [];
    const found = [];
    let at = 0;
    let bytes = 0; // of the letter at `at`, said by tokens for single bytes
    for (const [index, token] of tokens.entries()) {
      if (BYTE_TOKEN.test(token) && symbols[at] && this.#matches(token, symbols, at) === null) {
        found.push({ token, span: symbols[at].span });
        bytes += 1;
        if (bytes === new TextEncoder().encode(symbols[at].letter).length) [at, bytes] = [at + 1, 0];
        continue;
      }
      const end = this.#matches(token, symbols, at) ?? this.#unknownEnd(token, tokens[index + 1], symbols, at);
      if (end === null) return null;
      found.push({ token, span: this.#span(symbols.slice(at, end)) });
      at = end;
    }
    return at === symbols.length ? found : null;
  }

  /** Where `token`, written out, ends; null where it does not stand at `at`.
   *
   * @param {string} token @param {Written[]} symbols @param {number} at */
  #matches(token, symbols, at) {
    const { continuing_subword_prefix: prefix, end_of_word_suffix: suffix } = this.json.model;
    let letters = at > 0 && prefix && token.startsWith(prefix) ? token.slice(prefix.length) : token;
    if (suffix && letters.endsWith(suffix)) letters = letters.slice(0, -suffix.length);
    const listed = [...letters];
    const same = listed.every((letter, i) => spaceless(symbols[at + i]?.letter) === spaceless(letter));
    return same && listed.length ? at + listed.length : null;
  }

  /** A token for the unknown stands for all up to where the next one matches.
   *
   * @param {string} token @param {string | undefined} next @param {Written[]} symbols @param {number} at */
  #unknownEnd(token, next, symbols, at) {
    const { model } = this.tokenizer;
    if (token !== model?.unk_token || at >= symbols.length) return null;
    if (next === undefined) return symbols.length;
    for (let end = at + 1; end < symbols.length; end++) if (this.#matches(next, symbols, end) !== null) return end;
    return next === token ? at + 1 : null;
  }

  /** Blanks at both ends are no part of it where the post-processor trims; but for one that may have been put before
   * the text.
   *
   * @param {Written[]} symbols at least one @returns {Span} */
  #span(symbols) {
    const last = symbols.length - 1;
    if (!this.trims) return [symbols[0].span[0], symbols[last].span[1]];
    const solid = symbols.flatMap(({ blank }, index) => (blank ? [] : [index]));
    const blanks = solid.length ? solid[0] : symbols.length;
    const kept = this.prefixed && blanks === 1 && symbols[0].span[0] === 0;
    const start = kept ? 0 : solid.length ? symbols[solid[0]].span[0] : symbols[last].span[1];
    return [start, Math.max(start, solid.length ? symbols[solid[solid.length - 1]].span[1] : start)];
  }

  /** @param {string} word */
  #decoded(word) {
    const bytes = Array.from(word, (letter) => this.bytes?.indexOf(letter) ?? 0);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
  }

  /** @param {string} text */
  #normalize(text) {
    const mended = mend(text, this.json);
    return this.tokenizer.normalizer ? this.tokenizer.normalizer.normalize(mended) : mended;
  }
}

/** The parts of a text between added tokens, and those; of several that begin at one place the longest is taken.
 *
 * @param {Aligned} whole @param {{ one: AddedToken, content: string }[]} added
 * @returns {{ part: Aligned, added?: string }[]} */
function split(whole, added) {
  const found = [];
  let from = 0;
  for (let at = 0; at < whole.text.length;) {
    const here = added.filter(({ content }) => content && whole.text.startsWith(content, at));
    const best = here.sort((a, b) => b.content.length - a.content.length)[0];
    if (!best) {
      at += 1;
      continue;
    }
    const before = whole.text.slice(from, at);
    const start = best.one.lstrip ? from + before.trimEnd().length : at;
    let end = at + best.content.length;
    if (best.one.rstrip) end = whole.text.length - whole.text.slice(end).trimStart().length;
    if (start > from) found.push({ part: cut(whole, from, start) });
    found.push({ part: cut(whole, start, end), added: best.content });
    from = at = end;
  }
  if (from < whole.text.length) found.push({ part: cut(whole, from, whole.text.length) });
  return found;
}

/** @param {Aligned} whole @param {number} start @param {number} end @returns {Aligned} */
function cut(whole, start, end) {
  return { text: whole.text.slice(start, end), spans: whole.spans.slice(start, end) };
}

/** @param {Aligned} part @returns {Span} */
function around({ spans }) {
  return [spans[0][0], spans[spans.length - 1][1]];
}

/** @param {string | undefined} letter */
function spaceless(letter) {
  return letter === " " ? SPACE : letter;
}

/** The parts of a Sequence, or the one there is.
 *
 * @param {any} config @param {string} key @returns {any[]} */
function flat(config, key) {
  return config?.[key] ? config[key] : config ? [config] : [];
}

/** The letter that byte-level vocabularies write each byte as.
 *
 * @returns {string[]} */
function byteLetters() {
  const plain = (/** @type {number} */ byte) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(plain(byte) ? byte : next++));
}
