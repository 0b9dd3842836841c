"""What the console offers to copy is what the command line takes."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.house.tree import ROOT
from troth.cli.main import _root
from troth.command.acts import ACTS, kind_of, require_details, visible
from troth.command.spelling import as_command

RUN = "019d2f7c-5e80-7000-8000-5a5b6c7d8e9f"
AT = datetime(2026, 11, 24, 8, 0, 0, 1, UTC)

# An act, what it is about, its details, and the command.
SPELLED = [
    ("run.cancel", RUN, {}, f"run cancel {RUN}"),
    ("run.resume", RUN, {}, f"run resume {RUN}"),
    (
        "run.send", RUN, {"topic": "go on", "key": "k'1", "value": {"n": 2**70}},
        f"""run send {RUN} 'go on' '{{"n":{2**70}}}' --key 'k'"'"'1'""",
    ),
    ("run.rewind", RUN, {"from": "b", "redo_transactions": True}, f"run resume {RUN} --from b --redo-transactions"),
    ("run.fork", RUN, {"from": "1:ship#2"}, f"run fork {RUN} --from '1:ship#2'"),
    (
        "effect.settle", RUN, {"path": "!undo/charge", "done": True, "value": None},
        f"effect settle {RUN} '!undo/charge' --done null",
    ),
    ("effect.settle", RUN, {"path": None, "done": False, "value": None}, f"effect settle {RUN} --not-done"),
    ("effect.probe", RUN, {"path": "refund", "anyway": True}, f"effect probe {RUN} refund --anyway"),
    ("inbox.replay", "evt_1", {"source": "stripe"}, "inbox replay evt_1 --source stripe"),
    (
        "inbox.replay_all", "quarantined", {"source": None, "type": None, "object": None, "limit": 9},
        "inbox replay --quarantined --limit 9",
    ),
    (
        "inbox.replay_all", "ignored", {"source": "stripe", "type": "charge.failed", "object": "ch 1", "limit": 1000},
        "inbox replay --ignored --source stripe --type charge.failed --object 'ch 1' --limit 1000",
    ),
    ("outbox.resend", RUN, {}, f"outbox resend {RUN}"),
    (
        "outbox.resend_all", "dead letters", {"endpoint": UUID(RUN), "since": AT},
        f"outbox resend --endpoint {RUN} --since 2026-11-24T08:00:00.000001+00:00",
    ),
    ("outbox.endpoint.enable", RUN, {}, f"outbox endpoint enable {RUN}"),
    ("outbox.endpoint.disable", RUN, {}, f"outbox endpoint disable {RUN}"),
    ("schedule.pause", "at night", {}, "schedule pause 'at night'"),
    ("schedule.resume", "nightly", {}, "schedule resume nightly"),
    ("schedule.run", "nightly", {}, "schedule run nightly"),
    (
        "schedule.backfill", "nightly", {"since": AT, "until": "2026-11-25T00:00:00Z"},
        "schedule backfill nightly --since 2026-11-24T08:00:00.000001+00:00 --until 2026-11-25T00:00:00Z",
    ),
    (
        "reconcile.run", "stripe", {"since": AT, "until": None},
        "reconcile run stripe --since 2026-11-24T08:00:00.000001+00:00",
    ),
    (
        "reconcile.accept", "17", {"until": AT},
        "reconcile accept 17 --until 2026-11-24T08:00:00.000001+00:00",
    ),
    ("reconcile.reopen", "17", {}, "reconcile reopen 17"),
    ("reconcile.own", "17", {"owner": "ada"}, "reconcile own 17 --for ada"),
    ("reconcile.own", "17", {"owner": None}, "reconcile own 17 --release"),
    ("reconcile.settle", "17", {}, "reconcile settle 17"),
    (
        "reconcile.close", "stripe", {"until": "2026-12-01T00:00:00+00:00", "run": 1, "result": "a", "explained": "b"},
        "reconcile approve stripe --until 2026-12-01T00:00:00+00:00",
    ),
    (
        "access.person.add", "ada@example.com", {"tenant": "acme", "groups": ["a", "b"]},
        "access person add ada@example.com --tenant acme --group a --group b",
    ),
    ("access.person.disable", "ada@example.com", {}, "access person disable ada@example.com"),
    (
        "access.key.create", "export",
        {"scopes": ["Plan::*", "*"], "owner": None, "tenant": None, "lifetime_s": 90 * 86400.0},
        "access key create export --scope 'Plan::*' --scope '*' --lifetime 7776000s",
    ),
    ("access.key.rotate", "abc", {"overlap_s": 0.5, "lifetime_s": None}, "access key rotate abc --overlap 0.5s"),
    ("access.key.revoke", "abc", {}, "access key revoke abc"),
    ("access.session.end", RUN, {}, f"access session end {RUN}"),
    ("access.session.end_all", "ada@example.com", {}, "access session end --email ada@example.com"),
    (
        "ledger.post", "fix 1", {"debit": "a:b", "credit": "c", "amount": "1.25", "currency": "EUR", "code": None},
        "ledger post 'fix 1' a:b c 1.25 EUR",
    ),
    ("ledger.close", "2026-07-01T00:00:00+00:00", {}, "ledger close 2026-07-01T00:00:00+00:00"),
    ("ledger.seal", "troth", {}, "ledger seal"),
    ("attention.claim", RUN, {"owner": "bob", "take_over": True}, f"run claim {RUN} --for bob --take-over"),
    ("attention.claim", RUN, {"owner": None, "take_over": False}, f"run claim {RUN} --release"),
    ("attention.note", RUN, {"text": "the bank answers on Monday"}, f"run note {RUN} 'the bank answers on Monday'"),
    ("attention.note", RUN, {"text": None}, f"run note {RUN} ''"),
    ("payload.show", RUN, {"of": "run", "path": "input"}, f"run show {RUN} --payloads"),
    ("payload.show", "all", {"of": "runs", "path": None}, "run tail --payloads"),
    ("payload.show", RUN, {"of": "effect", "path": "refund"}, f"effect show {RUN} refund --payloads"),
    ("payload.show", "evt_1", {"of": "event", "path": None}, "inbox show evt_1 --payloads"),
    ("payload.show", "sub_42", {"of": "object", "path": "plan"}, "machine show plan sub_42 --payloads"),
    ("payload.show", "sub_42", {"of": "object", "path": "plan, entry 3"}, "machine show plan sub_42 --payloads"),
    ("payload.show", "ab" * 16, {"of": "request", "path": "body"}, f"request show {'ab' * 16} --payloads"),
    ("payload.show", RUN, {"of": "decision", "path": None}, f"access why {RUN} --payloads"),
    ("act.rule", "run.cancel", {"eyes": 2}, "access acts --set run.cancel --eyes 2"),
    ("act.withdraw", "17", {}, "audit withdraw 17"),
    ("db.retain", "troth", {"keep_s": 7776000.0}, "db retain --keep 7776000s"),
]  # fmt: skip


@pytest.fixture(scope="module")
def root():
    return _root()


@pytest.mark.parametrize(("name", "about", "details", "command"), SPELLED)
def test_it_is_a_command_that_there_is(root, name, about, details, command):
    require_details(kind_of(name), details)
    spelled = as_command(name, about, details)
    assert spelled == f"troth {command}"
    root.parse_args(shlex.split(spelled)[1:], exit_on_error=False, print_error=False)


def test_every_act_has_its_command():
    assert {name for name, *_ in SPELLED} == set(ACTS)


@pytest.mark.parametrize(("name", "about", "details", "_command"), SPELLED)
def test_what_is_hidden_is_left_as_a_word(name, about, details, _command):
    shown = visible(kind_of(name), details)
    spelled = as_command(name, about, shown)
    hidden = name in {"run.send", "effect.settle"} and details.get("done") is not False
    assert ("VALUE" in shlex.split(spelled)) is hidden


PAGE = ROOT / "docs" / "operating" / "acting.md"
TYPED = [
    re.sub(r"\b(RUN)\b", RUN, line.removeprefix("$ ").partition("   #")[0])
    for line in PAGE.read_text().splitlines()
    if line.startswith(("troth ", "$ troth "))
    if not re.match(r"troth: ", line)
]


@pytest.mark.parametrize("line", TYPED)
def test_the_page_tells_of_commands_that_there_are(root, line):
    root.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_the_note_goes_along(root):
    spelled = as_command("run.cancel", RUN, {}, "it's twice")
    assert shlex.split(spelled)[-2:] == ["--note", "it's twice"]
    settled = as_command("effect.settle", RUN, {"path": None, "done": False}, "seen")
    assert settled.endswith("--not-done --evidence seen")


def test_an_act_of_a_program_has_no_command():
    assert as_command("outbox.endpoint.remove", RUN, {}) == ""


def test_no_command_shows_what_a_message_says():
    assert as_command("payload.show", RUN, {"of": "message", "path": "payload"}) == ""
