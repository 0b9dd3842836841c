"""Taking in: once, and nothing that is not genuine."""

from __future__ import annotations

import asyncio
import json
import logging
import random

import psycopg
import pytest

from tests.harness.cell import open_cell
from tests.inbox.site import SECRET, Site, signed, stripe_event
from troth import Troth
from troth.base.errors import UsageError
from troth.inbox import (
    BodyTooLargeError,
    Inbox,
    MediaTypeError,
    State,
    StripeSignatures,
)
from troth.integrations.asgi_inbox import InboxEndpoint
from troth.store.connect import connect_blocking


async def test_the_same_signed_bytes_twice_are_one_event(site: Site) -> None:
    inbox = site.inbox(scheme=StripeSignatures(["whsec_next", SECRET]))
    headers, body = signed(stripe_event(1))
    first = await site.accept(
        inbox, headers | {"Authorization": "secret", "User-Agent": "Stripe/1.0"}, body
    )
    second = await site.accept(inbox, headers, body)
    assert (first.outcome, first.status, second.outcome, second.status) == (
        "new",
        202,
        "duplicate",
        200,
    )
    assert second.state is State.RECEIVED
    query = "SELECT event_id, type, object_key, delivered, found_by, verified_by, body, headers, last_seen > received_at FROM {s}.inbox_event"
    ((*facts, kept, later),) = site.rows(query)
    fingerprint = (
        StripeSignatures([SECRET])
        .verify(
            {"stripe-signature": headers["Stripe-Signature"]},
            body,
            int(headers["Stripe-Signature"][2:12]),
        )
        .secret
    )
    assert facts == ["evt_1", "thing.changed", "one", 2, "webhook", fingerprint, body]
    assert set(json.loads(kept)) == {"stripe-signature", "user-agent"}
    assert later
    assert site.value("SELECT count(*) FROM {s}.inbox_object") == 1


async def test_another_content_under_a_known_id_is_recorded_and_not_applied(
    site: Site, caplog
) -> None:
    inbox = site.inbox()
    inbox.on("thing.*")(site.note)
    await site.deliver(inbox, stripe_event(1))
    with caplog.at_level(logging.WARNING, "troth.inbox"):
        told = await site.deliver(inbox, stripe_event(1, about="two"), stripe_event(1, about="two"))
    assert [(each.outcome, each.status) for each in told] == [("conflict", 200)] * 2
    assert "another content" in caplog.text
    ((seen, body),) = site.rows("SELECT seen, body FROM {s}.inbox_conflict")
    assert (seen, json.loads(body)["data"]["object"]["id"]) == (2, "two")
    async with site.working():
        await site.wait_states(evt_1="applied")
    assert site.did() == ["evt_1"]
    assert site.value("SELECT object_key FROM {s}.inbox_event") == "one"


async def test_a_provider_that_words_its_event_anew_makes_no_conflict(site: Site) -> None:
    inbox = site.inbox()
    told = await site.deliver(
        inbox, stripe_event(1, pending_webhooks=2), stripe_event(1, pending_webhooks=1)
    )
    assert [each.outcome for each in told] == ["new", "duplicate"]


async def test_it_is_taken_in_with_the_transaction_or_not_at_all(site: Site) -> None:
    inbox = site.inbox()
    async with await psycopg.AsyncConnection.connect(site.url) as tx:
        await inbox.accept(tx, *signed(stripe_event(1)))
        await tx.rollback()
    assert site.states() == {}
    with connect_blocking(site.url) as connection:
        assert inbox.accept_blocking(connection, *signed(stripe_event(1))).outcome == "new"
    assert site.states() == {"evt_1": "received"}


async def test_simultaneous_deliveries_are_one_event(site: Site) -> None:
    inbox = site.inbox()
    async with open_cell(site.url, site.schema) as cell:
        first, second = await cell.session(), await cell.session()
        async with first.transaction():
            assert (await inbox.accept(first, *signed(stripe_event(1)))).outcome == "new"
            other = await cell.blocked(
                inbox.accept(second, *signed(stripe_event(1))), second, first
            )
        assert (await other).outcome == "duplicate"


async def test_it_notifies_only_if_nobody_is_at_work(site: Site) -> None:
    inbox = site.inbox()
    async with await psycopg.AsyncConnection.connect(site.url, autocommit=True) as listener:
        await listener.execute(f'LISTEN "{site.schema}.inbox"')
        await site.deliver(
            inbox, stripe_event(1), stripe_event(2), stripe_event(3, about="two"), stripe_event(1)
        )
        await listener.execute(f"SELECT pg_notify('{site.schema}.inbox', 'last')")
        said = []
        async for notification in listener.notifies():
            said.append(notification.payload)
            if notification.payload == "last":
                break
    assert said in (["", "", "last"], ["", "last"])


async def test_keys_of_the_user_and_events_of_a_strange_shape(site: Site) -> None:
    inbox = site.inbox(object_key=lambda event: event.payload["data"]["customer"])
    await site.deliver(inbox, stripe_event(1, data={"customer": "cus_1"}), stripe_event(2))
    assert site.rows("SELECT event_id, object_key FROM {s}.inbox_event ORDER BY 1") == [
        ("evt_1", "cus_1"),
        ("evt_2", "evt_2"),
    ]


@pytest.mark.parametrize(
    ("headers", "error"),
    [({"content-type": "text/plain"}, MediaTypeError), ({"Content-Encoding": "gzip"}, MediaTypeError),
     ({"content-type": "application/json; charset=utf-8"}, None), ({"content-type": "application/cloudevents+json"}, None)],
)  # fmt: skip
async def test_media_types(
    site: Site, headers: dict[str, str], error: type[Exception] | None
) -> None:
    inbox = site.inbox()
    signature, body = signed(stripe_event(1))
    if error is None:
        await site.accept(inbox, signature | headers, body)
        return
    with pytest.raises(error):
        await site.accept(inbox, signature | headers, body)
    assert site.states() == {}


async def test_bodies_that_are_too_large(site: Site) -> None:
    inbox = site.inbox(max_body=100)
    with pytest.raises(BodyTooLargeError):
        await site.accept(inbox, *signed(stripe_event(1)))


def test_an_inbox_that_is_not_included() -> None:
    inbox = Inbox("stripe", scheme=StripeSignatures([SECRET]))
    with pytest.raises(UsageError, match="include"):
        assert inbox.relays


# The endpoint ---------------------------------------------------------------------------------------------------------


async def post(
    app: InboxEndpoint, headers: list[tuple[bytes, bytes]], *parts: bytes, method: str = "POST"
) -> tuple[int, bytes]:
    """Send one request to an ASGI application, its body in parts."""
    waiting = [
        {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]
    said: list[dict] = []

    async def receive() -> dict:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message) -> None:
        said.append(message)

    await app({"type": "http", "method": method, "headers": headers, "path": "/"}, receive, send)
    return (said[0]["status"], said[1]["body"]) if said else (0, b"")


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


async def test_the_endpoint_answers(site: Site) -> None:
    app = InboxEndpoint(site.inbox(max_body=1000), site.troth)
    headers, body = signed(stripe_event(1))
    async with site.troth.client():
        assert (await post(app, raw(headers), body[:10], body[10:]))[0] == 202
        assert await post(app, raw(headers), body) == (
            200,
            b'{"event":"evt_1","outcome":"duplicate"}',
        )
        assert (await post(app, raw(headers), body + b" "))[0] == 401
        assert (await post(app, [], body))[0] == 400
        assert (await post(app, raw(headers), b"x" * 600, b"x" * 600))[0] == 413
        assert (await post(app, [*raw(headers), (b"content-length", b"9" * 5000)], body))[0] == 413
        assert (await post(app, [*raw(headers), (b"content-type", b"text/xml")], body))[0] == 415
        assert (await post(app, raw(headers), body, method="GET"))[0] == 405
        assert await post(app, raw(headers)) == (0, b"")  # it has gone
        not_json, garbage = signed({}), b""
        assert (await post(app, raw(not_json[0]), not_json[1]))[0] == 400
        assert garbage == b""


async def test_a_database_that_is_away_is_said_so(site: Site) -> None:
    inbox = site.inbox()
    async with site.troth.client():
        app = InboxEndpoint(inbox, site.troth)
        site.rows("ALTER TABLE {s}.inbox_event RENAME TO elsewhere")
        assert (await post(app, raw(signed(stripe_event(1))[0]), signed(stripe_event(1))[1]))[
            0
        ] == 503
        site.rows("ALTER TABLE {s}.elsewhere RENAME TO inbox_event")


async def test_ten_thousand_random_deliveries_are_refused_and_store_nothing(site: Site) -> None:
    app = InboxEndpoint(site.inbox(max_body=2000), site.troth)
    draw = random.Random(7)
    names = [b"stripe-signature", b"content-type", b"content-length", b"content-encoding", b"x"]
    genuine, body = signed(stripe_event(1))
    answers = set()
    async with site.troth.client():
        for _ in range(10_000):
            headers = [
                (draw.choice(names), draw.randbytes(draw.randrange(60)))
                for _ in range(draw.randrange(4))
            ]
            if draw.random() < 0.3:  # a genuine signature over other bytes
                headers = raw(genuine)
            if draw.random() < 0.3:
                headers.append(
                    (
                        b"stripe-signature",
                        b"t="
                        + str(draw.randrange(10**12)).encode()
                        + b",v1="
                        + draw.randbytes(8).hex().encode(),
                    )
                )
            sent = (
                draw.randbytes(draw.randrange(3000))
                if draw.random() < 0.7
                else body[: draw.randrange(len(body))]
            )
            status, _ = await post(app, headers, sent)
            answers.add(status)
    assert answers <= {400, 401, 413, 415}
    assert {400, 401, 413} <= answers
    assert site.states() == {}
    assert site.value("SELECT count(*) FROM {s}.inbox_object") == 0


async def test_the_endpoint_of_a_troth_that_is_not_open() -> None:
    troth = Troth("postgresql://nowhere/")
    app = InboxEndpoint(troth.include(Inbox("stripe", scheme=StripeSignatures([SECRET]))), troth)
    with pytest.raises(UsageError, match="nothing is open"):
        await post(app, raw(signed(stripe_event(1))[0]), signed(stripe_event(1))[1])
    await asyncio.gather()


async def test_a_route_of_starlette_leads_to_it_without_a_redirect(site):
    from starlette.applications import Starlette
    from starlette.routing import Route

    app = Starlette(routes=[Route("/webhooks/stripe", InboxEndpoint(site.inbox(), site.troth))])
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "method": "POST", "path": "/webhooks/stripe", "headers": [], "query_string": b"", "root_path": "",
    }  # fmt: skip
    async with site.troth.client():
        await app(scope, receive, send)

    assert statuses == [400]  # nobody has signed it: so it was read
