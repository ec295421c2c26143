// What every JavaScript driver answers, in Node and in a page; see README.md. It uses nothing but the runtime's surface.

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
};
const CANCELLED_TOKENS = 64;

export class Answering {
  // `runtime` is the package; `place` turns the request's folder into what its open() takes.
  constructor(runtime, place = (folder) => folder) {
    this.runtime = runtime;
    this.place = place;
    this.session = null;
  }

  // {"ok": value}, or {"error", "message"} for a typed error; everything else is thrown.
  async answer(request) {
    try {
      return { ok: await this[request.op](request) };
    } catch (error) {
      if (!(error instanceof this.runtime.RuntimeFailure)) throw error;
      return { error: error.code, message: error.message };
    }
  }

  async open({ bundle, threads, memory_budget, low_memory }) {
    await this.session?.close();
    this.session = await this.runtime.open(this.place(bundle), {
      threads: threads ?? undefined,
      memoryBudget: memory_budget ?? undefined,
      lowMemory: low_memory ?? undefined,
    });
    const { name, task, engine, runtime } = this.session.info;
    return { name, task, engine, threads: runtime.threads };
  }

  async verify({ bundle }) {
    const { name } = await this.runtime.verify(this.place(bundle));
    return { name };
  }

  tokenize({ text }) {
    return this.session.tokenize(text);
  }

  async embed({ text }) {
    return [...(await this.session.embed(text))];
  }

  classify({ text, pair }) {
    return this.session.classify(pair == null ? text : [text, pair]);
  }

  classify_pixels({ picture }) {
    const { shape, data } = decoded(picture);
    return this.session.classify({ data, height: shape[0], width: shape[1] });
  }

  async run({ inputs }) {
    const tensors = Object.entries(inputs).map(([name, one]) => [name, decoded(one)]);
    const outputs = await this.session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(outputs).map(([name, one]) => [name, encoded(one)]));
  }

  generate({ prompt, ...request }) {
    return collected(this.session.generate(prompt, options(request)));
  }

  chat({ messages, ...request }) {
    return collected(this.session.chat(messages, options(request)));
  }

  self_test() {
    return this.session.selfTest();
  }

  async cancel({ prompt }) {
    for await (const _ of this.session.generate(prompt, { maxTokens: CANCELLED_TOKENS })) this.session.cancel();
    return null;
  }

  async busy({ prompt }) {
    for await (const _ of this.session.generate(prompt, { maxTokens: CANCELLED_TOKENS })) {
      try {
        return await collected(this.session.generate(prompt, { maxTokens: 1 }));
      } finally {
        this.session.cancel();
      }
    }
    return null;
  }

  not_utf8() {
    return this.session.tokenize("half a pair: \ud83c");
  }

  async close() {
    await this.session?.close();
    return null;
  }
}

function options({ max_tokens, temperature, top_p, seed, stop }) {
  const given = { maxTokens: max_tokens, temperature, topP: top_p, seed, stop };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value != null));
}

async function collected(texts) {
  const found = [];
  for await (const text of texts) found.push(text);
  return found;
}

function decoded({ dtype, shape, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  return { dtype, shape, data: new ARRAYS[dtype](bytes.buffer) };
}

function encoded({ dtype, shape, data }) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return { dtype, shape, base64: btoa(text) };
}
