// The page's side of worker.js: promises, one call after another.

/** A failure as the runtime told it: `name` is its short name, `message` one line. */
export class Failure extends Error {
  constructor({ name, message }) {
    super(message);
    this.name = name;
  }

  get line() {
    return `${this.name}: ${this.message}`;
  }
}

export class Client {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #last = Promise.resolve();
  #next = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data }) => this.#receive(data));
    this.#worker.addEventListener("error", (event) => {
      const message = event.message || "the runtime's worker could not be started";
      for (const { reject } of this.#waiting.values()) reject(new Failure({ name: "LoadFailed", message }));
      this.#waiting.clear();
    });
  }

  /** Runs after every call before it has ended, since a session answers one at a time. `heard` is told pieces and
   * progress. */
  call(op, request = {}, heard = () => {}, transfer = []) {
    const result = this.#last.then(
      () =>
        new Promise((resolve, reject) => {
          const id = this.#next++;
          this.#waiting.set(id, { resolve, reject, heard });
          this.#worker.postMessage({ id, op, ...request }, transfer);
        }),
    );
    this.#last = result.catch(() => {});
    return result;
  }

  /** The running call is cancelled. */
  cancel() {
    this.#worker.postMessage({ op: "cancel" });
  }

  #receive({ id, ok, error, ...told }) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    if (error) waiting.reject(new Failure(error));
    else if (ok !== undefined) waiting.resolve(ok);
    else return waiting.heard(told);
    this.#waiting.delete(id);
  }
}
