"""examples/node and examples/browser on a folder that `export --to web` wrote."""

import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import bert_mobile
from bert_mobile.model.config import SEQUENCES
from tests.examples.conftest import EXAMPLES
from tests.page.browser import CHROMIUM, Browser

export = pytest.importorskip("bert_mobile.export", reason="needs the extra export").export

NODE = shutil.which("node")
GAP = "the of [MASK] and [MASK] in"
LINE = re.compile(r" *(\d+\.\d\d) ?%  (\S+)")


def check(lines, site):
    """Compare lines such as `12.34%  word` with Python's answers, gap after gap."""
    expected = [each for gap in bert_mobile.load(site).fill_mask(GAP) for each in gap]
    found = [LINE.fullmatch(line).groups() for line in lines if line]
    assert [word for _, word in found] == [each["token_str"] for each in expected]
    assert [float(score) for score, _ in found] == pytest.approx(
        [100 * each["score"] for each in expected], abs=0.02
    )


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_node_fills_gaps_with_the_exported_folder_alone(site):
    command = [NODE, str(EXAMPLES / "node" / "fill-mask.mjs"), str(site), GAP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    check(done.stdout.splitlines(), site)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_node_says_in_one_line_what_is_wrong(site, tiny_task, tmp_path):
    classifier = tmp_path / "classifier"
    export(tiny_task(SEQUENCES), "web", classifier)
    for given, status, said in (
        ([], 2, "usage: "),
        ([str(classifier), GAP], 1, f"error: {classifier} holds no model that fills gaps"),
        ([str(site), "no gap"], 1, "error: Put [MASK]"),
    ):
        command = [NODE, str(EXAMPLES / "node" / "fill-mask.mjs"), *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith(said)
        assert len(done.stderr.splitlines()) == 1


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_smallest_page_fills_gaps_from_any_file_server(site, tmp_path):
    page = (EXAMPLES / "browser" / "index.html").read_text(encoding="utf-8")
    assert len(page.splitlines()) < 60
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    (tmp_path / "site").symlink_to(site)
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Browser() as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.visit(f"http://127.0.0.1:{server.server_port}/")
        browser.until("document.querySelector('#answer').textContent === 'Ready.'")
        check(fill(browser, GAP).splitlines(), site)
        assert fill(browser, "no gap") == "Put [MASK] where a word is to be found."
        assert browser.complaints() == []
        server.shutdown()


def fill(browser, text):
    """Put a text into the page's form, send it, and return what is shown next."""
    browser.run(f"document.querySelector('input').value = '{text}'")
    browser.run("document.querySelector('#answer').textContent = ''")
    browser.run("document.querySelector('form').requestSubmit()")
    browser.until("document.querySelector('#answer').textContent !== ''")
    return browser.run("document.querySelector('#answer').textContent")
