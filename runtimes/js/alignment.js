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
    if (next.startsWith(piece)) fill(spans, span, bit, piece);
    // What normalizers put before a text, or leave out of it, is white space or what stands for it.
    else if (/^[\s▁]/u.test(next) && next.slice(1).startsWith(piece)) fill(spans, span, bit, next[0] + piece);
    else if (piece.startsWith("▁") && next.startsWith(piece.slice(1))) fill(spans, span, bit, piece.slice(1));
    else if (piece.trim()) return null;
  }
  return spans.length === whole.length ? spans : null;
}

/** As the tokenizers library counts: what several characters melt into has the place of the first of them, and what is
 * left of the rest the places of the last ones.
 *
 * @param {Span[]} spans @param {Span} span @param {string} bit what stands at `span` @param {string} piece */
function fill(spans, [start], bit, piece) {
  const [from, to] = [[...bit], [...piece]];
  let at = start;
  const places = from.map((letter) => /** @type {Span} */ ([at, (at += letter.length)]));
  to.forEach((letter, index) => {
    const place = index === 0 ? 0 : Math.max(0, from.length - to.length + index);
    for (let unit = 0; unit < letter.length; unit++) spans.push(places[place]);
  });
}
