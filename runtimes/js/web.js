/** edgekit's runtime for browsers: pages and workers. */
import { refuse } from "./engines/wllama-limits.js";
import { openFiles } from "./files-web.js";
import { arch, isaFeatures, usableCores } from "./machine-web.js";
import { openBundle, verifyBundle } from "./open.js";

/** @type {import("./open.js").Platform} */
const platform = {
  openFiles,
  arch,
  isaFeatures,
  usableCores,
  engines: {
    onnxruntime: () => import("./engines/ort-web.js"),
    "llama.cpp": () => import("./engines/wllama.js"),
  },
  refuse: { "llama.cpp": refuse },
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
