// A graph of plain tensors: what goes in and comes out. What it means only its app knows.
import { h } from "../dom.js";

export class TensorsView {
  title = "What goes in and comes out";

  constructor({ manifest }) {
    this.content = [
      h("p", { class: "soft" }, "This bundle takes and gives plain tensors: the self-test below runs it on recorded ones."),
      signature("Inputs", manifest.inputs),
      signature("Outputs", manifest.outputs),
    ];
  }

  ready() {}
}

function signature(title, values) {
  return h(
    "div",
    {},
    h("h3", {}, title),
    h(
      "table",
      { class: "results" },
      h("caption", { class: "hidden" }, title),
      h("thead", {}, h("tr", {}, ["name", "type", "shape"].map((text) => h("th", { scope: "col" }, text)))),
      h(
        "tbody",
        {},
        values.map(({ name, dtype, shape }) =>
          h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, dtype), h("td", {}, `[${shape.join(", ")}]`)),
        ),
      ),
    ),
  );
}
