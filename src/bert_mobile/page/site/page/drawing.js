/** Draws answers. Texts go in as text nodes only, never as markup. */

/** Make an element: properties, then children. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

const MOST_LABELS = 8; // of a classifier, which may have thousands, beside those that fit
const MOST_NAMED = 3; // at once in a verdict
const LONG = 12; // characters of a label that need a line of their own

const decimal = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 }).format;
const percent = (score) => `${(100 * score).toFixed(score < 0.0995 ? 2 : 1)} %`;

/** [[label, share, shown]] as a list of bars. */
function bars(rows, caption) {
  const isLong = rows.some(([label]) => label.length > LONG);
  const list = make("ol", { className: isLong ? "bars long" : "bars", "aria-label": caption });
  for (const [label, share, shown] of rows) {
    const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.inlineSize = `${Math.max(0.5, 100 * Math.min(1, Math.max(0, share)))}%`;
    list.append(make("li", {}, make("span", { className: "label" }, ...breakable(label)), bar,
      make("span", { className: "number" }, shown)));
  }
  return list;
}

/** A name such as `a_long_name`, with places where its line may end. */
function breakable(name) {
  return name.split(/(?<=[_/])/).flatMap((part, index) => (index ? [make("wbr"), part] : [part]));
}

function verdict(text) {
  return make("p", { className: "verdict" }, ...breakable(text));
}

/** The best of the labels as bars, and how far the others are behind. */
function probabilities(labels, count = MOST_LABELS) {
  const rows = labels.slice(0, count).map(({ label, score }) => [label, score, percent(score)]);
  const drawn = [bars(rows, "Probabilities")];
  const next = labels[count];
  if (next) {
    const rest = `Not shown: ${labels.length - count} of ${labels.length} labels, none above ${percent(next.score)}.`;
    drawn.push(make("p", { className: "note" }, rest));
  }
  return drawn;
}

/** What an answer looks like, by `draw` of its row or else by task: (answer, texts) to elements. */
export const DRAW = {
  fillMask: (gaps) =>
    gaps.flatMap((rows, number) => {
      const caption = gaps.length > 1 ? `Gap ${number + 1}` : "Proposals";
      const list = bars(rows.map(({ text, score }) => [text, score / rows[0].score, percent(score)]), caption);
      return gaps.length > 1 ? [make("h3", {}, caption), list] : [list];
    }),
  nextSentence: (score) => [
    verdict(score >= 0.5 ? "It follows." : "It comes from somewhere else."),
    bars([["follows", score, percent(score)], ["does not", 1 - score, percent(1 - score)]], "Probabilities"),
  ],
  similarity: (cosine) => [
    bars([["cosine", (cosine + 1) / 2, cosine.toFixed(3)]], "Similarity"),
    make("p", { className: "note" }, "1 is the same direction. A model that was not fine-tuned for this finds most texts rather alike: compare pairs."),
  ],
  classify: (labels) => [verdict(labels[0].label), ...probabilities(labels)],
  severalLabels: (labels) => {
    const fitting = labels.filter(({ score }) => score >= 0.5).map(({ label }) => label);
    const many = `${fitting.length} of ${labels.length} labels fit.`;
    const said = fitting.length > MOST_NAMED ? many : fitting.join(" · ") || "None of the labels fits.";
    return [verdict(said), ...probabilities(labels, Math.max(MOST_LABELS, fitting.length))];
  },
  numbers: (labels) => [
    make("dl", {}, ...labels.map(({ label, score }) =>
      make("div", {}, make("dt", {}, label), make("dd", { className: "verdict" }, decimal(score))))),
  ],
  tag: (entities, [text]) => [marked(text, entities), legend(entities)],
  answer: (found, [, context]) =>
    found.answer === ""
      ? [verdict("The paragraph does not say."), probability(found)]
      : [verdict(found.answer), marked(context, [{ ...found, group: "" }]),
         probability(found)],
};

function probability({ score }) {
  return make("p", { className: "note" }, `Probability ${percent(score)}`);
}

function colours(entities) {
  return [...new Set(entities.map((each) => each.group))];
}

function marked(text, entities) {
  const groups = colours(entities);
  const shown = make("p", { className: "marked" });
  let last = 0;
  for (const { start, end, group } of entities) {
    const mark = make("mark", { className: `colour${groups.indexOf(group) % 6}` }, text.slice(start, end));
    if (group) mark.append(make("small", {}, group));
    shown.append(text.slice(last, start), mark);
    last = end;
  }
  shown.append(text.slice(last));
  return shown;
}

function legend(entities) {
  const text = entities.length ? `${entities.length} found` : "Nothing found.";
  return make("p", { className: "note" }, text);
}
