// Which engine runs the bundle: reloading the page with other settings is the surest way to change them.
import { byId, h } from "./dom.js";

/** Options for open(), from the page's address: ?threads=2&backend=webgpu. */
export function asked() {
  const query = new URLSearchParams(location.search);
  const threads = Number(query.get("threads"));
  return {
    ...(Number.isInteger(threads) && threads > 0 ? { threads } : {}),
    ...(["cpu", "webgpu"].includes(query.get("backend")) ? { backend: query.get("backend") } : {}),
  };
}

export function showEngine(manifest) {
  const { threads, backend } = asked();
  const option = (value, text) => h("option", { value, selected: value === (backend ?? "cpu") }, text);
  const webgpu = manifest.engine === "onnxruntime" && "gpu" in navigator;
  byId("engine").replaceChildren(
    h("h2", { id: "engine-title" }, "Engine"),
    h(
      "form",
      { class: "settings" },
      h(
        "label",
        {},
        "Runs on",
        h("select", { name: "backend" }, option("cpu", "CPU (wasm)"), webgpu ? option("webgpu", "GPU (WebGPU)") : null),
      ),
      h(
        "label",
        {},
        "Threads",
        h("input", {
          name: "threads", type: "number", min: 1, max: navigator.hardwareConcurrency || 1, value: threads,
          placeholder: "default",
        }),
      ),
      h("button", { type: "submit" }, "Load again"),
    ),
    ...(crossOriginIsolated
      ? []
      : [h("p", { class: "soft" }, "The page is not cross-origin isolated, so that wasm has one thread.")]),
  );
}
