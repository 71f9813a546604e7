/**
 * From texts to answers, as bert_mobile's runtime gives them: same numbers, same order.
 *
 * `model` is {tokenizer, config, run}; run(outputs, sequence) gives {name: {data, dims}} for one
 * sequence {ids, types}. Dimensions: T tokens, V vocabulary, H hidden, L labels.
 */

const STRIDE = 128; // pieces that neighbouring parts of a long text share
const LONGEST_ANSWER = 30; // pieces

/** A question that cannot be asked so; `message` is for people. */
export class InputError extends Error {}

/** Proposals for each [MASK]: [[{token, text, score}]], the best first. */
export async function fillMask(model, text, count = 8) {
  const { tokenizer } = model;
  const pieces = encoded(model, text).ids;
  const first = pieces.indexOf(tokenizer.mask);
  if (first < 0) throw new InputError("Put [MASK] where a word is to be found.");
  const room = limit(model) - 2;
  const last = pieces.lastIndexOf(tokenizer.mask);
  const spare = Math.max(0, room - (last - first + 1));
  const start = last < room ? 0 : Math.min(Math.max(0, first - (spare >> 1)), pieces.length - room);
  const sequence = tokenizer.frame(pieces.slice(start, start + room));
  const { logits } = await model.run(["logits"], sequence);
  const gaps = sequence.ids.flatMap((id, place) => (id === tokenizer.mask ? [place] : []));
  return gaps.map((place) => {
    const scores = softmax(row(logits, place));
    return best(scores, count).map((token) => ({
      token,
      text: tokenizer.decode([token]),
      score: scores[token],
    }));
  });
}

/** Probability that text b follows text a. */
export async function nextSentence(model, a, b) {
  const name = "seq_relationship_logits";
  const found = await model.run([name], framedPair(model, a, b));
  return softmax(found[name].data)[0];
}

/** Mean of the last layer over all pieces, [CLS] and [SEP] among them: Float64Array (H,). */
export async function embed(model, text) {
  const sequence = framed(model, text);
  const { last_hidden_state: hidden } = await model.run(["last_hidden_state"], sequence);
  const sum = new Float64Array(hidden.dims.at(-1));
  hidden.data.forEach((value, index) => (sum[index % sum.length] += value / sequence.ids.length));
  return sum;
}

/** Cosine of the angle between the vectors of two texts. */
export async function similarity(model, a, b) {
  const [one, other] = [await embed(model, a), await embed(model, b)];
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  return dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other));
}

/** Labels of a text, or of a pair of texts, with their scores, the most probable first. */
export async function classify(model, text, pair = "") {
  const labels = labelsOf(model);
  const sequence = pair ? framedPair(model, text, pair) : framed(model, text);
  const { logits } = await model.run(["logits"], sequence);
  const scores = labelScores(logits.data, model.config.problem_type, labels.length);
  return best(scores, labels.length).map((index) => ({ label: labels[index], score: scores[index] }));
}

/** Entities of a text: {group, score, start, end}; for other tags every word has one. */
export async function tag(model, text) {
  const labels = labelsOf(model);
  const words = splitWords(encoded(model, text));
  const logits = await wordLogits(model, words);
  const tags = words.starts.map((_, word) => {
    const scores = softmax(logits[word]);
    const [top] = best(scores, 1);
    return { label: labels[top], score: scores[top] };
  });
  const isEntities = labels.some((label) => label === "O" || /^[BI]-/.test(label));
  const spans = isEntities
    ? entitySpans(tags.map((each) => each.label), labels)
    : tags.map((each, word) => [each.label, word, word + 1]);
  return spans.map(([group, first, stop]) => ({
    group,
    score: mean(tags.slice(first, stop).map((each) => each.score)),
    start: words.spans[first][0],
    end: words.spans[stop - 1][1],
  }));
}

/** Where in the context the answer stands: {score, start, end, answer}; "" for no answer. */
export async function answer(model, question, context) {
  const room = limit(model) - 3;
  const asked = encoded(model, question).ids.slice(0, room >> 1);
  const found = encoded(model, context);
  const words = splitWords(found);
  const width = room - asked.length;
  let [top, none] = [{ score: -Infinity }, 0];
  for (const start of windowStarts(words.ids.length, width)) {
    const part = words.ids.slice(start, start + width);
    const output = await model.run(["start_logits", "end_logits"], model.tokenizer.frame(asked, part));
    const [starts, ends] = [output.start_logits, output.end_logits].map(({ data }) =>
      logSoftmax([data[0], ...data.slice(asked.length + 2, asked.length + 2 + part.length)]),
    );
    none = Math.min(none, starts[0] + ends[0]);
    const span = bestSpan(starts.slice(1), ends.slice(1));
    if (span.score > top.score) {
      const place = (piece) => words.spans[words.numbers[start + piece]];
      top = { score: span.score, start: place(span.first)[0], end: place(span.last)[1] };
    }
  }
  const threshold = tuned(model).no_answer_threshold;
  if (threshold !== undefined && threshold !== null && none - top.score > threshold) {
    return { score: Math.exp(none), start: 0, end: 0, answer: "" };
  }
  return { ...top, score: Math.exp(top.score), answer: context.slice(top.start, top.end) };
}

// --- texts ---------------------------------------------------------------------------------------

function encoded(model, text) {
  const found = model.tokenizer.encode(text);
  if (!found.ids.length) throw new InputError("Write at least one word.");
  return found;
}

function framed(model, text) {
  return model.tokenizer.frame(encoded(model, text).ids.slice(0, limit(model) - 2));
}

function framedPair(model, a, b) {
  const [first, second] = [encoded(model, a).ids, encoded(model, b).ids];
  return model.tokenizer.frame(...fitPair(first, second, limit(model) - 3));
}

function limit(model) {
  return tuned(model).max_length ?? model.config.max_position_embeddings;
}

/** What fine-tuning noted; fields of these names further up in config.json are not ours. */
function tuned({ config }) {
  return config.task_specific_params?.["bert-mobile"] ?? {};
}

function labelsOf({ config }) {
  const numbers = Object.keys(config.id2label).sort((a, b) => a - b);
  return numbers.map((number) => config.id2label[number]);
}

function fitPair(first, second, room) {
  if (first.length + second.length <= room) return [first, second];
  const shorter = Math.min(first.length, second.length, room >> 1);
  return first.length <= second.length
    ? [first.slice(0, shorter), second.slice(0, room - shorter)]
    : [first.slice(0, room - shorter), second.slice(0, shorter)];
}

function splitWords({ ids, offsets, words }) {
  const found = { ids, numbers: [], starts: [], spans: [] };
  ids.forEach((_, piece) => {
    if (!piece || words[piece] !== words[piece - 1]) {
      found.starts.push(piece);
      found.spans.push([...offsets[piece]]);
    }
    const span = found.spans.at(-1);
    span[1] = Math.max(span[1], offsets[piece][1]);
    found.numbers.push(found.spans.length - 1);
  });
  return found;
}

function windowStarts(length, width) {
  const stride = Math.min(STRIDE, width >> 1);
  const starts = [0];
  for (let start = width - stride; start < length - stride; start += width - stride) starts.push(start);
  return starts;
}

/** Logits (L,) of each word's first piece, of the part where it has most of its surroundings. */
async function wordLogits(model, words) {
  const width = limit(model) - 2;
  const [found, around] = [[], []];
  for (const start of windowStarts(words.ids.length, width)) {
    const part = words.ids.slice(start, start + width);
    const { logits } = await model.run(["logits"], model.tokenizer.frame(part));
    words.starts.forEach((piece, word) => {
      const place = piece - start;
      if (place < 0 || place >= part.length) return;
      const near = Math.min(place, part.length - 1 - place);
      if (around[word] !== undefined && around[word] >= near) return;
      around[word] = near;
      found[word] = row(logits, place + 1);
    });
  }
  return found;
}

// --- numbers -------------------------------------------------------------------------------------

function row({ data, dims }, place) {
  const width = dims.at(-1);
  return data.subarray(place * width, (place + 1) * width);
}

function logSoftmax(logits) {
  const peak = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = Math.log(logits.reduce((sum, value) => sum + Math.exp(value - peak), 0)) + peak;
  return Float64Array.from(logits, (value) => value - total);
}

function softmax(logits) {
  return logSoftmax(logits).map(Math.exp);
}

function labelScores(logits, problem, count) {
  if (problem === "regression") return Float64Array.from(logits);
  if (problem !== "multi_label_classification" && count > 1) return softmax(logits);
  return Float64Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
}

/** Indices of the highest scores, the best first. */
function best(scores, count) {
  const order = [];
  for (let index = 0; index < scores.length; index++) {
    if (order.length === count && scores[index] <= scores[order[count - 1]]) continue;
    let place = order.length;
    while (place && scores[order[place - 1]] < scores[index]) place--;
    order.splice(place, 0, index);
    order.length = Math.min(order.length, count);
  }
  return order;
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function bestSpan(starts, ends) {
  let top = { score: -Infinity };
  for (let first = 0; first < starts.length; first++) {
    for (let last = first; last < Math.min(first + LONGEST_ANSWER, ends.length); last++) {
      const score = starts[first] + ends[last];
      if (score > top.score) top = { score, first, last };
    }
  }
  return top;
}

/** [name, first word, word behind the last] of each entity, as conlleval reads the tags. */
function entitySpans(tags, labels) {
  const whole = labels.every((label) => label === "O" || /^[BISUEL]-/.test(label));
  const scheme = whole ? /^([BISUEL])-(.*)$/ : /^([BI])-(.*)$/;
  const found = [];
  let open = false;
  tags.forEach((tag, place) => {
    if (tag === "O") {
      open = false;
      return;
    }
    const [, prefix, name] = tag.match(scheme) ?? [tag, "", tag];
    if (open && found.at(-1)[0] === name && !"BSU".includes(prefix || "-")) found.at(-1)[2] = place + 1;
    else found.push([name, place, place + 1]);
    open = !"ELSU".includes(prefix || "-");
  });
  return found;
}
