// Which engine runs the bundle: reloading the page with other settings is the surest way to change them.
import { Failure } from "./client.js";
import { byId, h } from "./dom.js";

const BACKENDS = ["cpu", "webgpu"];

/** How many threads there are to be had: wasm has one where the page is not isolated. */
const mostThreads = () => (crossOriginIsolated ? navigator.hardwareConcurrency || 1 : 1);

/** Options for open(), from the page's address: ?threads=2&backend=webgpu. More threads than there are become those;
 * what is no number, or no backend, is a Failure. */
export function asked() {
  const query = new URLSearchParams(location.search);
  const [threads, backend] = [query.get("threads"), query.get("backend")];
  if (threads && !/^[1-9]\d{0,8}$/u.test(threads))
    throw new Failure({ name: "BadInput", message: `threads is ${threads}, expected 1 to ${mostThreads()}` });
  if (backend && !BACKENDS.includes(backend))
    throw new Failure({ name: "BadInput", message: `backend is ${backend}, expected one of ${BACKENDS.join(", ")}` });
  return {
    ...(threads ? { threads: Math.min(Number(threads), mostThreads()) } : {}),
    ...(backend ? { backend } : {}),
  };
}

/** What was asked for, as far as it can be had. */
function shown() {
  try {
    return asked();
  } catch {
    return {};
  }
}

/** A browser may know WebGPU and yet have no GPU that it would use. */
async function hasAdapter() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

export function showEngine(manifest) {
  const { threads, backend } = shown();
  const option = (value, text) => h("option", { value, selected: value === (backend ?? "cpu") }, text);
  const backends = h("select", { name: "backend" }, option("cpu", "CPU (wasm)"));
  if (manifest.engine === "onnxruntime")
    hasAdapter().then((has) => has && backends.append(option("webgpu", "GPU (WebGPU)")));
  byId("engine").replaceChildren(
    h("h2", { id: "engine-title" }, "Engine"),
    h(
      "form",
      { class: "settings" },
      h(
        "label",
        {},
        "Runs on",
        backends,
      ),
      h(
        "label",
        {},
        "Threads",
        h("input", {
          name: "threads", type: "number", min: 1, max: mostThreads(), value: threads,
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
