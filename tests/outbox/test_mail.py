"""Mail against a real SMTP server that loses answers, and what a person finds of it."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from tests.harness.cell import until
from troth import UsageError
from troth.integrations.mail_out import Mail
from troth.outbox import store
from troth.store.plan import carry_out

ADA = {"to": "ada@example.com", "subject": "Grüße", "text": "Hello", "html": "<p>Hello"}
SOON = (0.0, *[0.02] * 20)


class Mailbox:
    """Each mail meets the next fault; whatever has been stored has arrived."""

    def __init__(self, *faults: str) -> None:
        self.faults = list(faults)
        self.stored: list[Any] = []
        self.port = 0

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802
        if self.faults and self.faults[0].startswith("rcpt"):
            return self.faults.pop(0).removeprefix("rcpt ")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, _session, envelope):  # noqa: N802
        fault = self.faults.pop(0) if self.faults else ""
        if fault.startswith("no"):
            return fault.removeprefix("no ")
        self.stored.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        if fault == "drop after":
            server.transport.abort()
        return fault.removeprefix("after ") or "250 OK"


@asynccontextmanager
async def serving(mailbox: Mailbox) -> AsyncIterator[Mailbox]:
    import asyncio

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()


def mail(mailbox: Mailbox, delivery="at_least_once", **options) -> Mail:
    return Mail(
        "127.0.0.1", mailbox.port, sender="shop@example.com", delivery=delivery, tls="none",
        timeout=5.0, **{"schedule": SOON, **options},
    )  # fmt: skip


async def test_a_mail_is_what_was_published(desk):
    async with serving(Mailbox()) as mailbox:
        mails = desk.outbox(mail(mailbox))
        message = await mails.publish(desk.tx, "welcome", ADA)
        async with desk.working(mails):
            await desk.until_states(delivered=1)
    (got,) = mailbox.stored
    assert got["Message-ID"] == f"<{message}@example.com>"
    assert (got["From"], got["To"], got["Subject"]) == ("shop@example.com", ADA["to"], "Grüße")
    assert got.get_body(("plain",)).get_content().strip() == "Hello"
    assert got.get_body(("html",)).get_content().strip() == "<p>Hello"


@pytest.mark.parametrize("fault", ["after 451 later", "drop after"])
async def test_at_least_once_sends_again_with_the_same_message_id(desk, fault):
    async with serving(Mailbox(fault)) as mailbox:
        mails = desk.outbox(mail(mailbox))
        await mails.publish(desk.tx, "welcome", ADA)
        async with desk.working(mails):
            await desk.until_states(delivered=1)
    assert len(mailbox.stored) == 2
    assert len({each["Message-ID"] for each in mailbox.stored}) == 1


@pytest.mark.parametrize("fault", ["after 451 later", "drop after"])
async def test_at_most_once_leaves_it_in_doubt_until_a_person_decides(desk, fault):
    async with serving(Mailbox(fault)) as mailbox:
        mails = desk.outbox(mail(mailbox, "at_most_once"))
        message = await mails.publish(desk.tx, "welcome", ADA)
        async with desk.working(mails) as running:
            await desk.until_states(in_doubt=1)
            q = mails.queries
            (told,) = await desk.rows("SELECT count(*) FROM {}.outbox_delivery")
            assert told == (1,)
            everything = await desk.rows("SELECT now() - interval '1 h'")
            assert await carry_out(desk.tx, store.resend(q, since=everything[0][0])) == []
            assert len(mailbox.stored) == 1
            assert await carry_out(desk.tx, store.resend(q, message=message)) == [message]
            running[0].missed()
            await desk.until_states(delivered=1)
    assert len(mailbox.stored) == 2


@pytest.mark.parametrize("delivery", ["at_least_once", "at_most_once"])
async def test_what_was_not_sent_is_tried_again_and_what_was_refused_is_not(desk, delivery):
    async with serving(Mailbox("rcpt 450 busy", "no 554 spam")) as mailbox:
        mails = desk.outbox(mail(mailbox, delivery))
        await mails.publish(desk.tx, "welcome", ADA)
        async with desk.working(mails):
            await desk.until_states(dead=1)
    assert mailbox.stored == []
    assert await desk.attempts() == ["450", "554"]


async def test_a_server_that_is_not_there_is_tried_again(desk):
    mailbox = Mailbox()
    async with serving(mailbox):
        pass
    mails = desk.outbox(mail(mailbox, "at_most_once", schedule=(0.0, *[0.05] * 100)))
    await mails.publish(desk.tx, "welcome", ADA)
    async with desk.working(mails):

        async def tried() -> bool:
            return len(await desk.attempts()) >= 2

        await until(tried, "it was tried twice")
        assert await desk.states() == {"pending": 1}


WRONG = [
    {"subject": "a\r\nBcc: eve@example.com"},
    {"subject": "a\nb"},
    {"to": "ada@example.com\r\nBcc: eve@example.com"},
    {"to": ["ada@example.com", "eve"]},
    {"to": "ada@example.com, eve@example.com"},
    {"to": []},
    {"to": "Ada <ada@example.com>"},
    {"bcc": "eve@example.com"},
    {"text": None},
]


async def test_header_injection_is_refused_at_publish(desk):
    mails = desk.outbox(mail(Mailbox()))
    for wrong in WRONG:
        with pytest.raises(UsageError):
            await mails.publish(desk.tx, "welcome", {**ADA, **wrong})
    with pytest.raises(UsageError):
        await mails.publish(desk.tx, "welcome", ADA, headers={"Bcc": "eve@example.com"})
    assert await desk.states() == {}
