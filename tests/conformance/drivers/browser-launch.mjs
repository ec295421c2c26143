// Chromium as Debian has it, headless, with nothing of its own to say to the network.
import { accessSync, constants } from "node:fs";
import path from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** @returns {string} */
function found() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const folder of (process.env.PATH ?? "").split(path.delimiter)) {
    for (const name of NAMES) {
      const file = path.join(folder, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {
        continue;
      }
    }
  }
  throw new Error("no Chromium on PATH: install it (Debian: apt-get install chromium), or name it in CHROMIUM");
}

/** `webgpu`: with an adapter that computes on the CPU where there is no GPU. */
export async function launch(chromium, webgpu) {
  return chromium.launch({
    executablePath: found(),
    args: [
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
      "--disable-dev-shm-usage", // containers have a small one
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
      ...(webgpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : []),
    ],
    ...(webgpu ? { ignoreDefaultArgs: ["--disable-gpu"] } : {}),
  });
}
