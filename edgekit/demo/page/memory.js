// How much memory the bundle takes here, and what that counts.

/** {value: bytes or null, what}. */
export async function measured(client) {
  const wasm = await client.call("memory");
  if (wasm) return { value: wasm, what: "reserved by wasm: weights, caches, scratch" };
  if (crossOriginIsolated && performance.measureUserAgentSpecificMemory) {
    const { bytes } = await performance.measureUserAgentSpecificMemory();
    return { value: bytes, what: "page and workers, as this browser counts" };
  }
  return { value: null, what: "by this browser" };
}
