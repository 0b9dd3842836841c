"""What operators do and see at the desk from the command line."""

from __future__ import annotations

import json
import shlex

import psycopg
import pytest

from tests.cli.conftest import executed, states
from tests.cli.parked import Journal, in_doubt, park
from tests.harness.audit import audited


def stopped(cell, **more) -> str:
    return str(
        park(cell, Journal().done("hello", 1), "bug", {"at": "hello", "message": "no"}, **more)
    )


def noted(cell) -> list[tuple]:
    with psycopg.connect(cell[0]) as connection:
        return connection.execute(
            f"SELECT n.run_id::text, n.claimed_by, n.note, n.noted_by FROM {cell[1]}.attention_note n"
            f" JOIN {cell[1]}.run r ON r.id = n.run_id AND r.claim = n.claim AND r.state = 'attention'"
        ).fetchall()


# Who did what ---------------------------------------------------------------------------------------------------------


def test_every_act_is_in_the_audit(troth, cell):
    run = stopped(cell)
    assert troth("audit", "list")[1] == "Nobody did anything.\n"
    troth("run", "cancel", run, "--by", "ada", "--note", "twice\x1b[2J")
    troth("run", "send", run, "go", '{"pin": 1234}', "--by", "bob")
    troth("run", "resume", run, "--by", "ada")
    _, out, _ = troth("audit", "list", "-o", "json")
    told = json.loads(out)
    assert [(each["act"], each["by"]) for each in told] == [
        ("run.resume", "ada"),
        ("run.send", "bob"),
        ("run.cancel", "ada"),
    ]
    assert told[0]["result"] == {"was": "bug"}
    assert (told[0]["role"], told[0]["via"], told[0]["outcome"]) == ("admin", "cli", "done")
    assert "1234" not in out
    _, out, _ = troth("audit", "list")
    assert "\x1b" not in out
    assert "topic=go" in out


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--by", "ada"], ["run.resume", "run.cancel"]),
        (["--act", "run.send"], ["run.send"]),
        (["--act", "run"], ["run.resume", "run.send", "run.cancel"]),
        (["--act", "ru"], []),
        (["--outcome", "refused"], []),
        (["--via", "cli", "--since", "1h"], ["run.resume", "run.send", "run.cancel"]),
        (["--since", "2999-01-01"], []),
        (["--about", "nothing"], []),
    ],
)
def test_filters(troth, cell, filters, left):
    run = stopped(cell)
    troth("run", "cancel", run, "--by", "ada")
    troth("run", "send", run, "go", "--by", "bob")
    troth("run", "resume", run, "--by", "ada")
    _, out, _ = troth("audit", "list", *filters, "-o", "json")
    assert [each["act"] for each in json.loads(out)] == left


def test_pages(troth, cell):
    run = stopped(cell)
    for topic in "abc":
        troth("run", "send", run, topic)
    _, out, error = troth("audit", "list", "--limit", "2")
    assert "topic=a" not in out
    _, out, error = troth("audit", "list", "--limit", "2", "--after", error.split()[-1])
    assert "topic=a" in out
    assert "--after" not in error
    assert troth("audit", "list", "--after", "nonsense")[0] == 2


# Two people -----------------------------------------------------------------------------------------------------------


def test_a_second_person_types_what_the_first_one_was_told(troth, cell):
    run = stopped(cell)
    assert troth("access", "acts", "--set", "run.resume", "--eyes", "2")[1] == (
        "run.resume needs two people from now on\n"
    )
    code, out, _ = troth("run", "resume", run, "--by", "ada")
    assert code == 0
    assert "it happens when a second person does the same" in out
    assert states(cell)[run] == "attention"
    code, _, error = troth("run", "resume", run, "--by", "ada")
    assert (code, "a second person must do the same" in error) == (1, True)

    (waits,) = json.loads(troth("audit", "waiting", "-o", "json")[1])
    assert (waits["act"], waits["about"], waits["by"]) == ("run.resume", run, "ada")
    assert waits["command"] in out
    assert waits["command"] in troth("audit", "waiting")[1]
    assert "is ready" in troth(*shlex.split(waits["command"])[1:], "--by", "bob")[1]
    assert states(cell)[run] == "ready"
    assert troth("audit", "waiting")[1] == "Nothing waits.\n"
    assert "done, after ada" in troth("audit", "list")[1]


def test_what_waits_tells_nothing_confidential(troth, cell):
    run = stopped(cell)
    troth("access", "acts", "--set", "run.send", "--eyes", "2")
    troth("run", "send", run, "go", '"1234"', "--by", "ada")
    _, out, _ = troth("audit", "waiting", "-o", "json")
    (waits,) = json.loads(out)
    assert "1234" not in out
    assert waits["hidden"] == ["value"]
    assert waits["command"] == f"troth run send {run} go VALUE"
    assert "has a message" in troth("run", "send", run, "go", ' "1234" ', "--by", "bob")[1]


def test_what_was_proposed_is_withdrawn(troth, cell):
    run = stopped(cell)
    troth("access", "acts", "--set", "run.cancel", "--eyes", "2")
    troth("run", "cancel", run, "--by", "ada")
    assert troth("audit", "withdraw", "1", "--by", "ada")[1] == "proposal 1 is withdrawn\n"
    code, _, error = troth("audit", "withdraw", "1")
    assert (code, "no proposal 1 waits" in error) == (2, True)
    assert audited(cell)[-1] == ("act.withdraw", "1", "ada", "done")


def test_rules_are_listed_and_lowered_by_two(troth, cell):
    troth("access", "acts", "--set", "run.cancel", "--eyes", "2", "--by", "ada")
    lines = {each["act"]: each for each in json.loads(troth("access", "acts", "-o", "json")[1])}
    assert (lines["run.cancel"]["people"], lines["run.cancel"]["role"]) == (2, "operator")
    assert (lines["db.retain"]["people"], lines["db.retain"]["role"]) == (1, "admin")
    assert "The run stops" in troth("access", "acts")[1]
    lower = ["access", "acts", "--set", "run.cancel", "--eyes", "1", "--by"]
    assert "proposed" in troth(*lower, "ada")[1]
    assert "needs one person" in troth(*lower, "bob")[1]
    assert troth("access", "acts", "--set", "run.cancel")[0] == 2
    assert troth("access", "acts", "--set", "run.cancel", "--eyes", "9")[0] == 2
    assert {act for act, *_ in audited(cell)} == {"act.rule"}


# Attention ------------------------------------------------------------------------------------------------------------


def test_who_looks_after_a_run_and_what_they_say(troth, cell):
    run = stopped(cell)
    assert troth("run", "claim", run, "--by", "ada")[1] == f"ada looks after run {run}\n"
    assert troth("run", "note", run, "on <Monday>", "--by", "bob")[1] == f"run {run} has a note\n"
    assert noted(cell) == [(run, "ada", "on <Monday>", "bob")]
    code, _, error = troth("run", "claim", run, "--by", "bob")
    assert (code, "ada looks after" in error) == (1, True)
    assert troth("run", "claim", run, "--by", "bob", "--take-over")[0] == 0
    assert troth("run", "claim", run, "--by", "bob", "--for", "eve")[0] == 0
    assert noted(cell)[0][1] == "eve"
    assert troth("run", "claim", run, "--by", "eve", "--release")[0] == 0
    assert troth("run", "note", run, " ")[1] == f"run {run} has no note any more\n"
    assert noted(cell)[0][:3] == (run, None, None)
    assert troth("run", "claim", run, "--release", "--for", "ada")[0] == 2
    assert [act for act, *_ in audited(cell)] == [
        "attention.claim", "attention.note", *["attention.claim"] * 3, "attention.note",
    ]  # fmt: skip


def test_who_is_not_in_attention_needs_nobody(troth, runs):
    for command in (["claim", runs["listener"]], ["note", runs["greet"], "x"]):
        code, _, error = troth("run", *command)
        assert (code, "Traceback" in error) == (1, False)


def test_a_note_is_forgotten_when_the_run_leaves_attention(troth, cell):
    """It comes back into attention for the same reason, and is another case then."""
    run = stopped(cell, workflow="broken")
    troth("run", "claim", run, "--by", "ada")
    troth("run", "note", run, "wait")
    troth("run", "resume", run)
    executed(lambda: states(cell)[run] == "attention", "it stops again")
    assert noted(cell) == []
    assert troth("run", "claim", run, "--by", "bob")[0] == 0, "nobody has it any more"
    assert troth("run", "note", run, "again", "--by", "bob")[0] == 0
    assert noted(cell) == [(run, "bob", "again", "bob")]


def test_an_old_note_is_no_news_even_if_it_is_still_there(troth, cell):
    """There are more notes to forget than are forgotten at once."""
    run = stopped(cell)
    old = f"INSERT INTO {cell[1]}.attention_note (run_id, claim, claimed_by, note, noted_by)"
    with psycopg.connect(cell[0]) as connection:
        connection.execute(
            f"{old} SELECT gen_random_uuid(), 1 FROM generate_series(1, 300)".replace(
                ", claimed_by, note, noted_by", ""
            )
        )
        connection.execute(f"{old} VALUES (%s, 0, 'eve', 'old', 'eve')", (run,))
    assert troth("run", "claim", run, "--by", "bob")[0] == 0
    assert noted(cell) == [(run, "bob", None, None)]


def test_notes_of_runs_that_are_gone_are_deleted(troth, cell):
    first, second = stopped(cell), stopped(cell)
    troth("run", "note", first, "x")
    troth("run", "resume", first)
    troth("run", "claim", second, "--by", "ada")
    with psycopg.connect(cell[0]) as connection:
        rows = connection.execute(f"SELECT run_id::text FROM {cell[1]}.attention_note").fetchall()
    assert rows == [(second,)]


# Payloads -------------------------------------------------------------------------------------------------------------


def test_that_somebody_saw_payloads_is_recorded(troth, runs, cell):
    run = runs["greet"]
    troth("run", "show", run)
    assert audited(cell) == []
    assert "hello ada" in troth("run", "show", run, "--payloads")[1]
    assert "700" in troth("effect", "show", runs["doubtful"], "--payloads")[1]
    assert "hello ada" in troth("run", "export", run)[1]
    assert "hello ada" in troth("run", "tail", run, "--payloads")[1]
    troth("run", "export", run, "--redact")
    assert audited(cell, "act, about, details->>'of', details->>'path'") == [
        ("payload.show", run, "run", None),
        ("payload.show", runs["doubtful"], "effect", "refund"),
        ("payload.show", run, "run", None),
        ("payload.show", run, "run", None),
    ]


def test_where_two_must_want_to_see_one_sees_nothing(troth, runs, cell):
    troth("access", "acts", "--set", "payload.show", "--eyes", "2")
    code, out, error = troth("run", "show", runs["greet"], "--payloads")
    assert (code, "hello ada" in out) == (0, False)
    assert "a second person" in error
    assert troth("run", "export", runs["greet"])[1] == ""


def test_who_may_only_read_is_not_kept_from_it(troth, runs, cell, monkeypatch):
    url, schema = cell
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE reader_{schema}")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}")
        try:
            monkeypatch.setenv("PGOPTIONS", f"-c role=reader_{schema}")
            code, out, error = troth("run", "show", runs["greet"], "--payloads")
        finally:
            connection.execute(f"DROP OWNED BY reader_{schema}")
            connection.execute(f"DROP ROLE reader_{schema}")
    assert (code, "hello ada" in out) == (0, True), error
    assert "not recorded" in error
    monkeypatch.delenv("PGOPTIONS")
    assert audited(cell) == []


# Acts on a filter -----------------------------------------------------------------------------------------------------


def test_all_runs_of_a_filter_are_counted_and_then_cancelled(troth, cell):
    runs = [stopped(cell) for _ in range(3)]
    other = str(park(cell, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt()))
    which = ["--where", "state=attention&reason=bug"]
    code, out, error = troth("run", "resume", *which)
    assert code == 2, "there is nobody to ask"
    assert out == "state=attention&reason=bug: 3 runs\n"
    assert "nothing was done" in error
    assert audited(cell) == []
    code, out, _ = troth("run", "resume", *which, "--yes", "--by", "ada", "--note", "mended")
    assert (code, out.splitlines()[-1]) == (0, "resume: done for 3")
    found = states(cell)
    assert [found[run] for run in [*runs, other]] == ["ready"] * 3 + ["attention"]
    acts = audited(cell, "act, about, by, note")
    assert sorted(acts) == sorted(("run.resume", run, "ada", "mended") for run in runs)
    assert troth("run", "resume", *which)[1].startswith("No run that is alive matches")


def test_those_that_cannot_be_are_told(troth, cell):
    run = str(park(cell, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt()))
    code, out, error = troth("run", "resume", "--where", "state=attention", "--yes")
    assert (code, out.splitlines()[-1]) == (1, "resume: done for 0")
    assert f"{run}: run {run} is in doubt" in error
    code, out, _ = troth("run", "cancel", "--where", "workflow=nobody_executes_it", "--yes")
    assert (code, out.splitlines()[-1]) == (0, "cancel: done for 1")
    assert audited(cell)[-1][:2] == ("run.cancel", run)


def test_a_filter_is_done_in_parts(troth, cell, monkeypatch):
    for _ in range(3):
        stopped(cell)
    monkeypatch.setattr("troth.cli.run_where.MOST_AT_ONCE", 2)
    _, out, _ = troth("run", "resume", "--where", "state=attention", "--yes")
    assert "the newest 2 runs of more" in out
    assert sorted(states(cell).values()) == ["attention", "ready", "ready"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--where", ""], "is no filter"),
        (["--where", "nonsense"], "is no filter"),
        (["--where", "colour=red"], "is no filter"),
        (["--where", "state="], "filter first"),
        (["--where", "state=failed"], "has ended"),
        (["--where", "state=tired"], "one of ready"),
        (["--where", "since=soon"], "since"),
        ([], "say which"),
        (["019d2f7c-5e80-7000-8000-5a5b6c7d8e9f", "--where", "state=ready"], "say which"),
    ],
)
def test_what_is_no_filter(troth, cell, arguments, says):
    stopped(cell)
    for verb in ("cancel", "resume"):
        code, _, error = troth("run", verb, *arguments, "--yes")
        assert code == 2
        assert says in " ".join(error.split())
    assert audited(cell) == []
