/** edgekit's runtime for JavaScript: open a bundle, prove that it is the one that was packed, run it. The same in Node,
 * in pages and in workers. Errors are named as in every other language's runtime; see errors below. */

export interface Tensor {
  dtype:
    | "float32" | "float64" | "float16" | "int8" | "uint8" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "bool";
  shape: number[];
  /** int64 is BigInt64Array, bool is Uint8Array, float16 its bits as Uint16Array. */
  data:
    | Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array
    | BigInt64Array;
}

export interface OpenOptions {
  /** Default: the manifest's device.threads, at most the cores there are; 1 in a page that is not cross-origin
   * isolated. */
  threads?: number;
  /** Bytes; held against the peak that was measured when the bundle was packed, before anything is loaded. */
  memoryBudget?: number;
  /** Less private memory for less speed. */
  lowMemory?: boolean;
  /** false leaves out the hashes, of a bundle verified before. */
  verify?: boolean;
  /** "auto" is the CPU: what was measured. "webgpu" where the page has it, or LoadFailed. */
  backend?: "auto" | "cpu" | "webgpu";
  /** Where the engines' .wasm files are served, for pages that copy them elsewhere than beside their modules. */
  wasmPaths?: string | Record<string, string>;
  signal?: AbortSignal;
  onProgress?: (done: { file: string; loadedBytes: number; totalBytes: number }) => void;
}

export interface CallOptions { signal?: AbortSignal }

export interface GenerateOptions extends CallOptions {
  /** Default: 256, or what the context leaves if that is less. */
  maxTokens?: number;
  /** 0 (default) is greedy. */
  temperature?: number;
  topP?: number;
  seed?: number;
  stop?: string | string[];
}

export interface Label { label: string; score: number }
/** Offsets count UTF-16 units, as strings do here. */
export interface TokenLabel extends Label { start: number; end: number; word: string }
export interface Message { role: "system" | "user" | "assistant"; content: string }
/** Decoded pixels: RGB or RGBA, 8 bits; an ImageData will do. */
export interface Pixels { data: Uint8Array | Uint8ClampedArray; width: number; height: number }
/** `difference` is null where what was answered does not compare with what was expected. */
export interface GoldenResult { name: string; passed: boolean; difference: number | null; tolerance: number }

export interface Session {
  /** The manifest, with { engine, threads, lowMemory, backend, notes } under "runtime". */
  readonly info: Record<string, any>;
  run(inputs: Record<string, Tensor>, options?: CallOptions): Promise<Record<string, Tensor>>;
  tokenize(text: string): Promise<number[]>;
  embed(texts: string[], options?: CallOptions): Promise<Float32Array[]>;
  embed(text: string, options?: CallOptions): Promise<Float32Array>;
  /** Of a text, or a pair of texts; for token classification one label a token. */
  classify(text: string | [string, string], options?: CallOptions): Promise<Label[] | TokenLabel[]>;
  /** Of a picture. */
  classify(picture: Pixels, options?: CallOptions): Promise<Label[]>;
  /** The continuation, as it comes. The session is busy until the stream is exhausted or left. */
  generate(prompt: string, options?: GenerateOptions): AsyncIterable<string>;
  chat(messages: Message[], options?: GenerateOptions): AsyncIterable<string>;
  /** Replay the goldens packed with the model on this very device. */
  selfTest(options?: CallOptions): Promise<GoldenResult[]>;
  /** The running call rejects with Cancelled; without one, nothing happens. */
  cancel(): void;
  /** Free the model; a running call is cancelled first. Closing twice is allowed. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** `bundle` is a folder's path (Node) or the URL it is served under (pages, workers). */
export function open(bundle: string | URL, options?: OpenOptions): Promise<Session>;
/** Every file of the bundle is the one that was packed, or BundleInvalid; the manifest. No engine is touched. */
export function verify(
  bundle: string | URL,
  options?: Pick<OpenOptions, "signal" | "onProgress">,
): Promise<Record<string, any>>;

/** `code` and `name` are the same short name in every language; `message` is one line: what, the limit, what to do. */
export class RuntimeFailure extends Error { readonly code: string }
export class BundleInvalid extends RuntimeFailure {}
export class UnsupportedDevice extends RuntimeFailure {}
export class MemoryBudget extends RuntimeFailure {}
export class LoadFailed extends RuntimeFailure {}
export class RunFailed extends RuntimeFailure {}
export class WrongTask extends RuntimeFailure {}
export class BadInput extends RuntimeFailure {}
export class PromptTooLong extends BadInput {}
export class Busy extends RuntimeFailure {}
export class Cancelled extends RuntimeFailure {}
export class Closed extends RuntimeFailure {}
