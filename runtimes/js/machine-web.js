/** What this browser says of itself. Its architecture is WebAssembly's: the CPU below is not told. */

export const arch = "wasm32";

// Each module holds one function that uses the feature, and is valid only where it is known.
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

/** Those that can be found out: simd, relaxed_simd, threads.
 *
 * @returns {Set<string>} */
export function isaFeatures() {
  const found = new Set(threadsWork() ? ["threads"] : []);
  if (WebAssembly.validate(new Uint8Array(SIMD))) found.add("simd");
  if (WebAssembly.validate(new Uint8Array(RELAXED_SIMD))) found.add("relaxed_simd");
  return found;
}

/** Memory can be shared with workers only in a page that is cross-origin isolated. */
export function threadsWork() {
  return globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";
}

/** Browsers count logical cores, two a core as a rule; 1 where no thread can be started. */
export function usableCores() {
  return threadsWork() ? Math.max(1, Math.ceil((navigator.hardwareConcurrency || 2) / 2)) : 1;
}
