// A text with the labels that the model gives its words, in their place.
import { debounced, h } from "../dom.js";
import { percent } from "./bars.js";

const COLOURS = 7;

export class TokensView {
  title = "What is in this text?";
  #context;
  #text = h("textarea", { id: "text", rows: 3, oninput: () => this.#later() });
  #fields = h("fieldset", { disabled: true });
  #result = h("div", { class: "result", "aria-live": "polite" });
  #later = debounced(() => this.#classify());
  #run = 0;

  constructor(context) {
    this.#context = context;
    this.#text.value = "Ada Lovelace met Charles Babbage in London in June 1833.";
    this.#fields.append(
      h("legend", { class: "hidden" }, "Text to label"),
      h("label", { for: "text" }, "Text"),
      this.#text,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Label the words")),
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
    const text = this.#text.value;
    if (!text.trim()) {
      this.#result.replaceChildren(h("p", { class: "soft" }, "Write a text."));
      return;
    }
    const answer = await this.#context.guarded(() => this.#context.client.call("classify", { input: text }));
    if (!answer || run !== this.#run) return;
    this.#context.figures.took("latency", answer.ms);
    this.#show(text, answer.value);
  }

  #show(text, tokens) {
    const names = [...new Set(this.#context.manifest.labels.map(plainName))];
    const spans = merged(text, tokens);
    const parts = [];
    let end = 0;
    for (const span of spans) {
      parts.push(text.slice(end, span.start));
      const colour = `g${Math.max(0, names.indexOf(span.name)) % COLOURS}`;
      parts.push(
        h(
          "mark",
          { class: colour, title: percent(span.score) },
          text.slice(span.start, span.end),
          h("span", { class: "tag" }, span.name),
        ),
      );
      end = span.end;
    }
    parts.push(text.slice(end));
    this.#result.replaceChildren(
      h("p", { class: "tagged" }, parts),
      ...(spans.length ? [] : [h("p", { class: "soft" }, "Nothing was found in this text.")]),
      h("details", {}, h("summary", {}, "Every token"), table(tokens)),
    );
  }
}

const plainName = (label) => label.replace(/^[BI]-/u, "");

/** Runs of neighbouring tokens of one label, without those of "O"; a run's score is its least sure token's. */
function merged(text, tokens) {
  const spans = [];
  for (const { start, end, label, score } of tokens) {
    const name = plainName(label);
    const last = spans.at(-1);
    const continues = last && last.name === name && !label.startsWith("B-") && !text.slice(last.end, start).trim();
    if (name === "O") continue;
    if (continues) Object.assign(last, { end, score: Math.min(last.score, score) });
    else spans.push({ start, end, name, score });
  }
  return spans;
}

function table(tokens) {
  return h(
    "table",
    { class: "results" },
    h("thead", {}, h("tr", {}, ["token", "label", "score"].map((text) => h("th", { scope: "col" }, text)))),
    h(
      "tbody",
      {},
      tokens.map(({ word, label, score }) =>
        h("tr", {}, h("th", { scope: "row" }, word), h("td", {}, label), h("td", {}, percent(score))),
      ),
    ),
  );
}
