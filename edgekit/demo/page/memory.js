// How much memory the page takes, by whichever way this browser tells it.

/** {value: bytes or null, what: what that counts}. The browser may take some seconds to answer. */
export async function measured(client) {
  const wasm = await client.call("memory");
  if (typeof performance.measureUserAgentSpecificMemory === "function" && crossOriginIsolated) {
    try {
      const { bytes } = await performance.measureUserAgentSpecificMemory();
      return { value: bytes, what: "page, workers and wasm together, now, as the browser counts" };
    } catch {
      // Some browsers have the name and not the answer: what wasm took is known anyway.
    }
  }
  return wasm ? { value: wasm, what: "wasm alone: this browser tells no more" } : { value: null, what: "by this browser" };
}
