"""The certificates of docs/security.md, made as it says, and a gateway behind nginx as it says."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from certificates import Made, made_as_documented
from click.testing import CliRunner
from deployments import until
from gateway_backend import TOKEN, MemoryBackend, serving

import vagus
from vagus.cli import cli
from vagus.clock import SystemClock
from vagus.errors import PeerUnreachable

PAGE = (Path(__file__).parents[2] / "docs/security.md").read_text()
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_as_documented(tmp_path_factory.mktemp("ca"), "node1", "127.0.0.3")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of another authority of the same name."""
    return made_as_documented(tmp_path_factory.mktemp("other"), "node1", "127.0.0.3")


def meet(server: Made, client: Made | None, trusts: Made, host: str) -> str:
    """What becomes of a connection as Ray's gRPC makes them: both sides show a certificate and check the other's."""
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.ca))
    listening.load_cert_chain(server.certificate, server.key)
    listening.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cafile=str(trusts.ca))
    if client is not None:
        calling.load_cert_chain(client.certificate, client.key)
    with socket.create_server(("127.0.0.1", 0)) as port:

        def serve() -> None:
            connection, _ = port.accept()
            with connection:
                try:
                    with listening.wrap_socket(connection, server_side=True) as secured:
                        secured.sendall(b"hello")
                except OSError:  # the other one is refused
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(port.getsockname(), 5) as connection,
                calling.wrap_socket(connection, server_hostname=host) as secured,
            ):
                return secured.recv(100).decode()
        except OSError as error:  # ssl.SSLError is one
            return type(error).__name__
        finally:
            thread.join(10)


@needs_openssl
@pytest.mark.says("tls-recipe", "tls-certificates")
def test_the_recipe_makes_certificates_by_which_nodes_meet_and_strangers_do_not(node: Made, stranger: Made) -> None:
    assert {path.stat().st_mode & 0o077 for path in (node.key,)} == {0}
    for host in ("127.0.0.3", "127.0.0.1", "127.0.0.2", "localhost", "node1"):
        assert meet(node, node, node, host) == "hello", host
    assert meet(node, node, node, "127.0.0.9") == "SSLCertVerificationError", "another address"
    assert meet(node, None, node, "127.0.0.3") != "hello", "without a certificate"
    assert meet(node, stranger, node, "127.0.0.3") != "hello", "with one of another authority"
    assert meet(stranger, node, node, "127.0.0.3") == "SSLCertVerificationError"


@needs_openssl
@pytest.mark.says("tls-recipe")
def test_the_authoritys_key_is_not_among_what_is_copied(node: Made) -> None:
    assert "node1" in subject(node.certificate)
    copied = re.search(r"Copy (.*?) to that node's", PAGE, re.S)
    assert copied is not None
    assert re.findall(r"`([^`]+)`", copied[1]) == ["ca.crt", "node.crt", "node.key"]


def subject(path: Path) -> str:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-in", path], capture_output=True, text=True, check=True
    )
    return done.stdout


# --- behind nginx ------------------------------------------------------------------------------------------------------


def listens(nginx: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert nginx.poll() is None, log.read_text()
    with socket.socket() as trying:
        trying.settimeout(1.0)
        return trying.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def proxied(node: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway behind nginx with the page's own lines; the URL."""
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx")
    (text,) = re.findall(r"```nginx\n(.*?)```", PAGE, re.S)
    folder = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with serving(MemoryBackend(), clock=SystemClock()) as served:
        for old, new in {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "http://127.0.0.1:7117": served.url,
            "/etc/vagus/gateway.crt": str(node.certificate),
            "/etc/vagus/gateway.key": str(node.key),
        }.items():
            assert old in text
            text = text.replace(old, new)
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        conf = folder / "nginx.conf"
        conf.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\n"
            f"events {{}}\nhttp {{ access_log off;\n{paths}{text}}}\n"
        )
        with subprocess.Popen(["nginx", "-e", folder / "log", "-p", folder, "-c", conf]) as nginx:
            try:
                until(partial(listens, nginx, port, folder / "log"), "nginx does not listen")
                yield f"https://127.0.0.1:{port}"
            finally:
                nginx.terminate()
                nginx.wait(10)


@needs_openssl
@pytest.mark.says("proxy-recipe", "https-clients")
def test_clients_go_through_the_proxy(proxied: str, node: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(node.ca))
    with vagus.connect(proxied, TOKEN) as connection:
        assert {n.node for n in connection.status()} == {"a", "b"}
        assert connection.report("db@2", {"read": ("UNHEALTHY", 30)}, observer="api@1") == "ACCEPTED"
    done = CliRunner().invoke(cli, ["--url", proxied, "--token", TOKEN, "status", "--json"])
    assert done.exit_code in (0, 1), done.output
    assert '"nodes"' in done.output
    done = CliRunner().invoke(cli, ["--token", TOKEN, "health", "--server", proxied, "--json"])
    assert "db@2" in done.output, done.output


@needs_openssl
@pytest.mark.says("https-checked")
def test_a_certificate_that_is_not_trusted_is_refused(
    proxied: str, stranger: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.ca))
    with (
        vagus.connect(proxied, TOKEN) as connection,
        pytest.raises(PeerUnreachable, match=r"not trusted here.*SSL_CERT_FILE"),
    ):
        connection.status()
    monkeypatch.delenv("SSL_CERT_FILE")
    with vagus.connect(proxied, TOKEN) as connection, pytest.raises(PeerUnreachable, match="not trusted"):
        connection.status()
