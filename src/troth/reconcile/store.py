"""The only place that runs the statements about runs: who holds them, what they read, what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import msgspec

from troth.base import codec
from troth.reconcile.model import (
    Counts,
    Feed,
    Flaw,
    Item,
    Phase,
    Side,
    Verdict,
    Window,
)
from troth.reconcile.proof import Kept, Said
from troth.store.connect import AsyncConnection
from troth.store.copying import copy_rows
from troth.store.queries import Queries, load
from troth.store.tx import Row, Tx


def queries(schema: str) -> Queries:
    """The statements about runs for one schema."""
    return load("troth.reconcile", schema)


async def _one(tx: Tx, query: LiteralString, params: Mapping[str, Any] | None = None) -> Row | None:
    return await (await tx.execute(query, params)).fetchone()


async def _value(tx: Tx, query: LiteralString, params: Mapping[str, Any] | None = None) -> Any:
    row = await _one(tx, query, params)
    return None if row is None else row[0]


async def now(tx: Tx, q: Queries) -> datetime:
    """The database's time."""
    found: datetime = await _value(tx, q.now)
    return found


@dataclass(frozen=True, slots=True)
class Declared:
    """A reconciliation as a program has declared it. *ours*, *theirs*: the names of its sources."""

    name: str
    ours: str
    theirs: str
    every: timedelta | None
    lookback: timedelta
    margin: timedelta
    seen_at: datetime


async def declare(
    tx: Tx, q: Queries, name: str, sources: tuple[str, str], times_s: tuple[float | None, float, float]
) -> None:  # fmt: skip
    """A program with this reconciliation is there. *times_s*: how often, how far back, the margin."""
    params = {
        "name": name, "ours": sources[0], "theirs": sources[1],
        "every_s": times_s[0], "lookback_s": times_s[1], "margin_s": times_s[2],
    }  # fmt: skip
    await tx.execute(q.declare, params)


async def declared(tx: Tx, q: Queries, name: str | None = None) -> list[Declared]:
    """The reconciliations that programs have declared, or one."""
    rows = await (await tx.execute(q.declared, {"name": name})).fetchall()
    return [Declared(*row) for row in rows]


# Runs -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that this process holds: *turn* is the fencing token of all that it writes for it."""

    id: int
    turn: int
    window: Window
    phase: Phase
    failures: int
    readings: tuple[int, int]  # of ours and theirs: 2 while or after it is read again
    ours: Feed | None
    theirs: Feed | None
    began_at: datetime


async def ask(
    tx: Tx, q: Queries, name: str, window: Window, by: str | None, note: str | None = None
) -> int | None:
    """Ask for a run: its number; None: one is asked for or under way already."""
    params = {
        "name": name, "since": window.since, "until": window.until,
        "margin_s": window.margin.total_seconds(), "by": by, "note": note,
    }  # fmt: skip
    made = await _value(tx, q.ask, params)
    if made is None:
        return None
    await tx.execute(q.ring, {"name": name})
    return int(made)


async def ring(tx: Tx, q: Queries, name: str) -> None:
    """Tell the workers that there is something to do."""
    await tx.execute(q.ring, {"name": name})


@dataclass(frozen=True, slots=True)
class Alive:
    """The run of a reconciliation that is asked for or under way. *held*: somebody works at it."""

    id: int
    phase: str
    asked_at: datetime
    held: bool


async def alive(tx: Tx, q: Queries, name: str) -> Alive | None:
    """The run that is asked for or under way."""
    row = await _one(tx, q.alive, {"name": name})
    return None if row is None else Alive(*row)


async def span(tx: Tx, q: Queries, name: str) -> tuple[datetime, datetime | None, datetime | None]:
    """The time, the end of the last closed period, and when the oldest break counts that stands."""
    row = await _one(tx, q.span, {"name": name})
    assert row is not None
    return row[0], row[1], row[2]


async def asked_ago_s(tx: Tx, q: Queries, name: str) -> float | None:
    """How many seconds ago the last run was due; None: never."""
    found: float | None = await _value(tx, q.asked_ago, {"name": name})
    return found


async def due_in(tx: Tx, q: Queries, name: str) -> float | None:
    """In how many seconds a run can be taken up; None: there is none."""
    found: float | None = await _value(tx, q.due_in, {"name": name})
    return found


async def take(tx: Tx, q: Queries, name: str, lease_s: float) -> Taken | None:
    """Take up the run that is due, if nobody else has it."""
    row = await _one(tx, q.take, {"name": name, "lease_s": lease_s})
    if row is None:
        return None
    run, turn, since, until, margin, phase, failures, readings, ours, theirs, began = row
    window = Window(since, until, margin, began)
    return Taken(
        run, turn, window, Phase(phase), failures, (readings[0], readings[1]),
        feed_from(ours), feed_from(theirs), began,
    )  # fmt: skip


async def hold(tx: Tx, q: Queries, taken: Taken, lease_s: float) -> bool:
    """Hold on to a run, in the transaction that writes for it; false: it is somebody else's."""
    params = {"run": taken.id, "turn": taken.turn, "lease_s": lease_s}
    return await _one(tx, q.hold, params) is not None


async def fail(tx: Tx, q: Queries, taken: Taken, due_s: float, error: str) -> None:
    """It is to be tried again in so many seconds."""
    params = {"run": taken.id, "turn": taken.turn, "due_s": due_s, "error": error}
    await tx.execute(q.fail, params)


async def enter(
    tx: Tx,
    q: Queries,
    run: int,
    phase: Phase,
    *,
    feed: Feed | None = None,
    rules: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """It has come to *phase*; *feed* is what it has read before."""
    sides = {side.word: None for side in Side}
    kept: dict[str, str | None] = {**sides}
    if feed is not None:
        kept[feed.side.word] = _json(_feed_to(feed))
    params = {"run": run, "phase": phase, **kept, "rules": None if rules is None else _json(rules)}
    await tx.execute(q.enter, params)


async def found(
    tx: Tx, q: Queries, run: int, counts: Counts, verdict: Verdict, result: bytes
) -> None:
    """What it came to, before what is to be settled is."""
    told = {**asdict(counts), "verdict": verdict}
    await tx.execute(q.found, {"run": run, "counts": _json(told), "result": result})


async def outcome(tx: Tx, q: Queries, run: int) -> tuple[Counts, Verdict]:
    """What it has come to."""
    told = dict(await _value(tx, q.outcome, {"run": run}))
    verdict = Verdict(told.pop("verdict"))
    return Counts(**told), verdict


async def end(
    tx: Tx, q: Queries, run: int, verdict: Verdict, counts: Counts, error: str | None = None
) -> None:
    """It is over."""
    params = {
        "run": run, "verdict": verdict, "counts": _json(asdict(counts)), "error": error,
    }  # fmt: skip
    await tx.execute(q.end, params)


def _json(value: object) -> str:
    return codec.encode(value).decode()


def _feed_to(feed: Feed) -> dict[str, Any]:
    return {
        **{name: getattr(feed, name) for name in ("side", "source", "items", "pages", "sums", "repeated")},
        "digest": feed.digest.hex(), "until": feed.until, "flaws": [asdict(each) for each in feed.flaws],
    }  # fmt: skip


def feed_from(said: Mapping[str, Any] | None) -> Feed | None:
    """A feed as it is kept with its run."""
    if said is None:
        return None
    flaws = tuple(msgspec.convert(each, Flaw) for each in said["flaws"])
    return Feed(
        Side(said["side"]), said["source"], said["items"], said["pages"], bytes.fromhex(said["digest"]),
        said["sums"], datetime.fromisoformat(said["until"]), flaws, said["repeated"],
    )  # fmt: skip


# Staging --------------------------------------------------------------------------------------------------------------


async def make_room(tx: Tx, q: Queries, run: int) -> None:
    """Make room for the items of a run."""
    await tx.execute(q.open, {"run": run})


async def pages(tx: Tx, q: Queries, run: int, side: Side) -> list[tuple[Kept, bool]]:
    """What was read of a side, and whether it gave the same again."""
    rows = await (await tx.execute(q.pages, {"run": run, "side": side})).fetchall()
    return [
        (Kept(n, cursor, next_, bytes(digest), msgspec.convert(said, Said)), checked)
        for n, cursor, next_, digest, said, checked in rows
    ]


async def stage(
    connection: AsyncConnection,
    q: Queries,
    run: int,
    side: Side,
    kept: Kept,
    items: Sequence[Item],
    place: int,
) -> None:
    """Keep a page and those of its items that count, after *place* others, in the transaction that is open."""
    rows = [
        (
            run, side, n, i.id, i.amount, i.currency, i.at, i.key, int(i.standing), i.kind, i.fee,
            i.reference, i.group, i.evidence,
        )
        for n, i in enumerate(items, start=place + 1)
    ]  # fmt: skip
    if rows:
        await copy_rows(connection, q.copy, rows)
    params = {
        "run": run, "side": side, "n": kept.n, "cursor": kept.cursor, "next": kept.next, "digest": kept.digest,
        "said": _json(kept.said),
    }  # fmt: skip
    await connection.execute(q.page, params)


async def reading(tx: Tx, q: Queries, run: int, side: Side, which: int) -> None:
    """A side is read for the first time (1) or again (2)."""
    await tx.execute(q.reading, {"run": run, "side": side, "reading": which})


async def confirm_page(tx: Tx, q: Queries, run: int, side: Side, n: int) -> None:
    """A page gave the same when it was read again."""
    await tx.execute(q.checked, {"run": run, "side": side, "n": n})


async def read_anew(tx: Tx, q: Queries, run: int, side: Side) -> None:
    """Forget what was read of a side."""
    await tx.execute(q.forget_items, {"run": run, "side": side})
    await tx.execute(q.forget_pages, {"run": run, "side": side})
    await reading(tx, q, run, side, 1)


async def once(tx: Tx, q: Queries, run: int, side: Side) -> list[str]:
    """Keep the first of items that came twice; the ids of these, up to a hundred."""
    return list(await _value(tx, q.once, {"run": run, "side": side}))


async def staged(tx: Tx, q: Queries, run: int) -> None:
    """Everything is there: let the planner know."""
    await tx.execute(q.sorted, {"run": run})


async def forget(tx: Tx, q: Queries, name: str, keep: int) -> int:
    """Forget the items of older runs; of how many."""
    return int(await _value(tx, q.forget, {"name": name, "keep": keep}) or 0)


# Looking --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run, for people."""

    id: int
    reconciliation: str
    since: datetime
    until: datetime
    asked_at: datetime
    asked_by: str | None
    phase: str
    began_at: datetime | None
    ended_at: datetime | None
    failures: int
    error: str | None
    verdict: str | None
    counts: Mapping[str, Any] | None
    ours: Feed | None
    theirs: Feed | None
    rules: Sequence[Mapping[str, Any]] | None
    result: bytes | None
    held: bool


async def runs(
    tx: Tx, q: Queries, name: str | None = None, *, run: int | None = None, limit: int = 100
) -> list[RunLine]:
    """The latest runs, or one."""
    params = {"name": name, "run": run, "limit": limit}
    rows: list[Any] = await (await tx.execute(q.runs, params)).fetchall()
    return [_line(*row) for row in rows]


def _line(*row: Any) -> RunLine:
    facts = [*row[:13], feed_from(row[13]), feed_from(row[14]), *row[15:]]
    return RunLine(*facts)


async def progress(tx: Tx, q: Queries, run: int) -> dict[Side, tuple[int, int, int]]:
    """By side: how many items and pages were read, and how many pages gave the same again."""
    rows = await (await tx.execute(q.progress, {"run": run})).fetchall()
    return {Side(side): (items or 0, pages, checked) for side, items, pages, checked in rows}
