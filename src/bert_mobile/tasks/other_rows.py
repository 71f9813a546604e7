"""Tasks beyond GLUE as rows: inference, sentiment, topics, intents, tags, answers."""

from bert_mobile.tasks.glue_rows import MNLI
from bert_mobile.tasks.task import HubData, Layout, Task

_PAIR = ("sentence1", "sentence2")

_NON_ENTAILMENT = "non-entailment"
HANS = Task(
    name="hans",
    title="HANS: is the model of MNLI misled by words that the two sentences share?",
    kind="pairs",
    labels=("entailment", _NON_ENTAILMENT),
    metrics=("accuracy",),
    folder="nli",
    layouts={"test": (Layout(("heuristics_evaluation_set.txt",), _PAIR, "gold_label"),)},
    sizes={"test": 30000},
    source="https://github.com/tommccoy1/hans",
    licence="MIT",
    trained_as="mnli",
    fold={"neutral": _NON_ENTAILMENT, "contradiction": _NON_ENTAILMENT},
    group="heuristic",
    note="the model's neutral and contradiction count as non-entailment, as in McCoy et al. 2019",
)

SNLI = Task(
    name="snli",
    title="SNLI: entailment, contradiction or neither, about pictures",
    kind="pairs",
    labels=MNLI.labels,
    metrics=("accuracy",),
    folder="nli",
    layouts={
        "train": (
            Layout(("snli_1.0_train.txt",), _PAIR, "gold_label"),
            Layout(("snli_train_subset18k.tsv",), _PAIR, "gold_label", examples=18000),
        ),
        "dev": (
            Layout(("snli_1.0_dev.txt",), _PAIR, "gold_label"),
            Layout(("snli_dev.tsv",), _PAIR, "gold_label", note="lower-cased and tokenised"),
        ),
        "test": (
            Layout(("snli_1.0_test.txt",), _PAIR, "gold_label"),
            Layout(("snli_test.tsv",), _PAIR, "gold_label", note="lower-cased and tokenised"),
        ),
    },
    sizes={"train": 549367, "dev": 9842, "test": 9824},
    source="https://nlp.stanford.edu/projects/snli",
    licence="CC BY-SA 4.0",
    dropped=frozenset({"-", "-1"}),
    hub=HubData(
        "stanfordnlp/snli",
        {
            "train": "plain_text/train-00000-of-00001.parquet",
            "dev": "plain_text/validation-00000-of-00001.parquet",
            "test": "plain_text/test-00000-of-00001.parquet",
        },
        ("premise", "hypothesis"),
        "label",
    ),
    note="pairs without a majority label are left out, as in the authors' paper",
)

_STARS = ("very negative", "negative", "neutral", "positive", "very positive")
SST5 = Task(
    name="sst5",
    title="SST-5: how positive is the sentence of a film review, in five steps?",
    kind="classify",
    labels=_STARS,
    written={str(number): label for number, label in enumerate(_STARS)},
    metrics=("accuracy", "macro_f1"),
    folder="sentiment",
    layouts={
        split: (Layout((f"stsa.fine.{split}",), digit_first=True),)
        for split in ("train", "dev", "test")
    },
    sizes={"train": 8544, "dev": 1101, "test": 2210},
    source="https://nlp.stanford.edu/sentiment",
    licence="not stated",
    hub=HubData(
        "SetFit/sst5",
        {split: f"{split}.jsonl" for split in ("train", "dev", "test")},
        ("text",),
        "label",
    ),
)

_TOPICS = ("World", "Sports", "Business", "Sci/Tech")
_HELD_OUT = "of 12,000 examples of the training set, every tenth is held out: it has no dev set"
AG_NEWS = Task(
    name="agnews",
    title="AG News: what is the news about?",
    kind="classify",
    labels=_TOPICS,
    written={str(number): label for number, label in enumerate(_TOPICS)},
    metrics=("accuracy", "macro_f1"),
    folder="sentiment",
    layouts={
        "train": (
            Layout(
                ("agnews_dev.tsv",), ("#1",), "#2",
                share="without tenth", examples=10800, note=_HELD_OUT,
            ),
        ),
        "dev": (Layout(("agnews_dev.tsv",), ("#1",), "#2", share="tenth", note=_HELD_OUT),),
        "test": (Layout(("agnews_test.tsv",), ("#1",), "#2"),),
    },
    sizes={"train": 120000, "dev": 1200, "test": 7600},
    source="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
    licence="not stated; its author's terms: non-commercial",
    hub=HubData(
        "fancyzhx/ag_news",
        {split: f"data/{split}-00000-of-00001.parquet" for split in ("train", "test")},
        ("text",),
        "label",
    ),
)  # fmt: skip

CLINC150 = Task(
    name="clinc150",
    title="CLINC150: which of 150 intents has the request, or none of them?",
    kind="classify",
    labels=None,
    metrics=("accuracy", "in_scope_accuracy", "out_of_scope_recall"),
    folder="intent/clinc150",
    layouts={
        ours: (Layout(("data_full.json",), ("#1",), "#2", inner=(theirs, f"oos_{theirs}")),)
        for ours, theirs in (("train", "train"), ("dev", "val"), ("test", "test"))
    },
    sizes={"train": 15100, "dev": 3100, "test": 5500},
    source="https://github.com/clinc/oos-eval",
    licence="CC BY 3.0",
    note="out of scope is a 151st label, `oos`, with 100 examples in training",
)

BANKING77 = Task(
    name="banking77",
    title="BANKING77: which of 77 intents has the customer of a bank?",
    kind="classify",
    labels=None,
    metrics=("accuracy", "macro_f1"),
    folder="intent/banking77",
    layouts={
        "train": (
            Layout(
                ("train.csv",), ("text",), "category", share="without tenth",
                note="every tenth training example is held out: it has no dev set",
            ),
        ),
        "dev": (
            Layout(
                ("train.csv",), ("text",), "category", share="tenth",
                note="every tenth training example: it has no dev set",
            ),
        ),
        "test": (Layout(("test.csv",), ("text",), "category"),),
    },
    sizes={"train": 9002, "dev": 1001, "test": 3080},
    source="https://github.com/PolyAI-LDN/task-specific-datasets",
    licence="CC BY 4.0",
)  # fmt: skip


def _spoken(name: str, title: str, sizes: tuple[int, int, int]) -> tuple[Task, Task]:
    """The two tasks of a data set of requests: intents, and the tags of its words."""
    splits = {"train": "train", "dev": "valid", "test": "test"}
    folder, size = f"intent/{name}", dict(zip(splits, sizes, strict=True))
    source = "https://github.com/MiuLab/SlotGated-SLU"
    intents = Task(
        name=name,
        title=f"{title}: what does the speaker want?",
        kind="classify",
        labels=None,
        metrics=("accuracy", "macro_f1"),
        folder=folder,
        layouts={
            ours: (Layout((f"{theirs}.tsv",), ("tokens",), "intent"),)
            for ours, theirs in splits.items()
        },
        sizes=size,
        source=source,
        licence="not stated",
    )
    slots = Task(
        name=f"{name}-slots",
        title=f"{title}: which words fill which slot?",
        kind="tag",
        labels=None,
        metrics=("entity_f1", "token_accuracy"),
        folder=folder,
        layouts={
            ours: (Layout((f"{theirs}.tsv",), ("tokens",), "slot_tags"),)
            for ours, theirs in splits.items()
        },
        sizes=size,
        source=source,
        licence="not stated",
    )
    return intents, slots


SNIPS, SNIPS_SLOTS = _spoken("snips", "SNIPS", (13084, 700, 700))
ATIS, ATIS_SLOTS = _spoken("atis", "ATIS", (4478, 500, 893))

_ENTITIES = ("PER", "ORG", "LOC", "MISC")
CONLL2003 = Task(
    name="conll2003",
    title="CoNLL-2003: names of persons, organisations, places and others",
    kind="tag",
    labels=("O", *(f"{begin}-{entity}" for entity in _ENTITIES for begin in "BI")),
    metrics=("entity_f1", "entity_precision", "entity_recall", "token_accuracy"),
    folder="tagging",
    layouts={
        ours: (
            Layout((f"eng.{official}",), iob1=True),
            Layout((f"conll2003_{other}.txt",)),
        )
        for ours, official, other in (
            ("train", "train", "train"), ("dev", "testa", "valid"), ("test", "testb", "test"),
        )
    },
    sizes={"train": 14041, "dev": 3250, "test": 3453},
    source="https://www.clips.uantwerpen.be/conll2003/ner",
    licence="text of Reuters, for research",
    note="the official files' IOB1 tags are read as BIO2; -DOCSTART- lines are no sentences",
)  # fmt: skip

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
"""The seventeen parts of speech of Universal Dependencies."""

UD_EWT = Task(
    name="ewt-pos",
    title="UD English EWT: parts of speech",
    kind="tag",
    labels=UPOS,
    metrics=("token_accuracy", "macro_f1"),
    folder="tagging",
    layouts={
        "train": (
            Layout(("en_ewt-ud-train.conllu",)),
            Layout(("en_ewt-ud-train_rebuilt.conllu",)),
        ),
        "dev": (Layout(("en_ewt-ud-dev.conllu",)),),
        "test": (Layout(("en_ewt-ud-test.conllu",)),),
    },
    sizes={"train": 12544, "dev": 2001, "test": 2077},
    source="https://github.com/UniversalDependencies/UD_English-EWT",
    licence="CC BY-SA 4.0",
    note="words are the syntactic words of the annotation",
)


def _squad_hub(dataset: str, config: str) -> HubData:
    splits = {"train": "train", "dev": "validation"}
    return HubData(
        dataset, {ours: f"{config}/{name}-00000-of-00001.parquet" for ours, name in splits.items()}
    )


SQUAD = Task(
    name="squad",
    title="SQuAD 1.1: answers that are spans of a paragraph",
    kind="answer",
    labels=None,
    metrics=("answer_f1", "exact_match"),
    folder="squad",
    layouts={
        "train": (
            Layout(("train-v1.1.json",)),
            Layout(("squad_v1.1_train_subset4330.jsonl",), examples=4330),
        ),
        "dev": (
            Layout(("dev-v1.1.json",)),
            Layout(
                ("xquad.en.json",), examples=1190,
                note="the part of dev that XQuAD has; one right answer a question instead of three",
            ),
        ),
    },
    sizes={"train": 87599, "dev": 10570},
    source="https://rajpurkar.github.io/SQuAD-explorer",
    licence="CC BY-SA 4.0",
    hub=_squad_hub("rajpurkar/squad", "plain_text"),
)  # fmt: skip

SQUAD2 = Task(
    name="squad2",
    title="SQuAD 2.0: answers that are spans of a paragraph, or that there is none",
    kind="answer",
    labels=None,
    metrics=("answer_f1", "exact_match", "has_answer_f1", "no_answer_accuracy"),
    folder="squad",
    layouts={
        "train": (Layout(("train-v2.0.json",)),),
        "dev": (
            Layout(("dev-v2.0.json",)),
            Layout(
                ("squad_v2.0_dev_6078.json",), examples=6078,
                note="16 of the 35 articles",
            ),
        ),
    },
    sizes={"train": 130319, "dev": 11873},
    source="https://rajpurkar.github.io/SQuAD-explorer",
    licence="CC BY-SA 4.0",
    hub=_squad_hub("rajpurkar/squad_v2", "squad_v2"),
)  # fmt: skip

OTHER_ROWS = (
    HANS, SNLI, SST5, AG_NEWS, CLINC150, BANKING77, SNIPS, SNIPS_SLOTS, ATIS, ATIS_SLOTS,
    CONLL2003, UD_EWT, SQUAD, SQUAD2,
)  # fmt: skip
