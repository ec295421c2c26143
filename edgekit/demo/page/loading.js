// How far loading is: a bar over all files, and the file that is being fetched.
import { byId, h } from "./dom.js";
import { bytes } from "./units.js";

export class Loading {
  #bar = h("progress", { max: 1, value: 0, "aria-label": "Loading the bundle" });
  #told = h("span", {}, "Loading the runtime …");
  #files = new Map();
  #total;

  constructor(manifest) {
    const used = manifest.files.filter((file) => !file.path.startsWith("runtime/"));
    this.#total = used.reduce((sum, file) => sum + file.size_bytes, 0);
    byId("loading").replaceChildren(this.#bar, this.#told);
    byId("loading").hidden = false;
  }

  heard({ progress: { file, loadedBytes } }) {
    this.#files.set(file, loadedBytes);
    const loaded = [...this.#files.values()].reduce((sum, each) => sum + each, 0);
    this.#bar.value = loaded / this.#total;
    const whole = loaded >= this.#total;
    this.#told.textContent = whole ? "Starting the engine …" : `${file}: ${bytes(loaded)} of ${bytes(this.#total)}`;
  }

  done() {
    byId("loading").hidden = true;
  }
}
