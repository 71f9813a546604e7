import http.client
import json
import socket
import threading

import pytest

from bert_mobile.errors import ArtifactError, InputError
from bert_mobile.hub import resolve
from bert_mobile.page import PageServer, gather
from bert_mobile.page.server import POLICY
from bert_mobile.page.site import page_files


@pytest.fixture(scope="module")
def server():
    with PageServer(gather({"default": resolve("default")})) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server, method, address, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, address, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js?x=1", "text/javascript; charset=utf-8"),
        ("/page/vendor/ort.wasm.bundle.min.mjs", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/models.json", "application/json"),
        ("/models/default/config.json", "application/json"),
    ],
)
def test_files_have_their_types_and_the_headers_of_isolation(server, address, kind):
    status, headers, body = ask(server, "GET", address)
    assert (status, headers["Content-Type"], len(body)) == (
        200,
        kind,
        int(headers["Content-Length"]),
    )
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == POLICY


@pytest.mark.parametrize(
    "address",
    [
        *("/page/", "/page", "/models/default/", "/models/default/provenance.json"),
        *("/../__init__.py", "/page/../../__init__.py", "/%2e%2e/x", "/page/%2e%2e/index.html"),
        *("//etc/passwd", "/\0"),
    ],
)
def test_nothing_else_is_served(server, address):
    try:
        status, _, _ = ask(server, "GET", address)
    except http.client.InvalidURL:  # the client refuses to send it
        return
    assert status == 404


def test_an_address_that_is_none_is_answered(server):
    place = ("127.0.0.1", server.server_port)
    with socket.create_connection(place, timeout=10) as visitor:
        visitor.sendall(b"GET http://[/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert visitor.recv(1000).startswith(b"HTTP/1.1 404 ")


def test_head_ranges_and_foreign_hosts(server):
    status, headers, body = ask(server, "HEAD", "/index.html")
    whole = page_files()["index.html"].read_bytes()
    assert (status, int(headers["Content-Length"]), body) == (200, len(whole), b"")
    status, headers, body = ask(server, "GET", "/index.html", Range="bytes=2-5")
    assert (status, body, headers["Content-Range"]) == (206, whole[2:6], f"bytes 2-5/{len(whole)}")
    assert ask(server, "GET", "/index.html", Range="bytes=99999999-")[0] == 416
    assert ask(server, "GET", "/", Host="example.org")[0] == 421
    assert ask(server, "POST", "/")[0] == 501


def test_the_list_of_models_is_true(server):
    listed = json.loads(ask(server, "GET", "/models.json")[2])["default"]
    for name, facts in listed["files"].items():
        _, headers, _ = ask(server, "HEAD", f"/{listed['path']}{name}")
        assert int(headers["Content-Length"]) == facts["bytes"]


def test_a_taken_port_and_a_wrong_model_are_told(server, tiny_checkpoint):
    with pytest.raises(InputError, match=r"port \d+ cannot be listened to"):
        PageServer(server.site, server.server_port)
    with pytest.raises(ArtifactError, match="holds no ONNX file"):
        gather({"default": tiny_checkpoint})
    with pytest.raises(InputError, match="expected a BertForSequenceClassification"):
        gather({"sentiment": resolve("default")})
