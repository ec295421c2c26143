// How much memory engines took for wasm: weights, caches, scratch. No browser tells (measureUserAgentSpecificMemory
// leaves out what wasm exports, and counts what threads share once for each of them), so it is counted where it is asked
// for: here, and in the workers that engines make of blobs. Imported before any engine.

/** Counts in the thread where it runs; gives what asks for the bytes. Sent to workers as text: it stands alone. */
function counting() {
  const { Memory } = WebAssembly;
  const found = [];
  const keep = (memory) => found.push(new WeakRef(memory));
  WebAssembly.Memory = class extends Memory {
    constructor(shape) {
      super(shape);
      keep(this);
    }
  };
  for (const name of ["instantiate", "instantiateStreaming"]) {
    const original = WebAssembly[name];
    WebAssembly[name] = async (...given) => {
      const made = await original.apply(WebAssembly, given);
      const { exports } = made.instance ?? made;
      // Shared memory came from elsewhere and is counted there.
      const own = (each) => each instanceof Memory && each.buffer instanceof ArrayBuffer;
      Object.values(exports).filter(own).forEach(keep);
      return made;
    };
  }
  return () => {
    const alive = new Set(found.map((each) => each.deref()).filter(Boolean));
    return [...alive].reduce((sum, each) => sum + each.buffer.byteLength, 0);
  };
}

const ANSWER_MS = 300;
const channel = `edgekit wasm memory ${performance.timeOrigin} ${Math.random()}`;
const countHere = counting();

/** A worker's first module: it counts, and answers whoever asks on the channel. */
const counter = `
const count = (${counting})();
const channel = new BroadcastChannel(${JSON.stringify(channel)});
channel.onmessage = () => channel.postMessage(count());
`;

const script = (text) => URL.createObjectURL(new Blob([text], { type: "text/javascript" }));

self.Worker = class extends Worker {
  constructor(url, options) {
    const counted = String(url).startsWith("blob:") && options?.type === "module";
    super(counted ? script(`import "${script(counter)}";\nimport "${url}";`) : url, options);
  }
};

/** Bytes of wasm memory here and in the engines' workers; those that are busy for longer are not heard. */
export function wasmBytes() {
  return new Promise((resolve) => {
    const asked = new BroadcastChannel(channel);
    let sum = countHere();
    asked.onmessage = ({ data }) => (sum += data);
    asked.postMessage("count");
    setTimeout(() => {
      asked.close();
      resolve(sum);
    }, ANSWER_MS);
  });
}
