/** What the page asks: a row a task. */

const TASKS = [
  {
    id: "fill",
    role: "default",
    task: "fillMask",
    outputs: ["logits"],
    title: "Fill a gap",
    lead: "Leave out a word as [MASK]; the model proposes what fits.",
    fields: [{ label: "Text with [MASK]", rows: 2 }],
    button: "Fill it in",
    examples: [
      ["The capital of France is [MASK]."],
      ["She drank a cup of [MASK] before going to bed."],
      ["The old [MASK] sailed across the [MASK]."],
    ],
  },
  {
    id: "next",
    role: "default",
    task: "nextSentence",
    outputs: ["seq_relationship_logits"],
    title: "Next text",
    lead: "Does the second text follow the first, or is it from somewhere else?",
    fields: [{ label: "First text", rows: 2 }, { label: "Second text", rows: 2 }],
    button: "Judge",
    examples: [
      ["He opened the door and went outside.", "It was raining, so he came back for an umbrella."],
      ["He opened the door and went outside.", "The treaty was signed by both kings in 1648."],
    ],
  },
  {
    id: "similar",
    role: "default",
    task: "similarity",
    outputs: ["last_hidden_state"],
    title: "Similarity",
    lead: "How close are two texts in the eyes of the model?",
    fields: [{ label: "One text", rows: 2 }, { label: "Another text", rows: 2 }],
    button: "Compare",
    examples: [
      ["A child is playing in the garden.", "A kid plays outside on the grass."],
      ["A child is playing in the garden.", "Interest rates rose again in March."],
    ],
  },
  {
    id: "sentiment",
    role: "sentiment",
    task: "classify",
    outputs: ["logits"],
    title: "Sentiment",
    lead: "Is it praise or blame?",
    fields: [{ label: "Text", rows: 3 }],
    button: "Classify",
    examples: [["A warm, funny and quietly brilliant film."], ["Two hours that I will never get back."]],
    commands: [
      "bert-mobile finetune classify --train train.csv --dev dev.csv --out runs/mood",
      "bert-mobile quantize runs/mood --max-bytes 25_000_000 --out runs/mood-25mb",
      "bert-mobile demo --sentiment runs/mood-25mb",
    ],
  },
  {
    id: "entities",
    role: "entities",
    task: "tag",
    outputs: ["logits"],
    title: "Names",
    lead: "People, places and organizations, marked in the text.",
    fields: [{ label: "Text", rows: 4 }],
    button: "Find names",
    examples: [
      ["Marie Curie was born in Warsaw and taught at the University of Paris."],
      ["Siemens opened an office in London last May, said Peter Brown."],
    ],
    commands: [
      "bert-mobile finetune tag --train train.conll --dev dev.conll --out runs/names",
      "bert-mobile quantize runs/names --max-bytes 25_000_000 --out runs/names-25mb",
      "bert-mobile demo --entities runs/names-25mb",
    ],
  },
  {
    id: "answers",
    role: "answers",
    task: "answer",
    outputs: ["start_logits", "end_logits"],
    title: "Answers",
    lead: "Paste a paragraph and ask it something.",
    fields: [{ label: "Question", rows: 1 }, { label: "Paragraph", rows: 6 }],
    button: "Ask",
    examples: [
      [
        "When did the bridge open?",
        "The bridge was planned for decades before work began in 1926. It opened to traffic in " +
          "March 1932 and carries trains, cars and walkers across the harbour.",
      ],
    ],
    commands: [
      "bert-mobile finetune answer --train train.json --dev dev.json --out runs/answers",
      "bert-mobile quantize runs/answers --max-bytes 25_000_000 --out runs/answers-25mb",
      "bert-mobile demo --answers runs/answers-25mb",
    ],
  },
];

const TEXTS = {
  fields: [{ label: "Text", rows: 3 }, { label: "Second text, for models of pairs", rows: 2 }],
  button: "Ask",
  examples: [
    ["Where is my parcel? I ordered it last Monday.", ""],
    ["A man is playing a guitar.", "Somebody makes music."],
  ],
};

/** What differs in a row where the model was taught something else; models.json says what. */
const OTHERS = {
  label: { ...TEXTS, title: "Label", lead: "Which label fits best?" },
  labels: { ...TEXTS, title: "Labels", draw: "severalLabels",
    lead: "Which labels fit? There may be several, or none." },
  number: { ...TEXTS, title: "Number", draw: "numbers", lead: "Which number does the model give?" },
  tags: { title: "Tags", button: "Find them", lead: "What the model was taught to find, marked in the text." },
};

/** The rows for these models: in words that fit them, and without what they cannot do. */
export function tasksFor(models) {
  return TASKS.map((task) => ({ ...task, ...OTHERS[models[task.role]?.wording] })).filter(
    ({ role, outputs }) => outputs.every((name) => models[role]?.outputs.includes(name) ?? true),
  );
}
