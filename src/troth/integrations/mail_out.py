"""Mail out: each message of an outbox is a mail.

    mails = troth.include(Outbox("mail", destinations=[Mail("smtp.example.com", 587, sender="…", delivery=…)]))
    await mails.publish(tx, "welcome", {"to": "ada@example.com", "subject": "Welcome", "text": "…"})

SMTP has no idempotency key and cannot be asked what became of a mail, so the author chooses. `at_least_once`: a mail whose
fate is unknown is sent again, with the same Message-ID, and may arrive twice. `at_most_once`: it is in doubt, and a person
decides. The fate is unknown once the text has been sent and was not plainly accepted or refused (RFC 5321, section 4.5.3.2.6
speaks of the same gap); a 4xx after the text counts as unknown, since servers that queued a mail and then broke say it too.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Literal

import msgspec

from troth.base.errors import UsageError
from troth.outbox.model import Delivered, Delivery, Outcome, Outgoing, Refused, Terms, Unsettled

# Soon at first: mail servers use greylisting. Then for two days, as RFC 5321, section 4.5.4.1, has senders do.
SCHEDULE = (0, 60, 300, 900, 3600, 7200, 14400, 28800, 43200, 57600)


class Letter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payload of a mail."""

    to: str | list[str]
    subject: str
    text: str
    html: str | None = None


class Mail:
    """Sends mails by SMTP.

    *delivery*: what to do with a mail whose fate is unknown; there is no default. *sender*: an address. *tls*: `starttls`,
    `tls` from the first byte, or `none`.
    """

    def __init__(
        self,
        host: str,
        port: int = 587,
        *,
        sender: str,
        delivery: Delivery,
        username: str | None = None,
        password: str | None = None,
        tls: Literal["starttls", "tls", "none"] = "starttls",
        tls_context: ssl.SSLContext | None = None,
        name: str = "mail",
        concurrency: int = 4,
        timeout: float = 60.0,
        schedule: Sequence[float] = SCHEDULE,
    ) -> None:
        try:
            import aiosmtplib  # noqa: F401
        except ImportError:
            msg = "mail needs one more package: pip install 'troth[mail]'"
            raise UsageError(msg) from None
        self.name = name
        self.terms = Terms(
            concurrency=concurrency,
            order="none",
            timeout_s=timeout,
            schedule=tuple(schedule),
            delivery=delivery,
        )
        self._sender = _address(sender)
        self._host, self._port = host, port
        self._login = (username, password) if username and password else None
        self._tls = tls
        self._tls_context = tls_context

    def check(self, kind: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Raise `UsageError` for what is no mail: wrong fields or addresses, and lines that would become headers."""
        try:
            letter = msgspec.json.decode(payload, type=Letter)
        except msgspec.ValidationError as error:
            msg = f"{kind} is no mail: {error}. A mail is {{to, subject, text, html?}}"
            raise UsageError(msg) from None
        if headers:
            msg = f"a mail has no other headers than its own: {', '.join(headers)}"
            raise UsageError(msg)
        if not _one_line(letter.subject):
            msg = f"the subject of a mail is one line: {letter.subject!r}"
            raise UsageError(msg)
        recipients = _recipients(letter)
        if not recipients:
            raise UsageError("a mail needs somebody to go to")
        for each in recipients:
            _address(each)

    def compose(self, message: Outgoing) -> EmailMessage:
        """The mail; every attempt has the same Message-ID."""
        letter = msgspec.json.decode(message.payload, type=Letter)
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"] = self._sender
        mail["To"] = [_address(each) for each in _recipients(letter)]
        mail["Subject"] = letter.subject
        mail["Date"] = message.published_at
        mail["Message-ID"] = f"<{message.id}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody answers it automatically
        mail.set_content(letter.text)
        if letter.html is not None:
            mail.add_alternative(letter.html, subtype="html")
        return mail

    async def deliver(self, message: Outgoing) -> Outcome:
        """Hand it to the server once."""
        import aiosmtplib

        mail = self.compose(message)
        recipients = _recipients(msgspec.json.decode(message.payload, type=Letter))
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            timeout=self.terms.timeout_s,
            use_tls=self._tls == "tls",
            start_tls=self._tls == "starttls",
            tls_context=self._tls_context,
        )
        sending = False
        try:
            await client.connect()
            if self._login:
                await client.login(*self._login)
            await client.mail(self._sender.addr_spec)
            for each in recipients:  # all of them, or nobody
                await client.rcpt(each)
            sending = True
            answer = await client.data(mail.as_bytes())
            return Delivered(f"{answer.code}", answer.message.encode())
        except aiosmtplib.SMTPResponseException as error:
            return _of_reply(error.code, error.message, sending=sending)
        except (aiosmtplib.SMTPException, OSError) as error:
            return Unsettled(f"{type(error).__name__}: {error}", sent=sending)
        finally:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                client.close()

    async def close(self) -> None:
        """Nothing is kept between mails."""


def _of_reply(code: int, words: str, *, sending: bool) -> Outcome:
    if code // 100 == 5 and code != 530 and code // 10 != 53:  # 53x: our credentials (RFC 4954)
        return Refused(str(code), words.encode())
    return Unsettled(str(code), words.encode(), sent=sending)


def _recipients(letter: Letter) -> list[str]:
    return [letter.to] if isinstance(letter.to, str) else letter.to


def _address(text: str) -> Address:
    try:
        found = Address(addr_spec=text)
    except (ValueError, IndexError, AttributeError, TypeError):
        found = None
    if found is None or not found.domain or not _one_line(text) or not text.isascii():
        msg = f"{text!r} is not the address of a mail: write ada@example.com"
        raise UsageError(msg)
    return found


def _one_line(text: str) -> bool:
    return len(text) <= 900 and all(each.isprintable() for each in text)
