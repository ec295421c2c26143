/** A streamed answer. It begins when its first text is asked for; the session is busy from then on until the texts are
 * out, the iteration is left, or the call is cancelled. */

/** @typedef {import("./flight.js").Flight} Flight */

/** @implements {AsyncIterableIterator<string>} */
export class Answer {
  #begin;
  #start;
  /** @type {Flight | null} */
  #flight = null;
  /** @type {AsyncGenerator<string> | null} */
  #texts = null;
  #over = false;
  /** Calls wait for one another, as with a generator. @type {Promise<unknown>} */
  #last = Promise.resolve();

  /** @param {() => Promise<Flight>} begin @param {(signal: AbortSignal) => Promise<AsyncGenerator<string>>} start */
  constructor(begin, start) {
    this.#begin = begin;
    this.#start = start;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** @returns {Promise<IteratorResult<string, undefined>>} */
  next() {
    const found = this.#last.then(() => this.#next());
    this.#last = found.catch(() => {});
    return found;
  }

  /** @returns {Promise<IteratorResult<string, undefined>>} */
  async return() {
    this.#over = true;
    await this.#last; // what was asked for before ends first: the engine may be at work for it
    await this.#leave();
    return { done: true, value: undefined };
  }

  /** @returns {Promise<IteratorResult<string, undefined>>} */
  async #next() {
    if (this.#over) return { done: true, value: undefined };
    try {
      const flight = (this.#flight ??= await this.#takeOff());
      const texts = (this.#texts ??= await flight.step(this.#start));
      const { done, value } = await flight.step(() => texts.next());
      if (!done) return { done: false, value };
    } catch (error) {
      this.#over = true;
      await this.#leave().catch(() => {}); // what went wrong first is what is told
      throw error;
    }
    this.#over = true;
    await this.#leave();
    return { done: true, value: undefined };
  }

  async #takeOff() {
    const flight = await this.#begin();
    flight.leave = () => this.#leave();
    return flight;
  }

  /** The engine stops, and the session is free. */
  async #leave() {
    try {
      await this.#texts?.return(undefined);
    } finally {
      this.#flight?.end();
    }
  }
}
