// Sentences, and how similar the model finds each two of them.
import { announce, debounced, h } from "../dom.js";

const MOST = 8;
const EXAMPLES = [
  "A cat is asleep on the sofa.",
  "The kitten naps on the couch.",
  "Shares fell sharply this afternoon.",
  "The stock market had a bad day.",
  "Where is the nearest train station?",
];

export class EmbeddingView {
  title = "How similar are these sentences?";
  #context;
  #list = h("ol", { class: "sentences" });
  #add = h("button", { type: "button", onclick: () => this.#added() }, "Add a sentence");
  #fields = h("fieldset", { disabled: true });
  #result = h("div", { class: "result" });
  #closest = h("p", { class: "answer", "aria-live": "polite" });
  #later = debounced(() => this.#compare());
  #run = 0;

  constructor(context) {
    this.#context = context;
    EXAMPLES.forEach((text) => this.#list.append(this.#item(text)));
    this.#fields.append(
      h("legend", { class: "hidden" }, "Sentences to compare"),
      this.#list,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "main" }, "Compare"), this.#add),
    );
    const form = h("form", { onsubmit: (event) => (event.preventDefault(), this.#compare()) }, this.#fields);
    this.content = [form, this.#closest, this.#result];
    addEventListener("resize", () => this.#inputs.forEach(grown));
    this.#renumber();
  }

  ready() {
    this.#fields.disabled = false;
    return this.#compare();
  }

  get #inputs() {
    return [...this.#list.querySelectorAll("textarea")];
  }

  #item(text) {
    const input = h("textarea", {
      rows: 1, autocomplete: "off", oninput: () => (grown(input), this.#later()), onkeydown: (event) => this.#entered(event),
    });
    input.value = text;
    requestAnimationFrame(() => grown(input));
    const remove = h("button", { type: "button", class: "icon", onclick: () => this.#removed(item) }, "✕");
    const item = h("li", {}, input, remove);
    return item;
  }

  /** A sentence is one line, however many it takes on a narrow screen. */
  #entered(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    this.#compare();
  }

  #added() {
    const item = this.#item("");
    this.#list.append(item);
    this.#renumber();
    item.querySelector("textarea").focus();
  }

  #removed(item) {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    this.#renumber();
    next?.querySelector("textarea").focus();
    announce("Sentence removed");
    this.#compare();
  }

  #renumber() {
    this.#inputs.forEach((input, index) => {
      input.setAttribute("aria-label", `Sentence ${index + 1}`);
      const remove = input.nextElementSibling;
      remove.setAttribute("aria-label", `Remove sentence ${index + 1}`);
      remove.disabled = this.#inputs.length <= 2;
    });
    this.#add.disabled = this.#inputs.length >= MOST;
  }

  async #compare() {
    const run = ++this.#run;
    const texts = this.#inputs.map((input) => input.value).filter((text) => text.trim());
    if (texts.length < 2) {
      this.#closest.textContent = "Write two sentences or more.";
      this.#result.replaceChildren();
      return;
    }
    const answer = await this.#context.guarded(() => this.#context.client.call("embed", { texts }));
    if (!answer || run !== this.#run) return;
    this.#context.figures.took("latency", ...answer.ms);
    this.#show(texts, answer.value);
  }

  #show(texts, vectors) {
    const cosines = vectors.map((one) => vectors.map((other) => cosine(one, other)));
    const [first, second] = closest(cosines);
    this.#closest.replaceChildren(
      "Closest pair: ",
      h("strong", {}, `${first + 1} and ${second + 1}`),
      `, cosine ${cosines[first][second].toFixed(3)}`,
    );
    const numbers = texts.map((_, index) => h("th", { scope: "col" }, String(index + 1)));
    const rows = texts.map((text, row) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("span", { class: "number" }, String(row + 1)), " ", h("span", { class: "sentence" }, text)),
        cosines[row].map((value, column) => cell(value, row, column, [first, second])),
      ),
    );
    this.#result.replaceChildren(
      h(
        "table",
        { class: texts.length > 6 ? "heat many" : "heat" },
        h("caption", { class: "soft" }, "Cosine similarity: the fuller the colour, the more alike"),
        h("thead", {}, h("tr", {}, h("td", {}), numbers)),
        h("tbody", {}, rows),
      ),
    );
  }
}

/** As high as its text is. */
function grown(input) {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight + input.offsetHeight - input.clientHeight}px`;
}

function cell(value, row, column, [first, second]) {
  const best = (row === first && column === second) || (row === second && column === first);
  const made = h("td", { class: best ? "best" : row === column ? "same" : null }, shown(value));
  made.style.setProperty("--share", String(Math.max(0, Math.min(1, value))));
  return made;
}

/** Two digits, with a minus that is as wide as a digit; none before nought. */
const shown = (value) => value.toFixed(2).replace("-0.00", "0.00").replace("-", "−");

function cosine(one, other) {
  let [product, left, right] = [0, 0, 0];
  for (let index = 0; index < one.length; index++) {
    product += one[index] * other[index];
    left += one[index] ** 2;
    right += other[index] ** 2;
  }
  return product / Math.sqrt(left * right) || 0;
}

function closest(cosines) {
  let best = [0, 1];
  for (let row = 0; row < cosines.length; row++)
    for (let column = row + 1; column < cosines.length; column++)
      if (cosines[row][column] > cosines[best[0]][best[1]]) best = [row, column];
  return best;
}
