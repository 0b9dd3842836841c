"""smtplib: to connect is an operation, which can be refused, and a mail is one effect; the rest of the conversation is neither."""

from __future__ import annotations

import email.utils
import random
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email import message_from_bytes, message_from_string
from email.message import Message
from typing import Any

from troth.lab.edge.attempt import attributed
from troth.lab.edge.patch import replaced
from troth.lab.model import Op


@contextmanager
def caught(mailbox: str | None) -> Iterator[None]:
    """`smtplib.SMTP` asks the lab while the context lasts."""

    def connect(self: smtplib.SMTP, *_: object, **__: object) -> tuple[int, bytes]:
        attempt = attributed("smtplib.SMTP.connect")
        if mailbox is None:
            attempt.refuse("the code sends mail; declare lab.mailbox()")
        if attempt.ask(Op("connect", mailbox)).error:
            raise ConnectionRefusedError(111, "Connection refused")
        self.does_esmtp = True
        return 220, b"the lab's mailbox"

    def sendmail(
        self: smtplib.SMTP, from_addr: str, to_addrs: Any, msg: Any, *_: object, **__: object
    ) -> dict[str, object]:
        del self, from_addr
        attempt = attributed("smtplib.SMTP.sendmail")
        to = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        message = (
            message_from_bytes(msg)
            if isinstance(msg, bytes | bytearray)
            else message_from_string(msg)
        )
        params = {"to": to, "subject": str(message["subject"] or ""), "text": _text(message)}
        observed = attempt.ask(Op("mail", mailbox or "", f"mail to {', '.join(to)}", params))
        if observed.error:
            raise smtplib.SMTPServerDisconnected(observed.value[0])
        return {}

    def fine(*_: object, **__: object) -> tuple[int, bytes]:
        return 250, b"ok"

    def nothing(*_: object, **__: object) -> None:
        return None

    polite = {
        (smtplib.SMTP, name): fine
        for name in ("ehlo", "helo", "starttls", "login", "noop", "rset", "quit")
    }
    silent = {
        (smtplib.SMTP, name): nothing for name in ("ehlo_or_helo_if_needed", "close", "__exit__")
    }
    real = email.utils.random  # type: ignore[attr-defined]
    with ExitStack() as stack:
        # a Message-ID is no part of what the lab knows of a mail, and must not make an attempt depend on chance
        stack.callback(setattr, email.utils, "random", real)
        vars(email.utils)["random"] = random.Random(0)  # noqa: S311
        stack.enter_context(
            replaced(
                {
                    (smtplib.SMTP, "connect"): connect,
                    (smtplib.SMTP, "sendmail"): sendmail,
                    **polite,
                    **silent,
                }
            )
        )
        yield


def _text(message: Message) -> str:
    for part in message.walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            return (
                payload.decode(errors="replace").strip()
                if isinstance(payload, bytes)
                else str(payload)
            )
    return ""
