// Prints what the page's tokenizer makes of the vectors: node vectors.mjs PAGE TOKENIZER VECTORS
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [page, tokenizerFile, vectorsFile] = process.argv.slice(2);
const { Tokenizer } = await import(new URL("tokenizer.js", pathToFileURL(`${page}/`)).href);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const tokenizer = Tokenizer.fromJson(read(tokenizerFile));
const ids = (text) => tokenizer.encode(text).ids;
const { texts, pairs } = read(vectorsFile);
const found = {
  texts: texts.map(({ text }) => tokenizer.frame(ids(text))),
  pairs: pairs.map(({ texts: [a, b] }) => tokenizer.frame(ids(a), ids(b))),
};
process.stdout.write(JSON.stringify(found));
