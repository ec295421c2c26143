/** Options as apps give them: a name that nobody knows is a setting that would silently not be heeded. */
import { BadInput } from "./errors.js";
import { isObject, kind, show } from "./manifest.js";

/** @param {unknown} options @param {readonly string[]} known */
export function checkOptions(options, known) {
  if (options === undefined) return;
  if (!isObject(options)) throw new BadInput(`options are ${kind(options)}, expected an object`);
  const name = Object.keys(options).find((each) => !known.includes(each));
  if (name === undefined) return;
  const near = known.find((each) => plain(each) === plain(name)) ?? known.find((each) => distance(each, name) <= 2);
  throw new BadInput(`there is no option ${show(name)}: ${near ? `did you mean ${near}?` : `there are ${known.join(", ")}`}`);
}

/** As other languages and other hands spell it: max_tokens, maxtokens.
 *
 * @param {string} name */
function plain(name) {
  return name.toLowerCase().replace(/[^a-z0-9]/gu, "");
}

/** How many characters have to be put in, left out or replaced (Levenshtein).
 *
 * @param {string} one @param {string} other @returns {number} */
function distance(one, other) {
  if (Math.abs(one.length - other.length) > 2) return Infinity;
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (one[i - 1] === other[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[other.length];
}
