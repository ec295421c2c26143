/** A bundle in a folder: prove that it is what was packed. Files are read in pieces and given to engines by path. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { BadInput, BundleInvalid } from "./errors.js";
import { MANIFEST, MAX_MANIFEST_BYTES, parseManifest, show } from "./manifest.js";
import { changed, checkListed, otherSize } from "./verdicts.js";

/** @typedef {import("./engines/contract.d.ts").BundleFiles} BundleFiles */
/** @typedef {import("./engines/contract.d.ts").ListedFile} ListedFile */
/** @typedef {import("./verdicts.js").OpenedBundle} OpenedBundle */
/** @typedef {import("./verdicts.js").Opening} Opening */

const MAX_DEPTH = 32;
const PIECE_BYTES = 2 ** 20;

/** The manifest, and the files once every one is proven; with `verify` false, the manifest alone is read.
 *
 * @param {string | URL} bundle @param {Opening} options @returns {Promise<OpenedBundle>} */
export async function openFiles(bundle, { verify = true, accept, signal, onProgress }) {
  const folder = folderOf(bundle);
  const { manifest, listed } = parseManifest(await readManifest(folder));
  accept?.(manifest, listed);
  if (verify) {
    await checkPresent(folder, listed);
    for (const file of listed.values()) await checkHash(folder, file, signal, onProgress);
  }
  return { manifest, files: new Folder(folder, listed) };
}

/** @implements {BundleFiles} */
class Folder {
  #folder;

  /** @param {string} folder @param {Map<string, ListedFile>} listed */
  constructor(folder, listed) {
    this.#folder = folder;
    this.listed = listed;
  }

  /** @param {string} name */
  location(name) {
    return path.join(this.#folder, checkListed(this.listed, name).path);
  }

  /** @param {string} name @returns {Promise<Uint8Array<ArrayBuffer>>} */
  async bytes(name) {
    const content = await readFile(this.location(name)).catch((error) => unreadable(name, error));
    return new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  }

  /** @param {string} name */
  async blob(name) {
    return new Blob([await this.bytes(name)]);
  }

  release() {}
}

/** @param {string | URL} bundle @returns {string} */
function folderOf(bundle) {
  if (bundle instanceof URL || (typeof bundle === "string" && bundle.startsWith("file:"))) {
    try {
      return fileURLToPath(bundle);
    } catch (error) {
      throw new BadInput(`the bundle ${bundle} is not a file URL`, { cause: error });
    }
  }
  if (typeof bundle !== "string" || !bundle || bundle.includes("\0"))
    throw new BadInput(`the bundle is ${show(bundle)}, expected the path of a folder`);
  return path.resolve(bundle);
}

/** @param {string} folder @returns {Promise<Uint8Array>} */
async function readManifest(folder) {
  const status = await lstat(folder + path.sep).catch(() => null);
  if (!status?.isDirectory())
    throw new BundleInvalid(
      folder.endsWith(".zip")
        ? `${path.basename(folder)} is a zip file: unpack it and open the folder, models load by path`
        : `${folder} is not a folder`,
    );
  const place = path.join(folder, MANIFEST);
  const found = await lstat(place).catch(() => null);
  if (found?.isSymbolicLink()) throw new BundleInvalid(`${MANIFEST} is a symbolic link`);
  if (!found?.isFile()) throw new BundleInvalid(`${folder} holds no ${MANIFEST}: not a bundle`);
  if (found.size > MAX_MANIFEST_BYTES)
    throw new BundleInvalid(`${MANIFEST} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  return readFile(place).catch((error) => unreadable(MANIFEST, error));
}

/** Every listed file is there in its size, and nothing else is.
 *
 * @param {string} folder @param {Map<string, ListedFile>} listed */
async function checkPresent(folder, listed) {
  /** @type {Map<string, number>} */
  const present = new Map();
  for await (const [name, sizeBytes] of walk(folder, "")) present.set(name, sizeBytes);
  for (const file of listed.values()) {
    const found = present.get(file.path);
    if (found === undefined) throw new BundleInvalid(`${file.path} is missing from the bundle`);
    if (found !== file.sizeBytes) throw otherSize(file, found);
  }
  for (const name of present.keys())
    if (!listed.has(name) && name !== MANIFEST)
      throw new BundleInvalid(`${name} is in the bundle's folder and not in its manifest: remove it`);
}

/** [path, size in bytes] of every file. Python's own compiled files may stand beside that runtime's sources.
 *
 * @param {string} folder @param {string} prefix
 * @returns {AsyncGenerator<[string, number]>} */
async function* walk(folder, prefix) {
  if (prefix.split("/").length - 1 > MAX_DEPTH)
    throw new BundleInvalid(`a folder of the bundle lies more than ${MAX_DEPTH} deep: ${prefix.slice(0, 80)}…`);
  const names = await readdir(path.join(folder, prefix)).catch((error) => unreadable(prefix || folder, error));
  for (const name of names.sort()) {
    const inside = prefix + name;
    const status = await lstat(path.join(folder, inside)).catch((error) => unreadable(inside, error));
    if (status.isSymbolicLink()) throw new BundleInvalid(`${inside} is a symbolic link`);
    if (status.isDirectory()) yield* walk(folder, inside + "/");
    else if (!status.isFile()) throw new BundleInvalid(`${inside} is not a regular file`);
    else if (!(prefix.endsWith("/__pycache__/") && name.endsWith(".pyc"))) yield [inside, status.size];
  }
}

/** @param {string} folder @param {ListedFile} file @param {AbortSignal} [signal]
 * @param {Opening["onProgress"]} [told] */
async function checkHash(folder, file, signal, told) {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, file.sizeBytes + 1));
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0);
  const handle = await open(path.join(folder, file.path), flags).catch((error) => unreadable(file.path, error));
  try {
    let loaded = 0;
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(piece).catch((error) => unreadable(file.path, error));
      if (!bytesRead) break;
      hash.update(piece.subarray(0, bytesRead));
      loaded += bytesRead;
      if (loaded > file.sizeBytes) throw otherSize(file, loaded);
      told?.({ file: file.path, loadedBytes: loaded, totalBytes: file.sizeBytes });
    }
  } finally {
    await handle.close();
  }
  const found = hash.digest("hex");
  if (found !== file.sha256) throw changed(file, found);
}

/** @param {string} name @param {NodeJS.ErrnoException} error @returns {never} */
function unreadable(name, error) {
  throw new BundleInvalid(`${name} cannot be read: ${error.code ?? error.message}`, { cause: error });
}
