/** A bundle's tokenizer.json. */
import { LoadFailed, words } from "./errors.js";
import { setting } from "./manifest.js";

/** @param {import("./engines/contract.d.ts").Manifest} manifest
 * @param {import("./engines/contract.d.ts").BundleFiles} files @returns {Promise<any>} */
export async function readTokenizer(manifest, files) {
  const path = setting(manifest, "text", "tokenizer", "string");
  const raw = await files.bytes(path);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch (error) {
    throw new LoadFailed(`${path} is not a tokenizer this version reads: ${words(error)}`, { cause: error });
  } finally {
    files.release(path);
  }
}
