// Elements from plain values: text never becomes markup.

/** h("p", {class: "lead", onclick}, "text", child): properties that are functions are listeners, false and null are left
 * out, true is an attribute without a value. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, String(value));
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Said to who listens to the page rather than looks at it. */
export function announce(text) {
  byId("status").textContent = text;
}

/** One line on what went wrong, where everybody finds it; "" takes it away. */
export function alertWith(text, action) {
  byId("alert").replaceChildren(...(text ? [h("p", { class: "alert" }, text, action ?? null)] : []));
}

/** Calls `run` once the calls have stopped for a while. */
export function debounced(run, pauseMs = 400) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, pauseMs);
  };
}
