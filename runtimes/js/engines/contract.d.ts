/** What an engine of this package is: a module with `create`. See README.md beside this file. */
import type { OpenOptions, Tensor } from "../index.d.ts";

export interface ListedFile {
  path: string;
  sizeBytes: number;
  sha256: string;
}

/** A bundle's files, each proven to be the one that was packed (unless the app asked not to). Only listed files are
 * given: every other path is BundleInvalid. */
export interface BundleFiles {
  readonly listed: ReadonlyMap<string, ListedFile>;
  /** Where the file lies, for engines that load by path; null in a browser. */
  location(path: string): string | null;
  bytes(path: string): Promise<Uint8Array<ArrayBuffer>>;
  /** In a browser, without a copy in the page's own memory where the file is large. */
  blob(path: string): Promise<Blob>;
  /** The engine has its own copy now: a browser's is let go. */
  release(path: string): void;
}

export interface EngineRequest {
  files: BundleFiles;
  /** The manifest, its shape checked. */
  manifest: Manifest;
  threads: number;
  lowMemory: boolean;
  backend: NonNullable<OpenOptions["backend"]>;
  wasmPaths?: OpenOptions["wasmPaths"];
  signal?: AbortSignal;
}

/** An input or output of a graph; an axis that is not fixed is a string or null. */
export interface Value {
  name: string;
  dtype: string;
  shape: (number | string | null)[];
}

export interface Sampling {
  /** 0 is greedy. */
  temperature: number;
  topP: number;
  /** The same seed gives the same text on the same machine; undefined draws a fresh one. */
  seed: number | undefined;
}

export interface Engine {
  /** "onnxruntime-node 1.30.0" */
  readonly version: string;
  readonly backend: "cpu" | "wasm" | "webgpu";
  /** Those that are used, where that is not what was asked for. */
  readonly threads?: number;
  readonly notes?: string[];

  /** A graph's. */
  readonly inputs?: readonly Value[];
  readonly outputs?: readonly Value[];
  /** The outputs named in `wanted`, or all. The tensors are checked already. */
  run?(tensors: Record<string, Tensor>, wanted: readonly string[] | undefined): Promise<Record<string, Tensor>>;

  /** A language model's. */
  readonly vocabularySize?: number;
  /** As chat templates write them; "" where the vocabulary has none. */
  readonly bosToken?: string;
  readonly eosToken?: string;
  /** By the engine's own vocabulary; special tokens spelt out in the text are taken for what they are. */
  tokenize?(text: string, addSpecial: boolean): Promise<number[]>;
  /** Pooled as the manifest says, not scaled. `ids` fit text.max_tokens. */
  embedIds?(ids: readonly number[], signal: AbortSignal): Promise<Float32Array>;
  /** Logits of what follows `ids`, for the ids in `wanted`: exact, or all off by one same number. */
  logProbabilities?(ids: readonly number[], wanted: readonly number[], signal: AbortSignal): Promise<Float32Array>;
  /** The bytes of each token that follows `ids`, to the end of text (generation.eos_token_ids, or what the engine knows
   * to end one) or `maxTokens`; none of a control token. Leaving the iteration early stops the engine. */
  pieces?(
    ids: readonly number[],
    maxTokens: number,
    sampling: Sampling,
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;

  /** Free everything. Called once, and never while a call runs. */
  close(): Promise<void>;
}

export interface EngineModule {
  create(request: EngineRequest): Promise<Engine>;
}

export interface Manifest {
  schema_version: number;
  name: string;
  task: string;
  kind: string;
  engine: string;
  model_file: string;
  files: { path: string; size_bytes: number; sha256: string }[];
  text?: Record<string, unknown> | null;
  image?: Record<string, unknown> | null;
  embedding?: Record<string, unknown> | null;
  generation?: Record<string, unknown> | null;
  memory?: Record<string, unknown> | null;
  min_isa?: Record<string, string[]> | null;
  device?: Record<string, unknown> | null;
  labels?: string[];
  problem_type?: string | null;
  [key: string]: unknown;
}
