/**
 * BERT's uncased WordPiece (Devlin et al. 2018) without dependencies, equal to the library
 * `tokenizers`: same pieces, same places. Runs in browsers, workers and Node.
 *
 *   import { Tokenizer } from "./tokenizer.js";
 *   const tokenizer = Tokenizer.fromJson(await (await fetch("tokenizer.json")).json());
 *   tokenizer.frame(tokenizer.encode("Hello I'm a [MASK] model.").ids)   // {ids, types}
 *
 * Places count UTF-16 units, as JavaScript's strings do: text.slice(start, end) is the word.
 */

import * as characters from "./characters.js";

const SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const LONGEST_WORD = 100; // characters; a longer word becomes [UNK]
const TIDY = [
  [" .", "."], [" ?", "?"], [" !", "!"], [" ,", ","], [" ' ", "'"], [" n't", "n't"],
  [" 'm", "'m"], [" 's", "'s"], [" 've", "'ve"], [" 're", "'re"],
];

/** @param {string} packed Ranges, as characters.js explains. @returns {(code: number) => boolean} */
function characterClass(packed) {
  const edges = [];
  let place = 0;
  for (const number of packed.split(" ")) edges.push((place += parseInt(number, 36)));
  return (code) => {
    let low = 0;
    let high = edges.length; // how many edges are at or before the code: odd inside a range
    while (low < high) {
      const middle = (low + high) >> 1;
      if (edges[middle] <= code) low = middle + 1;
      else high = middle;
    }
    return low % 2 === 1;
  };
}

const isRemoved = characterClass(characters.REMOVED);
const isSpace = characterClass(characters.SPACE);
const isAccent = characterClass(characters.ACCENT);
const isChinese = characterClass(characters.CHINESE);
const isPunctuation = characterClass(characters.PUNCTUATION);

export class Tokenizer {
  /**
   * @param {Map<string, number>} vocabulary Piece to index.
   * @param {{lowercase?: boolean, accents?: boolean, chinese?: boolean}} [settings]
   *   What BERT's normalizer does: lower case, strip accents, set Chinese characters apart.
   */
  constructor(vocabulary, { lowercase = true, accents = lowercase, chinese = true } = {}) {
    const absent = SPECIAL.filter((token) => !vocabulary.has(token));
    if (absent.length) throw new Error(`the vocabulary lacks ${absent.join(", ")}`);
    this.vocabulary = vocabulary;
    this.pieces = [];
    for (const [piece, id] of vocabulary) this.pieces[id] = piece;
    Object.assign(this, { lowercase, accents, chinese });
    [this.pad, this.unknown, this.cls, this.sep, this.mask] = SPECIAL.map((t) => vocabulary.get(t));
  }

  /** Read a parsed tokenizer.json; throws where it is none of BERT's. */
  static fromJson(json) {
    const { model, normalizer } = json;
    if (model?.type !== "WordPiece" || normalizer?.type !== "BertNormalizer") {
      throw new Error("tokenizer.json is no WordPiece of BERT's");
    }
    const { lowercase, strip_accents: accents, handle_chinese_chars: chinese } = normalizer;
    const settings = { lowercase, accents: accents ?? lowercase, chinese };
    return new Tokenizer(new Map(Object.entries(model.vocab)), settings);
  }

  /** Read vocab.txt: a piece a line. */
  static fromVocabulary(text, settings) {
    const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
    return new Tokenizer(new Map(lines.map((piece, id) => [piece, id])), settings);
  }

  /**
   * Cut a text into pieces, unframed and however long.
   * @returns {{ids: number[], offsets: [number, number][], words: number[]}}
   *   Index, place in the text and number of its word, for each piece.
   */
  encode(text) {
    const found = { ids: [], offsets: [], words: [] };
    let word = 0;
    const add = (id, start, end) => {
      found.ids.push(id);
      found.offsets.push([start, end]);
      found.words.push(word);
    };
    let start = 0;
    for (const match of text.matchAll(/\[(?:PAD|UNK|CLS|SEP|MASK)\]/g)) {
      this.#encodePlain(text, start, match.index, add, () => word++);
      add(this.vocabulary.get(match[0]), match.index, match.index + match[0].length);
      word++;
      start = match.index + match[0].length;
    }
    this.#encodePlain(text, start, text.length, add, () => word++);
    return found;
  }

  /** Put `[CLS]` and `[SEP]` around the pieces of one text or two. */
  frame(first, second = null) {
    const ids = [this.cls, ...first, this.sep];
    const types = ids.map(() => 0);
    if (second === null) return { ids, types };
    const rest = [...second, this.sep];
    return { ids: [...ids, ...rest], types: [...types, ...rest.map(() => 1)] };
  }

  /** Return the text of some pieces, spelled as transformers spells it. */
  decode(ids) {
    const words = ids.map((id, place) => {
      const piece = this.pieces[id] ?? "";
      if (place === 0) return piece;
      return piece.startsWith("##") ? piece.slice(2) : ` ${piece}`;
    });
    return TIDY.reduce((text, [untidy, tidy]) => text.replaceAll(untidy, tidy), words.join(""));
  }

  #encodePlain(text, from, to, add, next) {
    for (const word of splitWords(this.#normalized(text, from, to))) {
      this.#addPieces(word, add);
      next();
    }
  }

  /** Return the characters that BERT's normalizer makes, each with its place in the text. */
  #normalized(text, from, to) {
    const found = [];
    for (let place = from; place < to; ) {
      const character = String.fromCodePoint(text.codePointAt(place));
      const [start, end] = [place, (place += character.length)];
      const code = character.codePointAt(0);
      if (isRemoved(code) || (code >= 0xd800 && code < 0xe000)) continue;
      const apart = this.chinese && isChinese(code);
      if (apart) found.push({ character: " ", start, end });
      found.push({ character: isSpace(code) ? " " : character, start, end });
      if (apart) found.push({ character: " ", start, end });
    }
    return this.#lowered(this.accents ? withoutAccents(found) : found);
  }

  #lowered(found) {
    if (!this.lowercase) return found;
    return found.flatMap(({ character, start, end }) =>
      [...character.toLowerCase()].map((lower) => ({ character: lower, start, end })),
    );
  }

  /** Greedy longest match first; a word with a part that no piece covers is one [UNK]. */
  #addPieces(word, add) {
    const pieces = [];
    for (let start = 0; start < word.length; ) {
      const id = word.length > LONGEST_WORD ? undefined : this.#longest(word, start, pieces);
      if (id === undefined) {
        add(this.unknown, word[0].start, word.at(-1).end);
        return;
      }
      start = pieces.at(-1).end;
    }
    for (const { id, start, end } of pieces) add(id, word[start].start, word[end - 1].end);
  }

  #longest(word, start, pieces) {
    for (let end = word.length; end > start; end--) {
      const part = word.slice(start, end).map((each) => each.character).join("");
      const id = this.vocabulary.get(start ? `##${part}` : part);
      if (id !== undefined) {
        pieces.push({ id, start, end });
        return id;
      }
    }
    return undefined;
  }
}

/** Canonical decomposition (NFD), then nothing that combines with the letter before it. */
function withoutAccents(found) {
  const whole = found.map((each) => each.character).join("").normalize("NFD");
  const places = found.flatMap((each) => [...each.character.normalize("NFD")].map(() => each));
  const kept = [];
  let number = 0;
  for (const character of whole) {
    const { start, end } = places[number++];
    if (!isAccent(character.codePointAt(0))) kept.push({ character, start, end });
  }
  return kept;
}

/** Split at white space and around every punctuation mark. */
function* splitWords(found) {
  let word = [];
  for (const each of found) {
    const code = each.character.codePointAt(0);
    const space = isSpace(code);
    if (!space && !isPunctuation(code)) {
      word.push(each);
      continue;
    }
    if (word.length) yield word;
    word = [];
    if (!space) yield [each];
  }
  if (word.length) yield word;
}
