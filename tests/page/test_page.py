"""The page in a real Chromium: its answers beside Python's, its silence, its memory."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import bert_mobile
from bert_mobile.model.config import ANSWERS, SEQUENCES, TOKENS
from bert_mobile.page import PageServer, gather
from bert_mobile.runtime.text import TruncationWarning
from tests.page import bare
from tests.page.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

export = pytest.importorskip("bert_mobile.export", reason="needs the extra export").export

GAP = "the of [MASK] and [MASK] in"
OTHER_TABS = ["Sentiment", "Names", "Answers"]
PAIR = ("the of and.", "in to a!")
CONTEXT = "Of the, and in to a! " * 60  # more than one window


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_checkpoint, tiny_task):
    """A micro model for each role, as the browser takes them."""
    sources = {
        "default": tiny_checkpoint,
        "sentiment": tiny_task(SEQUENCES),
        "entities": tiny_task(TOKENS),
        "answers": tiny_task(ANSWERS),
    }
    root = tmp_path_factory.mktemp("models")
    for role, source in sources.items():
        export(source, "web", root / role)
    return {role: root / role for role in sources}


def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def shown(browser, tab):
    """What the page says below a form."""
    return browser.run(f"document.querySelector('#panel-{tab} .result').innerText")


def near(found, expected):
    assert found == pytest.approx(expected, abs=1e-3)


def test_answers_are_pythons_and_nothing_else_is_asked_for(folders):
    python = {role: bert_mobile.load(folder) for role, folder in folders.items()}
    with serving(PageServer(gather(folders))) as server, Browser() as browser:
        browser.visit(server.url)

        gaps = browser.ask("fill", GAP)
        for found, expected in zip(gaps, python["default"].fill_mask(GAP, top_k=8), strict=True):
            assert [each["token"] for each in found] == [each["token"] for each in expected]
            near([each["score"] for each in found], [each["score"] for each in expected])
        near(browser.ask("next", *PAIR), python["default"].next_sentence(*PAIR))
        one, other = python["default"].embed(list(PAIR))
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        near(browser.ask("similar", *PAIR), float(cosine))

        expected = python["sentiment"].classify([GAP], top_k=None)[0]
        found = browser.ask("sentiment", GAP)
        assert [each["label"] for each in found] == [each["label"] for each in expected]
        near([each["score"] for each in found], [each["score"] for each in expected])

        found = browser.ask("entities", CONTEXT)
        expected = python["entities"].tag(CONTEXT)
        assert expected
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours["group"], ours["start"], ours["end"]) == (
                theirs["entity_group"], theirs["start"], theirs["end"],
            )  # fmt: skip
            near(ours["score"], theirs["score"])

        found = browser.ask("answers", "in the?", CONTEXT)
        expected = python["answers"].answer(question="in the?", context=CONTEXT)
        near(found["score"], expected["score"])
        assert found["answer"] == expected["answer"]

        assert browser.complaints() == []
        assert browser.run("crossOriginIsolated")
        asked = browser.requests()
        assert any(url.startswith(f"{server.url}models/default/onnx/") for url in asked)
        assert all(url.startswith(server.url) for url in asked), asked
        server.shutdown()


LONG = "the of and in to a " * 20


def test_texts_are_cut_and_nothing_is_answered_as_fine_tuning_had_it(tiny_task, tmp_path):
    sources = {
        "sentiment": tiny_task(SEQUENCES, max_length=16),
        "entities": tiny_task(TOKENS, max_length=16),
        "answers": tiny_task(ANSWERS, max_length=24, no_answer_threshold=-100.0),
    }
    for role, source in sources.items():
        export(source, "web", tmp_path / role)
    with serving(PageServer(gather({role: tmp_path / role for role in sources}))) as server:
        python = {role: bert_mobile.load(tmp_path / role) for role in sources}
        with Browser() as browser:
            browser.visit(server.url)

            with pytest.warns(TruncationWarning):
                (expected,) = python["sentiment"].classify(LONG)
            found = browser.ask("sentiment", LONG)[0]
            assert found["label"] == expected["label"]
            near(found["score"], expected["score"])

            expected = python["entities"].tag(CONTEXT)
            found = browser.ask("entities", CONTEXT)
            near([each["score"] for each in found], [each["score"] for each in expected])

            expected = python["answers"].answer(question="in the?", context=CONTEXT)
            found = browser.ask("answers", "in the?", CONTEXT)
            assert found["answer"] == expected["answer"] == ""
            near(found["score"], expected["score"])
            assert shown(browser, "answers").startswith("The paragraph does not say.")
        server.shutdown()


def visiting(browser, role, source, folder):
    """Export a model, show it on a page, and return Python's one; the page goes on to be served."""
    export(source, "web", folder)
    server = serving(PageServer(gather({role: folder})))
    browser.visit(server.url)
    return bert_mobile.load(folder)


TOPICS = tuple(f"a_rather_long_name_of_the_topic_{letter}" for letter in "abcdefghijklmnopqrst")


def test_classifiers_are_shown_as_what_they_are(tiny_task, tmp_path):
    with Browser() as browser:
        regression = tiny_task(SEQUENCES, problem_type="regression", labels=("stars",))
        python = visiting(browser, "sentiment", regression, tmp_path / "number")
        (found,), (expected,) = browser.ask("sentiment", GAP), python.classify(GAP)
        near(found["score"], expected["score"])
        name, number = shown(browser, "sentiment").splitlines()
        assert name == "stars"
        near(float(number), expected["score"])

        several = tiny_task(SEQUENCES, problem_type="multi_label_classification", labels=TOPICS)
        python = visiting(browser, "sentiment", several, tmp_path / "several")
        browser.ask("sentiment", GAP)
        fitting = [each["label"] for each in python.classify(GAP, threshold=0.5)]
        assert 8 < len(fitting) < len(TOPICS)
        verdict, *lines, rest = shown(browser, "sentiment").splitlines()
        assert verdict == f"{len(fitting)} of 20 labels fit."
        assert [line for line in lines if line in TOPICS] == fitting
        assert rest.startswith(f"Not shown: {20 - len(fitting)} of 20 labels, none above ")

        pairs = tiny_task(SEQUENCES, labels=("entailment", "neutral", "contradiction"))
        python = visiting(browser, "sentiment", pairs, tmp_path / "pairs")
        for texts in (PAIR, (GAP, "")):
            found = browser.ask("sentiment", *texts)
            (expected,) = python.classify(texts[0], texts[1] or None, top_k=None)[:1]
            assert found[0]["label"] == expected["label"]
            near(found[0]["score"], expected["score"])
        assert "praise" not in browser.run("document.querySelector('#tasks').innerText")


@pytest.mark.parametrize(
    ("labels", "text", "count"),
    [("ab", "said", 0), ("ab", "you", 1), ("abcd", "you", 2)],
)
def test_a_verdict_names_the_labels_that_fit(labels, text, count, tiny_task, tmp_path):
    source = tiny_task(SEQUENCES, problem_type="multi_label_classification", labels=tuple(labels))
    with Browser() as browser:
        python = visiting(browser, "sentiment", source, tmp_path / "site")
        fitting = [each["label"] for each in python.classify(text, threshold=0.5)]
        assert len(fitting) == count
        browser.ask("sentiment", text)
        verdict = shown(browser, "sentiment").splitlines()[0]
        assert verdict == (" · ".join(fitting) or "None of the labels fits.")


@pytest.mark.parametrize(
    ("absent", "tabs"),
    [(bare.NEXT_SENTENCE, ["Fill a gap", "Similarity"]), (bare.ALL, ["Similarity"])],
)
def test_tabs_are_those_that_the_model_has_outputs_for(absent, tabs, tiny_checkpoint, tmp_path):
    source = bare.without_heads(tiny_checkpoint, tmp_path / "bare", absent)
    with Browser() as browser:
        visiting(browser, "default", source, tmp_path / "site")
        browser.until("document.querySelector('#state').innerText === 'Ready.'")
        found = browser.run("document.querySelector('#tabs').innerText").split("\n")
        assert found[: -len(OTHER_TABS)] == tabs
        assert found[-len(OTHER_TABS) :] == OTHER_TABS
        assert isinstance(browser.ask("similar", *PAIR), float)


def test_size_and_licence_are_the_models_own(folders):
    with serving(PageServer(gather(folders))) as server, Browser() as browser:
        for role, tab in (("default", "fill"), ("sentiment", "sentiment")):
            browser.visit(f"{server.url}?{role}#{tab}")
            browser.until("document.querySelector('#state').innerText === 'Ready.'")
            files = server.site.models[role]["files"].values()
            size = f"{sum(each['bytes'] for each in files) / 1e6:.1f} MB"
            assert f"A language model of {size}," in browser.run("document.body.innerText")
            assert size in browser.run("document.querySelector('#facts').innerText")
        assert "Model and page" not in browser.run("document.body.innerText")
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_any_server_any_path_and_none_after_the_first_visit(folders, tmp_path):
    site = tmp_path / "some" / "where"
    shutil.copytree(folders["default"], site)
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Browser() as browser:
        serving(server)
        address = f"http://127.0.0.1:{server.server_port}/some/where/"
        browser.visit(address)
        first = browser.ask("fill", GAP)
        browser.run("navigator.serviceWorker.ready.then(() => true)")
        server.shutdown()
        server.server_close()
        browser.visit(address)
        assert browser.ask("fill", GAP) == first
        assert "From this device" in browser.run("document.querySelector('#facts').innerText")


def test_a_damaged_file_is_told_and_fetched_again_on_demand(folders, tmp_path):
    damaged = tmp_path / "default"
    shutil.copytree(folders["default"], damaged)
    site = gather({"default": damaged})
    network = damaged / site.models["default"]["model"]
    good = network.read_bytes()
    network.write_bytes(good[:-9] + b"?" + good[-8:])
    with serving(PageServer(site)) as server, Browser() as browser:
        browser.visit(server.url)
        browser.until("document.querySelector('#model').classList.contains('failed')")
        assert "arrived damaged" in browser.run("document.querySelector('#state').innerText")
        network.write_bytes(good)
        browser.run("document.querySelector('#retry').click()")
        browser.until("document.querySelector('#state').innerText === 'Ready.'")
        assert browser.ask("fill", GAP)
        network.unlink()
        browser.run("caches.delete('bert-mobile-models')")
        browser.visit(server.url + "?again")
        browser.until("document.querySelector('#state').innerText.includes('404')")
        server.shutdown()
