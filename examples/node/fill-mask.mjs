/**
 * Fill a gap in Node, with nothing but what `bert-mobile export default --to web --out site` wrote:
 * tokenizer, questions and ONNX Runtime's WebAssembly are the page's own modules.
 *
 *   node fill-mask.mjs site "The capital of France is [MASK]."
 */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const [folder, text] = process.argv.slice(2);
if (!text) {
  console.error('usage: node fill-mask.mjs FOLDER "A text with a [MASK]."');
  process.exit(2);
}
const site = pathToFileURL(`${resolve(folder)}/`);
const read = (place) => readFileSync(new URL(place, site));
const readJson = (place) => JSON.parse(read(place));
const module = (name) => import(new URL(`page/${name}`, site).href);

const { Tokenizer } = await module("tokenizer.js");
const { fillMask } = await module("tasks.js");
const ort = await module("vendor/ort.wasm.bundle.min.mjs");
ort.env.wasm.wasmBinary = gunzipSync(read("page/vendor/ort-wasm-simd-threaded.wasm.gz"));
ort.env.wasm.numThreads = 1;

const { default: entry } = readJson("models.json"); // what the folder holds, and where
if (!entry?.outputs.includes("logits")) {
  console.error(`error: ${folder} holds no model that fills gaps`);
  process.exit(1);
}
const session = await ort.InferenceSession.create(read(entry.path + entry.model), {
  executionProviders: ["wasm"],
  logSeverityLevel: 3, // errors only
});

/** One sequence {ids, types} through the network: T tokens to {name: {data, dims}}. */
async function run(outputs, { ids, types }) {
  const tensor = (values) =>
    new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
  const feed = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)) };
  return session.run({ ...feed, token_type_ids: tensor(types) }, outputs);
}

const tokenizer = Tokenizer.fromJson(readJson(`${entry.path}tokenizer.json`));
const model = { tokenizer, config: readJson(`${entry.path}config.json`), run };
const gaps = await fillMask(model, text, 5).catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
for (const gap of gaps) {
  for (const { text: word, score } of gap) {
    console.log(`${(100 * score).toFixed(2).padStart(6)}%  ${word}`);
  }
}
