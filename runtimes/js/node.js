/** edgekit's runtime for Node. */
import { openFiles } from "./files-node.js";
import { arch, isaFeatures, usableCores } from "./machine-node.js";
import { openBundle, verifyBundle } from "./open.js";

/** @type {import("./open.js").Platform} */
const platform = {
  openFiles,
  arch,
  isaFeatures,
  usableCores,
  engines: {
    onnxruntime: () => import("./engines/ort-node.js"),
    "llama.cpp": () => import("./engines/node-llama.js"),
  },
};

/** @type {typeof import("./index.d.ts").open} */
export const open = (bundle, options = {}) => openBundle(platform, bundle, options);

/** @type {typeof import("./index.d.ts").verify} */
export const verify = (bundle, options = {}) => verifyBundle(platform, bundle, options);

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
