/** edgekit's runtime, for whoever imports this file by its path. Bundlers, and imports by the package's name, take
 * node.js or web.js without asking. */
const inNode = typeof process === "object" && typeof process.versions?.node === "string";

export const { open, verify } = await (inNode ? import("./node.js") : import("./web.js"));
export {
  BadInput,
  BundleInvalid,
  Busy,
  Cancelled,
  Closed,
  LoadFailed,
  MemoryBudget,
  PromptTooLong,
  RunFailed,
  RuntimeFailure,
  UnsupportedDevice,
  WrongTask,
} from "./errors.js";
