"""What holds in every framework: the same requests, the same answers, the same rows."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.harness.cell import until
from tests.integrations.edge.shop import LOCK
from troth.command.request_model import DAY, Answer
from troth.store.plan import Plan, Statement

KEY = "k-1"


async def test_a_retry_gets_the_same_bytes_and_does_nothing(site):
    first = await site.post("/things", {"name": "ada"}, KEY)
    again = await site.post("/things", {"name": "ada"}, f'"{KEY}"')

    assert first.status == again.status == 201
    assert first.body == again.body
    assert not first.replayed
    assert again.replayed
    left_out = {"set-cookie", "date", "server", "idempotent-replayed"}
    assert [h for h in first.headers if h[0] not in left_out] == [
        h for h in again.headers if h[0] not in left_out
    ]
    assert again["x-shop"] == "open"
    assert (first["set-cookie"], again["set-cookie"]) == ("session=secret", None)
    assert site.things == ["ada"]


async def test_the_record_does_not_keep_what_was_sent(site):
    await site.post("/things", {"name": "a-secret-value", "do": "ok"}, KEY)
    [row] = site.rows("SELECT parts, body, extract(epoch FROM expires_at - at) FROM {}.request")
    assert b"a-secret-value" not in row[0] + row[1]
    assert float(row[2]) == pytest.approx(DAY.total_seconds(), abs=1)


@pytest.mark.parametrize(
    ("do", "status", "things"),
    [("ok", 201, ["ada", "last"]), ("keep", 403, ["ada", "last"]), ("refuse", 409, [])],
)
async def test_what_is_left_for_the_commit_commits_with_the_work(site, do, status, things):
    body = {"name": "ada", "do": do, "last": "last"}
    first = await site.post("/things", body, KEY)
    again = await site.post("/things", body, KEY)
    assert (first.status, again.replayed) == (status, True)
    assert site.things == things


async def test_last_words_that_fail_undo_the_work_and_leave_the_key_free(site):
    broken = {"name": "ada", "last": "ada"}  # names are unique
    assert (await site.post("/things", broken, KEY)).status == 500
    assert site.things == site.keys == []
    assert (await site.post("/things", {"name": "bob"}, KEY)).status == 201
    assert site.things == ["bob"]


async def test_without_a_key_where_one_is_required(site):
    refused = await site.post("/things", {"name": "ada"})
    assert (refused.status, refused.code) == (400, "idempotency_key_missing")
    assert site.things == site.keys == []


async def test_nothing_is_swallowed_without_a_key(site):
    first = await site.post("/optional", {"name": "ada"})
    second = await site.post("/optional", {"name": "bob"})
    assert (first.status, second.status) == (201, 201)
    assert site.things == ["ada", "bob"]
    assert site.keys == []


async def test_an_exempt_route_is_left_alone(site):
    assert (await site.post("/exempt", {}, "not a key, but,,")).status == 201


@pytest.mark.parametrize("key", ["", '"open', "a,b", '"a", "b"', "é", "x" * 256, '"\\x"', "a b"])
async def test_a_malformed_key(site, key):
    refused = await site.post("/things", {"name": "ada"}, key)
    assert refused.status == 400, refused
    assert refused.code in {"idempotency_key_malformed", "idempotency_key_missing"}
    assert site.things == site.keys == []


async def test_two_keys_are_none(site):
    refused = await site.post("/things", {"name": "ada"}, "a", headers=(("idempotency-key", "b"),))
    assert (refused.status, refused.code) == (400, "idempotency_key_malformed")


async def test_another_request_under_the_key_is_told_what_differs_and_no_value(site):
    first = {"name": "ada", "price": {"cents": 4900, "currency": "EUR"}}
    await site.post("/things?a=1", first, KEY)
    other = {"name": "eve", "price": {"cents": 777123, "currency": "EUR"}, "new": [1]}
    refused = await site.post("/things?a=2", other, KEY)

    assert (refused.status, refused.code) == (422, "idempotency_key_reused")
    said = json.loads(refused.body)
    assert said["differs"] == ["body.name", "body.new[0]", "body.price.cents", "query.a"]
    for value in (b"ada", b"eve", b"4900", b"777123", b"EUR"):
        assert value not in refused.body
    assert site.things == ["ada"]


async def test_the_order_of_names_and_white_space_say_nothing(site):
    await site.post("/things", b'{"name": "ada", "price": {"a": 1, "b": 2}}', KEY)
    again = await site.post("/things", b'{"price":{"b":2,"a":1},"name":"ada"}', KEY)
    assert (again.status, again.replayed) == (201, True)


async def test_the_path_belongs_to_the_request_and_the_pattern_to_the_key(site):
    await site.post("/things/1", {"name": "ada"}, KEY)
    refused = await site.post("/things/2", {"name": "ada"}, KEY)
    assert refused.status == 422
    assert json.loads(refused.body)["differs"] == ["path"]
    assert (await site.post("/things", {"name": "bob"}, KEY)).status == 201


async def test_callers_do_not_see_each_other(site):
    first = await site.post("/things", {"name": "ada"}, KEY, user="ada")
    second = await site.post("/things", {"name": "bob"}, KEY, user="bob")
    assert (first.status, second.status) == (201, 201)
    assert not second.replayed
    assert json.loads(second.body)["principal"] == "bob"


async def test_while_the_first_one_is_worked_on(site):
    with psycopg.connect(site.url, autocommit=True) as held:
        held.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        body = {"name": "ada", "do": "wait"}
        first = asyncio.create_task(site.post("/things", body, KEY))
        await waits(site)
        second = await site.post("/things", body, KEY)
        assert (second.status, second.code) == (409, "idempotency_key_in_use")
        assert second["retry-after"] == "1"
        other = await site.post("/things", {"name": "bob"}, "k-2")
        assert other.status == 201
        held.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        assert (await first).status == 201
    assert (await site.post("/things", body, KEY)).replayed
    assert site.things == ["ada", "bob"]


async def waits(site) -> None:
    query = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    async def look() -> bool:
        return bool(site.rows(query, LOCK)[0][0])

    await until(look, "the handler waits")


@pytest.mark.parametrize("do", ["crash", "unavailable", "busy", "unauthorized"])
async def test_what_is_no_answer_leaves_nothing_and_the_key_free(site, do):
    failed = await site.post("/things", {"name": "ada", "do": do}, KEY)
    assert failed.status in {401, 429, 500, 503}
    assert site.things == site.keys == []
    again = await site.post("/things", {"name": "ada"}, KEY)
    assert (again.status, again.replayed) == (201, False)


async def test_a_refusal_is_an_answer_without_the_work(site):
    first = await site.post("/things", {"name": "ada", "do": "refuse"}, KEY)
    again = await site.post("/things", {"name": "ada", "do": "refuse"}, KEY)
    assert (first.status, again.status) == (409, 409)
    assert (first.body, again.replayed) == (again.body, True)
    assert site.things == []


async def test_a_refusal_may_keep_what_it_did(site):
    for _ in range(2):
        refused = await site.post("/things", {"name": "attempt", "do": "keep"}, KEY)
        assert refused.status == 403
    assert site.things == ["attempt"]


async def test_a_refusal_before_anything_was_done_is_not_kept(site):
    refused = await site.post("/things", {"name": "ada", "do": "reject"}, KEY)
    assert refused.status == 400
    assert site.keys == []
    assert (await site.post("/things", {"name": "ada"}, KEY)).status == 201


async def test_a_handler_that_ends_the_transaction_is_a_bug(site):
    failed = await site.post("/things", {"name": "ada", "do": "commit"}, KEY)
    assert failed.status == 500
    assert site.keys == []


async def test_an_answer_that_is_too_large_to_keep_is_not_given(site):
    failed = await site.post("/things", {"name": "ada", "do": "big"}, KEY)
    assert (failed.status, failed.code) == (500, "response_too_large")
    assert site.things == site.keys == []


async def test_a_body_that_is_too_large(site):
    refused = await site.post("/things", {"name": "x" * 2000}, KEY)
    assert (refused.status, refused.code) == (413, "body_too_large")
    assert site.things == []


async def test_a_key_that_has_expired_is_new(site):
    await site.post("/things", {"name": "ada"}, KEY)
    site.rows("UPDATE {}.request SET expires_at = clock_timestamp()")
    again = await site.post("/things", {"name": "bob"}, KEY)
    assert (again.status, again.replayed) == (201, False)
    assert site.things == ["ada", "bob"]


async def test_many_at_once_are_one(site):
    body = {"name": "ada"}
    answers = await asyncio.gather(*[site.post("/things", body, KEY) for _ in range(12)])
    assert site.things == ["ada"]
    assert {answer.status for answer in answers} <= {201, 409}
    assert sum(answer.status == 201 and not answer.replayed for answer in answers) == 1


# Operations -----------------------------------------------------------------------------------------------------------


async def test_a_run_that_goes_on_is_told_so_and_its_end_is_the_answer_for_ever(site):
    first = await site.post("/orders", {"name": "book"}, KEY)
    assert first.status == 202
    run = json.loads(first.body)
    assert run == {"id": run["id"], "state": "running", "url": f"/operations/{run['id']}"}
    assert first["location"] == run["url"]
    still = await site.post("/orders", {"name": "book"}, KEY)
    assert (still.status, still.body, still.replayed) == (202, first.body, True)
    assert site.rows("SELECT id::text, state::text FROM {}.run") == [(run["id"], "ready")]

    async with worker(site):
        await site.shop.troth.run(UUID(run["id"])).result(timeout=20)
    final = await site.post("/orders", {"name": "book"}, KEY)
    assert (final.status, json.loads(final.body)) == (200, {"bought": "book"})
    site.rows("UPDATE {}.run_history SET outcome = '\"another\"'")
    assert (await site.post("/orders", {"name": "book"}, KEY)).body == final.body
    assert (await site.get(run["url"])).body == final.body


async def test_an_operation_that_cannot_be_looked_at_was_begun_all_the_same(site, monkeypatch):
    def lost(*_args: object) -> Plan[Answer]:
        yield Statement("SELECT 1")
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(site.shop.requests, "answer_of", lost)
    told = await site.post("/orders", {"name": "book"}, KEY)
    assert (told.status, told.code, told["retry-after"]) == (503, "outcome_unknown", "1")
    monkeypatch.undo()
    again = await site.post("/orders", {"name": "book"}, KEY)
    assert (again.status, again.replayed) == (202, True)
    assert len(site.rows("SELECT id FROM {}.run")) == 1


async def test_a_run_in_doubt_is_not_told_as_anything_else(site):
    run = json.loads((await site.post("/orders", {"name": "book"}, KEY)).body)
    site.rows("UPDATE {}.run SET state = 'attention', reason = 'in_doubt', wake_at = 'infinity'")
    doubt = await site.post("/orders", {"name": "book"}, KEY)
    assert (doubt.status, json.loads(doubt.body)["state"]) == (202, "in_doubt")
    assert json.loads((await site.get(run["url"])).body)["state"] == "in_doubt"


async def test_a_run_that_failed_is_a_problem_with_its_status(site):
    site.shop.wait = 20.0
    async with worker(site):
        failed = await site.post("/orders", {"name": "none"}, KEY)
    assert (failed.status, failed.code) == (410, "operation_failed")
    said = json.loads(failed.body)
    assert (said["detail"], said["error"]) == ("there is none left", "SoldOut")


async def test_an_operation_belongs_to_its_caller(site):
    run = json.loads((await site.post("/orders", {"name": "book"}, KEY, user="ada")).body)
    assert (await site.get(run["url"], user="ada")).status == 202
    stranger = await site.get(run["url"], user="eve")
    nobody = await site.get(f"/operations/{uuid4()}", user="eve")
    assert (stranger.status, stranger.body) == (404, nobody.body)


async def test_a_key_whose_run_goes_on_does_not_expire(site):
    first = await site.post("/orders", {"name": "book"}, KEY)
    site.rows("UPDATE {}.request SET expires_at = clock_timestamp()")
    assert site.rows("SELECT {}.purge_requests(100)") == [(0,)]
    assert (await site.post("/orders", {"name": "book"}, KEY)).body == first.body
    assert len(site.rows("SELECT id FROM {}.run")) == 1


async def test_a_start_key_gives_the_run_that_another_start_has_begun(site):
    run = await site.shop.troth.start(site.shop.order, "ada", key="one")
    answer = await site.post("/keyed", {"name": "ada"}, KEY)
    assert (answer.status, json.loads(answer.body)["run"]) == (201, str(run.id))
    assert len(site.rows("SELECT id FROM {}.run")) == 1


async def test_a_start_key_that_is_another_runs_is_answered_as_the_application_says(site):
    first = await site.post("/keyed", {"name": "ada"}, "k-1")
    refused = await site.post("/keyed", {"name": "bob"}, "k-2")
    assert (first.status, refused.status) == (201, 422)
    run = json.loads(first.body)["run"]
    assert json.loads(refused.body) == {"run": run, "differs": ["name"]}
    again = await site.post("/keyed", {"name": "bob"}, "k-2")
    assert (again.status, again.body, again.replayed) == (422, refused.body, True)
    assert site.things == ["ada"]
    assert site.rows("SELECT id::text FROM {}.run") == [(run,)]


def worker(site):
    """A worker of the same program, in this loop beside the client."""
    from contextlib import asynccontextmanager

    from troth.worker.node import Node, NodeOptions

    @asynccontextmanager
    async def opened():
        troth = site.shop.troth
        node = Node(site.url, troth.schema, 0, troth.workflows, NodeOptions(), executes=True)
        await node.open()
        try:
            yield node
        finally:
            await node.close()

    return opened()
