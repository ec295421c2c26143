/** Which part of a text each part of its normalized form comes from. The library's normalizer tells no positions: they
 * are found by normalizing the text bit by bit, and the bits must make up the whole, or there is no answer. */

/** A place in the text, in UTF-16 units. @typedef {[start: number, end: number]} Span */
/** `spans` has one for each UTF-16 unit of `text`. @typedef {{ text: string, spans: Span[] }} Aligned */

// Single characters first; then characters with the marks that may melt into them.
const CUTS = [/./gsu, /\P{M}?\p{M}*/gsu];

/** @param {string} text @param {(text: string) => string} normalize @param {number} origin where `text` begins
 * @returns {Aligned | null} null where no cut explains the whole */
export function align(text, normalize, origin) {
  const whole = normalize(text);
  for (const cut of CUTS) {
    const spans = explain(whole, text, text.match(cut)?.filter(Boolean) ?? [], normalize, origin);
    if (spans) return { text: whole, spans };
  }
  return null;
}

/** @param {string} whole @param {string} text @param {string[]} bits @param {(text: string) => string} normalize
 * @param {number} origin @returns {Span[] | null} */
function explain(whole, text, bits, normalize, origin) {
  /** @type {Span[]} */
  const spans = [];
  let at = origin;
  for (const bit of bits) {
    /** @type {Span} */
    const span = [at, at + bit.length];
    at = span[1];
    const piece = normalize(bit);
    const next = whole.slice(spans.length);
    if (next.startsWith(piece)) fill(spans, span, piece.length);
    // What normalizers put before a text, or leave out of it, is white space or what stands for it.
    else if (/^[\s▁]/u.test(next) && next.slice(1).startsWith(piece)) fill(spans, span, piece.length + 1);
    else if (piece.startsWith("▁") && next.startsWith(piece.slice(1))) fill(spans, span, piece.length - 1);
    else if (piece.trim()) return null;
  }
  return spans.length === whole.length ? spans : null;
}

/** @param {Span[]} spans @param {Span} span @param {number} count */
function fill(spans, span, count) {
  for (let i = 0; i < count; i++) spans.push(span);
}
