/** What can go wrong with a bundle on a device. One tree; `code` is the same short name in every language.
 *
 * RuntimeFailure
 * ├── BundleInvalid       the folder is not a bundle, or not the one that was packed
 * ├── UnsupportedDevice   this CPU lacks what the bundle needs
 * ├── MemoryBudget        it would take more memory than the app allows
 * ├── LoadFailed          the engine is not installed, or refuses the model
 * ├── RunFailed           the engine failed during a call
 * ├── WrongTask           the bundle's task has no such call
 * ├── BadInput            an argument's name, type, shape or range
 * │   └── PromptTooLong   prompt and answer do not fit the context
 * ├── Busy                another call is running on this session
 * ├── Cancelled           cancel() was called, or a signal aborted
 * └── Closed              close() was called
 */
export class RuntimeFailure extends Error {
  /** @param {string} message one line: what, the measured value and the limit, and what to do about it
   * @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message.split(/\s+/u).filter(Boolean).join(" "), options);
  }

  // Spelt out below, not taken from the class: minifiers rename classes.
  get code() {
    return "RuntimeFailure";
  }

  get name() {
    return this.code;
  }
}

export class BundleInvalid extends RuntimeFailure {
  get code() {
    return "BundleInvalid";
  }
}

export class UnsupportedDevice extends RuntimeFailure {
  get code() {
    return "UnsupportedDevice";
  }
}

export class MemoryBudget extends RuntimeFailure {
  get code() {
    return "MemoryBudget";
  }
}

export class LoadFailed extends RuntimeFailure {
  get code() {
    return "LoadFailed";
  }
}

export class RunFailed extends RuntimeFailure {
  get code() {
    return "RunFailed";
  }
}

export class WrongTask extends RuntimeFailure {
  get code() {
    return "WrongTask";
  }
}

export class BadInput extends RuntimeFailure {
  get code() {
    return "BadInput";
  }
}

export class PromptTooLong extends BadInput {
  get code() {
    return "PromptTooLong";
  }
}

export class Busy extends RuntimeFailure {
  get code() {
    return "Busy";
  }
}

export class Cancelled extends RuntimeFailure {
  get code() {
    return "Cancelled";
  }
}

export class Closed extends RuntimeFailure {
  get code() {
    return "Closed";
  }
}

/** @param {unknown} error @returns {string} */
export function words(error) {
  return error instanceof Error ? error.message || error.name : String(error);
}
