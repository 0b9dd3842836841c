"""Rules of evidence on events made by hand: what each class needs to be proposed, and what it must not be fooled by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from troth.lab.model import Op
from troth.lab.stripe import Stripe
from troth.lab.study.evidence import Case, Proposal
from troth.lab.study.propose import proposals
from troth.lab.study.trace import Event

CHARGE = Event(
    1, 1, 0, "op", "app.py:7 pay", "http", "stripe", "POST /v1/charges", Op("http"), done=True, told="ok",
    body=b"amount=1", is_effect=True, changed=frozenset({"stripe.charges"}), grew=frozenset({"stripe.charges"}),
)  # fmt: skip
READ = Event(
    1, 1, 0, "op", "", "sql", "db", "SELECT * FROM accounts", reads=frozenset({"accounts"}), found=1
)
UPDATE = Event(
    3, 1, 0, "op", "", "sql", "db", "UPDATE accounts SET x = ?", writes=frozenset({"accounts"})
)
INSERT = Event(
    3,
    1,
    0,
    "op",
    "",
    "sql",
    "db",
    "INSERT INTO accounts VALUES (?)",
    writes=frozenset({"accounts"}),
)
COMMIT = Event(
    4, 1, 0, "op", "", "commit", "db", done=True, told="ok", commits=True, pending=("UPDATE accounts SET x = ?",),
    changed=frozenset({"db.accounts"}),
)  # fmt: skip
LOOK = Event(1, 1, 0, "op", "", "http", "stripe", "GET /v1/charges", told="ok", is_lookup=True)
MAIL = Event(
    2,
    1,
    0,
    "op",
    "",
    "mail",
    "mailbox",
    "mail to ada",
    done=True,
    is_effect=True,
    grew=frozenset({"mailbox.messages"}),
)


def crash(number: int, attempt: int = 1, kind: str = "") -> Event:
    return Event(
        number, attempt, 0, "crash", "", kind, "mailbox" if kind == "mail" else "", fault="crash"
    )


def answer(number: int, told: str, attempt: int = 1) -> Event:
    return Event(number, attempt, 0, "op", "", "answer", told=told, done=True)


class NoKeys(Stripe):
    keys = None


def found(*events: Event, provider: Stripe | None = None, **more) -> dict[str, Proposal]:
    case = Case(events, {"stripe": provider or Stripe()}, more.pop("rows", {}), **more)
    return {one.kind: one for one in proposals(case)}


def test_a_call_that_took_effect_twice_without_a_key():
    one = found(CHARGE, replace(CHARGE, number=2, attempt=2))["missing key"]
    assert one.confidence == "certain"
    assert one.change is not None
    assert [event.number for event in one.events] == [1, 2]


def test_a_provider_without_keys_cannot_be_given_any():
    one = found(CHARGE, replace(CHARGE, number=2), provider=NoKeys())["missing key"]
    assert one.change is None
    assert "look the object up" in one.why_not


def test_two_keys_for_one_thing_and_one_key_for_two():
    first = replace(CHARGE, key="a")
    assert set(found(first, replace(CHARGE, number=2, key="b"))) == {"unstable key"}
    other = replace(CHARGE, number=2, key="a", body=b"amount=2", grew=frozenset(), told="400")
    assert found(first, other)["key reused"].change is not None
    alike = found(first, replace(first, number=2, actor=1, grew=frozenset()))["key reused"]
    assert alike.change is None
    assert "cannot tell them apart" in alike.why_not


def test_the_same_key_again_is_how_it_should_be():
    keyed = replace(CHARGE, key="a")
    assert not found(keyed, replace(keyed, number=2, attempt=2, grew=frozenset()))


def test_a_key_that_expired_between():
    keyed = replace(CHARGE, key="a")
    expired = Event(2, 0, -1, "expire", "", fault="key that has expired")
    assert "key too short-lived" in found(keyed, expired, replace(keyed, number=3, attempt=2))


LOST = replace(CHARGE, fault="lost answer", told="timeout", key="a")


def test_going_on_after_an_unknown_outcome():
    one = found(LOST, answer(2, "402"))["lost answer: nobody asks"]
    assert "told timeout" in one.because


@pytest.mark.parametrize(
    "after", [replace(LOOK, number=2), replace(CHARGE, number=2, key="a", grew=frozenset())]
)
def test_asking_or_calling_again_is_how_it_should_be(after):
    assert "lost answer: nobody asks" not in found(LOST, after, answer(3, "200"))


def test_an_error_that_became_a_success_unless_it_was_settled():
    assert "swallowed error" in found(LOST, answer(3, "200"))
    again = replace(CHARGE, number=2, key="a", grew=frozenset())
    assert "swallowed error" not in found(LOST, again, answer(3, "200"))
    assert "swallowed error" not in found(LOST, answer(3, "502"))


def test_a_look_and_then_a_call_that_lands():
    lands = replace(CHARGE, number=2, attempt=0, action="land")
    assert "a look is no fence" in found(LOOK, lands, replace(CHARGE, number=3, key="a"))
    assert "a look is no fence" not in found(LOOK, replace(CHARGE, number=3, key="a"))


THEIRS = replace(COMMIT, number=2, attempt=2)


def test_a_value_that_was_computed_from_an_old_read():
    assert "lost update" in found(READ, THEIRS, UPDATE, COMMIT)
    for harmless in (
        (replace(READ, locks=True), THEIRS, UPDATE, COMMIT),
        (READ, replace(THEIRS, attempt=1), UPDATE, COMMIT),
        (READ, replace(THEIRS, changed=frozenset({"db.others"})), UPDATE, COMMIT),
    ):
        assert "lost update" not in found(*harmless)


def test_on_postgresql_the_check_takes_row_locks():
    assert (
        "FOR UPDATE on accounts"
        in found(READ, THEIRS, UPDATE, COMMIT, locking=True)["lost update"].change.says
    )
    assert "lock" in found(READ, THEIRS, UPDATE, COMMIT)["lost update"].change.says


def test_a_decision_by_an_old_read():
    assert set(found(READ, THEIRS, INSERT, COMMIT)) == {"check, then act"}
    absent = replace(READ, found=0)
    assert "no row" in found(absent, THEIRS, INSERT, COMMIT)["check, then act"].because


def test_a_row_that_nothing_prevented():
    grew = replace(COMMIT, grew=frozenset({"db.payments"}))
    rows = {"db.payments": [{"id": 1, "user": 7, "at": 1}, {"id": 2, "user": 7, "at": 2}]}
    one = found(grew, replace(grew, number=6, attempt=2), rows=rows)["no constraint"]
    assert one.change.unique == (("db", "payments", ("user",)),)
    rows["db.payments"][1]["user"] = 8
    assert "no constraint" not in found(grew, replace(grew, number=6, attempt=2), rows=rows)


def test_a_fault_between_two_commits():
    without = (COMMIT, replace(COMMIT, number=5))
    one = found(COMMIT, crash(5), twin=without)["two commits for one thing"]
    assert one.change.defers == (("UPDATE accounts SET x = ?",),)
    assert "two commits for one thing" not in found(
        crash(1), replace(COMMIT, attempt=2), twin=without
    )
    assert "two commits for one thing" not in found(COMMIT, crash(5), twin=without[:1]), (
        "it was the only one"
    )


def test_the_same_request_that_does_the_same_again():
    start = Event(5, 2, 0, "start", "")
    again = replace(COMMIT, number=6, attempt=2)
    one = found(COMMIT, crash(4), start, again)["no inbox"]
    assert one.change is None
    for other in (
        replace(again, actor=1),
        replace(again, changed=frozenset()),
        replace(again, pending=("UPDATE others SET x = ?",)),
    ):
        assert "no inbox" not in found(COMMIT, crash(4), start, other)
    beside = replace(start, number=1)
    assert "no inbox" not in found(beside, COMMIT, again), "they overlap: that is another class"


def test_an_effect_and_a_fault_before_the_commit_that_names_it():
    keyed = replace(CHARGE, number=4, key="a")
    assert "dual write" in found(keyed, crash(5))
    assert "call inside a transaction" in found(UPDATE, keyed, crash(5))
    assert not found(keyed, replace(COMMIT, number=5))


def test_a_mail_before_its_commit_and_a_mail_that_is_never_sent():
    waiting = replace(UPDATE, number=1)
    assert found(waiting, MAIL, crash(3))["told before the commit"].change is None
    assert found(COMMIT, crash(5, kind="mail"))["dual write"].change is not None


def test_a_fault_after_the_answer():
    assert "answered too early" in found(answer(1, "200"), crash(2))
    assert "answered too early" not in found(answer(1, "500"), crash(2))
    assert "answered too early" not in found(answer(1, "200"), crash(2, attempt=2))


def test_two_errors_in_one_attempt():
    refund = replace(LOST, number=2, text="POST /v1/refunds")
    assert "undoing that is not resumed" in found(LOST, refund)


def test_a_dead_end_is_one_only_if_every_retry_is_refused():
    stuck = found(COMMIT, stuck=True, told_later=frozenset({409}))
    assert stuck["dead end"].change is None
    more = (COMMIT, replace(COMMIT, number=5))
    stuck = found(COMMIT, stuck=True, told_later=frozenset({409}), twin=more)
    assert stuck["dead end"].change is not None
    for told in (frozenset({200, 409}), frozenset({500}), frozenset()):
        assert "dead end" not in found(COMMIT, stuck=True, told_later=told)
    assert "dead end" not in found(COMMIT, told_later=frozenset({409}))


def test_an_attempt_in_a_process_that_remembers():
    assert "warm memory" in found(Event(1, 2, 0, "start", "", memory=3))
    assert "warm memory" not in found(Event(1, 2, 0, "start", ""))


def test_the_surest_comes_first_and_what_says_the_same_is_told_once():
    kinds = list(found(CHARGE, crash(2), replace(CHARGE, number=3, attempt=2)))
    assert kinds[0] == "missing key"
    assert "dual write" not in kinds, "its check would be the same"
