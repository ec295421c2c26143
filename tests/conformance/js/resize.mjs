// [{ "data": base64 of RGB, "width", "height", "to": [width, height], "filter": Pillow's number }] on standard input -> base64
// of each result. `node resize.mjs APP`
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { resize } = await import(pathToFileURL(path.resolve(process.argv[2], "edgekit", "resample.js")));
const told = JSON.parse(readFileSync(0, "utf-8")).map(({ data, width, height, to, filter }) => {
  const picture = { data: new Uint8Array(Buffer.from(data, "base64")), width, height };
  return Buffer.from(resize(picture, ...to, filter).data).toString("base64");
});
process.stdout.write(JSON.stringify(told));
