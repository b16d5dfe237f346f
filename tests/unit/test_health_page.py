"""The page's files and their headers, and the command that prints its address; the page itself: tests/system."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, serving

from vagus.cli import cli
from vagus.gateway import routes_feeds_page, routes_health_page, routes_home_page, static
from vagus.gateway.static import FOLDER

PAGE = FOLDER / "health.html"
FEEDS = FOLDER / "feeds.html"
HOME = FOLDER / "home.html"
ROUTES = (*routes_health_page.ROUTES, *routes_feeds_page.ROUTES, *routes_home_page.ROUTES)


@pytest.fixture(scope="module")
def served():
    with serving() as running:
        yield running


@pytest.mark.parametrize("path", [route.path for route in ROUTES])
@pytest.mark.says("pages-static")
def test_files_are_public_closed_in_and_kept(served, path):
    status, headers, body = served.ask("GET", path, token=None)
    assert status == 200
    assert body
    assert headers["Content-Type"].split(";")[0] == next(r.media[0] for r in ROUTES if r.path == path)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "trusted-types 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    again = served.ask("GET", path, token=None, headers={"If-None-Match": headers["ETag"]})
    assert (again[0], again[2], again[1]["ETag"]) == (304, b"", headers["ETag"])
    assert served.ask("GET", f"{path}?x=1", token=None)[0] == 422
    assert served.ask("POST", path)[0] == 405


def test_every_file_of_the_page_is_served_and_no_other():
    paths = {route.path for route in ROUTES} - {"/health", "/feeds", "/"}
    assert {"health.html", "feeds.html", "home.html", *(path.rpartition("/")[2] for path in paths)} == {
        path.name for path in FOLDER.iterdir()
    }


def test_the_page_names_its_own_files_only_and_holds_no_script_or_style_of_its_own():
    text = PAGE.read_text()
    assert re.findall(r'(?:src|href)="([^"]*)"', text) == ["/health/icon.svg", "/health/health.css", "/health/main.js"]
    shared = ["/health/icon.svg", "/health/health.css", "/feeds/feeds.css", "/feeds/feeds.js"]
    assert re.findall(r'(?:src|href)="([^"]*)"', FEEDS.read_text()) == shared
    home = re.findall(r'(?:src|href)="(/[^"]*)"', HOME.read_text())
    assert home == ["/health/icon.svg", "/health/health.css", "/home/home.css", "/home/home.js", "/health", "/feeds"]
    texts = text + FEEDS.read_text() + HOME.read_text()
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", texts)
    for path in FOLDER.glob("*.js"):
        source = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", source), path
        for name in re.findall(r'from "(?:\./|/health/)([^"]+)"', source):
            assert (FOLDER / name).exists()


@pytest.mark.says("pages-static")
def test_the_files_hold_no_address_outside(served):
    for path in FOLDER.glob("*.css"):
        assert "http" not in path.read_text()
    assert static.POLICY.count("self") == 4


def test_the_command_prints_an_address_with_the_token(served, monkeypatch):
    monkeypatch.delenv("VAGUS_URL", raising=False)
    asked = ["health", "page", "--url", served.url, "--token", TOKEN]
    found = CliRunner().invoke(cli, asked)
    assert (found.exit_code, found.output) == (0, f"{served.url}/health#token={TOKEN}\n")
    found = CliRunner().invoke(cli, [*asked, "--json"])
    assert json.loads(found.output) == {"url": f"{served.url}/health#token={TOKEN}"}


def test_the_page_of_feeds_has_an_address_too(served, monkeypatch):
    monkeypatch.delenv("VAGUS_URL", raising=False)
    asked = ["feed", "page", "comon", "--url", served.url, "--token", TOKEN]
    found = CliRunner().invoke(cli, asked)
    assert (found.exit_code, found.output) == (0, f"{served.url}/feeds?feed=comon#token={TOKEN}\n")
    assert served.ask("GET", "/feeds?feed=comon", token=None)[0] == 200


def test_a_browser_is_given_no_token_but_an_address_that_is_good_once(served, monkeypatch):
    seen, codes = [], []

    def browser(address):
        seen.append(address)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=5) as line:
                line.sendall(f"GET {urlsplit(address).path} HTTP/1.0\r\n\r\n".encode())
                codes.append(b"".join(iter(lambda line=line: line.recv(4096), b"")).decode())
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    asked = ["health", "page", "--open", "--url", served.url, "--token", TOKEN]
    assert CliRunner().invoke(cli, asked).exit_code == 0
    assert TOKEN not in seen[0]
    assert " 303 " in codes[0]
    assert f"Location: {served.url}/health#token={TOKEN}\r\n" in codes[0]
    assert " 404 " in codes[1]
    assert TOKEN not in codes[1]
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    missing = CliRunner().invoke(cli, asked)
    assert missing.exit_code == 1
    assert "open the address yourself" in missing.output


def test_the_command_says_when_the_token_is_wrong(served):
    found = CliRunner().invoke(cli, ["health", "page", "--url", served.url, "--token", "another-token-altogether"])
    assert found.exit_code == 1
    assert "token" in found.output


def test_the_page_of_the_cluster_has_an_address_too(served, monkeypatch):
    monkeypatch.delenv("VAGUS_URL", raising=False)
    found = CliRunner().invoke(cli, ["page", "--url", served.url, "--token", TOKEN])
    assert (found.exit_code, found.output) == (0, f"{served.url}/#token={TOKEN}\n")
    wrong = CliRunner().invoke(cli, ["page", "--url", served.url, "--token", "another-token-altogether"])
    assert wrong.exit_code == 1
    assert "token" in wrong.output
