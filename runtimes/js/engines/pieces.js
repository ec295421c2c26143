/** From a vocabulary's entry to the bytes it stands for, as llama.cpp's llama_token_to_piece has it. */

const encoder = new TextEncoder();
/** @type {Map<string, number> | undefined} */
let byteOf;

/** null where this kind of vocabulary is not known here.
 *
 * @param {string} kind "spm", "ugm", "wpm" or "bpe" @param {string} entry
 * @param {{ byte: boolean, normal: boolean }} attributes
 * @returns {Uint8Array | null} */
export function pieceBytes(kind, entry, attributes) {
  if (kind === "bpe") return attributes.normal ? byteLevel(entry) : encoder.encode(entry);
  if (kind !== "spm" && kind !== "ugm" && kind !== "wpm") return null;
  if (attributes.byte) return Uint8Array.of(Number.parseInt(entry.slice(3, 5), 16)); // "<0xE9>"
  return encoder.encode(attributes.normal ? entry.replaceAll("\u2581", " ") : entry);
}

/** Byte-level BPE writes every byte as a printable character (GPT-2's table).
 *
 * @param {string} entry @returns {Uint8Array} */
function byteLevel(entry) {
  byteOf ??= table();
  /** @type {number[]} */
  const bytes = [];
  for (const character of entry) {
    const byte = byteOf.get(character);
    if (byte === undefined) bytes.push(...encoder.encode(character));
    else bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** @returns {Map<string, number>} */
function table() {
  const found = new Map();
  let others = 0;
  for (let byte = 0; byte < 256; byte += 1) {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    found.set(String.fromCodePoint(printable ? byte : 0x100 + others), byte);
    if (!printable) others += 1;
  }
  return found;
}
