"""Chromium, driven over a pipe by its DevTools protocol: no package is needed."""

import json
import os
import select
import shutil
import subprocess
import tempfile
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60  # seconds


class Browser:
    """A browser with one tab, an empty profile, and a log of what the tab did."""

    def __enter__(self):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        wired = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", wired, "bash", *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._number, self._session = b"", 0, None
        self.events = []
        targets = self.send("Target.getTargets")["targetInfos"]
        tab = next(each for each in targets if each["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=tab["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True
        )
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def send(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)
            if answer.get("method") == "Target.attachedToTarget" and self._session:
                self._watch(answer["params"]["sessionId"])

    def _watch(self, worker):
        """Have a worker's requests in the log too, from its first one on."""
        for method in ("Network.enable", "Log.enable", "Runtime.runIfWaitingForDebugger"):
            message = {"id": 10**6, "method": method, "params": {}, "sessionId": worker}
            os.write(self._out, json.dumps(message).encode() + b"\0")

    def _read(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], PATIENCE)
            assert ready, "the browser says nothing"
            self._buffer += os.read(self._in, 1 << 20)
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def visit(self, url):
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script):
        """The value of a JavaScript expression, or of the promise that it gives."""
        found = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition):
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            shown = self.run("document.body?.innerText")
            assert time.monotonic() < end, f"{condition} never came true; the page says {shown}"
            time.sleep(0.05)

    def ask(self, tab, *texts):
        """Put texts into the form of a tab, send it, and return the answer behind the drawing."""
        self.until(f"document.querySelector('#panel-{tab} form') !== null")
        self.run(
            f"""{{
            document.querySelector('#tab-{tab}').click();
            const panel = document.querySelector('#panel-{tab}');
            delete panel.querySelector('.result').dataset.answer;
            const texts = {json.dumps(texts)};
            const fields = panel.querySelectorAll('textarea');
            fields.forEach((field, i) => (field.value = texts[i] ?? ''));
            panel.querySelector('form').requestSubmit(); }}"""
        )
        self.until(f"document.querySelector('#panel-{tab} .result').dataset.answer !== undefined")
        return json.loads(
            self.run(f"document.querySelector('#panel-{tab} .result').dataset.answer")
        )

    def requests(self):
        """Addresses that the tab asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def complaints(self):
        """What the console shows as an error or a warning."""
        found = []
        for event in self.events:
            said = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(said["exceptionDetails"]["text"])
            elif event.get("method") == "Log.entryAdded" and said["entry"]["level"] != "verbose":
                found.append(said["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and said["type"] == "error":
                found.append(str(said["args"]))
        return found
