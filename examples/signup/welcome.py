"""The welcome mail, over SMTP."""

import hashlib
from email.message import EmailMessage

import aiosmtplib

from examples.signup.settings import EFFECT_TIMEOUT_S, smtp_port

SENDER = "hello@signup.example"
PERMANENT = 500  # RFC 5321: from here on, the same command will never succeed


def compose(email: str, name: str, key: str) -> EmailMessage:
    """The same key makes the same Message-ID, so that two copies can be told from two mails."""
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = email
    message["Subject"] = f"Welcome, {name}"
    message["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@signup.example>"
    message.set_content(f"Hello {name},\n\nyour workspace is ready, and your trial has begun.\n")
    return message


async def deliver(message: EmailMessage) -> str:
    """Hand the message to the mail server: "accepted", or why it never will be.

    Only a permanent refusal (5xx) is an answer. Everything else leaves open whether it arrived.
    """
    try:
        await aiosmtplib.send(
            message,
            hostname="127.0.0.1",
            port=smtp_port(),
            timeout=EFFECT_TIMEOUT_S,
            start_tls=False,
        )
    except aiosmtplib.SMTPRecipientsRefused as refused:
        [recipient] = refused.recipients
        if recipient.code < PERMANENT:
            raise
        return f"refused: {recipient.message}"
    return "accepted"
