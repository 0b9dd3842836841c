"""The rules around the tables: whom `judge` asks first, what it opens, what proves nothing."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys

import httpx
import pytest

from troth.effect.clients import explain, judge
from troth.effect.model import Judgement, Outcome

NOT_DONE, UNKNOWN, REFUSED = Outcome.NOT_DONE, Outcome.UNKNOWN, Outcome.REFUSED


class Unheard(Exception):
    """Of no library that the tables know."""


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


# ── the tables ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(), NOT_DONE),
        (socket.gaierror(), NOT_DONE),
        (caused(Unheard(), ConnectionRefusedError()), NOT_DONE),
        (caused(OSError(), caused(ValueError(), socket.gaierror())), NOT_DONE),
        (OSError(caused(RuntimeError(), ConnectionRefusedError())), NOT_DONE),
        (httpx.ConnectError("no"), NOT_DONE),
        (Unheard(httpx.ConnectError("no")), NOT_DONE),
        (TimeoutError(), UNKNOWN),
        (ConnectionResetError(), UNKNOWN),
        (ConnectionError(), UNKNOWN),
        (OSError(), UNKNOWN),
        (ValueError("a bug after the call"), UNKNOWN),
        (Unheard(), UNKNOWN),
        (KeyboardInterrupt(), UNKNOWN),
        (caused(Unheard(), ConnectionResetError()), UNKNOWN),
        (caused(TimeoutError(), ConnectionRefusedError()), UNKNOWN),
        (ExceptionGroup("two", [ConnectionRefusedError(), TimeoutError()]), UNKNOWN),
    ],
)
def test_unknown_unless_it_is_known_to_be_harmless(error: BaseException, outcome: Outcome) -> None:
    assert judge(error).outcome is outcome


def test_a_subclass_is_judged_like_its_class() -> None:
    class NobodyHome(httpx.ConnectError):
        pass

    assert explain(NobodyHome("no")).row == "httpx.ConnectError"


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert judge(first).outcome is UNKNOWN


def test_a_refusal_that_was_handled_before_says_nothing_about_the_call_after_it() -> None:
    """The first address refused, the second one took the request and did not answer."""

    def falls_back() -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError:
            raise Unheard  # noqa: B904  (a fallback inside the handler is what is tested)

    with pytest.raises(Unheard) as caught:
        falls_back()
    assert isinstance(caught.value.__context__, ConnectionRefusedError)
    assert judge(caught.value).outcome is UNKNOWN


def test_people_are_told_which_exception_it_was() -> None:
    assert judge(Unheard("two\n lines")).message == "tests.Unheard: two lines"
    assert (
        judge(httpx.ReadTimeout("")).message == "httpx.ReadTimeout: sent, and not answered in time"
    )


# ── the user's function ─────────────────────────────────────────────────────────────────────────


def test_the_user_is_asked_first() -> None:
    ours = Judgement(REFUSED, "closed on Sundays", 3600.0)
    assert judge(ConnectionRefusedError(), lambda _: ours) is ours


def test_an_outcome_alone_keeps_the_words() -> None:
    said = judge(Unheard("already there"), lambda _: Outcome.DONE)
    assert said == Judgement(Outcome.DONE, "tests.Unheard: already there")


def test_the_user_may_leave_it_to_the_tables() -> None:
    assert judge(ConnectionRefusedError(), lambda _: None).outcome is NOT_DONE


def test_a_judge_that_fails_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    def broken(error: BaseException) -> Outcome:
        raise KeyError(error)

    with caplog.at_level(logging.ERROR, "troth.effect"):
        assert judge(TimeoutError(), broken).outcome is UNKNOWN
        assert judge(ConnectionRefusedError(), broken).outcome is NOT_DONE
    assert "Provider.judge failed" in caplog.text


# ── what it costs ───────────────────────────────────────────────────────────────────────────────


def test_no_client_library_is_imported() -> None:
    program = (
        "import sys, troth.effect.clients;"
        "names = 'httpx httpx2 requests urllib3 aiohttp stripe botocore aiosmtplib smtplib psycopg';"
        "print([name for name in names.split() if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
