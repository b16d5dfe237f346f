"""Notices as mail, through an SMTP server."""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime, timezone
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from vagus.clock import NS
from vagus.config import MailSettings, read_token, seconds
from vagus.errors import VagusError
from vagus.feeds.contracts import Notice
from vagus.feeds.location import printable

MAX_SUBJECT = 150


class MailRefused(VagusError):
    """The server will never take this mail, or our settings are wrong; it is not tried again."""


def send(settings: MailSettings, notices: Sequence[Notice], node: str = "") -> None:
    """Sends notices as one mail. Blocks, each step for at most the settings' time-out.

    Raises MailRefused; what smtplib and OSError raise means that it may be tried again.
    """
    mail = message(settings, notices, node)
    timeout_s = max(0.1, seconds(settings.timeout))
    host = socket.gethostname() or "localhost"  # smtplib would ask the name service for it
    try:
        if settings.tls == "tls":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                settings.host, settings.port, host, timeout=timeout_s, context=context
            )
        else:
            server = smtplib.SMTP(settings.host, settings.port, host, timeout=timeout_s)
        try:
            if settings.tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if settings.user:
                server.login(settings.user, read_token("mail", settings.password_file))
            missed = server.send_message(mail, settings.sender, list(settings.to))
            with contextlib.suppress(smtplib.SMTPException, OSError):  # it is taken already
                server.quit()
        finally:
            server.close()  # not `with`: that says good-bye, for as long as the time-out, to a server that hangs
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        if all(code >= 500 for code in codes):
            raise MailRefused(f"the server refuses every recipient: {_first(error.recipients)}") from error
        raise
    except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError) as error:
        code = getattr(error, "smtp_code", 500)
        if code >= 500:
            raise MailRefused(f"the server refuses it: {error}"[:300]) from error
        raise
    if missed:
        raise MailRefused(f"the server refuses {len(missed)} of {len(settings.to)} recipients: {_first(missed)}")


def _first(refused: dict[str, tuple[int, bytes]]) -> str:
    address, (code, text) = next(iter(refused.items()))
    return f"{address}: {code} {text.decode('utf-8', 'replace')}"[:200]


def message(settings: MailSettings, notices: Sequence[Notice], node: str = "") -> EmailMessage:
    """The mail: a line for each notice. The same notices have the same Message-ID, so that a retry is no second mail."""
    mail = EmailMessage(policy=SMTP)
    first = notices[0]
    what = f"{first.status.name} {first.text}"
    if len(notices) > 1:
        what = f"{len(notices)} alerts of {', '.join(sorted({notice.feed for notice in notices}))}"
    mail["Subject"] = _clean(f"[vagus] {what}")[:MAX_SUBJECT]
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.to)
    mail["Date"] = formatdate(notices[-1].t_ns / NS)
    told = "\0".join(f"{n.t_ns} {n.feed} {n.subject} {n.rule} {n.status.name}" for n in notices)
    digest = hashlib.blake2b(told.encode("utf-8", "replace"), digest_size=16).hexdigest()
    mail["Message-ID"] = f"<{digest}@{settings.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers
    lines = [_line(notice) for notice in notices]
    mail.set_content("\n".join([*lines, "", f"-- \nvagus{f' at {node}' if node else ''}"]))
    return mail


def _line(notice: Notice) -> str:
    time, since = (
        datetime.fromtimestamp(t_ns // NS, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        for t_ns in (notice.t_ns, notice.since_ns)
    )
    return _clean(f"{time}  {notice.status.name}  {notice.feed}  {notice.text}  (since {since})")


def _clean(text: str) -> str:
    return printable(text.encode("utf-8", "replace").decode())
