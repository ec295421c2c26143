// A conversation with a chat model, or a text that a base model continues, as it comes.
import { alertWith, announce, h } from "../dom.js";
import { milliseconds, speed } from "../units.js";

export class LanguageView {
  #context;
  #chat;
  #messages = [];
  #log = h("div", { class: "log", role: "log", "aria-label": "Conversation", tabindex: 0 });
  #text = h("textarea", { id: "text", rows: 2, onkeydown: (event) => this.#entered(event) });
  #most;
  #form;
  #heat = h("input", { id: "heat", type: "number", min: 0, max: 2, step: 0.1, value: 0 });
  #fields = h("fieldset", { disabled: true });
  #send = h("button", { type: "submit", class: "main" });
  #stop = h("button", { type: "button", disabled: true, onclick: () => this.#context.client.cancel() }, "Stop");
  #anew = h("button", { type: "button", onclick: () => this.#cleared() });
  #running = false;

  constructor(context) {
    this.#context = context;
    this.#chat = context.manifest.kind === "chat";
    const most = context.manifest.generation.context_tokens - 1;
    this.#most = h("input", { id: "most", type: "number", min: 1, max: most, value: Math.min(128, most) });
    this.title = this.#chat ? "Talk to it" : "It continues your text";
    this.#send.textContent = this.#chat ? "Send" : "Continue";
    this.#anew.textContent = this.#chat ? "New conversation" : "Clear";
    this.#text.value = this.#chat ? "Hello! What can you do?" : "Once upon a time";
    this.#fields.append(
      h("legend", { class: "hidden" }, this.#chat ? "Your message" : "Your text"),
      h("label", { for: "text" }, this.#chat ? "Your message" : "Text to continue"),
      this.#text,
      h(
        "div",
        { class: "settings" },
        h("label", { for: "most" }, "At most, tokens", this.#most),
        h("label", { for: "heat" }, "Temperature (0: always the likeliest)", this.#heat),
      ),
    );
    this.#form = h(
      "form",
      { onsubmit: (event) => (event.preventDefault(), this.#sent()) },
      this.#fields,
      h("div", { class: "buttons" }, this.#send, this.#stop, this.#anew),
    );
    this.#send.disabled = true;
    this.content = [this.#log, this.#form];
    document.addEventListener("keydown", (event) => this.#stopped(event));
  }

  ready() {
    this.#fields.disabled = this.#send.disabled = false;
  }

  /** Enter sends, with Shift it is a line. */
  #entered(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }

  /** Escape stops the answer, wherever the focus is. */
  #stopped(event) {
    if (event.key === "Escape" && this.#running) this.#context.client.cancel();
  }

  #cleared() {
    if (this.#running) this.#context.client.cancel();
    this.#messages = [];
    this.#log.replaceChildren();
    alertWith("");
    this.#text.focus();
  }

  #turn(role, text) {
    const who = { user: this.#chat ? "You" : "Your text", assistant: "Model" }[role];
    const body = h("p", {}, text);
    const turn = h("article", { class: `turn ${role}` }, h("h3", {}, who), body);
    this.#log.append(turn);
    this.#log.scrollTop = this.#log.scrollHeight;
    return { turn, body };
  }

  async #sent() {
    const content = this.#text.value;
    if (this.#running || this.#send.disabled || !content.trim()) return;
    alertWith(""); // of the question before
    this.#began(true);
    this.#turn("user", content);
    const conversation = [...this.#messages, { role: "user", content }];
    const { turn, body } = this.#turn("assistant", "");
    const request = this.#chat ? { messages: conversation } : { prompt: content };
    const options = { maxTokens: Number(this.#most.value) || 128, temperature: Number(this.#heat.value) || 0 };
    if (this.#chat) this.#text.value = "";
    const answer = await this.#context.guarded(() =>
      this.#context.client.call("stream", { ...request, options }, ({ piece }) => {
        const follows = this.#log.scrollTop + this.#log.clientHeight >= this.#log.scrollHeight - 40;
        body.append(piece);
        if (follows) this.#log.scrollTop = this.#log.scrollHeight;
      }),
    );
    this.#began(false);
    if (answer) this.#ended(answer, turn, conversation);
    else this.#undone(turn, content);
    this.#text.focus();
    await this.#context.remember();
  }

  /** What failed is not part of the conversation, and can be sent again. */
  #undone(turn, content) {
    turn.previousElementSibling?.remove();
    turn.remove();
    this.#text.value ||= content;
  }

  #began(is) {
    const clicked = document.activeElement === this.#send; // what is disabled loses the focus to nothing
    this.#running = is;
    this.#send.disabled = is;
    this.#stop.disabled = !is;
    if (is && clicked) this.#stop.focus();
    this.#log.setAttribute("aria-busy", String(is)); // read out once it is whole, not word by word
    this.#context.busy(is);
  }

  #ended({ text, stopped, tokens, firstMs, endMs }, turn, conversation) {
    const told = [`${tokens} ${tokens === 1 ? "token" : "tokens"}${stopped ? ", stopped" : ""}`];
    if (firstMs != null) {
      told.push(`first after ${milliseconds(firstMs)}`);
      this.#context.figures.took("first", firstMs);
      if (tokens > 1 && endMs > firstMs) {
        const rate = (1000 * (tokens - 1)) / (endMs - firstMs);
        told.push(speed(rate));
        this.#context.figures.took("decode", rate);
      }
    }
    turn.append(h("p", { class: "soft" }, told.join(" · ")));
    if (this.#log.lastElementChild === turn) this.#log.scrollTop = this.#log.scrollHeight;
    if (this.#chat && this.#log.contains(turn)) this.#messages = [...conversation, { role: "assistant", content: text }];
    announce(`Answer ${stopped ? "stopped" : "complete"}, ${tokens} tokens`);
  }
}
