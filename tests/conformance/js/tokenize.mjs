// {"tokenizer": path, "max_tokens", "texts": [text or pair]} on standard input -> for each text its ids, and what a pair or
// a cut text becomes: { ids, types }, and of a text the places of its tokens. `node tokenize.mjs APP`
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const part = (name) => import(pathToFileURL(path.resolve(process.argv[2], "edgekit", name)));
const [{ Encoder }, { offsets }] = [await part("text.js"), await part("offsets.js")];
const { tokenizer, max_tokens, texts } = JSON.parse(readFileSync(0, "utf-8"));
const encoder = new Encoder(JSON.parse(readFileSync(tokenizer, "utf-8")), max_tokens, []);
const told = texts.map((text) => {
  const { ids, typeIds } = encoder.encode(text);
  const cut = { ids, types: typeIds };
  if (Array.isArray(text)) return { cut };
  const windows = encoder.windows(encoder.plain(text).ids).map((one) => one.ids);
  return { cut, windows, ids: encoder.ids(text), places: offsets(encoder, text) };
});
process.stdout.write(JSON.stringify(told));
