// Labels with their scores, best first, as bars.
import { h } from "../dom.js";

const SHOWN = 10;

/** @param {{label: string, score: number}[]} labels */
export function bars(labels) {
  const shown = labels.slice(0, SHOWN).map(({ label, score }) => {
    const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "fill" }));
    bar.firstChild.style.setProperty("--share", String(Math.max(0, Math.min(1, score))));
    return h("li", {}, h("span", { class: "label" }, label), h("span", { class: "score" }, percent(score)), bar);
  });
  const more = labels.length - shown.length;
  return [
    h("ol", { class: "bars" }, shown),
    ...(more > 0 ? [h("p", { class: "soft" }, `and ${more} labels with lower scores`)] : []),
  ];
}

export const percent = (score) => `${(100 * score).toFixed(1)} %`;
