"""Acts: a form says what it means, sending it does it through the desk, and the answer says what has happened."""

from __future__ import annotations

import json
import re
from uuid import UUID

import psycopg
import pytest

from tests.cli import program
from tests.cli.conftest import states
from tests.cli.parked import Journal, in_doubt, park
from tests.console import kept
from tests.console.conftest import rows, words
from troth.base.events import ActRecorded
from troth.command.acts import ACTS
from troth.console import Payload, Role
from troth.console.deed import Given
from troth.console.deeds import DEEDS
from troth.console.screens import SCREENS


@pytest.mark.parametrize("act", ["run.cancel", "run.resume", "run.send"])
async def test_a_form_says_what_the_act_means_and_how_it_is_typed(act, runs, meet):
    page = words(await meet().text(f"/act/{act}?run={runs['broken']}"))
    assert ACTS[act].promise in page
    assert runs["broken"] in page
    if act != "run.send":
        assert f"troth {act.replace('.', ' ')} {runs['broken']}" in page


def test_every_act_with_a_form_is_one_of_the_desk():
    assert set(DEEDS) <= set(ACTS)
    for name, deed in DEEDS.items():
        assert name == deed.act


async def test_a_run_in_attention_goes_on(runs, cell, meet, acts):
    answer = await meet("ada").act("run.resume", run=runs["broken"], note="fixed in 4f2a91c")
    assert answer.status_code == 200
    assert "The run is ready" in words(answer.text)
    assert states(cell)[runs["broken"]] == "ready"
    record = (
        "ada",
        "operator",
        "console",
        "run.resume",
        runs["broken"],
        "done",
        "fixed in 4f2a91c",
    )
    assert acts() == [record]


async def test_what_has_moved_on_is_told_and_nothing_is_done(runs, meet, acts):
    ada = meet()
    assert (await ada.act("run.resume", run=runs["broken"])).status_code == 200
    again = await ada.act("run.resume", run=runs["broken"])
    assert again.status_code == 409
    assert "does not wait for a person" in words(again.text)
    assert (await ada.act("run.cancel", run=runs["greet"])).status_code == 409
    assert (await ada.act("run.cancel", run="0" * 32)).status_code == 404
    assert (await ada.act("run.cancel", run="nonsense")).status_code == 422
    assert len(acts()) == 1


async def test_a_run_in_doubt_is_not_simply_resumed(runs, meet, acts):
    page = await meet().text(f"/runs/{runs['doubtful']}")
    assert "/act/run.resume" not in page
    answer = await meet().act("run.resume", run=runs["doubtful"])
    assert answer.status_code == 422
    assert "Find out, then say which" in words(answer.text)


async def test_a_run_is_told_something(runs, cell, meet, acts):
    ada = meet()
    answer = await ada.act(
        "run.send", run=runs["listener"], topic="go", value='"now"', key="ticket-17"
    )
    assert answer.status_code == 200
    assert rows(cell, "SELECT topic, payload FROM {}.message") == [("go", b'"now"')]
    wrong = await ada.act("run.send", run=runs["listener"], topic="go", value="{now", key="")
    assert wrong.status_code == 422
    assert "value is not JSON" in words(wrong.text).replace("Value", "value")
    conflict = await ada.act(
        "run.send", run=runs["listener"], topic="go", value='"later"', key="ticket-17"
    )
    assert conflict.status_code == 409


async def test_a_fork_shows_what_is_kept_and_what_is_done_again_before_it_is_made(cell, meet, acts):
    journal = Journal().done("first", 1).sent("charge").done("charge", 2).done("last", 3)
    run = park(cell, journal, "bug", {"at": "x", "message": "m"})
    ada = meet()
    page = await ada.text(f"/act/run.fork?run={run}&from=charge")
    said = words(page)
    assert "kept 1 first" in said
    assert "sent again, under other keys, although the first run has sent it 1 charge" in said
    assert "run again 1 last" in said
    shown = re.search(r'name="shown" value="(\w+)"', page)
    assert shown
    answer = await ada.act("run.fork", run=str(run), **{"from": "charge", "shown": shown[1]})
    assert answer.status_code == 200
    new = re.search(r"Run ([0-9a-f-]{36}) goes on from before charge", words(answer.text))
    assert new
    assert f'href="/runs/{new[1]}"' in answer.text
    assert rows(cell, "SELECT count(*) FROM {}.run WHERE id = %s", new[1]) == [(1,)]


async def test_a_plan_that_has_changed_since_it_was_shown_is_not_carried_out(cell, meet, acts):
    from tests.cli.parked import happen
    from troth.journal.model import Kind

    run = park(
        cell, Journal().done("first", 1).done("second", 2), "bug", {"at": "x", "message": "m"}
    )
    ada = meet()
    page = await ada.text(f"/act/run.rewind?run={run}&from=second")
    shown = re.search(r'name="shown" value="(\w+)"', page)
    assert shown
    happen(cell, run, "third", Kind.RESULT, 1, attempt=0, seq=3, ok=True)
    form = {"from": "second", "shown": shown[1], "redo_transactions": "true"}
    answer = await ada.act("run.rewind", run=str(run), **form)
    assert answer.status_code == 409
    assert "has moved on since this was shown" in words(answer.text)
    assert acts() == []


async def test_all_that_a_filter_matches_is_counted_and_then_done(runs, cell, meet, acts):
    ada = meet()
    page = await ada.text("/runs?state=attention")
    link = re.search(r'href="(/act/run.resume\?where=[^"]+)"', page)
    assert link
    form = await ada.text(link[1].replace("&amp;", "&"))
    assert "2 runs that are alive now: state=attention" in words(form)
    answer = await ada.act("run.resume", where="state=attention", counted="2", note="deployed")
    said = words(answer.text)
    assert "done for one run; not possible for 1" in said
    assert "is in doubt" in said
    assert [(act[3], act[4], act[5]) for act in acts()] == [("run.resume", runs["broken"], "done")]


async def test_more_than_was_counted_is_not_touched(runs, meet, acts):
    answer = await meet().act("run.cancel", where="state=attention", counted="1")
    assert answer.status_code == 409
    assert "2 runs match now, and 1 did when you looked" in words(answer.text)
    everything = await meet().act("run.cancel", where="", counted="99")
    assert everything.status_code == 422
    assert "filter first" in words(everything.text)
    assert acts() == []


async def test_a_viewer_cannot_act_on_a_filter(runs, meet, acts):
    answer = await meet("eve", Role.VIEWER).act("run.cancel", where="state=waiting", counted="9")
    assert answer.status_code == 403
    assert [(act[0], act[5]) for act in acts()] == [("eve", "refused")]


async def test_where_two_people_must_agree_the_first_proposes(runs, cell, meet, acts):
    rows_of_rule = "INSERT INTO {}.act_rule (act, eyes) VALUES ('run.resume', 2) RETURNING 1"
    assert rows(cell, rows_of_rule) == [(1,)]
    first = await meet("ada").act("run.resume", run=runs["broken"])
    assert first.status_code == 200
    assert "This act needs two people" in words(first.text)
    assert states(cell)[runs["broken"]] == "attention"
    again = await meet("ada").act("run.resume", run=runs["broken"])
    assert again.status_code == 409
    second = await meet("bob").act("run.resume", run=runs["broken"])
    assert "The run is ready" in words(second.text)
    assert states(cell)[runs["broken"]] == "ready"
    assert [act[5] for act in acts()] == ["proposed", "done"]


async def test_an_act_without_a_form_says_where_it_is_done(cell, meet):
    assert (await meet().get("/act/db.retain")).status_code == 422
    assert (await meet().get("/act/no.such")).status_code == 422


# Payloads -------------------------------------------------------------------------------------------------------------


async def test_payloads_are_hidden_until_somebody_asks_who_is_recorded(cell, meet, acts):
    secret = "4111-1111-1111-1111"
    journal = Journal().done("charge", 1, {"card": secret, "amount": 12345678901234567890123})
    run = park(cell, journal, "in_doubt", in_doubt(sent={"card": secret}))
    ada = meet()
    for view in ("compact", "timeline", "journal"):
        assert secret not in await ada.text(f"/runs/{run}?view={view}")
    shown = await ada.act(
        "payload.show", run=str(run), of="entry", path="charge", kind="2", attempt="0"
    )
    said = words(shown.text)
    assert secret in said
    assert "12345678901234567890123" in said, "digit for digit"
    assert [(act[3], act[4], act[5]) for act in acts()] == [("payload.show", str(run), "done")]
    assert (await ada.act("payload.show", run=str(run), of="outcome")).status_code == 422
    assert (await ada.act("payload.show", run=str(run), of="soul")).status_code == 422


async def test_a_large_payload_is_cut_and_can_be_downloaded_whole(cell, meet, acts):
    large = json.dumps({"text": "x" * 200_000}).encode()
    run = park(cell, Journal(), "bug", {"at": "x", "message": "m"})
    rows(cell, "UPDATE {}.run SET input = %s WHERE id = %s RETURNING 1", large, run)
    ada = meet()
    assert "200.0 kB" in words(await ada.text(f"/runs/{run}"))
    shown = await ada.act("payload.show", run=str(run), of="input")
    assert "These are the first 65.5 kB of 200.0 kB" in words(shown.text)
    assert len(shown.text) < 100_000
    whole = await ada.post("/payload", {"run": str(run), "of": "input"})
    assert whole.content == large
    assert "attachment" in whole.headers["content-disposition"]
    assert len(acts()) == 2, "that it was taken away is recorded, too"


async def test_a_program_may_redact_what_is_shown(cell, meet):
    asked: list[Payload] = []

    def redact(payload: Payload) -> object:
        asked.append(payload)
        return {**payload.value, "card": "…"}

    run = park(
        cell,
        Journal().done("charge", 1, {"card": "4111", "n": 7}),
        "bug",
        {"at": "x", "message": "m"},
    )
    ada = meet(redact=redact)
    form = {"run": str(run), "of": "entry", "path": "charge", "kind": "2", "attempt": "0"}
    said = words((await ada.act("payload.show", **form)).text)
    assert "4111" not in said
    assert '"n": 7' in said
    assert (await ada.post("/payload", form)).json() == {"card": "…", "n": 7}
    first = asked[0]
    assert (first.run, first.what, first.path, first.value["card"]) == (
        run,
        "entry",
        "charge",
        "4111",
    )
    assert first.workflow == "nobody_executes_it"


async def test_what_is_too_large_to_be_redacted_is_not_shown(cell, meet):
    run = park(
        cell, Journal().done("big", 1, "secret" * 50_000), "bug", {"at": "x", "message": "m"}
    )
    ada = meet(redact=lambda payload: "hidden")
    form = {"run": str(run), "of": "entry", "path": "big", "kind": "2", "attempt": "0"}
    shown = await ada.act("payload.show", **form)
    assert "secret" not in shown.text
    assert "only what is shown whole can be redacted" in words(shown.text)
    assert (await ada.post("/payload", form)).content == b'"hidden"'


async def test_a_run_that_somebody_has_in_hand_is_told_and_not_waited_for(runs, cell, meet, acts):
    url, schema = cell
    with psycopg.connect(url) as holder:
        holder.execute(f"SELECT FROM {schema}.run WHERE id = %s FOR UPDATE", (runs["broken"],))
        answer = await meet().act("run.resume", run=runs["broken"])
    assert answer.status_code == 409
    assert "somebody else has this in hand" in words(answer.text).lower()
    assert acts() == []


async def test_an_act_and_its_record_are_one_transaction(runs, cell, meet, acts):
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"ALTER TABLE {schema}.operator_act ADD CONSTRAINT none CHECK (act <> 'run.resume')"
        )
    with pytest.raises(psycopg.errors.CheckViolation):
        await meet().act("run.resume", run=runs["broken"])
    assert states(cell)[runs["broken"]] == "attention", "no record, no act"


async def test_who_listens_is_told_of_what_people_do(runs, meet):
    told: list[ActRecorded] = []
    program.troth.listen(told.append, ActRecorded)
    try:
        await meet("ada").act("run.resume", run=runs["broken"])
        await meet("eve", Role.VIEWER).act("run.cancel", run=runs["broken"])
    finally:
        program.troth.telemetry.forget(told.append)
    assert [(each.by, each.act, each.outcome, each.via) for each in told] == [
        ("ada", "run.resume", "done", "console"),
        ("eve", "run.cancel", "refused", "console"),
    ]


@pytest.mark.parametrize("act", DEEDS)
def test_every_form_leads_back_to_a_page_of_the_console(act):
    given = Given(dict.fromkeys(("run", "endpoint", "message"), str(UUID(int=7))))
    given |= {
        "schedule": "nightly",
        "event": "evt_1",
        "source": "stripe",
        "state": "ignored",
        "break": "7",
    }
    path, query = DEEDS[act].back(given)
    assert any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", page.path), path) for page in SCREENS), path
    assert None not in dict(query).values()


async def test_what_was_shown_as_a_page_leads_back_to_its_thing(cell, meet):
    record = kept.request(cell)
    kept.event(cell, "evt_1", source="a/b")
    for form, place in (
        ({"in": "request", "id": record, "of": "body"}, f"/requests/{record}"),
        ({"in": "event", "source": "a/b", "event": "evt_1", "of": "body"}, "/inbox/event?source=a%2Fb&amp;event=evt_1"),
    ):  # fmt: skip
        answer = await meet().act("payload.show", **form)
        assert f'class="button small nojs" href="{place}"' in answer.text


async def test_an_act_on_all_that_match_leads_back_to_the_list(cell, meet):
    park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow="bulk")
    form = {"list": "attention", "where": "workflow=bulk&reason=bug&reason=poison", "counted": "1"}
    answer = await meet().act("run.resume", **form)
    assert 'href="/attention?workflow=bulk&amp;reason=bug&amp;reason=poison"' in answer.text
    answer = await meet().act("run.resume", **form | {"list": "//elsewhere"})
    assert 'href="/runs?' in answer.text
