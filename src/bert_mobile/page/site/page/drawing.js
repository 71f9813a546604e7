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

const percent = (score) => `${(100 * score).toFixed(score < 0.0995 ? 2 : 1)} %`;

/** [[label, share, shown]] as a list of bars. */
function bars(rows, caption) {
  const list = make("ol", { className: "bars", "aria-label": caption });
  for (const [label, share, shown] of rows) {
    const bar = make("span", { className: "bar", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.inlineSize = `${Math.max(0.5, 100 * Math.min(1, Math.max(0, share)))}%`;
    list.append(make("li", {}, make("span", { className: "label" }, label), bar,
      make("span", { className: "number" }, shown)));
  }
  return list;
}

function verdict(text) {
  return make("p", { className: "verdict" }, text);
}

/** What an answer looks like, by task: (answer, texts) to elements. */
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
  classify: (labels) => [
    verdict(labels[0].label),
    bars(labels.map(({ label, score }) => [label, score, percent(score)]), "Probabilities"),
  ],
  tag: (entities, [text]) => [marked(text, entities), legend(entities)],
  answer: (found, [, context]) =>
    found.answer === ""
      ? [verdict("The paragraph does not say."), make("p", { className: "note" }, percent(found.score))]
      : [verdict(found.answer), marked(context, [{ ...found, group: "" }]),
         make("p", { className: "note" }, `Probability ${percent(found.score)}`)],
};

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
  const text = entities.length ? `${entities.length} found` : "No names found.";
  return make("p", { className: "note" }, text);
}
