/** A bundle behind a URL. A folder cannot be listed there, so only the files of the manifest are fetched; each is
 * proven while it arrives, and what was proven is what is used: nothing is fetched twice. */
import { sha256 } from "@noble/hashes/sha2.js";
import { BadInput, BundleInvalid, LoadFailed, words } from "./errors.js";
import { MANIFEST, MAX_MANIFEST_BYTES, parseManifest, show } from "./manifest.js";
import { changed, checkListed, otherSize } from "./verdicts.js";

/** @typedef {import("./engines/contract.d.ts").BundleFiles} BundleFiles */
/** @typedef {import("./engines/contract.d.ts").ListedFile} ListedFile */
/** @typedef {import("./verdicts.js").OpenedBundle} OpenedBundle */
/** @typedef {import("./verdicts.js").Opening} Opening */
/** @typedef {Uint8Array<ArrayBuffer> | Blob} Content */
/** @typedef {{ verify: boolean, signal?: AbortSignal, onProgress?: Opening["onProgress"],
 *   stopped?: boolean }} Fetching */

const AT_ONCE = 4;
// Blobs are put together of pieces of this size, so that a browser can lay them aside while the rest arrives.
const PIECE_BYTES = 16 * 2 ** 20;

/** The manifest, and the files once each is proven; with `verify` false they are fetched as they are asked for.
 *
 * @param {string | URL} bundle @param {Opening} options @returns {Promise<OpenedBundle>} */
export async function openFiles(bundle, { verify = true, all = false, accept, signal, onProgress }) {
  const base = baseOf(bundle);
  const { manifest, listed } = parseManifest(await readManifest(base, signal));
  accept?.(manifest, listed);
  const files = new Fetched(base, listed, { verify, signal, onProgress });
  if (verify) {
    const wanted = [...listed.values()].filter((file) => all || !file.path.startsWith("runtime/"));
    // A session keeps what it may use; of a check alone nothing stays.
    await inTurn(wanted, (file) => files.fetch(file, !all)).catch((error) => {
      files.stop();
      throw error;
    });
  }
  return { manifest, files };
}

/** @implements {BundleFiles} */
class Fetched {
  #base;
  #fetching;
  /** @type {Map<string, Content>} */
  #held = new Map();

  /** @param {URL} base @param {Map<string, ListedFile>} listed @param {Fetching} fetching */
  constructor(base, listed, fetching) {
    this.#base = base;
    this.#fetching = fetching;
    this.listed = listed;
  }

  /** @param {string} path */
  location(path) {
    checkListed(this.listed, path);
    return null;
  }

  /** @param {string} path */
  async bytes(path) {
    const content = await this.#content(path);
    return content instanceof Blob ? new Uint8Array(await content.arrayBuffer()) : content;
  }

  /** @param {string} path */
  async blob(path) {
    const content = await this.#content(path);
    return content instanceof Blob ? content : new Blob([content]);
  }

  /** @param {string} path */
  release(path) {
    this.#held.delete(path);
  }

  /** One file was refused: what else is on its way is of no use. */
  stop() {
    this.#fetching.stopped = true;
  }

  /** @param {ListedFile} file @param {boolean} keep */
  async fetch(file, keep) {
    const content = await fetchFile(this.#base, file, this.#fetching);
    if (keep) this.#held.set(file.path, content);
    return content;
  }

  /** @param {string} path @returns {Promise<Content>} */
  async #content(path) {
    const file = checkListed(this.listed, path);
    return this.#held.get(path) ?? (await this.fetch(file, false));
  }
}

/** @param {URL} base @param {ListedFile} file @param {Fetching} fetching @returns {Promise<Content>} */
async function fetchFile(base, file, fetching) {
  const { verify, signal, onProgress } = fetching;
  const response = await request(base, file.path, signal);
  if (response.status === 404) throw new BundleInvalid(`${file.path} is missing from the bundle`);
  if (!response.ok) throw new BundleInvalid(`${file.path} cannot be read: HTTP status ${response.status}`);
  const told = Number(response.headers.get("content-length") ?? file.sizeBytes);
  if (told !== file.sizeBytes && !response.headers.has("content-encoding")) throw otherSize(file, told);
  const hash = verify ? sha256.create() : null;
  const store = file.path.endsWith(".gguf") ? new BlobStore() : new ByteStore(file);
  let loaded = 0;
  for await (const piece of pieces(response, file.path, signal)) {
    loaded += piece.length;
    if (fetching.stopped) throw new BundleInvalid(`${file.path} was not fetched to its end`);
    if (loaded > file.sizeBytes) throw otherSize(file, loaded);
    hash?.update(piece);
    store.add(piece);
    onProgress?.({ file: file.path, loadedBytes: loaded, totalBytes: file.sizeBytes });
  }
  if (loaded !== file.sizeBytes) throw otherSize(file, loaded);
  if (hash) {
    const found = Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== file.sha256) throw changed(file, found);
  }
  return store.content();
}

/** The file in one block of memory, made for it once. */
class ByteStore {
  #bytes;
  #at = 0;

  /** @param {ListedFile} file */
  constructor(file) {
    try {
      this.#bytes = new Uint8Array(file.sizeBytes);
    } catch (error) {
      throw new LoadFailed(`${file.path} has ${file.sizeBytes} bytes, more than this browser gives a page at once`, {
        cause: error,
      });
    }
  }

  /** @param {Uint8Array} piece */
  add(piece) {
    this.#bytes.set(piece, this.#at);
    this.#at += piece.length;
  }

  content() {
    return this.#bytes;
  }
}

/** The file in the browser's keeping, outside the page's memory where it is large. */
class BlobStore {
  /** @type {Blob[]} */
  #blobs = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  #pieces = [];
  #bytes = 0;

  /** @param {Uint8Array<ArrayBuffer>} piece */
  add(piece) {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes >= PIECE_BYTES) this.#lay();
  }

  content() {
    this.#lay();
    return new Blob(this.#blobs);
  }

  #lay() {
    this.#blobs.push(new Blob(this.#pieces));
    this.#pieces = [];
    this.#bytes = 0;
  }
}

/** @param {URL} base @param {AbortSignal} [signal] @returns {Promise<Uint8Array>} */
async function readManifest(base, signal) {
  const response = await request(base, MANIFEST, signal);
  if (!response.ok)
    throw new BundleInvalid(`${base} holds no ${MANIFEST} (HTTP status ${response.status}): not a bundle`);
  const found = [];
  let loaded = 0;
  for await (const piece of pieces(response, MANIFEST, signal)) {
    loaded += piece.length;
    if (loaded > MAX_MANIFEST_BYTES) throw new BundleInvalid(`${MANIFEST} is larger than ${MAX_MANIFEST_BYTES} bytes`);
    found.push(piece);
  }
  return new Uint8Array(await new Blob(found).arrayBuffer());
}

/** @param {URL} base @param {string} path @param {AbortSignal} [signal] */
async function request(base, path, signal) {
  const url = new URL(path.split("/").map(encodeURIComponent).join("/"), base);
  try {
    return await fetch(url, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw new BundleInvalid(`${path} cannot be fetched from ${base}: ${words(error)}`, { cause: error });
  }
}

/** @param {Response} response @param {string} path @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Uint8Array<ArrayBuffer>>} */
async function* pieces(response, path, signal) {
  const reader = response.body?.getReader();
  try {
    while (reader) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw new BundleInvalid(`${path} broke off: ${words(error)}`, { cause: error });
  } finally {
    reader?.cancel().catch(() => {});
  }
}

/** @param {ListedFile[]} files @param {(file: ListedFile) => Promise<unknown>} each */
async function inTurn(files, each) {
  const left = [...files];
  const worker = async () => {
    for (let file = left.shift(); file; file = left.shift()) await each(file);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker)).finally(() => left.splice(0));
}

/** @param {string | URL} bundle @returns {URL} ending in a slash, without query or fragment */
function baseOf(bundle) {
  try {
    const url = new URL(bundle, globalThis.document?.baseURI ?? globalThis.location?.href);
    url.search = url.hash = "";
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    return url;
  } catch (error) {
    throw new BadInput(`the bundle is ${show(bundle)}, expected the URL that it is served under`, { cause: error });
  }
}
