"""smtplib under the lab: a mail is accepted or not, and its sender is told, or the connection is gone; as at a real server."""

from __future__ import annotations

import asyncio
import smtplib
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import make_msgid

import pytest
from aiosmtpd.smtp import SMTP

from tests.lab.cut import Cut
from tests.lab.seen import Seen
from troth.lab import Lab
from troth.lab.edge import clock

BEFORE_THE_TEXT = 4
"""EHLO, MAIL, RCPT, DATA: each is answered before the text is sent."""


class Box:
    def __init__(self) -> None:
        self.texts: list[str] = []

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802  (its name in the library)
        self.texts.append(f"{envelope.rcpt_tos} {envelope.content.decode().splitlines()[-1]}")
        return "250 accepted"


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def cut(box: Box) -> Iterator[Cut]:
    """A connection to a real mail server, in a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    starting = loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    server = loop.run_until_complete(starting)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with Cut(server.sockets[0].getsockname()[:2]) as made:
        yield made
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.close()


def send(host: str, port: int) -> str:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@a.b", "ada@a.b", "welcome"
    message.set_content("hello")
    try:
        with smtplib.SMTP(host, port, timeout=10) as server:
            refused = server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        return type(error).__name__
    return f"sent, {refused}"


def test_a_mail_ends_as_it_ends_for_real(lab: Lab, box: Box, cut: Cut):
    real = {send("127.0.0.1", cut.port), send("127.0.0.1", 1)}  # nobody listens there
    cut.arm("before", passing=BEFORE_THE_TEXT)
    real.add(send("127.0.0.1", cut.port))
    assert len(box.texts) == 1, "it never heard of the second"
    cut.arm("after", passing=BEFORE_THE_TEXT)
    real.add(send("127.0.0.1", cut.port))
    assert box.texts == ["['ada@a.b'] hello"] * 2, "it accepted the third, and could not say so"
    with Seen() as seen:

        def handler() -> int:
            seen.note(send("mail.example.com", 25))
            return 200

        lab.mailbox()
        lab.user(handler, again=lambda answer: False)
        lab.always("at most one is", lambda w: len(w.mailbox.messages) <= 1)
        verdict = lab.explore(overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == real


def with_an_id() -> int:
    with smtplib.SMTP("mail.example.com") as server:
        message = f"Message-ID: {make_msgid()}\nSubject: hello\n\nthank you"
        server.sendmail("shop@example.com", ["ada@example.com"], message)
    return 200


def test_the_id_of_a_message_is_not_left_to_chance(lab: Lab, monkeypatch):
    """A mail is what it says to whom; were its id drawn, each attempt would depend on a seed."""
    monkeypatch.setattr(clock, "seed", lambda attempt: attempt.refuse("it draws"))
    lab.mailbox()
    lab.user(with_an_id, again=lambda answer: False)
    lab.told(200, "a mail went out", lambda w: w.mailbox.messages)
    verdict = lab.explore(overlap=1)
    assert verdict.closed, str(verdict)
