/** From token pieces to text: UTF-8 buffered across tokens, stop strings held back. */
import { BadInput } from "./errors.js";
import { show } from "./manifest.js";
import { checkText } from "./text.js";

/** Text as soon as its bytes are complete; bytes that can never be text become U+FFFD.
 *
 * @param {AsyncIterable<Uint8Array>} pieces @returns {AsyncGenerator<string>} */
export async function* decodeUtf8(pieces) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  for await (const piece of pieces) {
    const text = decoder.decode(piece, { stream: true });
    if (text) yield text;
  }
  const tail = decoder.decode();
  if (tail) yield tail;
}

/** The text before the stop string that is completed first; nothing of it is emitted, however the text is cut.
 *
 * @param {AsyncIterable<string>} texts @param {readonly string[]} stops @returns {AsyncGenerator<string>} */
export async function* untilStop(texts, stops) {
  let held = "";
  for await (const text of texts) {
    held += text;
    const ends = stops
      .filter((stop) => held.includes(stop))
      .map((stop) => ({ start: held.indexOf(stop), end: held.indexOf(stop) + stop.length }))
      .sort((a, b) => a.end - b.end || a.start - b.start);
    if (ends.length) {
      if (ends[0].start) yield held.slice(0, ends[0].start);
      return;
    }
    const safe = held.length - possibleStop(held, stops);
    if (safe) {
      yield held.slice(0, safe);
      held = held.slice(safe);
    }
  }
  if (held) yield held;
}

/** Length of the longest end of `text` with which a stop string may begin.
 *
 * @param {string} text @param {readonly string[]} stops */
function possibleStop(text, stops) {
  let longest = 0;
  for (const stop of stops)
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--)
      if (text.endsWith(stop.slice(0, length))) longest = length;
  return longest;
}

/** @param {unknown} stop @returns {string[]} */
export function checkStops(stop) {
  const stops = typeof stop === "string" ? [stop] : (stop ?? []);
  if (!Array.isArray(stops) || !stops.every((one) => typeof one === "string" && one))
    throw new BadInput(`stop is ${show(stop)}: one or more non-empty strings are expected`);
  return stops.map(checkText);
}
