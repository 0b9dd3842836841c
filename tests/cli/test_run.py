"""`troth run` as a user meets it."""

from __future__ import annotations

import json
from uuid import UUID

import psycopg
import pytest

from tests.cli.conftest import executed, states
from tests.cli.parked import Journal, happen, park
from tests.harness.audit import audited
from troth.journal.model import Kind


def listed(troth, *filters: str) -> list[str]:
    """The workflows of the runs that a filter leaves, newest first."""
    code, out, _ = troth("run", "list", *filters, "-o", "jsonl")
    assert code == 0
    return [json.loads(line)["workflow"] for line in out.splitlines()]


NEWEST_FIRST = ["listener", "doubtful", "broken", "refuse", "greet"]


def test_list_has_the_living_and_the_ended(troth, runs):
    assert listed(troth) == NEWEST_FIRST
    code, out, _ = troth("run", "list")
    assert code == 0
    assert all(run_id in out for run_id in runs.values()), "ids are never cut"
    assert "attention: in_doubt" in out


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--state", "attention"], ["doubtful", "broken"]),
        (["--state", "attention", "--state", "failed"], ["doubtful", "broken", "refuse"]),
        (["--workflow", "greet"], ["greet"]),
        (["--key", "key:refuse"], ["refuse"]),
        (["--key", "key:refuse", "--state", "succeeded"], []),
        (["--key", "nobody's"], []),
        (["--since", "1h"], NEWEST_FIRST),
        (["--since", "2999-01-01"], []),
    ],
)
def test_filters(troth, runs, filters, left):
    assert listed(troth, *filters) == left


def test_pages_follow_each_other_without_gap_or_overlap(troth, runs):
    seen: list[str] = []
    after: list[str] = []
    while True:
        _, out, _ = troth("run", "list", "--limit", "2", *after, "-o", "json")
        page = json.loads(out)
        if not page:
            break
        seen += [record["workflow"] for record in page]
        after = ["--after", page[-1]["id"]]
    assert seen == NEWEST_FIRST


def test_the_next_page_is_offered(troth, runs):
    _, _, error = troth("run", "list", "--limit", "2")
    assert f"--after {runs['doubtful']}" in error
    assert "--after" not in troth("run", "list")[2]


def test_an_unknown_workflow_is_answered_with_those_there_are(troth, runs):
    code, out, error = troth("run", "list", "--workflow", "nope")
    assert (code, out) == (0, "No runs match.\n")
    assert "broken, doubtful, listener" in error


def test_show_tells_the_story_and_hides_payloads(troth, runs):
    _, out, _ = troth("run", "show", runs["greet"])
    assert "succeeded" in out
    assert "hello ada" not in out
    _, out, _ = troth("run", "show", runs["greet"], "--payloads")
    assert '"hello ada"' in out


def test_show_for_programs_hides_payloads_too(troth, runs):
    _, out, _ = troth("run", "show", runs["doubtful"], "-o", "json")
    record = json.loads(out)
    assert [step["what"] for step in record["timeline"]] == ["intent", "no answer"]
    assert record["attention"]["key"] == f"{runs['doubtful']}/refund"
    assert "sent" not in record["attention"]
    assert "input" not in record
    assert not any("payload" in step for step in record["timeline"])

    _, out, _ = troth("run", "show", runs["doubtful"], "-o", "json", "--payloads")
    record = json.loads(out)
    assert "700" in json.dumps(record["attention"]["sent"])
    assert "700" in json.dumps(record["input"])
    assert "700" in json.dumps(record["timeline"][0]["payload"])


def test_show_says_why_a_run_needs_attention_and_what_to_do(troth, runs):
    _, out, _ = troth("run", "show", runs["broken"])
    assert "needs attention: bug" in out
    assert "builtins.ZeroDivisionError: division by zero" in out
    assert "return 1 / 0" in out
    assert f"troth run resume {runs['broken']}" in out
    _, out, _ = troth("run", "show", runs["doubtful"])
    assert "reset by peer" in out
    assert f"troth effect settle {runs['doubtful']} refund --done RESULT, or --not-done" in out
    _, out, _ = troth("run", "show", runs["refuse"])
    assert "troth.base.errors.Refused: no stock" in out


def test_show_lists_what_was_not_heard(troth, runs):
    troth("run", "cancel", runs["listener"], "--by", "ada", "--note", "enough")
    _, out, _ = troth("run", "show", runs["listener"])
    assert "not heard yet" in out
    assert "!cancel" in out


def test_what_a_stranger_wrote_does_not_reach_the_terminal(troth, runs, cell):
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE {schema}.run SET key = E'\\x1b[2J[red]k[/red]' WHERE id = %s",
            (runs["broken"],),
        )
    for command in (["list"], ["show", runs["broken"]]):
        _, out, _ = troth("run", *command)
        assert "\x1b" not in out
        assert "[red]k[/red]" in out, "and it is not taken for markup either"


def test_a_changed_program_is_shown_as_a_difference(troth, runs, cell):
    url, schema = cell
    detail = {
        "message": "changed",
        "diff": [
            [" ", "z", None, None],
            ["-", "a", {"cents": 7}, None],
            ["+", "c", {}, "a note"],
        ],
    }
    with psycopg.connect(url) as connection:
        connection.execute(
            f"UPDATE {schema}.run SET reason = 'code_changed', detail = %s WHERE id = %s",
            (json.dumps(detail).encode(), runs["broken"]),
        )
    _, out, _ = troth("run", "show", runs["broken"])
    assert "  z\n- a(cents=…)\n+ c()   # a note\n" in out
    assert "- a(cents=7)\n" in troth("run", "show", runs["broken"], "--payloads")[1]
    assert "7" not in json.dumps(
        json.loads(troth("run", "show", runs["broken"], "-o", "json")[1])["attention"]["diff"]
    )


# Acting -----------------------------------------------------------------------------------------------------------


def test_cancel_waits_for_whoever_claims_the_run(troth, runs, cell):
    code, out, _ = troth("run", "cancel", runs["listener"], "--by", "ada", "--note", "enough")
    assert code == 0
    assert "no worker has it" in out
    executed(lambda: states(cell)[runs["listener"]] == "cancelled", "the run is cancelled")
    _, out, _ = troth("run", "show", runs["listener"])
    assert "by ada: enough" in out


def test_a_run_in_attention_can_be_cancelled(troth, runs, cell):
    assert troth("run", "cancel", runs["broken"])[0] == 0
    executed(lambda: states(cell)[runs["broken"]] == "cancelled", "it is cancelled")


def test_a_run_in_doubt_is_cancelled_when_the_doubt_is_settled(troth, runs, cell):
    doubtful = runs["doubtful"]
    code, out, _ = troth("run", "cancel", doubtful)
    assert (code, "owed an answer" in out) == (0, True)
    executed(lambda: unheard(cell, doubtful) == 0, "the cancellation is heard")
    assert states(cell)[doubtful] == "attention", "what may have happened is not forgotten"
    assert troth("effect", "settle", doubtful, "--done", '"re_1"')[0] == 0
    executed(lambda: states(cell)[doubtful] == "cancelled", "the run is cancelled")


def unheard(cell, run_id) -> int:
    url, schema = cell
    with psycopg.connect(url) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM {schema}.message WHERE run_id = %s", (run_id,)
        ).fetchone()
        return row[0]


def test_a_bug_is_resumed_and_found_again(troth, runs, cell):
    code, _, _ = troth("run", "resume", runs["broken"])
    assert code == 0
    assert states(cell)[runs["broken"]] == "ready"
    executed(lambda: states(cell)[runs["broken"]] == "attention", "the bug is still there")
    assert troth("run", "resume", runs["broken"])[0] == 0, "and may be decided about once more"


@pytest.mark.parametrize(
    ("workflow", "options", "code", "says"),
    [
        ("doubtful", [], 2, "troth effect settle"),
        ("broken", ["--redo-transactions"], 2, "goes with --from"),
        ("broken", ["--from", "divide"], 2, "no step divide with an answer"),
        ("listener", ["--from", "hello"], 1, "it is waiting now"),
        ("listener", [], 1, "it is waiting now"),
        ("greet", [], 1, "has ended: it is succeeded"),
    ],
)
def test_resume_refuses(troth, runs, cell, workflow, options, code, says):
    before = states(cell)
    answered, out, error = troth("run", "resume", runs[workflow], *options)
    assert (answered, out) == (code, "")
    assert says in error
    assert states(cell) == before


def test_two_people_resume_one_run(troth, runs):
    assert troth("run", "resume", runs["broken"])[0] == 0
    code, _, error = troth("run", "resume", runs["broken"])
    assert code == 1
    assert "it is ready now" in error


# Going back -------------------------------------------------------------------------------------------------------


def stopped(cell) -> str:
    journal = Journal().done("hello", 1).sent("charge")
    journal.add("charge", Kind.RESULT, "ch_1", seq=2, ok=True).done("book", 3)
    return str(park(cell, journal, "bug", {"at": "book", "message": "'x'"}))


def test_going_back_shows_first_what_that_means(troth, cell):
    run = stopped(cell)
    code, out, error = troth("run", "resume", run, "--from", "charge")
    assert code == 2
    assert out.splitlines() == [
        "back to before charge:",
        "  kept: hello",
        "  settled anew, not blindly repeated: charge",
        "  run again: book",
    ]
    assert "--redo-transactions" in error
    code, out, error = troth("run", "resume", run, "--from", "charge", "--redo-transactions")
    assert code == 2, "there is nobody to ask"
    assert "kept: hello" in out
    assert "nothing was done" in error
    assert states(cell)[run] == "attention"

    back = ["--from", "charge", "--redo-transactions", "--yes", "--by", "ada"]
    code, out, _ = troth("run", "resume", run, *back)
    assert code == 0
    assert "goes on from before charge" in out
    assert states(cell)[run] == "ready"
    details = {"from": "charge", "redo_transactions": True}
    assert audited(cell, "act, about, by, details") == [("run.rewind", run, "ada", details)]
    _, out, _ = troth("run", "show", run)
    assert "done (superseded)" in out
    assert "by ada, back to before charge" in out
    _, out, _ = troth("run", "show", run, "-o", "json")
    marked = [(s["path"], s["superseded"]) for s in json.loads(out)["timeline"] if s["ok"]]
    assert marked == [("hello", False), ("charge", True), ("book", True)]


def test_what_was_shown_is_what_is_done(troth, cell, monkeypatch):
    """Somebody else lets it go back, further, while this one looks at what it means."""
    run = stopped(cell)
    monkeypatch.setattr("troth.cli.run_acts.agreed", lambda _question: bool(happen_meanwhile()))

    def happen_meanwhile() -> str:
        happen(cell, UUID(run), "hello#2", Kind.RESULT, 1, attempt=0, seq=4, ok=True)
        return run

    code, _, error = troth("run", "resume", run, "--from", "charge", "--redo-transactions")
    assert code == 2
    assert "has moved on since this was shown" in error
    assert states(cell)[run] == "attention"


def test_a_person_who_says_no_is_heard(troth, cell, monkeypatch):
    run = stopped(cell)
    monkeypatch.setattr("troth.cli.run_acts.agreed", lambda _question: False)
    code, _, error = troth("run", "resume", run, "--from", "charge", "--redo-transactions")
    assert (code, "nothing was done" in error) == (2, True)
    assert states(cell)[run] == "attention"


# What is undone ---------------------------------------------------------------------------------------------------


def test_show_says_how_far_a_run_is_undone(troth, cell):
    journal = Journal().sent("customer").add("customer", Kind.RESULT, "cus_1", seq=1, ok=True)
    journal.sent("charge").add("charge", Kind.RESULT, "ch_1", seq=2, ok=True).done("!settled", 3)
    journal.sent("!undo/charge").add("!undo/charge", Kind.RESULT, None, seq=4, ok=True)
    detail = {
        "at": "!undo/customer",
        "message": "nobody has said how it is undone",
        "because": "shop.OutOfStock: none left",
        "stands": [{"path": "customer", "value": "cus_1"}],
        "undone": ["charge"],
    }
    run = str(park(cell, journal, "undo_failed", detail))
    _, out, _ = troth("run", "show", run)
    assert "undoes for shop.OutOfStock: none left" in out
    assert "stands     customer\n" in out
    assert "undone     charge\n" in out
    assert f"troth effect settle {run} '!undo/customer' --done null" in out
    assert "cus_1" not in out
    _, out, _ = troth("run", "show", run, "-o", "json")
    record = json.loads(out)
    assert record["undo"] == {"undone": ["charge"], "open": [], "stands": ["customer"]}
    assert record["attention"]["stands"] == [{"path": "customer"}]
    _, out, _ = troth("run", "show", run, "--payloads")
    assert 'customer = "cus_1"' in out


def test_show_says_how_far_a_run_that_needs_nobody_is_undone(troth, cell):
    journal = Journal().sent("customer").add("customer", Kind.RESULT, "cus_1", seq=1, ok=True)
    journal.done("!settled", 2).sent("!undo/customer")
    run = str(park(cell, journal, "bug", {"at": "hello", "message": "oh"}))
    with psycopg.connect(cell[0]) as connection:
        connection.execute(
            f"UPDATE {cell[1]}.run SET state = 'undoing', reason = NULL, detail = NULL WHERE id = %s",
            (run,),
        )
    _, out, _ = troth("run", "show", run)
    assert "state      undoing" in out
    assert "undone     nothing\n" in out
    assert "not known  !undo/customer\n" in out
    assert "stands     customer\n" in out
    assert run in troth("run", "list", "--state", "undoing")[1]


# Following --------------------------------------------------------------------------------------------------------


def test_tail_of_a_run_that_has_ended(troth, runs):
    code, out, _ = troth("run", "tail", runs["greet"], "-o", "jsonl")
    step, end = map(json.loads, out.splitlines())
    assert code == 0
    assert (step["path"], step["what"]) == ("hello", "done")
    assert (end["run"], end["state"]) == (runs["greet"], "succeeded")
    code, out, _ = troth("run", "tail", runs["refuse"])
    assert code == 1
    assert "failed" in out.splitlines()[-1]


# Mistakes ---------------------------------------------------------------------------------------------------------

NOBODY = "01a20bfa-bd1c-76a5-8000-d7a5de594954"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["show", NOBODY], 1, "there is no run"),
        (["cancel", NOBODY], 1, "there is no run"),
        (["resume", NOBODY], 1, "there is no run"),
        (["tail", NOBODY], 1, "there is no run"),
        (["show", "42"], 2, 'unable to convert "42" into UUID'),
        (["show"], 2, "requires an argument"),
        (["list", "--state", "dead"], 2, '"attention"'),
        (["list", "--since", "yesterday"], 2, "how long ago"),
        (["list", "--limit", "0"], 2, "1 to 1000"),
        (["list", "--limit", "1001"], 2, "1 to 1000"),
        (["list", "--after", "x"], 2, "UUID"),
        (["list", "--no-such-option"], 2, "--no-such-option"),
        (["lst"], 2, "list"),
    ],
)
def test_mistakes_are_answered_on_one_line(troth, command, code, says):
    answered, out, error = troth("run", *command)
    assert (answered, out) == (code, "")
    assert says in " ".join(error.replace("│", " ").split())
    assert "Traceback" not in error


def test_a_run_that_has_ended_cannot_be_cancelled(troth, runs):
    code, _, error = troth("run", "cancel", runs["greet"])
    assert code == 1
    assert "has ended: it is succeeded" in error


def test_no_database(capsys):
    from troth.cli.main import run

    code = run(["run", "list", "--database-url", "postgresql://u:hidden@127.0.0.1:1/x"])
    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith(
        "troth: No connection to PostgreSQL (host 127.0.0.1, port 1, database x)"
    )
    assert "hidden" not in error
    assert error.count("\n") == 1


def test_no_schema(database_url, schema, capsys):
    from troth.cli.main import run

    code = run(["run", "list", "--database-url", database_url, "--schema", schema])
    assert code == 1
    assert f"run `troth db migrate --schema {schema}`" in capsys.readouterr().err


def test_debug_shows_where(troth, monkeypatch):
    monkeypatch.setenv("TROTH_DEBUG", "")  # so that it is put back afterwards
    _, _, error = troth("run", "show", NOBODY, "--debug")
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("troth: there is no run")
