// What browser.mjs calls in the page: ask(request) -> answer. With ?worker the runtime lives in a module worker.
import { PageAnswering } from "./browser-answering.js";

addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  globalThis.tellOffence(`${violatedDirective} ${blockedURI}`);
});

function askWorker() {
  const worker = new Worker("/driver/browser-worker.js", { type: "module" });
  const waiting = [];
  worker.addEventListener("message", ({ data }) => {
    if (data.offence) globalThis.tellOffence(data.offence);
    else waiting.shift().resolve(data);
  });
  worker.addEventListener("error", ({ message }) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`the worker failed: ${message}`));
  });
  return (request) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      worker.postMessage(request);
    });
}

async function askPage() {
  const answering = new PageAnswering(await import("/edgekit/web.js"));
  return (request) => answering.answer(request);
}

globalThis.ask = location.search === "?worker" ? askWorker() : await askPage();
