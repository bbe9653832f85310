"""The server on loopback: what a plain client gets, and who is refused."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from http.client import HTTPConnection

import pytest

from actrace.analysis.app.server import make_server, origins
from actrace.cli import main
from actrace.errors import NotARunError, ServeError


@pytest.fixture(scope="module")
def url(runs):
    """Start ``actrace serve`` in a process of its own, and return its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "actrace", "serve", str(runs), "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    yield re.search(r"http://\S+", line)[0]
    process.terminate()
    process.wait(30)
    process.stdout.close()


def fetched(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode("utf-8", "replace")


def test_it_listens_on_loopback_alone_and_says_where(url):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
    page = fetched(url + "?page=run&run=good")
    assert "<title>actrace</title>" in page


def test_everything_that_a_page_loads_comes_from_the_server(url):
    page = fetched(url)
    loaded = re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"([^\"]+)\"", page)
    assert len(loaded) > 3
    for place in loaded:
        assert not re.match(r"(https?:)?//", place)
        if place.startswith("static/"):
            assert fetched(url + place)


def test_a_url_reaches_no_file(url, runs):
    for path in ("/good.zarr/zarr.json", "/../runs/good.zarr/zarr.json", "/%2e%2e/outside.zarr"):
        connection = HTTPConnection(url[7:].rstrip("/"), timeout=60)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


def test_a_page_of_another_site_is_refused(url):
    connection = HTTPConnection(url[7:].rstrip("/"), timeout=60)
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    connection.request("GET", "/ws", headers={**headers, "Origin": "http://evil.example"})
    assert connection.getresponse().status == 403
    connection.close()


def test_the_document_that_a_browser_gets_holds_the_page(url):
    from bokeh.client import pull_session

    with pull_session(url=url, arguments={}) as session:
        document = str(session.document.to_json())
    assert "Search names, tags, notes, settings" in document
    assert "<script" not in document


def test_a_taken_port_is_one_clear_line(url, runs, capsys):
    port = url.rstrip("/").rpartition(":")[2]
    assert main(["serve", str(runs), "--no-open", "--port", port]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "choose another with --port" in said
    with pytest.raises(ServeError):
        make_server(runs, address="203.0.113.1")


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "none"), "--no-open"]) == 1
    assert "nothing is there" in capsys.readouterr().err
    with pytest.raises(NotARunError):
        make_server(tmp_path / "none")


def test_without_panel_the_pip_line_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("actrace.cli.serve.find_spec", lambda name: None)
    assert main(["serve", str(tmp_path)]) == 1
    assert "pip install 'actrace[app]'" in capsys.readouterr().err


def test_only_named_hosts_may_connect():
    assert origins("127.0.0.1", 80) == ["127.0.0.1:80", "localhost:80"]
    assert origins("::1", 80)[-1] == "[::1]:80"
    assert "10.0.0.7:80" in origins("10.0.0.7", 80)
    for address in ("0.0.0.0", "::", "10.0.0.7"):
        assert not any("*" in origin for origin in origins(address, 80))
    assert origins("127.0.0.1", 80, ["lab.example:443"])[-1] == "lab.example:443"
