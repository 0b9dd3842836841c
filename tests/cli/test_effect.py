"""`troth effect` as a user meets it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from threading import Thread
from uuid import UUID

import psycopg
import pytest

from tests.cli import program
from tests.cli.conftest import executed, states
from tests.cli.parked import Journal, happen, in_doubt, park, put_back
from tests.harness.audit import audited
from tests.harness.postgres import wait_until
from troth.journal.model import Kind

NOBODY = "01a20bfa-bd1c-76a5-8000-d7a5de594954"


def doubtful(cell, **detail) -> str:
    journal = Journal().sent("refund").lost("refund")
    error = {"answer": "error", "begun": 1.0, "message": "503"}
    journal.add("refund", Kind.EVIDENCE, error, attempt=1)
    return str(park(cell, journal, "in_doubt", in_doubt(**detail)))


# Looking --------------------------------------------------------------------------------------------------------------


def test_list_says_what_is_at_stake(troth, cell):
    assert troth("effect", "list")[1] == "No effect waits for a person.\n"
    run = doubtful(cell, settled_by=2)
    park(cell, Journal(), "bug", {"at": "hello"})
    _, out, _ = troth("effect", "list")
    (line,) = [line for line in out.splitlines() if run in line]
    for said in ("refund", "bank", "in_doubt", "EUR 7.00", "ago", "2"):
        assert said in line
    _, out, _ = troth("effect", "list", "-o", "json")
    (record,) = json.loads(out)
    assert record["sent_s"] > record["age_s"] >= 0
    told = {
        "run": run, "workflow": "nobody_executes_it", "key": f"key:{run}", "path": "refund",
        "provider": "bank", "reason": "in_doubt", "stake": "EUR 7.00",
        "sent_at": "2023-11-14T22:13:20Z", "settled_by": 2,
    }  # fmt: skip
    assert record | told == record
    assert run in troth("effect", "list", "--reason", "in_doubt", "--unclaimed")[1]
    assert run not in troth("effect", "list", "--reason", "undo_failed")[1]
    code, _, error = troth("effect", "list", "--reason", "bug")
    assert (code, "runs stop at an effect for one of" in error) == (2, True)


def test_pages(troth, cell):
    first, second = doubtful(cell), doubtful(cell)
    _, out, error = troth("effect", "list", "--limit", "1")
    assert (first in out, second in out) == (True, False)
    after = error.split("--after ")[1].strip()
    _, out, _ = troth("effect", "list", "--limit", "1", "--after", after)
    assert second in out


def test_show_tells_what_was_tried_and_hides_values(troth, cell):
    run = doubtful(cell, settled_by=2)
    proposal = {"proposal": {"done": True, "value": "re_9"}, "by": "ada", "note": "seen"}
    happen(cell, UUID(run), "refund", Kind.DECISION, proposal)
    code, out, _ = troth("effect", "show", run)
    assert code == 0
    for said in (
        "needs attention: in_doubt",
        "bank",
        "key/refund",
        "EUR 7.00",
        "2023-11-14 22:13:20Z",
        "probe      there is one",
        "2023-11-14 22:13:29Z error (503)",
        "2 people",
        "ada proposes: it happened (seen). Another person must agree.",
        "probe: error",
        f"troth effect settle {run} refund --done RESULT, or --not-done",
        f"troth effect probe {run}",
    ):
        assert said in out
    assert "700" not in out.replace(run, "")  # its id is hexadecimal
    assert "re_9" not in out
    _, out, _ = troth("effect", "show", run, "refund", "--payloads")
    assert '{"amount":700}' in out
    assert 'it happened: "re_9"' in out


def test_show_for_programs(troth, cell):
    run = doubtful(cell)
    happen(cell, UUID(run), "refund", Kind.DECISION, {"proposal": {"done": False}, "by": "ada"})
    _, out, _ = troth("effect", "show", run, "-o", "json")
    record = json.loads(out)
    assert (record["run"]["id"], record["path"]) == (run, "refund")
    assert record["proposal"] == {"done": False, "by": "ada", "note": None}
    assert record["attention"]["probes"][0]["message"] == "503"
    assert "sent" not in record["attention"]
    assert [step["what"] for step in record["timeline"]] == [
        "intent", "no answer", "probe: error", "proposal",
    ]  # fmt: skip


def test_what_a_stranger_wrote_does_not_reach_the_terminal(troth, cell):
    run = doubtful(cell, stake="\x1b[2J[red]all[/red]", message="\x1b[31mno")
    for command in (["list"], ["show", run]):
        _, out, _ = troth("effect", *command)
        assert "\x1b" not in out
        assert "[red]all[/red]" in out


# Settling -------------------------------------------------------------------------------------------------------------


def test_two_people_settle_it(troth, cell):
    run = doubtful(cell, settled_by=2)
    finding = ["--not-done", "--evidence", "asked the bank"]
    code, out, _ = troth("effect", "settle", run, "refund", *finding, "--by", "ada")
    assert code == 0
    assert "ada proposes: it did not happen. Nothing is settled" in out
    assert states(cell)[run] == "attention"
    for other, says in (
        (["--done", "1", "--by", "bob"], "ada has found out otherwise"),
        ([*finding, "--by", "ada"], "second person"),
    ):
        code, out, error = troth("effect", "settle", run, *other)
        assert (code, out) == (1, "")
        assert says in error
    code, out, _ = troth("effect", "settle", run, *finding, "--by", "bob")
    assert code == 0
    assert "is settled by ada and bob: it did not happen. It may be sent again" in out
    assert states(cell)[run] == "ready"
    _, out, _ = troth("run", "show", run)
    assert "by ada and bob, it did not happen: asked the bank" in out


def test_what_was_proposed_is_on_the_page_of_the_run(troth, cell):
    run = doubtful(cell, settled_by=2)
    troth("effect", "settle", run, "--done", '"re_1"', "--by", "ada", "--evidence", "seen")
    _, out, _ = troth("run", "show", run)
    assert "by ada, who proposes: it happened; another person must agree: seen" in out
    assert "re_1" not in out


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ([], 2, "--done RESULT or --not-done"),
        (["--done", "1", "--not-done"], 2, "one or the other"),
        (["--done", "re_1"], 2, "--done '\"re_1\"'"),
        (["--done", ""], 2, "is not JSON"),
        (["--not-done"], 2, "--evidence"),
        (["--not-done", "--evidence", " "], 2, "--evidence"),
        (["nope", "--done", "1"], 2, "does not wait for nope to be settled, but for refund"),
    ],
)
def test_settle_refuses(troth, cell, options, code, says):
    run = doubtful(cell)
    answered, out, error = troth("effect", "settle", run, *options)
    assert (answered, out) == (code, "")
    assert says in error
    assert states(cell)[run] == "attention"


def test_a_run_that_stopped_for_another_reason(troth, cell):
    run = str(park(cell, Journal(), "bug", {"at": "hello", "message": "oh"}))
    for command in (["settle", run, "--done", "1"], ["probe", run]):
        code, out, error = troth("effect", *command)
        assert (code, out) == (2, "")
        assert f"troth run resume {run}" in error


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["show", NOBODY], 1, "there is no run"),
        (["probe", NOBODY], 1, "there is no run"),
        (["settle", NOBODY, "--done", "1"], 1, "there is no run"),
        (["show", "42"], 2, 'unable to convert "42" into UUID'),
        (["list", "--limit", "0"], 2, "1 to 1000"),
        (["probe", NOBODY, "--wait", "soon"], 2, "is not a length of time"),
    ],
)
def test_mistakes_are_answered_on_one_line(troth, command, code, says):
    answered, out, error = troth("effect", *command)
    assert (answered, out) == (code, "")
    assert says in " ".join(error.replace("│", " ").split())
    assert "Traceback" not in error


# Asking once more -----------------------------------------------------------------------------------------------------


def test_an_effect_that_had_no_probe(troth, cell):
    run = doubtful(cell, probed=False)
    code, out, error = troth("effect", "probe", run)
    assert (code, out) == (2, "")
    assert "had no probe" in error
    assert states(cell)[run] == "attention"
    assert troth("effect", "probe", run, "--anyway", "--wait", "0s")[0] == 1
    assert states(cell)[run] == "ready"


def test_nobody_is_there_to_ask(troth, cell):
    run = doubtful(cell)
    code, out, _ = troth("effect", "probe", run, "--wait", "300ms", "--by", "ada")
    assert code == 1
    assert "a worker is to ask once more" in out
    assert "nothing is settled after 300 ms" in out
    assert audited(cell, "act, about, by, details, result") == [
        ("effect.probe", run, "ada", {"path": None, "anyway": False}, {"path": "refund"})
    ]
    _, out, _ = troth("effect", "show", run)
    assert "by ada, to be asked again" in out


def a_worker_that(records: Callable[[], None], cell, run: str) -> Thread:
    """Once the run is ready, something becomes of it."""

    def work() -> None:
        wait_until(lambda: states(cell)[run] == "ready", "somebody wants it asked")
        records()

    thread = Thread(target=work)
    thread.start()
    return thread


MISSING = {"answer": "missing", "begun": 1.0}


@pytest.mark.parametrize(
    ("kind", "said", "more", "code", "says"),
    [
        (Kind.RESULT, "re_1", {"attempt": 0, "seq": 1, "ok": True}, 0, "it happened"),
        (Kind.RESULT, {}, {"attempt": 0, "seq": 1, "ok": False}, 0, "it was refused"),
        (Kind.EVIDENCE, MISSING | {"settles": True}, {"attempt": 2}, 0, "it did not happen"),
        (Kind.EVIDENCE, MISSING, {"attempt": 2}, 1, "back in attention: in_doubt"),
    ],
)
def test_what_came_out_is_told(troth, cell, kind, said, more, code, says):
    run = doubtful(cell)

    def records() -> None:
        happen(cell, UUID(run), "refund", kind, said, **more)
        put_back(cell, UUID(run), in_doubt())

    worker = a_worker_that(records, cell, run)
    answered, out, _ = troth("effect", "probe", run, "--wait", "20s")
    worker.join()
    assert answered == code, out
    assert says in out.splitlines()[-1]
    assert not re.search(r"\b503\b", out), "only what is new is told"


# With a worker --------------------------------------------------------------------------------------------------------


def test_done_gives_the_result_to_the_workflow(troth, runs, cell):
    doubtful = runs["doubtful"]
    code, out, _ = troth(
        "effect", "settle", doubtful, "--done", '"re_42"', "--by", "ada", "--evidence", "seen"
    )
    assert code == 0
    assert "refund of run" in out
    executed(lambda: states(cell)[doubtful] == "succeeded", "the run goes on")
    _, out, _ = troth("run", "show", doubtful, "-o", "json", "--payloads")
    record = json.loads(out)
    assert record["outcome"] == "re_42"
    decision = next(step for step in record["timeline"] if step["what"] == "decision")
    assert decision["payload"] == {
        "at": "refund", "by": "ada", "done": True, "note": "seen", "reason": "in_doubt",
    }  # fmt: skip
    assert [step["what"] for step in record["timeline"]].count("intent") == 1, (
        "it was not sent again"
    )


def test_not_done_lets_it_be_sent_again(troth, runs, cell):
    doubtful = runs["doubtful"]
    not_done = ["effect", "settle", doubtful, "--not-done", "--evidence", "asked"]
    code, _, error = troth(*not_done)
    assert code == 2
    assert "can still arrive until" in error
    assert re.search(r"may land +until 20\d\d-\d\d-\d\d ", troth("effect", "show", doubtful)[1])
    executed(lambda: troth(*not_done)[0] == 0, "nothing can arrive any more")
    executed(
        lambda: attempts(cell, doubtful) == 2 and states(cell)[doubtful] == "attention",
        "it is sent again, and is in doubt again",
    )


def attempts(cell, run_id) -> int:
    url, schema = cell
    with psycopg.connect(url) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM {schema}.journal WHERE run_id = %s AND kind = 1", (run_id,)
        ).fetchone()
        return row[0]


def test_a_result_is_checked_against_the_program(troth, runs):
    checked = ["--program", "tests.cli.program:troth"]
    code, _, error = troth("effect", "settle", runs["doubtful"], "--done", "7", *checked)
    assert code == 2
    assert "the result of refund" in error
    assert troth("effect", "settle", runs["doubtful"], "--done", '"re_1"', *checked)[0] == 0


def test_a_result_that_the_code_cannot_take_brings_the_run_back(troth, runs, cell):
    """And going back to before it makes the effect one of which nobody knows anything, once more."""
    doubtful = runs["doubtful"]
    assert troth("effect", "settle", doubtful, "--done", "7")[0] == 0
    executed(lambda: states(cell)[doubtful] == "attention", "the code cannot take it")
    _, out, _ = troth("run", "show", doubtful)
    assert "does not fit" in out
    assert troth("run", "resume", doubtful, "--from", "refund", "--yes")[0] == 0
    executed(lambda: states(cell)[doubtful] == "attention", "it is in doubt again")
    assert attempts(cell, doubtful) == 1, "it was not sent again"
    assert troth("effect", "settle", doubtful, "--done", '"re_1"')[0] == 0
    executed(lambda: states(cell)[doubtful] == "succeeded", "the run goes on")


def test_a_probe_settles_what_two_people_would_have_to(troth, cell, monkeypatch):
    monkeypatch.setitem(program.ledger, "transfer", "error")

    async def play() -> None:
        async with program.troth.worker():
            run = await program.troth.start(program.transferring, 700)
            await asyncio.to_thread(
                wait_until, lambda: states(cell)[str(run.id)] == "attention", "it is in doubt"
            )
            _, out, _ = await asyncio.to_thread(troth, "effect", "show", str(run.id))
            assert "EUR 700" in out
            assert "2 people" in out
            code, out, _ = await asyncio.to_thread(troth, "effect", "probe", str(run.id))
            assert code == 1, out
            assert "probe: error" in out
            assert "503" in out
            monkeypatch.setitem(program.ledger, "transfer", "tr_1")
            code, out, _ = await asyncio.to_thread(troth, "effect", "probe", str(run.id))
            assert code == 0, out
            assert "probe: found" in out
            assert out.splitlines()[-1] == f"transfer of run {run.id}: it happened"
            assert await run.result(20) == "tr_1"

    asyncio.run(play())


def test_an_undo_that_was_refused_is_settled_by_hand(troth, cell):
    async def start() -> str:
        async with program.troth.client():
            return str((await program.troth.start(program.sale, "ring")).id)

    run = asyncio.run(start())
    executed(lambda: states(cell)[run] == "attention", "it cannot be undone")
    _, out, _ = troth("effect", "list")
    assert "!undo/reserve" in out
    _, out, _ = troth("run", "show", run)
    assert "needs attention: undo_failed" in out
    assert "it has been shipped" in out
    assert "no stock" in out
    assert "stands     reserve\n" in out
    taken_back = ["--done", "null", "--evidence", "it came back by post", "--by", "ada"]
    assert troth("effect", "settle", run, "!undo/reserve", *taken_back)[0] == 0
    executed(lambda: states(cell)[run] == "failed", "it is undone")
    _, out, _ = troth("run", "show", run)
    assert "undone     reserve\n" in out
    assert "by ada, it is undone: it came back by post" in out
