/** What wllama cannot run, told by the manifest alone: before a byte of the model is fetched. */
import { LoadFailed } from "../errors.js";

// The engine counts offsets in a file in signed 32-bit numbers.
const MAX_FILE_BYTES = 2 ** 31 - 1;
const MIB = 2 ** 20;

/** @param {import("./contract.d.ts").Manifest} manifest
 * @param {ReadonlyMap<string, import("./contract.d.ts").ListedFile>} listed
 * @param {import("../index.d.ts").OpenOptions["backend"]} backend */
export function refuse(manifest, listed, backend) {
  const sizeBytes = listed.get(manifest.model_file)?.sizeBytes ?? 0;
  if (backend === "webgpu")
    throw new LoadFailed("GGUF bundles run on the CPU in browsers, not on WebGPU: open this one with backend auto");
  if (sizeBytes > MAX_FILE_BYTES)
    throw new LoadFailed(
      `${manifest.model_file} has ${Math.ceil(sizeBytes / MIB)} MiB, and WebAssembly takes a file of less than` +
        ` ${(MAX_FILE_BYTES + 1) / MIB}: pack to a smaller type, or run the bundle outside of the browser`,
    );
  if (manifest.task === "embedding" && manifest.embedding?.normalize === false)
    throw new LoadFailed("wllama scales embeddings to length 1 and this bundle's are not: run it outside of the browser");
}
