"""The mailbox by smtplib and aiosmtplib: what the sender hears, and what was stored."""

from __future__ import annotations

import asyncio
import signal
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import aiosmtplib
import pytest

from tests.examples.provider.process import Process


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("mailbox") / "data.sqlite"
    process = Process("examples.signup.mailbox", data, "http_port")
    yield process
    assert process.stop() == 0
    process.close()


@pytest.fixture
def mailbox(running: Process) -> Iterator[Process]:
    yield running
    running.behave()
    running.control.delete("/messages")


def welcome(message_id: str = "<1@troth>", to: str = "ada@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "us@example.com", to
    message["Subject"], message["Message-ID"] = "Welcome, Adá", message_id
    message.set_content("Hello\n")
    return message


def send(mailbox: Process, message: EmailMessage, timeout: float = 1) -> None:
    with smtplib.SMTP("127.0.0.1", mailbox.ports["smtp_port"], timeout=timeout) as smtp:
        smtp.send_message(message)


async def send_async(mailbox: Process, message: EmailMessage) -> None:
    port = mailbox.ports["smtp_port"]
    await aiosmtplib.send(message, hostname="127.0.0.1", port=port, timeout=1)


def stored(mailbox: Process, **query: str) -> list[dict]:
    return mailbox.control.get("/messages", params=query).json()


def test_a_message_is_kept_as_it_was_sent(mailbox):
    send(mailbox, welcome())
    (message,) = stored(mailbox)
    assert message["received_at"].endswith("+00:00")
    del message["id"], message["received_at"]
    assert message == {
        "message_id": "<1@troth>",
        "from": "us@example.com",
        "to": ["ada@example.com"],
        "subject": "Welcome, Adá",
        "body": "Hello\n",
    }


async def test_both_copies_of_one_message_id_are_kept(mailbox):
    await send_async(mailbox, welcome())
    await send_async(mailbox, welcome())
    assert [message["message_id"] for message in stored(mailbox)] == ["<1@troth>"] * 2


def test_messages_of_one_address(mailbox):
    send(mailbox, welcome("<1@troth>", "ada@example.com, bob@example.com"))
    send(mailbox, welcome("<2@troth>", "bob@example.com"))
    assert [one["message_id"] for one in stored(mailbox, to="ADA@example.com")] == ["<1@troth>"]
    assert len(stored(mailbox, to="bob@example.com")) == 2
    assert mailbox.control.delete("/messages").json() == {"deleted": 2}
    assert stored(mailbox) == []


FAULTS = [
    ("reject_before", smtplib.SMTPDataError, aiosmtplib.SMTPDataError, 0),
    ("reject_after", smtplib.SMTPDataError, aiosmtplib.SMTPDataError, 1),
    ("hang_after", (TimeoutError, smtplib.SMTPServerDisconnected), aiosmtplib.SMTPTimeoutError, 1),
    ("drop_after", smtplib.SMTPServerDisconnected, aiosmtplib.SMTPServerDisconnected, 1),
]


@pytest.mark.parametrize(("fault", "error", "copies"), [(f, e, n) for f, e, _, n in FAULTS])
def test_faults_by_smtplib(mailbox, fault, error, copies):
    mailbox.fault(fault, match={"to": "^ada@"}, count=1)
    send(mailbox, welcome(to="bob@example.com"))
    with pytest.raises(error) as raised:
        send(mailbox, welcome())
    assert getattr(raised.value, "smtp_code", 451) in (451, -1)
    assert len(stored(mailbox, to="ada@example.com")) == copies
    send(mailbox, welcome())  # the fault is used up
    assert len(stored(mailbox, to="ada@example.com")) == copies + 1
    assert mailbox.faults()[0]["fired"] == 1


@pytest.mark.parametrize(("fault", "error", "copies"), [(f, e, n) for f, _, e, n in FAULTS])
async def test_faults_by_aiosmtplib(mailbox, fault, error, copies):
    mailbox.fault(fault, count=1)
    with pytest.raises(error):
        await send_async(mailbox, welcome())
    assert len(stored(mailbox)) == copies


async def test_messages_survive_kill_9_and_sigterm_is_clean(tmp_path):
    mailbox = Process("examples.signup.mailbox", tmp_path / "data.sqlite", "http_port")
    try:
        await send_async(mailbox, welcome())
        assert mailbox.stop(signal.SIGKILL) == -signal.SIGKILL
        mailbox.start()
        assert len(stored(mailbox)) == 1
        mailbox.fault("hang_after")
        port = mailbox.ports["smtp_port"]
        call = asyncio.create_task(
            aiosmtplib.send(welcome("<2@troth>"), hostname="127.0.0.1", port=port, timeout=30)
        )
        await asyncio.to_thread(mailbox.until_fired)
        assert await asyncio.to_thread(mailbox.stop) == 0
        with pytest.raises(aiosmtplib.SMTPException):
            await call
        mailbox.start()
        assert len(stored(mailbox)) == 2
    finally:
        mailbox.close()


def test_nonsense_is_answered_with_help(mailbox):
    answer = mailbox.control.get("/nonsense")
    assert (answer.status_code, "/messages" in answer.json()["error"]) == (404, True)
    assert mailbox.control.post("/_faults", json={"kind": "http429"}).status_code == 400
