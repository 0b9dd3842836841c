"""What smtplib and aiosmtplib raise, phase by phase, and whether the server had the message by then."""

from __future__ import annotations

import asyncio
import dataclasses
import smtplib
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import pytest

from tests.effect.clients.drivers import BRIEF_S, TIMEOUT_S
from tests.effect.clients.misbehaving import refusing, serving
from tests.effect.clients.post_office import drop, hang, post_office
from troth.effect.client_codes import OTHER_REPLIES, REPLIES, of_reply
from troth.effect.clients import explain, judge
from troth.effect.model import Outcome

NOT_DONE, UNKNOWN, REFUSED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.REFUSED


def welcome(*to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "troth@example.com", ", ".join(to or ("ada@example.com",))
    message["Message-ID"], message["Subject"] = "<1@example.com>", "Welcome"
    message.set_content("Hello.")
    return message


# ── what the two clients do ─────────────────────────────────────────────────────────────────────


def send(port: int, timeout_s: float, *to: str) -> None:
    with smtplib.SMTP("localhost", port, "localhost", timeout_s) as client:
        client.send_message(welcome(*to))


def secure_and_send(port: int, timeout_s: float) -> None:
    with smtplib.SMTP("localhost", port, "localhost", timeout_s) as client:
        client.starttls()


def login_and_send(port: int, timeout_s: float) -> None:
    with smtplib.SMTP("localhost", port, "localhost", timeout_s) as client:
        client.login("ada", "secret")


def send_to_three(port: int, timeout_s: float) -> None:
    send(port, timeout_s, "ada@example.com", "bob@example.com", "eve@example.com")


def send_unicode(port: int, timeout_s: float) -> None:
    send(port, timeout_s, "jörg@example.com")


async def a_send(port: int, timeout_s: float, *to: str) -> None:
    await aiosmtplib.send(
        welcome(*to), hostname="localhost", port=port, timeout=timeout_s, start_tls=False
    )


async def a_send_to_three(port: int, timeout_s: float) -> None:
    await a_send(port, timeout_s, "ada@example.com", "bob@example.com", "eve@example.com")


async def a_send_unicode(port: int, timeout_s: float) -> None:
    await a_send(port, timeout_s, "jörg@example.com")


def client(port: int, timeout_s: float) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="localhost", port=port, timeout=timeout_s, start_tls=False)


async def a_secure(port: int, timeout_s: float) -> None:
    async with client(port, timeout_s) as connected:
        await connected.starttls()


async def a_login(port: int, timeout_s: float) -> None:
    async with client(port, timeout_s) as connected:
        await connected.login("ada", "secret")


async def a_greet(port: int, timeout_s: float) -> None:
    async with client(port, timeout_s) as connected:
        await connected.helo()


async def a_name_one(port: int, timeout_s: float) -> None:
    async with client(port, timeout_s) as connected:
        await connected.ehlo()
        await connected.mail("troth@example.com")
        await connected.rcpt("ada@example.com")


SENDING: dict[str, dict[str, Callable[..., Any]]] = {
    "smtplib": {
        "send": send,
        "starttls": secure_and_send,
        "login": login_and_send,
        "three": send_to_three,
        "unicode": send_unicode,
    },
    "aiosmtplib": {
        name: lambda *where, act=act: asyncio.run(act(*where))
        for name, act in {
            "send": a_send,
            "starttls": a_secure,
            "login": a_login,
            "three": a_send_to_three,
            "unicode": a_send_unicode,
            "helo": a_greet,
            "rcpt": a_name_one,
        }.items()
    },
}


# ── what happens ────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Case:
    """At a phase the server says or does *act*. Rows: by smtplib, by aiosmtplib."""

    at: dict[str, Any]
    outcome: Outcome
    smtplib: str | None
    aiosmtplib: str | None
    do: str = "send"
    saw: int = 0

    @property
    def name(self) -> str:
        acts = {
            phase: getattr(act, "__name__", act) if not isinstance(act, list) else "list"
            for phase, act in self.at.items()
        }
        return f"{self.do}: {acts}"


TLS_OFFERED = "250-localhost\r\n250 STARTTLS"
CASES = [
    Case({"greeting": "554 no mail here"}, REFUSED, "SMTPConnectError", "SMTPConnectResponseError"),
    Case({"greeting": "421 busy"}, NOT_DONE, "SMTPConnectError", "SMTPConnectResponseError"),
    Case({"greeting": drop}, NOT_DONE, "SMTP.connect", "SMTPConnectError"),
    Case({"greeting": hang}, NOT_DONE, "SMTP.connect", "SMTPConnectTimeoutError"),
    Case({"greeting": "lorem ipsum"}, NOT_DONE, "SMTPConnectError", "SMTP.connect"),
    Case({"ehlo": "550 no", "helo": "550 no"}, REFUSED, "SMTPHeloError", "SMTPHeloError"),
    Case({"ehlo": "421 busy", "helo": "421 busy"}, NOT_DONE, "SMTPHeloError", "SMTPHeloError"),
    Case({"ehlo": drop}, NOT_DONE, "SMTP.ehlo", "SMTP.ehlo"),
    Case({"ehlo": "500 what?", "helo": drop}, NOT_DONE, "SMTP.helo", None),
    Case({"helo": drop}, NOT_DONE, None, "SMTP.helo", "helo"),
    Case({}, NOT_DONE, "SMTPNotSupportedError", "SMTP.starttls", "starttls"),
    Case({"ehlo": TLS_OFFERED}, NOT_DONE, "SMTP.starttls", "SMTP.starttls", "starttls"),
    Case({}, NOT_DONE, "SMTPNotSupportedError", "SMTPNotSupported", "unicode"),
    Case(
        {"auth": "535 who?"},
        NOT_DONE,
        "SMTPAuthenticationError",
        "SMTPAuthenticationError",
        "login",
    ),
    Case({"auth": drop}, NOT_DONE, "SMTP.login", "SMTP.login", "login"),
    Case({"mail": "550 no"}, REFUSED, "SMTPSenderRefused", "SMTPSenderRefused"),
    Case({"mail": "451 not now"}, NOT_DONE, "SMTPSenderRefused", "SMTPSenderRefused"),
    Case({"mail": "lorem ipsum"}, NOT_DONE, "SMTPSenderRefused", "SMTP.mail"),
    Case({"mail": drop}, NOT_DONE, "SMTP.mail", "SMTP.mail"),
    Case({"mail": hang}, NOT_DONE, "SMTP.mail", "SMTP.mail"),
    Case({"rcpt": "550 unheard of"}, REFUSED, "SMTPRecipientsRefused", "SMTPRecipientsRefused"),
    Case({"rcpt": "450 full"}, NOT_DONE, "SMTPRecipientsRefused", "SMTPRecipientsRefused"),
    Case({"rcpt": "550 unheard of"}, REFUSED, None, "SMTPRecipientRefused", "rcpt"),
    Case(
        {"rcpt": ["550 unheard of", "450 full", "550 no"]},
        NOT_DONE,
        "SMTPRecipientsRefused",
        "SMTPRecipientsRefused",
        "three",
    ),
    Case({"rcpt": drop}, NOT_DONE, "SMTP.rcpt", "SMTP.rcpt"),
    Case({"data": "451 not now"}, NOT_DONE, "SMTPDataError", "SMTPDataError"),
    Case({"data": "554 no"}, REFUSED, "SMTPDataError", "SMTPDataError"),
    Case({"data": drop}, UNKNOWN, "SMTPServerDisconnected", "SMTPServerDisconnected"),
    Case({"message": "554 spam"}, REFUSED, "SMTPDataError", "SMTPDataError", saw=1),
    Case({"message": "451 error"}, UNKNOWN, "SMTPDataError", "SMTPDataError", saw=1),
    Case({"message": drop}, UNKNOWN, "SMTPServerDisconnected", "SMTPServerDisconnected", saw=1),
    Case({"message": hang}, UNKNOWN, "SMTPServerDisconnected", "SMTPTimeoutError", saw=1),
    Case({"message": "lorem ipsum"}, UNKNOWN, "SMTPDataError", "SMTPException", saw=1),
    Case({"quit": "500 what?"}, UNKNOWN, "SMTPException", None, saw=1),
]


def each() -> list[Any]:
    return [
        pytest.param(library, case, f"{library}.{row}", id=f"{library} {case.name}")
        for case in CASES
        for library in SENDING
        if (row := getattr(case, library))
    ]


SHOWN = {param.values[2] for param in each()}


@pytest.mark.parametrize(("library", "case", "row"), each())
def test_every_phase(library: str, case: Case, row: str) -> None:
    at = {phase: list(act) if isinstance(act, list) else act for phase, act in case.at.items()}
    timeout_s = BRIEF_S if hang in case.at.values() else TIMEOUT_S
    with serving(post_office(**at)) as server:
        ruling = explain(raised(SENDING[library][case.do], server.port, timeout_s))
    assert (ruling.row, ruling.outcome) == (row, case.outcome)
    assert len(server.whole) == case.saw


def raised(act: Callable[..., Any], *arguments: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        act(*arguments)
    return caught.value


@pytest.mark.parametrize("library", SENDING)
def test_nobody_listens(library: str) -> None:
    with refusing() as port:
        ruling = explain(raised(SENDING[library]["send"], port, TIMEOUT_S))
    assert ruling.outcome is NOT_DONE


@pytest.mark.parametrize("library", SENDING)
def test_the_server_s_own_words(library: str) -> None:
    def words(do: str, **at: Any) -> str:
        with serving(post_office(**at)) as server:
            return judge(raised(SENDING[library][do], server.port, TIMEOUT_S)).message

    assert words("send", mail="550 5.7.1 You may not") == "550 5.7.1 You may not"
    assert words("send", message="554 spam") == "554 spam"
    assert words("three", rcpt=["550 a", "450 b", "550 c"]) == (
        "550 a (ada@example.com); 450 b (bob@example.com); 550 c (eve@example.com)"
    )


def test_every_kind_of_reply_is_shown() -> None:
    """By the cases above: each phase with a reply of each kind."""
    said = {
        ("the message" if "message" in case.at else "a command before the message", reply)
        for case in CASES
        for reply in case.at.values()
        if isinstance(reply, str)
    }
    numbers = {(to, int(reply[0])) for to, reply in said if reply[0].isdigit()}
    assert numbers >= set(REPLIES)
    assert {to for to, reply in said if not reply[0].isdigit()} == set(OTHER_REPLIES)


def test_no_reply_at_all_is_no_refusal() -> None:
    for to, code in OTHER_REPLIES.items():
        assert of_reply(to, []) is code
