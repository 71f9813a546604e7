"""The zip for the GLUE server: every file of it, and what is refused."""

import zipfile

import pytest

from bert_mobile.errors import InputError
from bert_mobile.tasks.submission import write_submission
from bert_mobile.tasks.table import GLUE, TASKS

NLI = {"entailment", "neutral", "contradiction"}
ENTAILMENT = {"entailment", "not_entailment"}
DIGITS = {"0", "1"}

EXPECTED = {
    "CoLA.tsv": (1063, DIGITS), "SST-2.tsv": (1821, DIGITS), "MRPC.tsv": (1725, DIGITS),
    "STS-B.tsv": (1379, None), "QQP.tsv": (390965, DIGITS), "MNLI-m.tsv": (9796, NLI),
    "MNLI-mm.tsv": (9847, NLI), "QNLI.tsv": (5463, ENTAILMENT), "RTE.tsv": (3000, ENTAILMENT),
    "WNLI.tsv": (146, DIGITS), "AX.tsv": (1104, NLI),
}  # fmt: skip
"""What the server takes: number of predictions and its words."""


def answers(name):
    """Predictions of a whole test set, all labels in turn."""
    row = TASKS[name]
    if row.labels is None:
        return [number % 61 / 10 - 0.5 for number in range(row.submission.examples)]
    return [row.labels[n % len(row.labels)] for n in range(row.submission.examples)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a whole submission, as lines."""
    path = tmp_path_factory.mktemp("glue") / "submission.zip"
    assert write_submission(path, {name: answers(name) for name in GLUE}) == ()
    with zipfile.ZipFile(path) as file:
        return {each: file.read(each).decode("ascii").split("\n") for each in file.namelist()}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_file_is_as_the_server_wants_it(written, name):
    assert set(written) == set(EXPECTED)
    head, *lines, end = written[name]
    count, words = EXPECTED[name]
    assert (head, end, len(lines)) == ("index\tprediction", "", count)
    index, predictions = zip(*(line.split("\t") for line in lines), strict=True)
    assert index == tuple(map(str, range(count)))
    if words:
        assert set(predictions) == words


def test_labels_become_the_servers_words(written):
    assert written["CoLA.tsv"][1:3] == ["0\t0", "1\t1"]  # unacceptable, acceptable
    assert written["WNLI.tsv"][1:3] == ["0\t0", "1\t1"]  # not_entailment, entailment
    assert written["RTE.tsv"][1:3] == ["0\tentailment", "1\tnot_entailment"]


def test_scores_have_three_decimals_and_keep_to_their_scale(written):
    lines = [line.split("\t")[1] for line in written["STS-B.tsv"][1:-1]]
    assert lines[:7] == ["0.000"] * 6 + ["0.100"]
    assert lines[59:61] == ["5.000", "5.000"]


def test_missing_tasks_are_filled_only_on_request(tmp_path):
    path = tmp_path / "submission.zip"
    some = {"rte": answers("rte")}
    with pytest.raises(
        InputError, match=r"no predictions for cola, sst2, .*, expected all of GLUE"
    ):
        write_submission(path, some)
    assert not path.exists()
    assert write_submission(path, some, fill_missing=True) == tuple(n for n in GLUE if n != "rte")
    with zipfile.ZipFile(path) as file:
        wnli = file.read("WNLI.tsv").decode().splitlines()
        assert {line.split("\t")[1] for line in wnli[1:]} == {"0"}
        assert file.read("STS-B.tsv").decode().splitlines()[1] == "0\t2.701"
        assert sorted(file.namelist()) == sorted(EXPECTED)


def test_equal_predictions_make_equal_bytes(tmp_path):
    paths = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for path in paths:
        write_submission(path, {"rte": answers("rte")}, fill_missing=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"rte": ["entailment"]}, "1 predictions for rte, the server expects 3,000"),
        ({"rte": ["yes"] * 3000}, "rte, prediction 0: 'yes', expected one of entailment, not_"),
        ({"cola": ["1"] * 1063}, "cola, prediction 0: '1', expected one of unacceptable, accept"),
        ({"stsb": [float("nan")] * 1379}, "stsb, prediction 0: nan, expected a finite number"),
        ({"stsb": ["3.5"] * 1379}, "stsb, prediction 0: '3.5', expected a finite number"),
        ({"squad": ["x"]}, "'squad' is no task of GLUE, expected cola"),
    ],
)
def test_what_the_server_would_refuse_is_refused(tmp_path, predictions, message):
    with pytest.raises(InputError, match=message):
        write_submission(tmp_path / "submission.zip", predictions, fill_missing=True)
    assert list(tmp_path.iterdir()) == []
