// The runtime's sampler on its own: `node sampling.mjs APP` reads [[probabilities, temperature, topP, random], ...] and
// prints what each draws.
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { pick, randomNumbers } = await import(
  pathToFileURL(path.resolve(process.argv[2], "edgekit", "engines", "sample.js"))
);
const { cases, seeds } = JSON.parse(readFileSync(0, "utf8"));
const drawn = cases.map(([probabilities, temperature, topP, random]) => pick(probabilities, temperature, topP, () => random));
const numbers = seeds.map((seed) => {
  const random = randomNumbers(seed ?? undefined);
  return Array.from({ length: 1000 }, random);
});
process.stdout.write(`${JSON.stringify({ drawn, numbers })}\n`);
