"""The queue of what waits for a person, the effects in it, and one effect with all that is recorded of it."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID

import psycopg
import pytest

from tests.cli.conftest import states
from tests.cli.parked import SENT_AT, Journal, happen, in_doubt, park
from tests.console.conftest import rows, words
from tests.harness.cell import until
from troth.console import Role
from troth.journal.model import Kind

BUG = {"at": "step", "message": "it broke", "type": "app.Broken"}


def waits(cell, journal: Journal, reason: str, detail: dict, age_s: float = 60, **more) -> UUID:
    """A run that has stood in attention for so long."""
    run = park(cell, journal, reason, detail, **more)
    query = "UPDATE {}.attention SET since = now() - make_interval(secs => %s) WHERE run_id = %s RETURNING 1"
    rows(cell, query, age_s, run)
    return run


def sent(attempts: int = 1) -> Journal:
    """A refund that was sent so often, without an answer."""
    journal = Journal()
    for attempt in range(1, attempts + 1):
        journal.sent("refund", attempt).lost("refund", attempt)
    return journal


def queue(page: str) -> list[str]:
    return re.findall(r'<tr id="[ae]-([0-9a-f-]{36})"', page)


def line_of(page: str, run: UUID) -> str:
    found = re.search(rf'<tr id="[ae]-{run}".*?</tr>', page, re.DOTALL)
    assert found
    return words(found[0])


# The queue ------------------------------------------------------------------------------------------------------------


async def test_what_has_waited_longest_comes_first_with_all_that_one_needs_to_begin(cell, meet):
    young = waits(cell, Journal(), "bug", BUG, 60)
    old = waits(cell, sent(), "in_doubt", in_doubt(), 7260)
    page = await meet().text("/attention")
    assert queue(page) == [str(old), str(young)]
    said = line_of(page, old)
    for word in ("in doubt", "for 2 h 1 min", "refund", "at bank", "EUR 7.00", "no answer"):
        assert word in said
    assert "Settle…" in said
    assert "Ask once more…" in said
    said = line_of(page, young)
    assert "app.Broken : it broke" in said
    assert "Let it go on…" in said
    assert "Settle…" not in said
    assert f'href="/effects/{old}?path=refund"' in page
    assert "troth attention list" in words(page)


async def test_the_queue_is_filtered_by_the_address(cell, meet):
    bug = waits(cell, Journal(), "bug", BUG)
    doubt = waits(cell, sent(), "in_doubt", in_doubt(), workflow="shop@2")
    ada = meet("ada")
    assert queue(await ada.text("/attention?reason=bug")) == [str(bug)]
    assert queue(await ada.text("/attention?workflow=shop")) == [str(doubt)]
    await ada.act("attention.claim", run=str(bug), owner="ada")
    assert queue(await ada.text("/attention?owner=ada")) == [str(bug)]
    assert queue(await ada.text("/attention?unclaimed=true")) == [str(doubt)]
    page = await ada.text("/attention?reason=poison")
    assert "Nothing that matches waits" in words(page)
    assert "troth attention list --reason poison" in words(page)
    assert (await ada.get("/attention?reason=none")).status_code == 400
    assert (await ada.get("/attention?after=x")).status_code == 422


async def test_pages_of_the_queue_follow_each_other(cell, meet):
    made = [str(waits(cell, Journal(), "bug", BUG, 1000 - n)) for n in range(60)]
    ada, path, seen = meet(), "/attention", []
    while path:
        page = await ada.text(path)
        seen += queue(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1].replace("&amp;", "&") if following else ""
    assert seen == made


async def test_who_looks_after_a_run_is_seen_by_others_and_is_not_taken_by_accident(
    cell, meet, acts
):
    run = waits(cell, Journal(), "bug", BUG)
    ada, bob = meet("ada"), meet("bob")
    form = await ada.text(f"/act/attention.claim?run={run}&owner=ada")
    assert 'name="owner" value="ada"' in form
    assert f"troth run claim {run} --for ada" in words(form)
    assert "ada looks after the run" in words(
        (await ada.act("attention.claim", run=str(run), owner="ada")).text
    )
    assert "ada for" in line_of(await bob.text("/attention"), run)
    taken = await bob.act("attention.claim", run=str(run), owner="bob")
    assert taken.status_code == 409
    assert "looks after run" in words(taken.text)
    await bob.act("attention.claim", run=str(run), owner="bob", take_over="true")
    assert "bob for" in line_of(await ada.text("/attention"), run)
    noted = await ada.act("attention.note", run=str(run), text="the bank was called")
    assert "Noted." in words(noted.text)
    assert "“ the bank was called ” ada" in line_of(await bob.text("/attention"), run)
    await bob.act("attention.claim", run=str(run))
    assert "bob for" not in line_of(await ada.text("/attention"), run)
    assert [act[3] for act in acts()] == ["attention.claim"] * 2 + [
        "attention.note",
        "attention.claim",
    ]


async def test_all_that_a_filter_of_the_queue_matches_is_counted_and_then_done(cell, meet, acts):
    bugs = {str(waits(cell, Journal(), "bug", BUG)) for _ in range(3)}
    other = waits(cell, sent(), "in_doubt", in_doubt())
    ada = meet("ada")
    page = await ada.text("/attention?reason=bug&unclaimed=true")
    link = re.search(r'href="(/act/attention.claim\?list=attention[^"]+)"', page)
    assert link
    form = await ada.text(link[1].replace("&amp;", "&"))
    assert "3 runs that wait for a person now" in words(form)
    claim = {
        "list": "attention",
        "where": "reason=bug&unclaimed=true",
        "counted": "3",
        "owner": "ada",
    }
    assert "done for 3 runs" in words((await ada.act("attention.claim", **claim)).text)
    assert set(queue(await ada.text("/attention?owner=ada"))) == bugs
    mine = await ada.text("/act/run.resume?list=attention&where=reason%3Dbug")
    assert "troth run resume --where 'state=attention&reason=bug'" in words(mine)
    again = {"list": "attention", "where": "owner=ada", "counted": "3"}
    assert "done for 3 runs" in words((await ada.act("run.resume", **again)).text)
    assert states(cell)[str(other)] == "attention"
    assert {states(cell)[run] for run in bugs} == {"ready"}
    for wrong in ({"list": "attention", "where": ""}, {"list": "none", "where": "reason=bug"}):
        assert (await ada.act("run.resume", **wrong, counted="9")).status_code == 422
    assert len(acts()) == 6


# One effect -----------------------------------------------------------------------------------------------------------


async def test_an_effect_in_doubt_says_what_is_at_stake_and_what_came_back_each_time(cell, meet):
    journal = sent(2)
    journal.add("refund", Kind.EVIDENCE, {"answer": "error", "message": "503"}, attempt=1)
    detail = in_doubt(settled_by=2, lands_until=4e9, key_until=SENT_AT + 60, attempts=2)
    run = waits(cell, journal, "in_doubt", detail)
    page = await meet().text(f"/effects/{run}?path=refund")
    said = words(page)
    for word in (
        "At stake: EUR 7.00", "Provider bank", "Idempotency key key/refund", "The provider knows the key no more : until",
        "nobody can say before that it did not happen", "Must agree 2 people", "Sent 2 times", "probe: error", "503",
        f"troth effect settle {run} refund --done RESULT", f"troth effect show {run} refund",
    ):  # fmt: skip
        assert word in said, word
    tries = [words(each) for each in re.findall(r'<tr id="t-.*?</tr>', page, re.DOTALL)]
    assert [each.split()[0] for each in tries] == ["1", "2"]
    assert all("no answer" in each for each in tries)
    assert "amount" not in said, "what was sent is hidden"
    shown = await meet().act(
        "payload.show", run=str(run), of="entry", path="refund", kind="1", attempt="2"
    )
    assert '"amount": 700' in words(shown.text)


async def test_without_a_path_it_is_the_effect_that_the_run_stopped_at(cell, meet):
    journal = sent()
    journal.sent("mail").done("mail", 1)
    run = waits(cell, journal, "in_doubt", in_doubt())
    ada = meet()
    assert "<bdi>refund</bdi></h1>" in await ada.text(f"/effects/{run}")
    done = await ada.text(f"/effects/{run}?path=mail")
    assert "The other side answered" in words(done)
    assert f"{run}/mail" in words(done), "its key is known from its run and path"
    missing = await ada.get(f"/effects/{run}?path=none")
    assert missing.status_code == 422
    assert "it has sent mail, refund" in words(missing.text)
    assert (await ada.get("/effects/none")).status_code == 400
    assert (await ada.get(f"/effects/{UUID(int=1)}")).status_code == 404


async def test_arguments_of_ten_megabytes_do_not_hide_what_is_at_stake(cell, meet):
    large = in_doubt(sent={"text": "x" * 2_000_000})
    run = waits(cell, sent(), "in_doubt", large)
    ada = meet()
    page = await ada.text(f"/effects/{run}")
    assert "At stake: EUR 7.00" in words(page)
    assert len(page) < 60_000
    line = line_of(await ada.text("/attention"), run)
    assert "too large for a list" in line
    settled = await ada.act(
        "effect.settle", run=str(run), found="done", value='"re_1"', note="seen"
    )
    assert "Settled by ada, refund: it happened" in words(settled.text)


async def settle(person, run, **form) -> tuple[int, str]:
    """Open the form, as it is shown now, and send it."""
    page = await person.text(f"/act/effect.settle?run={run}&path=refund")
    shown = re.search(r'name="shown" value="(\w+)"', page)
    assert shown
    said = {"found": "done", "value": '"re_42"', "note": "in the dashboard"} | form
    answer = await person.act("effect.settle", run=str(run), path="refund", shown=shown[1], **said)
    return answer.status_code, words(answer.text)


async def test_what_happened_is_said_with_its_result_and_evidence(cell, meet, acts):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    ada = meet("ada")
    form = words(await ada.text(f"/act/effect.settle?run={run}&path=refund"))
    for word in (
        "if it happened and you say it did not, it happens twice", "At stake EUR 7.00", "no answer",
        f"troth effect settle {run} refund --done VALUE --evidence EVIDENCE",
        f"troth effect settle {run} refund --not-done --evidence EVIDENCE",
    ):  # fmt: skip
        assert word in form, word
    assert (await settle(ada, run, found=""))[0] == 422
    assert (await settle(ada, run, found="perhaps"))[0] == 422
    assert (await settle(ada, run, note=""))[0] == 422
    assert (await settle(ada, run, value="{"))[0] == 422
    assert (await settle(ada, run, found="not_done"))[0] == 422
    assert acts() == []
    status, said = await settle(ada, run)
    assert status == 200
    assert "Settled by ada, refund: it happened. The run goes on" in said
    assert states(cell)[str(run)] == "ready"
    page = words(await ada.text(f"/effects/{run}?path=refund"))
    assert "It happened ada settled it," in page
    assert "“ in the dashboard ”" in page
    assert [(act[3], act[5], act[6]) for act in acts()] == [
        ("effect.settle", "done", "in the dashboard")
    ]
    query = "SELECT payload FROM {}.journal WHERE run_id = %s AND path = 'refund' AND kind = 2"
    assert rows(cell, query, run) == [(b'"re_42"',)]


async def test_what_did_not_happen_needs_evidence_and_that_it_cannot_any_more(cell, meet):
    run = waits(cell, sent(), "in_doubt", in_doubt(lands_until=4e9))
    status, said = await settle(meet("ada"), run, found="not_done", value="")
    assert status == 422
    assert "can still arrive until" in said
    run = waits(cell, sent(), "in_doubt", in_doubt())
    status, said = await settle(meet("ada"), run, found="not_done", value="")
    assert status == 200
    assert "it did not happen. It may be sent again" in said
    page = words(await meet().text(f"/effects/{run}?path=refund"))
    assert "It did not happen ada settled it," in page


async def test_two_people_must_agree_where_the_step_says_so(cell, meet, acts):
    run = waits(cell, sent(), "in_doubt", in_doubt(settled_by=2))
    ada, bob = meet("ada"), meet("bob")
    form = words(await ada.text(f"/act/effect.settle?run={run}&path=refund"))
    assert "2 people must agree" in form
    status, said = await settle(ada, run)
    assert status == 200
    assert "ada proposes of refund: it happened. Nothing is settled until a second person" in said
    page = await bob.text(f"/effects/{run}?path=refund")
    assert "ada proposes: it happened ," in words(page)
    assert "“ in the dashboard ”" in words(page)
    assert "re_42" not in words(page), "the result is hidden"
    asked = re.search(
        r'name="kind" value="5">\s*<input type="hidden" name="attempt" value="(\d)"', page
    )
    assert asked
    shown = await bob.act(
        "payload.show", run=str(run), of="entry", path="refund", kind="5", attempt=asked[1]
    )
    assert "re_42" in words(shown.text)
    for path in ("/attention", "/effects"):
        assert "ada" in line_of(await bob.text(path), run)
    assert (await settle(ada, run))[0] == 409, "one person is not two"
    status, said = await settle(bob, run, value='"re_43"')
    assert status == 409
    assert "ada has found out otherwise" in said.replace("Ada", "ada")
    status, said = await settle(bob, run)
    assert "Settled by ada and bob, refund: it happened" in said
    page = words(await ada.text(f"/effects/{run}?path=refund"))
    assert "ada and bob settled it" in page
    assert [act[5] for act in acts() if act[3] == "effect.settle"] == ["proposed", "done"]


async def test_of_two_people_at_once_one_settles_and_the_other_is_told_by_whom_and_when(
    cell, meet, acts
):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    people = meet("ada"), meet("bob")
    tokens = [await person.token() for person in people]
    assert all(tokens)
    answers = await asyncio.gather(*(settle(person, run, note=person.name) for person in people))
    assert sorted(status for status, _ in answers) == [200, 409]
    lost = next(said for status, said in answers if status == 409)
    won = next(said for status, said in answers if status == 200)
    winner = "ada" if "Settled by ada" in won else "bob"
    told = rf"{winner} settled refund at \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC: it happened \({winner}\)"
    assert re.search(told, lost, re.IGNORECASE), lost
    assert "Nothing of yours was recorded" in lost
    assert [act[0] for act in acts()] == [winner]


async def test_who_waits_for_the_row_is_told_by_whom_it_was_settled(cell, meet, acts):
    """The order is forced: the second is past the form's own check when the first commits."""
    url, schema = cell
    run = waits(cell, sent(), "in_doubt", in_doubt())
    bob = meet("bob")
    page = await bob.text(f"/act/effect.settle?run={run}&path=refund")
    shown = re.search(r'name="shown" value="(\w+)"', page)
    assert shown
    form = {"found": "done", "value": "1", "note": "n", "path": "refund", "shown": shown[1]}
    await bob.token()
    with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as look:
        first.execute(f"SELECT FROM {schema}.run WHERE id = %s FOR UPDATE", (run,))
        task = asyncio.create_task(bob.act("effect.settle", run=str(run), **form))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        blocker = (first.info.backend_pid,)

        async def waits_for_the_row() -> bool:
            return task.done() or look.execute(waiting, blocker).fetchone() != (0,)

        await until(waits_for_the_row, "the second waits for the row")
        assert not task.done(), "it waits for the row"
        said = b'{"by": "ada", "note": "seen", "at": "refund", "done": true}'
        first.execute(
            f"INSERT INTO {schema}.journal (run_id, path, kind, attempt, payload, at) VALUES (%s, '!resume', 5, 1, %s, clock_timestamp())",
            (run, said),
        )
        first.execute(
            f"UPDATE {schema}.run SET state = 'ready', reason = NULL WHERE id = %s", (run,)
        )
    answer = await task
    assert answer.status_code == 409
    assert re.search(
        r"ada settled refund at .* UTC: it happened \(seen\)", words(answer.text), re.IGNORECASE
    )
    assert acts() == []


async def test_a_finding_about_an_earlier_attempt_does_not_count_for_a_later_one(cell, meet, acts):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    ada = meet("ada")
    page = await ada.text(f"/act/effect.settle?run={run}&path=refund")
    shown = re.search(r'name="shown" value="(\w+)"', page)
    assert shown
    happen(cell, run, "refund", Kind.INTENT, {"amount": 700}, attempt=2)
    form = {"found": "done", "value": "1", "note": "n", "path": "refund", "shown": shown[1]}
    answer = await ada.act("effect.settle", run=str(run), **form)
    assert answer.status_code == 409
    assert "has moved on since this was shown" in words(answer.text)
    assert acts() == []


async def test_the_other_side_is_asked_once_more(cell, meet, acts):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    ada = meet("ada")
    form = words(await ada.text(f"/act/effect.probe?run={run}&path=refund"))
    assert "it sends nothing" in form
    assert f"troth effect probe {run} refund" in form
    answer = await ada.act("effect.probe", run=str(run), path="refund")
    assert "A worker is to ask once more about refund" in words(answer.text)
    assert states(cell)[str(run)] == "ready"
    bare = waits(cell, sent(), "in_doubt", in_doubt(probed=False))
    refused = await ada.act("effect.probe", run=str(bare), path="refund")
    assert refused.status_code == 422
    assert "had no probe" in words(refused.text)
    assert (await ada.act("effect.probe", run=str(bare), anyway="true")).status_code == 200
    assert [act[3] for act in acts()] == ["effect.probe"] * 2


@pytest.mark.parametrize(
    ("evidence", "answer", "said"),
    [
        ({"answer": "found", "value": 1}, True, "it happened A probe found out"),
        (
            {"answer": "missing", "settles": True, "attempts": 1},
            None,
            "it did not happen A probe found out",
        ),
        (None, True, "it happened The other side answered"),
        (None, False, "it was refused The other side answered"),
    ],
)
async def test_who_decided_is_said(evidence, answer, said, cell, meet):
    journal = sent() if evidence else Journal().sent("refund")
    if evidence:
        journal.add("refund", Kind.EVIDENCE, evidence, attempt=1)
    if answer is not None:
        result = {"type": "app.No", "message": "no"} if not answer else 1
        journal.add("refund", Kind.RESULT, result, seq=1, ok=answer)
    run = park(cell, journal, "bug", BUG)
    page = words(await meet().text(f"/effects/{run}?path=refund"))
    assert said.lower() in page.lower()


async def test_the_effects_to_settle_are_a_list_of_their_own(cell, meet):
    doubt = waits(cell, sent(), "in_doubt", in_doubt(settled_by=2, attempts=1), 600)
    undo = waits(cell, Journal(), "undo_failed", {"at": "!undo/charge", "message": "m"}, 60)
    waits(cell, Journal(), "bug", BUG)
    waits(cell, Journal(), "retries_exhausted", {"at": "hello", "message": "a step"})
    ada = meet()
    page = await ada.text("/effects")
    assert queue(page) == [str(doubt), str(undo)]
    said = line_of(page, doubt)
    for word in ("refund at bank", "EUR 7.00", "10 min", "2 people"):
        assert word in said
    assert queue(await ada.text("/effects?reason=undo_failed")) == [str(undo)]
    assert (await ada.get("/effects?reason=bug")).status_code == 400
    link = re.search(rf'href="(/effects/{undo}[^"]*)"', page)
    assert link
    assert "!undo/charge" in words(await ada.text(link[1]))


async def test_a_viewer_sees_all_of_it_and_settles_nothing(cell, meet, acts):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    eve = meet("eve", Role.VIEWER)
    assert "EUR 7.00" in words(await eve.text(f"/effects/{run}"))
    assert "This needs the role operator" in words(await eve.text(f"/act/effect.settle?run={run}"))
    for act, form in (
        ("effect.settle", {"found": "done", "value": "1", "note": "n"}),
        ("effect.probe", {}),
        ("attention.claim", {"owner": "eve"}),
        ("attention.note", {"text": "x"}),
    ):
        assert (await eve.act(act, run=str(run), **form)).status_code == 403
    assert {act[5] for act in acts()} == {"refused"}
    assert states(cell)[str(run)] == "attention"
