"""What the welcome mail makes of a mail server's answers; the server is a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP

from examples.signup import welcome


class Postman:
    """Refuses with `reply` whom it is told to deliver to, if there is one."""

    reply: str | None = None

    async def handle_RCPT(  # noqa: N802 (aiosmtpd calls it by this name)
        self, server, session, envelope, address, options
    ) -> str:
        if self.reply is None:
            envelope.rcpt_tos.append(address)
        return self.reply or "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802
        return "250 OK"


@pytest.fixture
async def postman(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Postman]:
    handler = Postman()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, hostname="test"), "127.0.0.1", 0)
    monkeypatch.setenv("SIGNUP_SMTP_PORT", str(server.sockets[0].getsockname()[1]))
    yield handler
    server.close()


MESSAGE = welcome.compose("ada@example.com", "Ada", "key")


async def test_an_accepted_mail(postman: Postman) -> None:
    assert await welcome.deliver(MESSAGE) == "accepted"


async def test_a_permanent_refusal_is_an_answer(postman: Postman) -> None:
    postman.reply = "550 no such mailbox"

    assert await welcome.deliver(MESSAGE) == "refused: no such mailbox"


async def test_a_passing_refusal_is_none(postman: Postman) -> None:
    postman.reply = "450 try again later"

    with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
        await welcome.deliver(MESSAGE)


def test_the_same_key_gives_the_same_message_id() -> None:
    again = welcome.compose("ada@example.com", "Ada", "key")
    other = welcome.compose("ada@example.com", "Ada", "another")

    assert again["Message-ID"] == MESSAGE["Message-ID"] != other["Message-ID"]
