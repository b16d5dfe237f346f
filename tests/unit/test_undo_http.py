"""A step that is an HTTP request: bounded in time and size, quoting the server, trusting only what it is told to."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from vagus.errors import Rejected
from vagus.undo import Step, perform, undo
from vagus.undo import http as undo_http
from vagus.undo.http import request

Serve = Callable[[bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers each connection with the given bytes, after the request's head; kept open with a pause between bytes."""
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []
    ended = threading.Event()

    def start(answer: bytes, drip_s: float = 0.0, wrap: ssl.SSLContext | None = None, close: bool = True) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                    if wrap is not None:
                        peer = wrap.wrap_socket(peer, server_side=True)
                    with peer:
                        _asked(peer)
                        for at in range(0, len(answer), 1 if drip_s else max(1, len(answer))):
                            peer.sendall(answer[at : at + 1] if drip_s else answer)
                            if drip_s and ended.wait(drip_s):
                                break
                        if not close:
                            ended.wait(5)
                except OSError:
                    if ended.is_set():
                        return

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return f"{'https' if wrap else 'http'}://127.0.0.1:{listener.getsockname()[1]}/x"

    yield start
    ended.set()
    for listener in opened:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(2)


def _asked(peer: socket.socket) -> None:
    """The whole request: what is left unread when a connection is closed takes the answer along."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
        more = peer.recv(65536)
        if not more:
            return
        data += more


def _length(data: bytes) -> int:
    found = re.search(rb"(?i)content-length: *(\d+)", data)
    return int(found[1]) if found else 0


def step(url: str, **told: object) -> Step:
    return Step("http", url, json.dumps({"method": "PUT", "body": "{}", **told}))


def answer(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_what_went_well_and_what_is_gone(serve):
    perform(step(serve(answer("200 OK"))))
    perform(step(serve(answer("204 No Content"))))
    for status in ("404 Not Found", "410 Gone"):
        assert undo([step(serve(answer(status, "no such thing")))]) == []
        with pytest.raises(Rejected, match=f"{status}: no such thing"):
            perform(step(serve(answer(status, "no such thing"))))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"kind": "Status", "reason": "Conflict", "message": "modified"}', "409 Conflict: modified"),
        ('{"error": "busy"}', "409 Conflict: busy"),
        ("plain\x07 text", "409 Conflict: plain  text"),
        ("[" * 3000, r"409 Conflict: \[\["),
        ("", "409 Conflict$"),
    ],
)
def test_the_servers_words(serve, body, words):
    [(_, why)] = undo([step(serve(answer("409 Conflict", body)))])
    assert __import__("re").match(words, why)


def test_words_that_mean_that_it_is_gone(serve):
    url = serve(answer("422 Unprocessable Entity", "metadata.uid: Invalid value"))
    assert undo([step(url, gone=["metadata.uid: Invalid value"])]) == []
    assert len(undo([step(url, gone=["something else"])])) == 1


def test_a_redirect_is_not_followed(serve):
    with pytest.raises(Rejected, match="307 Temporary Redirect"):
        perform(
            step(
                serve(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
            )
        )


def test_it_takes_no_longer_than_it_may(serve):
    for url in (
        serve(b"", close=False),  # silent
        serve(answer("200 OK", "x" * 1000), drip_s=0.02),  # each byte in time, but not all of them
    ):
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"did not answer within 0\.2 s"):
            request(url, timeout_s=0.2)
        assert time.monotonic() - begun < 3


def test_it_reads_no_more_than_it_may(serve, monkeypatch):
    monkeypatch.setattr(undo_http, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(OSError, match="more than 100 bytes"):
        request(serve(answer("200 OK", "x" * 101)))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://x/", "is no http:// or https:// URL"),
        ("http://", "is no http://"),
        ("http://[::1", "is no URL"),
        ("http://127.0.0.1:99999/", "is no URL"),
        ("http://no.such.host.invalid/", "no.such.host.invalid"),
        ("http://127.0.0.1:1/a b", "is no http://"),
    ],
)
def test_addresses_that_cannot_be_asked(url, words):
    with pytest.raises(Rejected, match=words):
        perform(step(url))


def test_a_server_that_speaks_no_http(serve):
    with pytest.raises(Rejected, match="speaks no HTTP"):
        perform(step(serve(b"SSH-2.0-OpenSSH\r\n")))


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"a\nb: c"])
def test_a_token_that_cannot_be_used(serve, tmp_path, content):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    [(_, why)] = undo([step(serve(answer("200 OK")), token_file=str(token))])
    assert "token file" in why or "Invalid header" in why


# --- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder


def test_only_the_given_certificates_are_trusted(serve, authority, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "ca.crt", authority / "key")
    url = serve(answer("200 OK"), wrap=context)
    perform(step(url, ca_file=str(authority / "ca.crt")))
    [(_, why)] = undo([step(url)])
    assert "CERTIFICATE_VERIFY_FAILED" in why or "certificate" in why.lower()
    for broken in (tmp_path / "nope", authority / "key"):
        [(_, why)] = undo([step(url, ca_file=str(broken))])
        assert f"the certificates in {broken} cannot be used" in why
