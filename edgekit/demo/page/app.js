// The page: what the bundle is, the view for its task, and what is measured.
import { Client, Failure } from "./client.js";
import { alertWith, announce, byId, h } from "./dom.js";
import { asked, showEngine } from "./engine.js";
import { Figures } from "./figures.js";
import { showHeader } from "./header.js";
import { Loading } from "./loading.js";
import { measured } from "./memory.js";
import { SelfTest } from "./selftest.js";
import { EmbeddingView } from "./tasks/embedding.js";
import { ImageView } from "./tasks/image.js";
import { LabelsView } from "./tasks/labels.js";
import { LanguageView } from "./tasks/language.js";
import { TensorsView } from "./tasks/tensors.js";
import { TokensView } from "./tasks/tokens.js";

const VIEWS = {
  embedding: EmbeddingView,
  "text-classification": LabelsView,
  "token-classification": TokensView,
  "image-classification": ImageView,
  "causal-lm": LanguageView,
  tensors: TensorsView,
};

async function json(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Failure({ name: "BundleInvalid", message: `${path} is not there (${answer.status})` });
  return answer.json();
}

/** The bundle's report, null where there is none, or none that can be read: the page is of use without it. */
async function reported(manifest) {
  if (!manifest.files.some((file) => file.path === "report.json")) return null;
  const report = await json("bundle/report.json").catch(() => null);
  return Array.isArray(report?.rows) && report.rows.every((row) => row) && report.host ? report : null;
}

async function start() {
  const manifest = await json("bundle/edgekit.json");
  const report = await reported(manifest);
  showHeader(manifest, report);
  showEngine(manifest);
  const client = new Client();
  const figures = new Figures(manifest, report);
  const selfTest = new SelfTest(client, manifest);
  const remember = async () => figures.memory(await measured(client));
  const busy = (is) => selfTest.ready(!is);
  const view = new VIEWS[manifest.task]({ manifest, client, figures, guarded, busy, remember });
  byId("task").replaceChildren(h("h2", { id: "task-title" }, view.title), ...view.content);

  const options = asked();
  const loading = new Loading(manifest);
  try {
    const bundle = new URL("bundle/", location.href).href;
    const request = { bundle, engine: manifest.engine, options };
    const opened = await client.call("open", request, (told) => loading.heard(told));
    figures.loaded({
      totalMs: opened.totalMs,
      parts: { "fetch and verify": opened.fetchMs, "start the engine": opened.engineMs },
    });
    figures.engine(opened.info.runtime);
  } finally {
    loading.done();
  }
  selfTest.ready(true);
  announce("Ready");
  await view.ready();
  await remember();
  document.documentElement.dataset.state = "ready";
}

/** What `run` gives; if it fails the page says so in one line, and undefined is given. */
async function guarded(run) {
  try {
    const value = await run();
    alertWith("");
    return value;
  } catch (error) {
    failed(error);
    return undefined;
  }
}

function failed(error, action) {
  alertWith(error instanceof Failure ? error.line : `Unexpected ${error?.name}: ${error?.message}`, action);
}

start().catch((error) => {
  document.documentElement.dataset.state = "failed";
  if (byId("header").querySelector("h1").textContent === "Loading")
    byId("header").querySelector("h1").textContent = "This bundle cannot be shown";
  failed(error, h("button", { type: "button", onclick: () => location.reload() }, "Try again"));
});
