// What the bundle is, and whether it held its limits.
import { byId, h } from "./dom.js";
import { bytes } from "./units.js";

const TASKS = {
  embedding: "sentence similarity",
  "text-classification": "text classification",
  "token-classification": "token classification",
  "image-classification": "image classification",
  "causal-lm": "text generation",
  tensors: "plain tensors",
};

export function showHeader(manifest, report) {
  document.title = `${manifest.name}: edgekit demo`;
  const size = manifest.files.find((file) => file.path === manifest.model_file).size_bytes;
  const badges = [
    h("li", { class: "badge" }, manifest.kind === "chat" ? "chat" : (TASKS[manifest.task] ?? manifest.task)),
    h("li", { class: "badge" }, manifest.strategy),
    h("li", { class: "badge" }, `model file ${bytes(size)}`),
    h("li", { class: "badge" }, `packed for ${manifest.device.title}`),
    manifest.status === "passed"
      ? h("li", { class: "badge good" }, "✓ held every limit when packed")
      : h("li", { class: "badge bad" }, "✗ missed its limits when packed"),
  ];
  byId("header").replaceChildren(
    h("p", { class: "eyebrow" }, "edgekit demo"),
    h("h1", {}, manifest.name),
    h("ul", { class: "badges", "aria-label": "About the bundle" }, badges),
    ...(manifest.status === "passed" ? [] : [failed(report)]),
  );
}

/** Said plainly: a bundle that was written with --force is not a proven one. */
function failed(report) {
  const missed = (report?.rows ?? []).filter((row) => row.passed === false).map((row) => row.name);
  const what = missed.length ? `It missed: ${missed.join(", ")}.` : "Its report does not say which.";
  return h(
    "p",
    { class: "notice bad" },
    h("strong", {}, "This bundle did not pass. "),
    `It was written with --force although a limit was missed: do not ship it. ${what}`,
  );
}
