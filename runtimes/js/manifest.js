/** The manifest, edgekit.json: its shape checked as far as the runtime relies on it. */
import { BundleInvalid } from "./errors.js";
import { parseJson } from "./json.js";

/** @typedef {import("./engines/contract.d.ts").Manifest} Manifest */
/** @typedef {import("./engines/contract.d.ts").ListedFile} ListedFile */

export const MANIFEST = "edgekit.json";
export const GOLDEN = "golden.json";
export const MAX_MANIFEST_BYTES = 8 * 2 ** 20;
export const MAX_GOLDEN_BYTES = 64 * 2 ** 20;
const SCHEMA_VERSION = 1;
const MAX_FILES = 10_000;
const MAX_PATH = 512;
const ENGINES = ["onnxruntime", "llama.cpp"];
const TASKS = [
  "embedding",
  "text-classification",
  "token-classification",
  "causal-lm",
  "image-classification",
  "tensors",
];

/** @param {Uint8Array} raw @returns {{ manifest: Manifest, listed: Map<string, ListedFile> }} */
export function parseManifest(raw) {
  if (raw.length > MAX_MANIFEST_BYTES)
    throw new BundleInvalid(`${MANIFEST} is larger than ${MAX_MANIFEST_BYTES} bytes`);
  const manifest = parseJson(raw, MANIFEST);
  if (!isObject(manifest)) throw new BundleInvalid(`${MANIFEST} is not a JSON object`);
  checkVersion(manifest.schema_version);
  checkShape(manifest);
  const listed = listedFiles(manifest.files);
  if (!listed.has(/** @type {string} */ (manifest.model_file)))
    throw new BundleInvalid(`${MANIFEST}: model_file ${show(manifest.model_file)} is not among the listed files`);
  return { manifest: /** @type {Manifest} */ (manifest), listed };
}

/** @param {unknown} version */
function checkVersion(version) {
  if (typeof version !== "number" || !Number.isInteger(version) || version < 1)
    throw new BundleInvalid(`${MANIFEST}: schema_version is ${show(version)}, expected ${SCHEMA_VERSION}`);
  if (version > SCHEMA_VERSION)
    throw new BundleInvalid(
      `${MANIFEST} has schema_version ${version}, this runtime reads ${SCHEMA_VERSION}: update edgekit-runtime`,
    );
}

/** @param {Record<string, unknown>} manifest */
function checkShape(manifest) {
  for (const key of ["name", "task", "engine", "model_file"])
    if (typeof manifest[key] !== "string") throw new BundleInvalid(`${MANIFEST}: ${key} is missing or not a string`);
  checkAmong("task", manifest.task, TASKS);
  checkAmong("engine", manifest.engine, ENGINES);
  for (const key of ["text", "image", "embedding", "generation", "memory", "min_isa", "device"])
    if (!(manifest[key] === undefined || manifest[key] === null || isObject(manifest[key])))
      throw new BundleInvalid(`${MANIFEST}: ${key} is neither an object nor null`);
  if (!areStrings(manifest.labels ?? [])) throw new BundleInvalid(`${MANIFEST}: labels is not a list of strings`);
  if (!Object.values(manifest.min_isa ?? {}).every(areStrings))
    throw new BundleInvalid(`${MANIFEST}: min_isa does not hold lists of feature names`);
  const { eos_token_ids: ends } = /** @type {Record<string, unknown>} */ (manifest.generation ?? {});
  if (!(ends === undefined || ends === null || (Array.isArray(ends) && ends.every(Number.isInteger))))
    throw new BundleInvalid(`${MANIFEST}: generation.eos_token_ids is no list of token ids`);
}

/** @param {string} key @param {unknown} value @param {string[]} known */
function checkAmong(key, value, known) {
  if (!known.includes(/** @type {string} */ (value)))
    throw new BundleInvalid(`${MANIFEST}: the ${key} ${show(value)} is not one of ${known.join(", ")}`);
}

/** @param {unknown} entries @returns {Map<string, ListedFile>} */
function listedFiles(entries) {
  if (!Array.isArray(entries) || entries.length < 1 || entries.length > MAX_FILES)
    throw new BundleInvalid(`${MANIFEST}: files is not a list of 1 to ${MAX_FILES} entries`);
  const [files, seen] = [new Map(), new Set()];
  for (const entry of entries) {
    const file = listedFile(entry);
    const folded = file.path.toUpperCase().toLowerCase(); // as near to case folding as this language comes
    if (seen.has(folded)) throw new BundleInvalid(`${MANIFEST} lists ${show(file.path)} twice`);
    seen.add(folded);
    files.set(file.path, file);
  }
  return files;
}

/** @param {unknown} entry @returns {ListedFile} */
function listedFile(entry) {
  if (!isObject(entry)) throw new BundleInvalid(`${MANIFEST}: an entry of files is not an object`);
  const { path, size_bytes: sizeBytes, sha256 } = entry;
  if (typeof path !== "string") throw new BundleInvalid(`${MANIFEST}: an entry of files has no path`);
  const wrong = wrongPath(path);
  if (wrong) throw new BundleInvalid(`${MANIFEST}: the path ${show(path)} ${wrong}`);
  if (typeof sizeBytes !== "number" || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    throw new BundleInvalid(`${MANIFEST}: size_bytes of ${show(path)} is ${show(sizeBytes)}`);
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/u.test(sha256))
    throw new BundleInvalid(`${MANIFEST}: sha256 of ${show(path)} is not 64 lower-case hexadecimal digits`);
  return { path, sizeBytes, sha256 };
}

/** Why `path` is not a plain relative path with forward slashes that stays inside its folder; null where it is.
 *
 * @param {string} path @returns {string | null} */
function wrongPath(path) {
  const parts = path.split("/");
  if (!path || [...path].length > MAX_PATH) return `is empty or longer than ${MAX_PATH} characters`;
  if (path.startsWith("/")) return "is absolute";
  if (parts.includes("..")) return "climbs out of the bundle";
  if (parts.includes("") || parts.includes(".")) return "has an empty or '.' part";
  if (/[\\:]/u.test(path)) return "has a backslash or a colon (a drive or stream on Windows)";
  if (/[\p{C}\p{Z}]/u.test(path.replaceAll(" ", ""))) return "has a control character";
  return path === MANIFEST ? "cannot list itself" : null;
}

/** manifest[section][key], or BundleInvalid saying what is missing.
 *
 * @template {"string" | "number" | "boolean"} K
 * @param {Manifest} manifest @param {"text" | "image" | "embedding" | "generation"} section @param {string} key
 * @param {K} kind
 * @returns {K extends "string" ? string : K extends "number" ? number : boolean} */
export function setting(manifest, section, key, kind) {
  const value = manifest[section]?.[key];
  if (typeof value !== kind || (kind === "number" && !Number.isFinite(value)))
    throw new BundleInvalid(`${MANIFEST}: ${section}.${key} is ${show(value)}, which this task cannot use`);
  return /** @type {any} */ (value);
}

/** A value in a message: what strangers wrote is kept short and visible.
 *
 * @param {unknown} value */
export function show(value) {
  const text = JSON.stringify(value) ?? String(value);
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?").slice(0, 100);
}

/** What a value is, in a message: "number", "null", "Uint8Array".
 *
 * @param {unknown} value */
export function kind(value) {
  if (typeof value !== "object" || value === null) return value === null ? "null" : typeof value;
  return String(value.constructor?.name ?? "object");
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value @returns {value is string[]} */
function areStrings(value) {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}
