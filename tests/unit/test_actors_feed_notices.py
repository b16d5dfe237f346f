"""Feature 11, alerts by webhook and mail: real servers on loopback, retries that end, nothing that grows."""

from __future__ import annotations

import asyncio
import datetime
import email
import email.policy
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from vagus.actors import feed_notices
from vagus.actors.feed_mail import MailRefused, message, send
from vagus.actors.feed_notices import FeedNotices
from vagus.config import MailSettings
from vagus.errors import ConfigError
from vagus.feeds import Notice
from vagus.model import Status

NOW = 1_700_000_000_000_000_000


def notice(n: int = 0, **fields: Any) -> Notice:
    text = f"http://a/: load1 > 5 ({n})"
    return Notice("alert", "comon", "http://a/", "load1 > 5", Status.UNHEALTHY, NOW + n, NOW, text, float(n), **fields)


class Hook:
    """Takes what is posted, and answers as told, then 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.came = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.bodies.append(await request.json())
        async with self.came:
            self.came.notify_all()
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else {})

    async def until(self, posts: int) -> None:
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: len(self.keys) >= posts), 20)


@pytest.fixture
async def hook(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Hook, str]]:
    taken = Hook(*getattr(request, "param", ()))
    app = web.Application()
    app.router.add_post("/hook", taken.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    yield taken, f"http://127.0.0.1:{port}/hook?token=secret"
    await runner.cleanup()


async def test_feature_11_alert_webhook_is_told_in_order(hook: tuple[Hook, str]) -> None:
    taken, url = hook
    notices = FeedNotices("n1")
    notices.deliver(notice(0, webhooks=(url,)))  # before it runs: nobody is asked to
    await notices.start()
    thread = threading.Thread(target=lambda: [notices.deliver(notice(n, webhooks=(url,))) for n in range(1, 6)])
    thread.start()
    thread.join()
    notices.deliver(notice(9))  # to nobody
    await taken.until(5)
    await notices.stop()
    await notices.stop()
    assert [body["value"] for body in taken.bodies] == [1, 2, 3, 4, 5]
    body = taken.bodies[0]
    assert (body["event"], body["node"], body["feed"], body["status"]) == ("feed.alert", "n1", "comon", "UNHEALTHY")
    assert (body["subject"], body["rule"], body["t_ns"]) == ("http://a/", "load1 > 5", NOW + 1)
    assert len(set(taken.keys)) == 5
    assert notices.figures()["notices_told"] == 5
    notices.deliver(notice(10, webhooks=(url,)))
    assert notices.figures()["notices_waiting"] == 0


@pytest.mark.parametrize("hook", [(500, 503, 429)], indirect=True)
async def test_feature_11_alert_webhook_is_tried_again(hook: tuple[Hook, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_notices, "retry_s", lambda failures: 0.001 * failures)
    taken, url = hook
    failed: list[str] = []
    notices = FeedNotices("n1", lambda where, error: failed.append(f"{where}: {error}"))
    await notices.start()
    notices.deliver(notice(1, webhooks=(url,)))
    notices.deliver(notice(2, webhooks=(url,)))
    await taken.until(5)
    await notices.stop()
    assert [body["value"] for body in taken.bodies] == [1, 2]
    assert len(set(taken.keys[:4])) == 1  # the same key on each try
    assert notices.counts["failed"] == 3
    assert failed[0].endswith(": HTTP 500")
    assert not any("secret" in text for text in (*failed, notices.last_error))


@pytest.mark.parametrize("hook", [(404, 302)], indirect=True)
async def test_feature_11_alert_webhook_that_refuses_is_not_asked_again(hook: tuple[Hook, str]) -> None:
    taken, url = hook
    notices = FeedNotices("n1")
    await notices.start()
    for n in range(3):
        notices.deliver(notice(n, webhooks=(url,)))
    await taken.until(3)
    await notices.stop()
    assert [body["value"] for body in taken.bodies] == [2]
    assert notices.counts == {"told": 1, "refused": 2, "dropped": 0, "failed": 0}


async def test_feature_11_alert_to_nobody_there_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_notices, "retry_s", lambda failures: 0.001)
    seen = asyncio.Event()
    notices = FeedNotices("n1", lambda where, error: seen.set())
    await notices.start()
    for n in range(2_000):
        notices.deliver(notice(n, webhooks=("http://127.0.0.1:1/",)))
    await asyncio.wait_for(seen.wait(), 20)
    assert notices.figures()["notices_waiting"] <= feed_notices.MAX_WAITING
    await notices.stop(grace_s=0.05)
    assert notices.counts["dropped"] == 2_000
    assert notices.counts["told"] == 0


async def test_feature_11_alert_too_old_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_notices, "KEEP_S", -1.0)
    notices = FeedNotices("n1")
    await notices.start()
    notices.deliver(notice(1, webhooks=("http://127.0.0.1:1/",)))
    await notices.stop()
    assert notices.counts["dropped"] == 1


# --- mail ------------------------------------------------------------------------------------------------------------


class Mailbox:
    """What a real SMTP server (aiosmtpd) was given; `codes` are answered first."""

    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.refused: set[str] = set()
        self.mails: list[Any] = []
        self.came = threading.Event()

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.codes:
            return self.codes.pop(0)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), mail, session.ssl is not None))
        self.came.set()
        return "250 taken"


class Server(Controller):
    """On whichever port is free: the base class would first connect to port 0."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def smtp() -> Iterator[Any]:
    """Starts servers; ends them."""
    running: list[Controller] = []

    def start(box: Mailbox, **options: Any) -> int:
        controller = Server(box, hostname="127.0.0.1", port=0, **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield start
    for controller in running:
        controller.stop()


def mail_settings(port: int, **options: Any) -> MailSettings:
    given = {"host": "127.0.0.1", "sender": "vagus@example.org", "to": ("ops@example.org", "b@example.org"), **options}
    return MailSettings(port=port, **given)


async def test_feature_11_alert_mail(smtp: Any) -> None:
    box = Mailbox()
    settings = mail_settings(smtp(box))
    notices = FeedNotices("n1")
    await notices.start()
    notices.deliver(notice(7, mail=settings))
    assert await asyncio.to_thread(box.came.wait, 20)
    await notices.stop()
    [(sender, to, mail, encrypted)] = box.mails
    assert (sender, to, encrypted) == ("vagus@example.org", ["ops@example.org", "b@example.org"], False)
    assert mail["Subject"] == "[vagus] UNHEALTHY http://a/: load1 > 5 (7)"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "2023-11-14 22:13:20Z  UNHEALTHY  comon  http://a/: load1 > 5 (7)" in mail.get_content()
    assert "vagus at n1" in mail.get_content()
    assert notices.counts["told"] == 1


async def test_feature_11_alert_mail_is_tried_again_and_what_waits_goes_together(
    smtp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_notices, "retry_s", lambda failures: 0.001)
    box = Mailbox("451 later", "421 busy")
    settings = mail_settings(smtp(box))
    notices = FeedNotices("n1")
    await notices.start()
    for n in range(5):
        notices.deliver(notice(n, mail=settings))
    assert await asyncio.to_thread(box.came.wait, 20)
    await notices.stop()
    [(_, _, mail, _)] = box.mails
    assert mail["Subject"] == "[vagus] 5 alerts of comon"
    assert mail.get_content().count("UNHEALTHY") == 5
    assert notices.counts["failed"] == 2


async def test_feature_11_alert_mail_that_is_refused_is_not_sent_again(smtp: Any) -> None:
    box = Mailbox("554 spam")
    settings = mail_settings(smtp(box))
    with pytest.raises(MailRefused, match="554"):
        await asyncio.to_thread(send, settings, [notice()])
    box.refused = {"b@example.org"}
    with pytest.raises(MailRefused, match=r"1 of 2 recipients: b@example\.org: 550 no such user"):
        await asyncio.to_thread(send, settings, [notice()])
    assert box.mails[0][1] == ["ops@example.org"]  # the other one has it
    box.refused.add("ops@example.org")
    with pytest.raises(MailRefused, match="every recipient"):
        await asyncio.to_thread(send, settings, [notice()])


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_path, key_path


def test_feature_11_alert_mail_by_starttls_with_a_password(
    smtp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    asked: list[tuple[bytes, bytes]] = []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        asked.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret", handled=False)

    box = Mailbox()
    port = smtp(box, tls_context=tls, require_starttls=True, authenticator=authenticate, auth_required=True)
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    password.chmod(0o600)
    settings = mail_settings(port, tls="starttls", user="vagus", password_file=str(password))
    with pytest.raises(ssl.SSLCertVerificationError):  # nobody vouches for it
        send(settings, [notice()])
    assert asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    send(settings, [notice()])
    assert asked == [(b"vagus", b"s3cret")]
    assert box.mails[0][3]
    password.write_text("wrong")
    with pytest.raises(MailRefused, match="535"):
        send(settings, [notice()])
    password.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        send(settings, [notice()])


def test_feature_11_alert_mail_starttls_where_the_server_has_none_sends_nothing(smtp: Any) -> None:
    box = Mailbox()
    with pytest.raises(MailRefused, match="STARTTLS"):
        send(mail_settings(smtp(box), tls="starttls"), [notice()])
    assert box.mails == []


def test_feature_11_alert_mail_of_hostile_texts() -> None:
    hostile = Notice(
        "alert", "f", "s", "r", Status.UNHEALTHY, NOW, NOW, "x\r\nBcc: all@example.org\r\n\r\n.\r\n\ud800é" * 50
    )
    mail = message(mail_settings(25), [hostile], "n1")
    text = mail.as_bytes()
    parsed = email.message_from_bytes(text, policy=email.policy.default)
    assert parsed["Bcc"] is None
    assert len(parsed["Subject"]) <= 150
    assert "\n.\r\n" not in parsed.get_content()
    assert message(mail_settings(25), [hostile])["Message-ID"] == mail["Message-ID"]
    assert message(mail_settings(25), [notice(1)])["Message-ID"] != mail["Message-ID"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"user": "x"}, "go together"),
        ({"host": "mail.example.org", "user": "x", "password_file": "/p"}, "only over TLS"),
        ({"to": ("ops@example.org\r\nBcc: x@y",)}, "no address"),
        ({"sender": "nobody"}, "no address"),
    ],
)
def test_feature_11_alert_mail_settings_are_checked(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        mail_settings(25, **options)
