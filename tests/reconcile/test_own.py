"""Our own sources: accounts of the ledger, effects of runs, events of an inbox."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.reconcile.conftest import Books, item, kinds
from troth import Call, Provider, Refused, Troth
from troth.base.money import Money
from troth.inbox import Event, Inbox, StripeSignatures
from troth.ledger import Ledger, Transfer
from troth.reconcile import Item, Reconciliation, SourceError, Standing, Window
from troth.reconcile.sources import books as module
from troth.reconcile.sources.books import Postings, by_transfer
from troth.reconcile.sources.effects import Effects, Moved
from troth.reconcile.sources.events import Events
from troth.store.isolation import transaction_async

HOUR = timedelta(hours=1)


async def all_of(
    books: Books, source: Any, window: Window | None = None
) -> tuple[list[Item], int | None]:
    now = datetime.now(UTC)
    around = window or Window(now - HOUR, now + HOUR)
    within = source.within(books.schema, books.pool)
    items, cursor = [], None
    while True:
        page = await within.page(cursor, around)
        items += page.items
        cursor = page.next
        if cursor is None:
            return items, page.count


# The ledger -----------------------------------------------------------------------------------------------------------


async def shop(books: Books) -> Ledger:
    troth = Troth(books.url, schema=books.schema)
    ledger = troth.include(Ledger())
    async with books.pool.connection() as tx, transaction_async(tx, "read committed"):
        await ledger.accounts.open(tx, "assets:bank", currency="EUR", side="debit")
        await ledger.accounts.open(tx, "income:sales", currency="EUR", side="credit")
        await ledger.accounts.open(tx, "expense:lost", currency="EUR", side="debit")
    return ledger


async def post(books: Books, ledger: Ledger, *transfers: Transfer) -> None:
    async with books.pool.connection() as tx, transaction_async(tx, "read committed"):
        for each in transfers:
            await ledger.post(tx, each)


async def fold(books: Books, ledger: Ledger) -> None:
    folder = ledger.relays[0]
    async with books.pool.connection() as tx:
        while await folder.fold(tx, 0.0):  # type: ignore[attr-defined]
            pass


def sale(key: str, cents: int) -> Transfer:
    return Transfer(
        key, "assets:bank", "income:sales", Money(cents, "EUR"), code="sale", metadata={"po": "1"}
    )


async def test_an_account_is_a_source(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    ledger = await shop(books)
    back = Transfer("back", "income:sales", "assets:bank", Money(300, "EUR"))
    await post(books, ledger, *(sale(f"k{n}", 1000 + n) for n in range(4)), back)
    with pytest.raises(SourceError, match="5 legs of assets:bank are not folded"):
        await all_of(books, Postings("assets:bank"))
    await fold(books, ledger)
    items, count = await all_of(
        books, Postings("assets:bank", group=lambda posting: posting.metadata.get("po", ""))
    )
    assert [(each.key, each.amount, each.kind, each.group) for each in items] == [
        ("k0", 1000, "sale", "1"), ("k1", 1001, "sale", "1"), ("k2", 1002, "sale", "1"), ("k3", 1003, "sale", "1"),
        ("back", -300, "", ""),
    ]  # fmt: skip
    assert count == 5
    income, _ = await all_of(books, Postings("income:sales"))
    assert [each.amount for each in income] == [1000, 1001, 1002, 1003, -300]
    with pytest.raises(SourceError, match="there is no account"):
        await all_of(books, Postings("assets:elsewhere"))


async def test_a_break_is_corrected_by_a_transfer_that_is_linked_to_it(books: Books) -> None:
    """Their side took nine cents of a sale; a person says that this is lost, and the books say so, too."""
    ledger = await shop(books)
    await post(books, ledger, sale("k0", 1000))
    await fold(books, ledger)
    now = datetime.now(UTC)
    books.theirs.items = [Item("t0", 991, "EUR", now, "k0")]
    correct = by_transfer(ledger, lambda found: ("expense:lost", "assets:bank"))
    ours = Postings("assets:bank")
    relay = books.relay(ours=ours, correct=correct, grace=timedelta(0))
    reconciliation = Reconciliation("bank", ours=ours, theirs=books.theirs, grace=timedelta(0))
    reconciliation.bind(books.schema)
    async with books.pool.connection() as tx:
        await reconciliation.ask(tx, by="ada")
    await relay.look(books.pool)
    (found,) = await books.breaks()
    assert (found.kind, found.minor) == ("amount", 9)
    await books.rows("UPDATE {}.reconcile_break SET wanted = 'ada'")
    await relay.look(books.pool)
    (corrected,) = await books.breaks()
    assert (corrected.state, corrected.correction) == (
        "corrected",
        f"break/{found.id}/{found.last_run}",
    )
    async with books.pool.connection() as tx:
        assert (await ledger.balance(tx, "expense:lost")).posted == Money(9, "EUR")
        assert (await ledger.balance(tx, "assets:bank")).posted == Money(991, "EUR")
    ((metadata,),) = await books.rows(
        "SELECT metadata FROM {}.ledger_transfer WHERE key = %s", corrected.correction
    )
    assert metadata == {"break": found.id, "reconciliation": "bank", "subject": "key:k0"}


async def test_a_correction_that_the_ledger_refuses_leaves_the_break_open(books: Books) -> None:
    ledger = await shop(books)
    books.ours.items = [item("x", 5, key="k")]
    correct = by_transfer(ledger, lambda found: ("expense:lost", "assets:nowhere"))
    books.theirs.items = [item("y", 9, key="k")]
    await books.run(correct=correct)
    await books.rows("UPDATE {}.reconcile_break SET wanted = 'ada'")
    await books.relay(correct=correct).look(books.pool)
    (found,) = await books.breaks()
    assert (found.state, found.wanted) == ("open", None)
    assert await books.history(found.id) == ["found", "not corrected"]


# Effects --------------------------------------------------------------------------------------------------------------

bank = Provider("bank")


async def test_effects_are_items_as_they_stand(books: Books) -> None:
    troth = Troth(books.url, schema=books.schema)

    @troth.effect(provider=bank, delivery="at_most_once", timeout=5)
    async def charge(call: Call, customer: str, money: Money) -> str:
        if customer == "poor":
            raise Refused("no money")
        if customer == "unlucky":
            raise ConnectionResetError
        return f"ch_{customer}"

    @charge.undo
    async def give_back(call: Call, charged: str, customer: str, money: Money) -> None: ...

    give_back_delivery = give_back
    assert give_back_delivery is charge.undoing

    @troth.workflow
    async def pay(customer: str, money: Money, then_fail: bool) -> str:
        made = await charge(customer, money)
        if then_fail:
            raise Refused("after all, no")
        return made

    source = Effects(
        charge,
        lambda customer, money: Moved(money, "charge", reference=customer),
        found=lambda t: t.id,
    )
    stopped = asyncio.Event()
    from troth import events

    troth.listen(lambda _: stopped.set(), events.EffectInDoubt)
    async with troth.worker():
        runs = {}
        for customer, then_fail in (
            ("ada", False),
            ("poor", False),
            ("sorry", True),
            ("unlucky", False),
        ):
            runs[customer] = await troth.start(pay, customer, Money(1000, "EUR"), then_fail)
            if customer != "unlucky":
                with_end = asyncio.gather(runs[customer].result(timeout=30), return_exceptions=True)
                await with_end
        await stopped.wait()
    items, count = await all_of(books, source)
    assert count == 4
    assert {each.reference: each.standing for each in items} == {
        "ada": Standing.DONE, "poor": Standing.FAILED, "sorry": Standing.REVERSED, "unlucky": Standing.IN_DOUBT,
    }  # fmt: skip
    (ada,) = [each for each in items if each.reference == "ada"]
    assert (ada.id, ada.key, ada.amount, ada.kind) == (
        f"{runs['ada'].id}/charge",
        f"{runs['ada'].id}/charge",
        1000,
        "charge",
    )
    assert source.result_of(Item("ch_9", 1, "EUR", datetime.now(UTC))) == b'"ch_9"'
    undone, _ = await all_of(
        books,
        Effects(
            give_back, lambda charged, customer, money: Moved(-money, "refund"), undo_of=charge
        ),
    )
    assert [(each.amount, each.standing) for each in undone] == [(-1000, Standing.DONE)]
    far = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    assert await all_of(books, source, far) == ([], 0)


# Events ---------------------------------------------------------------------------------------------------------------


async def test_events_are_a_feed_up_to_the_last_sweep(books: Books) -> None:
    """A webhook may have been lost: so what the inbox has not swept is not known to be there."""

    def made(event: Event) -> Item | None:
        found = event.payload
        if event.type != "charge.succeeded":
            return None
        return Item(
            found["id"],
            found["amount"],
            "EUR",
            event.created,
            found["key"],
            evidence=f"event {event.id}",
        )

    inbox = Inbox("stripe", scheme=StripeSignatures(["whsec_test"]))
    now = datetime.now(UTC)
    for n, kind in enumerate(("charge.succeeded", "customer.created", "charge.succeeded")):
        body = json.dumps({"id": f"ch_{n}", "amount": 1000, "key": f"k{n}"}).encode()
        await books.rows(
            "INSERT INTO {}.inbox_event (source, event_id, type, object_key, created_at, state, due_at, received_at, last_seen,"
            " delivered, found_by, digest, headers, body)"
            " VALUES ('stripe', %s, %s, 'o', %s, 'applied', now(), now(), now(), 1, 'webhook', '', '{{}}', %s)".replace("{{}}", "{" + "}"),
            f"evt_{n}", kind, now - timedelta(minutes=9 - n), body,
        )  # fmt: skip
    source = Events(inbox, made)
    books.ours.items = [
        Item("a", 1000, "EUR", now - timedelta(minutes=9), "k0"),
        Item("b", 1000, "EUR", now - timedelta(minutes=7), "k2"),
    ]
    reconciliation = Reconciliation(
        "bank", ours=books.ours, theirs=source, grace=timedelta(minutes=1)
    )
    reconciliation.bind(books.schema)

    async def verdict() -> str | None:
        async with books.pool.connection() as tx:
            number = await reconciliation.ask(tx, by="ada")
        await reconciliation.relays[0].look(books.pool)  # type: ignore[attr-defined]
        return (await books.line(number)).verdict

    assert await verdict() == "unproven"
    assert set(kinds(await books.breaks()).values()) == {"stale_source"}
    await books.rows(
        "INSERT INTO {}.inbox_sweep (source, turn, due_at, swept_at) VALUES ('stripe', 1, now(), now())"
    )
    assert await verdict() == "clean"
    await books.rows("UPDATE {}.inbox_event SET body = NULL WHERE event_id = 'evt_0'")
    with pytest.raises(SourceError, match="is forgotten"):
        await all_of(books, source)
