// A program in TypeScript that uses all of the surface: it is checked, not run.
import {
  BadInput,
  type GoldenResult,
  type Label,
  open,
  PromptTooLong,
  RuntimeFailure,
  type Session,
  type Tensor,
  type TokenLabel,
  verify,
} from "edgekit-runtime";

export async function all(folder: string, signal: AbortSignal): Promise<string> {
  const manifest: Record<string, any> = await verify(new URL("https://example.org/b/"), { signal });
  await using session: Session = await open(folder, {
    threads: 2,
    memoryBudget: 2 ** 30,
    lowMemory: true,
    backend: "webgpu",
    wasmPaths: "/engines/",
    onProgress: ({ file, loadedBytes, totalBytes }) => console.log(file, loadedBytes / totalBytes),
  });
  const one: Float32Array = await session.embed("a text", { signal });
  const many: Float32Array[] = await session.embed(["a text", "another"]);
  const labels: Label[] | TokenLabel[] = await session.classify(["a text", "its pair"]);
  const picture: Label[] = await session.classify({ data: new Uint8ClampedArray(4), width: 1, height: 1 });
  const x: Tensor = { dtype: "int64", shape: [1, 1], data: BigInt64Array.of(1n) };
  const { y } = await session.run({ x }, { signal });
  const ids: number[] = await session.tokenize("a text");
  let answer = "";
  for await (const text of session.generate("Once", { maxTokens: 8, temperature: 0.5, topP: 0.9, seed: 1, stop: "\n" }))
    answer += text;
  for await (const text of session.chat([{ role: "user", content: "Hello" }], { signal })) answer += text;
  const results: GoldenResult[] = await session.selfTest();
  session.cancel();
  await session.close();
  return [manifest.name, one.length, many.length, labels, picture, y.shape, ids, answer, results].join();
}

export function told(error: unknown): string {
  if (error instanceof PromptTooLong) return "shorten it";
  const bad: boolean = error instanceof BadInput;
  return error instanceof RuntimeFailure ? `${bad} ${error.code}: ${error.message}` : "";
}
