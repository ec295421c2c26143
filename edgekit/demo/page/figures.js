// What was measured when the bundle was packed, beside what is measured in this page.
import { byId, h } from "./dom.js";
import { bytes, median, milliseconds, speed } from "./units.js";

const RECENT = 20;
const SHOWN = {
  load: { title: "Load time", row: "load time", show: milliseconds },
  latency: { title: "Latency", row: "latency p50", show: milliseconds },
  first: { title: "Time to first token", row: "time to first token", show: milliseconds },
  decode: { title: "Tokens after the first", row: "decode speed", show: speed },
  memory: { title: "Memory", row: "peak RSS", show: bytes },
};
const PER_TASK = {
  "causal-lm": ["load", "first", "decode", "memory"],
  tensors: ["load", "memory"],
};

export class Figures {
  #cells = {};
  #recent = { latency: [], first: [], decode: [] };

  constructor(manifest, report) {
    const rows = (PER_TASK[manifest.task] ?? ["load", "latency", "memory"]).map((name) => this.#row(name, report));
    this.#cells.engine = h("td", {}, "–");
    byId("figures").replaceChildren(
      h("h2", { id: "figures-title" }, "Here and when packed"),
      h(
        "table",
        { class: "figures" },
        h("caption", { class: "hidden" }, "Figures measured in this page and when the bundle was packed"),
        h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "in this page"), h("th", { scope: "col" }, "when packed"))),
        h("tbody", {}, rows, h("tr", {}, h("th", { scope: "row" }, "Ran by"), this.#cells.engine, h("td", {}, packedBy(report)))),
      ),
      ...origin(report, manifest),
    );
  }

  #row(name, report) {
    const { title, row, show } = SHOWN[name];
    const found = report?.rows.find((each) => each.name === row);
    this.#cells[name] = h("td", {}, "–");
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, title),
      this.#cells[name],
      h("td", {}, typeof found?.measured !== "number" ? "not measured" : [show(found.measured), small(PACKED_NOTE[name])]),
    );
  }

  /** `parts` of loading, in milliseconds. */
  loaded({ totalMs, parts }) {
    const told = Object.entries(parts).map(([name, ms]) => h("li", {}, `${name} ${milliseconds(ms)}`));
    this.#put("load", milliseconds(totalMs), h("ul", { class: "parts" }, told));
  }

  engine({ engine, backend, threads, notes }) {
    const [library, ...build] = engine.split(" ");
    const name = library.split("/").at(-1); // without npm's scope
    this.#cells.engine.replaceChildren(
      `${name}, ${backend}, ${threads} ${threads === 1 ? "thread" : "threads"}`,
      ...(build.length ? [h("small", {}, build.join(" "))] : []),
      ...(notes ?? []).map((note) => h("small", {}, note)),
    );
  }

  /** Of one call each: what is shown is the median of the latest. */
  took(name, ...ms) {
    const kept = (this.#recent[name] = [...this.#recent[name], ...ms].slice(-RECENT));
    const count = kept.length === 1 ? "one call" : `median of the last ${kept.length}`;
    this.#put(name, SHOWN[name].show(median(kept)), h("small", {}, count));
  }

  memory({ value, what }) {
    this.#put("memory", value == null ? "not told" : bytes(value), h("small", {}, what));
  }

  #put(name, ...content) {
    this.#cells[name]?.replaceChildren(...content);
  }
}

const PACKED_NOTE = { load: "without hashing the files", latency: "median", decode: "by native code; wasm lacks its int8 instructions", memory: "of the whole process, at its peak" };

const small = (text) => (text ? h("small", {}, text) : null);

function packedBy(report) {
  return report ? `${report.host.cpu}, ${report.host.threads} ${report.host.threads === 1 ? "thread" : "threads"}` : "not told";
}

function origin(report, manifest) {
  if (!report) return [h("p", { class: "soft" }, "The bundle holds no report that can be read: nothing is known of how it was measured.")];
  const where = report.device_is_host
    ? `Packed figures were measured on ${manifest.device.title} itself.`
    : `Packed figures were measured on ${report.host.cpu}, not on ${manifest.device.title}.`;
  const page = manifest.files.some((file) => file.path === "report.html")
    ? [" ", h("a", { href: "bundle/report.html", target: "_blank", rel: "noopener" }, "The whole report")]
    : [];
  return [h("p", { class: "soft" }, where, ...page)];
}
