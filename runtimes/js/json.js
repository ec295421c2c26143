/** JSON from strangers: UTF-8, of bounded size, with no key twice in one object. */
import { BundleInvalid, words } from "./errors.js";

// What must be written as a whole number; once parsed, 1.0 and 1e0 could not be told from 1.
const WHOLE = new Set(["schema_version", "size_bytes"]);

/** @param {Uint8Array} raw @param {string} name of the file, for the message
 * @returns {any} */
export function parseJson(raw, name) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
    const value = JSON.parse(text);
    scan(text);
    return value;
  } catch (error) {
    throw new BundleInvalid(`${name} is not valid JSON: ${words(error)}`, { cause: error });
  }
}

/** Walk over text that is known to be JSON: refuse a key that stands twice, and fractions where none may be.
 *
 * @param {string} text */
function scan(text) {
  /** @type {(Set<string> | null)[]} keys of the objects that are open; null for a list */
  const open = [];
  let key = "";
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gsy;
  const space = /\s*/y;
  for (let at = 0; at < text.length;) {
    space.lastIndex = at;
    at += space.exec(text)?.[0].length ?? 0;
    token.lastIndex = at;
    const word = token.exec(text)?.[0];
    if (word === undefined) return;
    at += word.length;
    if (word === "{") open.push(new Set());
    else if (word === "[") open.push(null);
    else if (word === "}" || word === "]") open.pop();
    else if (word[0] === '"' && isKey(text, at)) {
      key = JSON.parse(word);
      const keys = open.at(-1);
      if (keys?.has(key)) throw new SyntaxError("a key stands twice in one object");
      keys?.add(key);
    } else if (WHOLE.has(key) && /^-?\d/u.test(word) && !/^-?\d+$/u.test(word))
      throw new SyntaxError(`${key} is ${word}, expected a whole number`);
    if (word === ",") key = "";
  }
}

/** @param {string} text @param {number} at the end of a string */
function isKey(text, at) {
  const colon = /\s*:/y;
  colon.lastIndex = at;
  return colon.test(text);
}
