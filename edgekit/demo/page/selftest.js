// The goldens that were recorded when the bundle was packed, replayed in this page.
import { announce, byId, h } from "./dom.js";
import { milliseconds, plain } from "./units.js";

export class SelfTest {
  #button = h("button", { type: "button", disabled: true, onclick: () => this.#run() }, "Run the self-test");
  #result = h("div", { "aria-live": "polite" });
  #client;

  constructor(client, manifest) {
    this.#client = client;
    const has = manifest.files.some((file) => file.path === "golden.json");
    byId("self-test").replaceChildren(
      h("h2", { id: "self-test-title" }, "Self-test"),
      h(
        "p",
        { class: "soft" },
        has
          ? "Inputs whose answers were recorded when the bundle was packed: are they the same here?"
          : "This bundle holds no goldens, so there is nothing to replay.",
      ),
      ...(has ? [this.#button, this.#result] : []),
    );
  }

  ready(is) {
    this.#button.disabled = !is;
  }

  async #run() {
    this.#button.disabled = true;
    this.#result.replaceChildren(h("p", { class: "soft" }, "Running …"));
    try {
      const { value, ms } = await this.#client.call("selfTest");
      this.#show(value, ms);
    } catch (error) {
      this.#result.replaceChildren(h("p", { class: "alert" }, error.line ?? String(error)));
    }
    this.#button.disabled = false;
  }

  #show(results, ms) {
    const passed = results.filter((each) => each.passed).length;
    const all = passed === results.length;
    const told = `${all ? "✓" : "✗"} ${passed} of ${results.length} as recorded, in ${milliseconds(ms)}`;
    const ids = results.filter((each) => each.name.endsWith(" tokens")).length;
    const parts = ids ? [h("p", { class: "soft" }, `${results.length - ids} outputs, and the token ids of ${ids} texts`)] : [];
    this.#result.replaceChildren(
      h("p", { class: `verdict ${all ? "good" : "bad"}` }, told),
      ...parts,
      h("details", { open: !all }, h("summary", {}, "Every golden"), table(results)),
    );
    announce(told);
  }
}

function table(results) {
  const heads = ["golden", "result", "difference", "allowed"].map((text) => h("th", { scope: "col" }, text));
  return h(
    "table",
    { class: "results" },
    h("caption", { class: "hidden" }, "Goldens replayed"),
    h("thead", {}, h("tr", {}, heads)),
    h("tbody", {}, results.map(row)),
  );
}

function row({ name, passed, difference, tolerance }) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", { class: passed ? "good" : "bad" }, passed ? "✓ same" : "✗ differs"),
    h("td", {}, difference == null ? "does not compare" : plain(difference)),
    h("td", {}, plain(tolerance)),
  );
}
