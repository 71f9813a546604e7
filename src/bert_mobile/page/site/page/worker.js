/**
 * Runs networks apart from the page, so that it never freezes.
 *
 * Takes {id, load: {role, url, entry}} and {id, ask: {role, task, texts}}; gives {id, progress},
 * then {id, answer} or {id, error}.
 */

import { FileError, load } from "./loading.js";
import * as tasks from "./tasks.js";
import { Tokenizer } from "./tokenizer.js";
import * as ort from "./vendor/ort.wasm.bundle.min.mjs";

const MOST_THREADS = 4;
const models = new Map();
let engine;

self.onmessage = async ({ data: { id, load: wanted, ask: asked } }) => {
  try {
    const answer = wanted
      ? await loadModel(wanted, (progress) => self.postMessage({ id, progress }))
      : await ask(asked);
    self.postMessage({ id, answer });
  } catch (error) {
    const known = error instanceof FileError || error instanceof tasks.InputError;
    const message = known ? error.message : `The model could not be run: ${error.message}`;
    self.postMessage({ id, error: message });
  }
};

/** The engine's own code travels compressed, whatever the server does. */
async function startEngine() {
  const response = await fetch(new URL("vendor/ort-wasm-simd-threaded.wasm.gz", import.meta.url));
  if (!response.ok) throw new FileError("The engine could not be fetched.");
  const bytes = await response.arrayBuffer();
  const isPlain = new Uint8Array(bytes, 0, 1)[0] === 0; // a server or browser unpacked it already
  const unpacked = new Response(bytes).body.pipeThrough(new DecompressionStream("gzip"));
  ort.env.wasm.wasmBinary = isPlain ? bytes : await new Response(unpacked).arrayBuffer();
  const cores = Math.max(1, (navigator.hardwareConcurrency ?? 2) >> 1);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, cores) : 1;
  ort.env.logLevel = "error";
}

async function loadModel({ role, url, entry }, report) {
  const began = performance.now();
  engine ??= startEngine();
  const names = Object.keys(entry.files);
  const total = names.reduce((sum, name) => sum + entry.files[name].bytes, 0);
  const there = new Map();
  const files = await Promise.all(
    names.map((name) =>
      load(new URL(name, url), entry.files[name], (bytes) => {
        there.set(name, bytes);
        report({ bytes: [...there.values()].reduce((sum, each) => sum + each, 0), total });
      }),
    ),
  );
  try {
    await engine;
  } catch (error) {
    engine = undefined; // so that another try starts it anew
    throw error;
  }
  const fetched = performance.now();
  const file = Object.fromEntries(names.map((name, index) => [name, files[index].data]));
  models.set(role, await open(file, entry.model));
  const cached = files.every((each) => each.cached);
  const [download, start] = [fetched - began, performance.now() - fetched];
  return { total, cached, download, start, threads: ort.env.wasm.numThreads };
}

async function open(file, place) {
  const parse = (name) => JSON.parse(new TextDecoder().decode(file[name]));
  const config = parse("config.json");
  const session = await ort.InferenceSession.create(file[place], {
    executionProviders: ["wasm"],
    logSeverityLevel: 3, // errors: the same file serves runtimes that read more of it
  });
  return {
    config,
    tokenizer: Tokenizer.fromJson(parse("tokenizer.json")),
    run: (outputs, { ids, types }) => {
      const tensor = (values) =>
        new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
      const feed = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)) };
      return session.run({ ...feed, token_type_ids: tensor(types) }, outputs);
    },
  };
}

async function ask({ role, task, texts }) {
  const began = performance.now();
  const value = await tasks[task](models.get(role), ...texts);
  return { value, milliseconds: performance.now() - began };
}
