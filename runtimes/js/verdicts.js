/** What is said of a bundle's files, wherever they lie. */
import { BundleInvalid } from "./errors.js";
import { MANIFEST, show } from "./manifest.js";

/** @typedef {import("./engines/contract.d.ts").ListedFile} ListedFile */
/** @typedef {{ manifest: import("./engines/contract.d.ts").Manifest,
 *              files: import("./engines/contract.d.ts").BundleFiles }} OpenedBundle */
/** `accept` may refuse a bundle by its manifest, before anything else of it is read; `all` includes, of a bundle behind
 * a URL, the wrappers below runtime/, which a session does not use.
 * @typedef {Pick<import("./index.d.ts").OpenOptions, "verify" | "signal" | "onProgress"> & { all?: boolean,
 *   accept?: (manifest: import("./engines/contract.d.ts").Manifest, listed: ReadonlyMap<string, ListedFile>) => void
 * }} Opening */

/** @param {ReadonlyMap<string, ListedFile>} listed @param {string} path @returns {ListedFile} */
export function checkListed(listed, path) {
  const found = listed.get(path);
  if (!found) throw new BundleInvalid(`${MANIFEST} uses ${show(path)} and does not list it`);
  return found;
}

/** @param {ListedFile} file @param {number} found */
export function otherSize(file, found) {
  return new BundleInvalid(`${file.path} has ${found} bytes, ${file.sizeBytes} were packed`);
}

/** @param {ListedFile} file @param {string} found */
export function changed(file, found) {
  return new BundleInvalid(
    `${file.path} was changed: sha256 ${found.slice(0, 12)}…, ${file.sha256.slice(0, 12)}… was packed`,
  );
}
