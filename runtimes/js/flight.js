/** One call at a time on a session: who is Busy, who is Cancelled, who is Closed. */
import { Busy, Cancelled, Closed, RunFailed, RuntimeFailure, words } from "./errors.js";

/** @param {unknown} signal @returns {AbortSignal | undefined} */
function checkSignal(signal) {
  const given = /** @type {AbortSignal | undefined} */ (signal ?? undefined);
  if (given?.aborted) throw new Cancelled("the call was cancelled before it began");
  return given;
}

export class Flights {
  /** @type {Flight | null} */
  #current = null;
  #closed = false;
  #engine;

  /** @param {string} engine its name and version, for messages */
  constructor(engine) {
    this.#engine = engine;
  }

  get closed() {
    return this.#closed;
  }

  /** @param {AbortSignal} [signal] the app's @returns {Promise<Flight>} busy until its end() */
  async begin(signal) {
    this.checkOpen();
    if (this.#current?.leaving) await this.#current.leaving; // cancelled, and the engine is about to stop
    this.checkOpen();
    if (this.#current)
      throw new Busy("another call is running on this session: wait for it, cancel() it, or open a second session");
    const flight = new Flight(this, checkSignal(signal), () => {
      if (this.#current === flight) this.#current = null;
    });
    this.#current = flight;
    return flight;
  }

  /** A call that is over when it returns.
   *
   * @template T
   * @param {AbortSignal | undefined} signal @param {(signal: AbortSignal) => Promise<T>} work @returns {Promise<T>} */
  async call(signal, work) {
    const flight = await this.begin(signal);
    try {
      return await flight.step(work);
    } finally {
      flight.end();
    }
  }

  cancel() {
    this.#current?.abort();
  }

  /** No call runs afterwards, and none will. */
  async close() {
    this.#closed = true;
    const current = this.#current;
    current?.abort();
    await current?.atRest();
  }

  checkOpen() {
    if (this.#closed) throw new Closed("the session is closed");
  }

  /** @param {unknown} error @param {AbortSignal} signal @returns {RuntimeFailure} */
  named(error, signal) {
    if (this.#closed) return new Closed("the session was closed while the call ran", { cause: error });
    if (signal.aborted) return new Cancelled("the call was cancelled", { cause: error });
    if (error instanceof RuntimeFailure) return error;
    return new RunFailed(`${this.#engine}: ${words(error)}`, { cause: error });
  }
}

/** One call: as long as it lasts the session is busy; its steps are when the engine works. */
export class Flight {
  #flights;
  #controller = new AbortController();
  #signal;
  #forget;
  /** @type {Promise<unknown> | null} */
  #step = null;
  #abort = () => this.abort();
  /** What frees the engine of a call that was aborted between two steps. @type {() => Promise<void>} */
  leave = async () => this.end();
  /** That under way. @type {Promise<void> | null} */
  leaving = null;

  /** @param {Flights} flights @param {AbortSignal | undefined} signal @param {() => void} forget */
  constructor(flights, signal, forget) {
    this.#flights = flights;
    this.#signal = signal;
    this.#forget = forget;
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  /** @template T @param {(signal: AbortSignal) => Promise<T>} work @returns {Promise<T>} */
  async step(work) {
    const { signal } = this.#controller;
    try {
      signal.throwIfAborted();
      const step = work(signal);
      this.#step = step;
      const found = await step;
      signal.throwIfAborted();
      return found;
    } catch (error) {
      throw this.#flights.named(error, signal);
    } finally {
      this.#step = null;
    }
  }

  abort() {
    if (this.#controller.signal.aborted) return;
    this.#controller.abort();
    if (!this.#step) this.leaving = this.leave().catch(() => {});
  }

  /** Once the engine does not work for this call any more. */
  async atRest() {
    await this.#step?.catch(() => {});
    await this.leave();
    await this.leaving;
  }

  end() {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#forget();
  }
}
