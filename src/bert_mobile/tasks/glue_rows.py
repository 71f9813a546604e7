"""GLUE's tasks (Wang et al. 2019, arXiv:1804.07461) as rows; its diagnostic set is one of them.

Files are first those of the official download (`CoLA/train.tsv` …), then the forms in which the
original corpora go about, and parts of them. MNLI's mismatched sets are a row of their own: a row
is a column of the card's table and a file of the submission.
"""

from bert_mobile.tasks.task import Card, HubData, Layout, Submission, Task

GLUE_PAGE = "https://gluebenchmark.com/tasks"
_NLI = ("entailment", "neutral", "contradiction")
_ENTAILMENT = ("entailment", "not_entailment")


def _glue_hub(
    config: str, texts: tuple[str, ...], dev: str = "validation", test: str = "test"
) -> HubData:
    splits = {"train": "train", "dev": dev, "test": test}
    files = {ours: f"{config}/{theirs}-00000-of-00001.parquet" for ours, theirs in splits.items()}
    return HubData("nyu-mll/glue", files, texts, "label")


def _digits(labels: tuple[str, ...]) -> dict[str, str]:
    """The files' "0", "1"… for labels in that order."""
    return {str(number): label for number, label in enumerate(labels)}


def _words(labels: tuple[str, ...]) -> dict[str, str]:
    """The server's "0", "1"… for labels in that order."""
    return {label: str(number) for number, label in enumerate(labels)}


_ACCEPTABLE = ("unacceptable", "acceptable")
COLA = Task(
    name="cola",
    title="CoLA: is the sentence acceptable English?",
    kind="classify",
    labels=_ACCEPTABLE,
    written=_digits(_ACCEPTABLE),
    metrics=("matthews", "accuracy"),
    folder="glue",
    layouts={
        "train": (
            Layout(("CoLA/train.tsv",), ("#4",), "#2"),
            Layout(("CoLA/in_domain_train.tsv",), ("#4",), "#2"),
        ),
        "dev": (
            Layout(("CoLA/dev.tsv",), ("#4",), "#2"),
            Layout(("CoLA/in_domain_dev.tsv", "CoLA/out_of_domain_dev.tsv"), ("#4",), "#2"),
        ),
        "test": (
            Layout(("CoLA/test.tsv",), ("sentence",)),
            Layout(("CoLA/test_unlabelled.tsv",), ("sentence",)),
        ),
    },
    sizes={"train": 8551, "dev": 1043, "test": 1063},
    source="https://nyu-mll.github.io/CoLA",
    licence="not stated",
    hub=_glue_hub("cola", ("sentence",)),
    submission=Submission("CoLA.tsv", 1063, "1", _words(_ACCEPTABLE)),
    card=Card("CoLA", 51.8, "matthews"),
    note="dev is the corpus's in-domain and out-of-domain development sets together, as in GLUE",
)

_SENTIMENT = ("negative", "positive")
SST2 = Task(
    name="sst2",
    title="SST-2: is the sentence of a film review positive?",
    kind="classify",
    labels=_SENTIMENT,
    written=_digits(_SENTIMENT),
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "train": (Layout(("SST-2/train.tsv",), ("sentence",), "label"),),
        "dev": (Layout(("SST-2/dev.tsv",), ("sentence",), "label"),),
        "test": (
            Layout(("SST-2/test_labelled.tsv",), ("sentence",), "label"),
            Layout(("SST-2/test.tsv",), ("sentence",)),
            Layout(("SST-2/test_unlabelled.tsv",), ("sentence",)),
        ),
    },
    sizes={"train": 67349, "dev": 872, "test": 1821},
    source="https://nlp.stanford.edu/sentiment",
    licence="not stated",
    hub=_glue_hub("sst2", ("sentence",)),
    submission=Submission("SST-2.tsv", 1821, "1", _words(_SENTIMENT)),
    card=Card("SST-2", 92.7, "accuracy"),
    note="training examples are phrases as well as sentences; the labelled test set is GLUE's",
)

_EQUIVALENT = ("not_equivalent", "equivalent")
_STRINGS = ("#1 String", "#2 String")
_MSR_NOTE = (
    "GLUE's list of its 408 development pairs is not in the original files: every tenth pair of "
    "the training file, beginning with the first, is held out instead (408 of 4,076)"
)
MRPC = Task(
    name="mrpc",
    title="MRPC: do two sentences of the news mean the same?",
    kind="pairs",
    labels=_EQUIVALENT,
    written=_digits(_EQUIVALENT),
    metrics=("f1", "accuracy"),
    folder="glue",
    layouts={
        "train": (
            Layout(("MRPC/train.tsv",), _STRINGS, "Quality"),
            Layout(
                ("MRPC/msr_paraphrase_train.txt",), _STRINGS, "Quality",
                share="without tenth", note=_MSR_NOTE,
            ),
        ),
        "dev": (
            Layout(("MRPC/dev.tsv",), _STRINGS, "Quality"),
            Layout(
                ("MRPC/msr_paraphrase_train.txt",), _STRINGS, "Quality",
                share="tenth", note=_MSR_NOTE,
            ),
        ),
        "test": (
            Layout(("MRPC/msr_paraphrase_test.txt",), _STRINGS, "Quality"),
            Layout(("MRPC/test.tsv",), _STRINGS),
        ),
    },
    sizes={"train": 3668, "dev": 408, "test": 1725},
    source="https://www.microsoft.com/en-us/download/details.aspx?id=52398",
    licence="not stated",
    hub=_glue_hub("mrpc", ("sentence1", "sentence2")),
    submission=Submission("MRPC.tsv", 1725, "1", _words(_EQUIVALENT)),
    card=Card("MRPC", 88.0, "f1"),
    note="F1 is of the equivalent pairs; the original test set, with labels, is GLUE's",
)  # fmt: skip

STSB = Task(
    name="stsb",
    title="STS-B: how similar are two sentences, from 0 to 5?",
    kind="regress",
    labels=None,
    value_range=(0.0, 5.0),
    metrics=("pearson_spearman", "pearson", "spearman"),
    folder="glue",
    layouts={
        split: (
            Layout((f"STS-B/sts-{split}.csv",), ("#6", "#7"), "#5"),
            Layout(
                (f"STS-B/{split}.tsv",), ("sentence1", "sentence2"),
                None if split == "test" else "score",
            ),
        )
        for split in ("train", "dev", "test")
    },
    sizes={"train": 5749, "dev": 1500, "test": 1379},
    source="https://ixa2.si.ehu.eus/stswiki",
    licence="mixed, mostly CC BY-SA 4.0; see the data's LICENSE.txt",
    hub=_glue_hub("stsb", ("sentence1", "sentence2")),
    submission=Submission("STS-B.tsv", 1379, "2.701"),
    card=Card("STS-B", 85.0, "spearman"),
    note=(
        "main figure is the mean of Pearson and Spearman; the card's is one figure of an unstated "
        "kind, Spearman in the papers whose table it follows; the original test set is GLUE's"
    ),
)  # fmt: skip

_DUPLICATE = ("not_duplicate", "duplicate")
_QUESTIONS = ("question1", "question2")
_WANG = "one of the two halves of 20,000 balanced, tokenised pairs of Wang et al. 2017"
QQP = Task(
    name="qqp",
    title="QQP: do two questions ask the same?",
    kind="pairs",
    labels=_DUPLICATE,
    written=_digits(_DUPLICATE),
    metrics=("f1", "accuracy"),
    folder="glue",
    layouts={
        "train": (
            Layout(("QQP/train.tsv",), _QUESTIONS, "is_duplicate", skip_short_rows=True),
            Layout(
                ("QQP/wang2017_dev10k.tsv",), _QUESTIONS, "is_duplicate", examples=10000, note=_WANG
            ),
        ),
        "dev": (
            Layout(("QQP/dev.tsv",), _QUESTIONS, "is_duplicate", skip_short_rows=True),
            Layout(
                ("QQP/wang2017_test10k.tsv",), _QUESTIONS, "is_duplicate",
                examples=10000, note=_WANG + "; not of GLUE's development set",
            ),
        ),
        "test": (Layout(("QQP/test.tsv",), _QUESTIONS),),
    },
    sizes={"train": 363846, "dev": 40430, "test": 390965},
    source="https://quoradata.quora.com/First-Quora-Dataset-Release-Question-Pairs",
    licence="not stated; Quora's terms: non-commercial",
    hub=_glue_hub("qqp", _QUESTIONS),
    submission=Submission("QQP.tsv", 390965, "0", _words(_DUPLICATE)),
    card=Card("QQP", 71.5, "f1"),
    note="F1 is of the duplicates, which are fewer in the test set: its F1 is lower than dev's",
)  # fmt: skip

_SENTENCES = ("sentence1", "sentence2")
MNLI = Task(
    name="mnli",
    title="MNLI matched: does the first sentence entail the second, contradict it, or neither?",
    kind="pairs",
    labels=_NLI,
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "train": (
            Layout(("MNLI/train.tsv",), _SENTENCES, "gold_label"),
            Layout(("MNLI/train_subset.tsv",), _SENTENCES, "gold_label", examples=9888),
        ),
        "dev": (
            Layout(("MNLI/dev_matched.tsv",), _SENTENCES, "gold_label"),
            Layout(("MNLI/dev_matched_subset.tsv",), _SENTENCES, "gold_label", examples=6238),
        ),
        "test": (Layout(("MNLI/test_matched.tsv",), _SENTENCES),),
    },
    sizes={"train": 392702, "dev": 9815, "test": 9796},
    source="https://cims.nyu.edu/~sbowman/multinli",
    licence="OANC's licence for most; fiction under several; see the authors' paper",
    dropped=frozenset({"-"}),
    hub=_glue_hub("mnli", ("premise", "hypothesis"), "validation_matched", "test_matched"),
    submission=Submission("MNLI-m.tsv", 9796, "entailment"),
    card=Card("MNLI-m", 83.9, "accuracy"),
)

MNLI_MISMATCHED = Task(
    name="mnli-mm",
    title="MNLI mismatched: the same, in kinds of text that training has not",
    kind="pairs",
    labels=_NLI,
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "dev": (Layout(("MNLI/dev_mismatched.tsv",), _SENTENCES, "gold_label"),),
        "test": (Layout(("MNLI/test_mismatched.tsv",), _SENTENCES),),
    },
    sizes={"dev": 9832, "test": 9847},
    source=MNLI.source,
    licence=MNLI.licence,
    dropped=frozenset({"-"}),
    hub=_glue_hub("mnli", ("premise", "hypothesis"), "validation_mismatched", "test_mismatched"),
    submission=Submission("MNLI-mm.tsv", 9847, "entailment"),
    card=Card("MNLI-mm", 82.7, "accuracy"),
    trained_as="mnli",
)

QNLI = Task(
    name="qnli",
    title="QNLI: does the sentence hold the answer to the question?",
    kind="pairs",
    labels=_ENTAILMENT,
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "train": (
            Layout(("QNLI/train.tsv",), ("question", "sentence"), "label"),
            Layout(
                ("QNLI/train_subset10k.tsv",), ("question", "sentence"), "label", examples=10475
            ),
        ),
        "dev": (Layout(("QNLI/dev.tsv",), ("question", "sentence"), "label"),),
        "test": (
            Layout(("QNLI/test.tsv",), ("question", "sentence")),
            Layout(("QNLI/test_unlabelled.tsv",), ("question", "sentence")),
        ),
    },
    sizes={"train": 104743, "dev": 5463, "test": 5463},
    source=GLUE_PAGE,
    licence="CC BY-SA 4.0 (made of SQuAD)",
    hub=_glue_hub("qnli", ("question", "sentence")),
    submission=Submission("QNLI.tsv", 5463, "not_entailment"),
    card=Card("QNLI", 89.9, "accuracy"),
)

RTE = Task(
    name="rte",
    title="RTE: does the first text entail the second?",
    kind="pairs",
    labels=_ENTAILMENT,
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "train": (Layout(("RTE/train.tsv",), _SENTENCES, "label"),),
        "dev": (Layout(("RTE/dev.tsv",), _SENTENCES, "label"),),
        "test": (Layout(("RTE/test.tsv",), _SENTENCES),),
    },
    sizes={"train": 2490, "dev": 277, "test": 3000},
    source=GLUE_PAGE,
    licence="not stated",
    hub=_glue_hub("rte", _SENTENCES),
    submission=Submission("RTE.tsv", 3000, "entailment"),
    card=Card("RTE", 66.2, "accuracy"),
)

_WNLI = ("not_entailment", "entailment")
WNLI = Task(
    name="wnli",
    title="WNLI: is the pronoun rightly replaced?",
    kind="pairs",
    labels=_WNLI,
    written=_digits(_WNLI),
    metrics=("accuracy",),
    folder="glue",
    layouts={
        "train": (Layout(("WNLI/train.tsv",), _SENTENCES, "label"),),
        "dev": (Layout(("WNLI/dev.tsv",), _SENTENCES, "label"),),
        "test": (Layout(("WNLI/test.tsv",), _SENTENCES),),
    },
    sizes={"train": 635, "dev": 71, "test": 146},
    source=GLUE_PAGE,
    licence="not stated",
    hub=_glue_hub("wnli", _SENTENCES),
    submission=Submission("WNLI.tsv", 146, "0", _words(_WNLI)),
    note=(
        "dev shares its sentences with train under opposite labels, so that a model that learns "
        "them falls below chance; always `not_entailment`, the most frequent label, is right in "
        "65.1 % of the test set and is what papers send, or they leave the task out, as the card"
    ),
)

AX = Task(
    name="ax",
    title="AX: GLUE's diagnostic set, which the model of MNLI is asked",
    kind="pairs",
    labels=_NLI,
    metrics=("matthews", "accuracy"),
    folder="glue",
    layouts={
        "test": (
            Layout(("AX/diagnostic-full.tsv",), ("Premise", "Hypothesis"), "Label"),
            Layout(("diagnostic/diagnostic-full.tsv",), ("Premise", "Hypothesis"), "Label"),
            Layout(("diagnostic/diagnostic.tsv",), _SENTENCES),
            Layout(("AX/AX.tsv",), _SENTENCES),
        ),
    },
    sizes={"test": 1104},
    source="https://gluebenchmark.com/diagnostics",
    licence="not stated",
    hub=HubData(
        "nyu-mll/glue", {"test": "ax/test-00000-of-00001.parquet"}, ("premise", "hypothesis")
    ),
    submission=Submission("AX.tsv", 1104, "entailment"),
    trained_as="mnli",
)

GLUE_ROWS = (COLA, SST2, MRPC, STSB, QQP, MNLI, MNLI_MISMATCHED, QNLI, RTE, WNLI, AX)
"""In the order of the benchmark."""
