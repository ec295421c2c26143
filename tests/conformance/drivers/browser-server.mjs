// What the driver's page is served: itself, the runtime, its packages, and the bundles that were asked for.
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const DRIVERS = path.dirname(fileURLToPath(import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
const CONDITIONS = ["browser", "import", "module", "default"];
const NAMES = [
  "@huggingface/jinja", "@huggingface/tokenizers", "@noble/hashes/sha2.js", "@wllama/wllama/esm/index.js",
  "onnxruntime-web/wasm", "onnxruntime-web/webgpu",
];
const IMPORT = /(\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)(["'])(@?[a-z][\w.@/-]*)\2/gu;

/** The path of a bare name, as bundlers for browsers find it, by the package's exports; the name where none is. */
function resolved(modules, name) {
  const parts = name.split("/");
  const length = name.startsWith("@") ? 2 : 1;
  const [owner, inner] = [parts.slice(0, length).join("/"), parts.slice(length).join("/")];
  const described = path.join(modules, owner, "package.json");
  if (!existsSync(described)) return name;
  const { exports, module, main } = JSON.parse(readFileSync(described, "utf8"));
  let entry = exports ? exports[inner ? `./${inner}` : "."] : inner || module || main;
  while (entry && typeof entry === "object") entry = entry[Object.keys(entry).find((key) => CONDITIONS.includes(key))];
  return typeof entry === "string" ? path.posix.join("/node_modules", owner, entry) : name;
}

function importMap(modules) {
  const imports = Object.fromEntries(NAMES.map((name) => [name, resolved(modules, name)]));
  return JSON.stringify({ imports: { ...imports, "@wllama/wllama/": "/node_modules/@wllama/wllama/" } });
}

/** A runtime's module with its bare names resolved, and those that it imports marked to be served likewise. */
function withNames(text, modules) {
  return text
    .replace(IMPORT, (_all, before, quote, name) => `${before}${quote}${resolved(modules, name)}${quote}`)
    .replace(/(["'])(\.{1,2}\/[\w./-]+\.js)\1/gu, "$1$2?resolved$1");
}

const policyWith = (nonce) =>
  [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}' 'wasm-unsafe-eval' blob:`,
    "worker-src 'self' blob:",
    "connect-src 'self' blob:",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");

/** `app` holds the runtime, in edgekit/, and node_modules. */
export async function serve(app, { isolated, policy, nonce }) {
  const modules = path.join(app, "node_modules");
  const bundles = [];
  const headers = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(isolated
      ? {
          "cross-origin-opener-policy": "same-origin",
          "cross-origin-embedder-policy": "require-corp",
          "cross-origin-resource-policy": "same-origin",
        }
      : {}),
    ...(policy ? { "content-security-policy": policyWith(nonce) } : {}),
  };

  /** The file behind a URL's path, which never climbs: it was normalised as URLs are. */
  function fileOf(pathname) {
    const [, first, ...parts] = pathname.split("/").map(decodeURIComponent);
    if (parts.some((part) => part.includes("/") || part === "..")) return null;
    const roots = { driver: DRIVERS, edgekit: path.join(app, "edgekit"), node_modules: modules };
    if (first === "bundle") return path.join(bundles[Number(parts[0])] ?? "/nowhere", ...parts.slice(1));
    return Object.hasOwn(roots, first) ? path.join(roots[first], ...parts) : null;
  }

  function page(response) {
    const html = readFileSync(path.join(DRIVERS, "browser.html"), "utf8");
    const text = html.replace("NONCE", nonce).replace("IMPORTS", importMap(modules));
    response.writeHead(200, { ...headers, "content-type": TYPES[".html"] }).end(text);
  }

  function answer(request, response) {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/") return page(response);
    const file = fileOf(url.pathname);
    const found = file && statSync(file, { throwIfNoEntry: false });
    if (!found?.isFile()) return response.writeHead(404, headers).end();
    const typed = { ...headers, "content-type": TYPES[path.extname(file)] ?? "application/octet-stream" };
    if (url.search === "?resolved") {
      const text = withNames(readFileSync(file, "utf8"), modules);
      return response.writeHead(200, typed).end(text);
    }
    response.writeHead(200, { ...typed, "content-length": found.size });
    createReadStream(file).on("error", () => response.destroy()).pipe(response);
  }

  const server = http.createServer((request, response) => {
    try {
      answer(request, response);
    } catch (error) {
      response.writeHead(500, headers).end(String(error));
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin,
    /** The URL under which a bundle's folder is served from now on. */
    bundle(folder) {
      const known = bundles.indexOf(folder);
      return `${origin}/bundle/${known < 0 ? bundles.push(folder) - 1 : known}/`;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
