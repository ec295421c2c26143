// A text, or two that are judged together, and the labels that the model gives it.
import { debounced, h } from "../dom.js";
import { bars } from "./bars.js";

export class LabelsView {
  title = "Which label fits?";
  #context;
  #text = h("textarea", { id: "text", rows: 3, oninput: () => this.#later() });
  #pair = h("textarea", { id: "pair", rows: 2, oninput: () => this.#later() });
  #fields = h("fieldset", { disabled: true });
  #result = h("div", { class: "result", "aria-live": "polite" });
  #later = debounced(() => this.#classify());
  #run = 0;

  constructor(context) {
    this.#context = context;
    this.#text.value = "What a wonderful surprise, thank you so much!";
    this.#fields.append(
      h("legend", { class: "hidden" }, "Text to classify"),
      h("label", { for: "text" }, "Text"),
      this.#text,
      h(
        "details",
        {},
        h("summary", {}, "A second text"),
        h("label", { for: "pair" }, "For models that judge two texts together"),
        this.#pair,
      ),
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Classify")),
    );
    const form = h("form", { onsubmit: (event) => (event.preventDefault(), this.#classify()) }, this.#fields);
    this.content = [form, this.#result];
  }

  ready() {
    this.#fields.disabled = false;
    return this.#classify();
  }

  async #classify() {
    const run = ++this.#run;
    if (!this.#text.value.trim()) {
      this.#result.replaceChildren(h("p", { class: "soft" }, "Write a text."));
      return;
    }
    const input = this.#pair.value.trim() ? [this.#text.value, this.#pair.value] : this.#text.value;
    const answer = await this.#context.guarded(() => this.#context.client.call("classify", { input }));
    if (!answer || run !== this.#run) return;
    this.#context.figures.took("latency", answer.ms);
    this.#result.replaceChildren(...bars(answer.value));
  }
}
