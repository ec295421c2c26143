// A picture, picked, dropped, pasted or drawn, and the labels that the model gives it.
import { alertWith, h } from "../dom.js";
import { bars } from "./bars.js";
import { SAMPLES, fill } from "./samples.js";

const SIZE = 320;
// Beyond what a model looks at anyway; a photograph of a phone is made smaller before it becomes 200 MB of pixels.
const MOST_PIXELS = 2 ** 24;

export class ImageView {
  title = "What is in the picture?";
  #context;
  #canvas = h("canvas", { width: SIZE, height: SIZE, role: "img", "aria-label": "The picture that is classified" });
  #draw = this.#canvas.getContext("2d", { willReadFrequently: true });
  #file = h("input", { type: "file", id: "file", accept: "image/*", class: "hidden", onchange: () => this.#picked() });
  #colour = h("input", { type: "color", value: "#d92f2f", id: "colour" });
  #fields = h("fieldset", { disabled: true });
  #result = h("div", { class: "result", "aria-live": "polite" });
  #pen = null;
  #run = 0;

  constructor(context) {
    this.#context = context;
    const samples = Object.entries(SAMPLES).map(([name, paint]) =>
      h("button", { type: "button", onclick: () => this.#sample(paint) }, name),
    );
    const clear = h("button", { type: "button", onclick: () => this.#sample((draw) => fill(draw, SIZE, "#fff")) }, "Blank");
    this.#fields.append(
      h("legend", { class: "hidden" }, "The picture"),
      h("div", { class: "buttons" }, this.#file, h("label", { for: "file", class: "button main" }, "Pick a picture")),
      h("div", { class: "buttons", role: "group", "aria-label": "Samples" }, h("span", { class: "soft" }, "or a sample:"), samples, clear),
      h("label", { for: "colour", class: "inline" }, "or draw, or drop one here. Pen:", this.#colour),
      this.#canvas,
    );
    this.#listen();
    this.content = [h("div", { class: "picture" }, this.#fields, this.#result)];
    Object.values(SAMPLES)[0](this.#draw, SIZE);
  }

  ready() {
    this.#fields.disabled = false;
    return this.#classify();
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (this.#fields.disabled) return;
      canvas.setPointerCapture(event.pointerId);
      this.#pen = this.#place(event);
      this.#stroke(event);
    });
    canvas.addEventListener("pointermove", (event) => this.#pen && this.#stroke(event));
    canvas.addEventListener("pointerup", () => this.#pen && ((this.#pen = null), this.#classify()));
    canvas.addEventListener("pointercancel", () => (this.#pen = null));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#take(event.dataTransfer.files[0]);
    });
    document.addEventListener("paste", (event) => this.#take(event.clipboardData.files[0]));
  }

  /** Where the pointer is, in pixels of the picture. */
  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale, scale };
  }

  #stroke(event) {
    const to = this.#place(event);
    Object.assign(this.#draw, { strokeStyle: this.#colour.value, lineWidth: 14 * to.scale, lineCap: "round" });
    this.#draw.beginPath();
    this.#draw.moveTo(this.#pen.x, this.#pen.y);
    this.#draw.lineTo(to.x, to.y);
    this.#draw.stroke();
    this.#pen = to;
  }

  #sample(paint) {
    Object.assign(this.#canvas, { width: SIZE, height: SIZE });
    paint(this.#draw, SIZE);
    this.#classify();
  }

  #picked() {
    this.#take(this.#file.files[0]);
    this.#file.value = "";
  }

  async #take(file) {
    if (!file || this.#fields.disabled) return;
    let picture;
    try {
      picture = await createImageBitmap(file, { colorSpaceConversion: "none" });
    } catch {
      alertWith(`${file.name} is no picture that this browser can read: take a PNG, JPEG or WebP file`);
      return;
    }
    const shrink = Math.min(1, Math.sqrt(MOST_PIXELS / (picture.width * picture.height)));
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * shrink)));
    Object.assign(this.#canvas, { width, height });
    this.#draw.drawImage(picture, 0, 0, width, height);
    picture.close();
    await this.#classify();
  }

  async #classify() {
    const run = ++this.#run;
    const { width, height } = this.#canvas;
    const { data } = this.#draw.getImageData(0, 0, width, height);
    const input = { data, width, height };
    const answer = await this.#context.guarded(() => this.#context.client.call("classify", { input }, undefined, [data.buffer]));
    if (!answer || run !== this.#run) return;
    this.#context.figures.took("latency", answer.ms);
    this.#result.replaceChildren(...bars(answer.value));
  }
}
