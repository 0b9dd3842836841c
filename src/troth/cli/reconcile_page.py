"""How `troth reconcile` words what it shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from troth.base.errors import MoneyError
from troth.base.money import Money
from troth.cli import durations

if TYPE_CHECKING:
    from troth.reconcile.breaks_store import Happening
    from troth.reconcile.model import Break, Feed, Item
    from troth.reconcile.store import RunLine


def money(minor: int, currency: str) -> str:
    """An amount for people; minor units where the currency is none of ISO 4217."""
    if not currency:
        return ""
    try:
        return str(Money(minor, currency))
    except MoneyError:
        return f"{minor} {currency} (minor units)"


def break_line(each: Break, output: str) -> dict[str, Any]:
    """A break in a list (table), for a program (json), or as facts."""
    if output == "table":
        return {
            "id": each.id, "kind": each.kind, "at_risk": money(each.minor, each.currency), "age": _age(each.at),
            "state": each.state, "to_do": each.action, "owner": each.owner, "about": each.subject, "note": each.note,
        }  # fmt: skip
    line: dict[str, Any] = {
        "id": each.id, "reconciliation": each.reconciliation, "subject": each.subject, "kind": each.kind,
        "state": each.state, "to_do": each.action, "note": each.note, "at": each.at, "owner": each.owner,
    }  # fmt: skip
    if output == "facts":
        line |= {"at risk": money(each.minor, each.currency), "age": _age(each.at)}
    else:
        line |= {"minor": each.minor, "currency": each.currency}
    return line | {
        "first_seen": each.first_seen, "last_seen": each.last_seen, "last_run": each.last_run,
        "accepted_until": each.until, "explained_by": each.explained_by, "explanation": each.explanation,
        "correction": each.correction,
    }  # fmt: skip


def item_line(item: Item) -> dict[str, Any]:
    """An item, as evidence."""
    return {
        "id": item.id, "amount": money(item.amount, item.currency), "at": item.at, "standing": item.standing.word,
        "key": item.key, "kind": item.kind, "fee": item.fee or None, "reference": item.reference,
        "group": item.group, "evidence": item.evidence,
    }  # fmt: skip


def happening(each: Happening) -> dict[str, Any]:
    """What happened to a break."""
    return {
        "at": each.at, "what": each.what, "kind": each.kind, "minor": each.minor, "state": each.state,
        "run": each.run, "by": each.by, "note": each.note,
    }  # fmt: skip


def run_line(each: RunLine, output: str) -> dict[str, Any]:
    """A run in a list."""
    counts = each.counts or {}
    line: dict[str, Any] = {
        "id": each.id, "reconciliation": each.reconciliation, "since": each.since, "until": each.until,
        "phase": each.phase, "verdict": each.verdict,
        "matched": counts.get("by_key", 0) + counts.get("by_rule", 0),
        "breaks": sum(counts.get("breaks", {}).values()), "settled": counts.get("settled", 0),
        "asked_by": each.asked_by, "began_at": each.began_at, "ended_at": each.ended_at,
    }  # fmt: skip
    if output == "table":
        return line
    return line | {
        "counts": each.counts, "failures": each.failures, "error": each.error, "ours": _feed(each.ours),
        "theirs": _feed(each.theirs), "rules": each.rules,
        "result": None if each.result is None else bytes(each.result).hex(),
    }  # fmt: skip


def run_facts(line: RunLine) -> dict[str, object]:
    """All that is known of a run, for people."""
    counts = dict(line.counts or {})
    found = counts.pop("breaks", {})
    return {
        "window": f"{utc(line.since)} to {utc(line.until)}",
        "asked by": line.asked_by or "nobody: it was due",
        "began": line.began_at,
        "ended": line.ended_at,
        "ours": _feed_words(line.ours),
        "theirs": _feed_words(line.theirs),
        "items": ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        or None,
        "breaks": ", ".join(f"{count} {kind}" for kind, count in found.items()) or None,
        "rules": "; ".join(str(each["said"]) for each in line.rules or ()) or None,
        "result": None if line.result is None else bytes(line.result).hex()[:16],
        "error": line.error,
    }


def _feed(feed: Feed | None) -> dict[str, Any] | None:
    if feed is None:
        return None
    return {
        "source": feed.source, "items": feed.items, "pages": feed.pages, "digest": feed.digest.hex(),
        "sums": feed.sums, "until": feed.until, "proven": feed.proven, "flaws": [each.said for each in feed.flaws],
    }  # fmt: skip


def _feed_words(feed: Feed | None) -> str | None:
    if feed is None:
        return None
    sums = ", ".join(money(minor, currency) for currency, minor in feed.sums.items())
    whole = (
        "complete"
        if feed.proven
        else "NOT KNOWN TO BE COMPLETE: " + "; ".join(e.said for e in feed.flaws)
    )
    return f"{feed.source}: {feed.items} items{f', {sums}' if sums else ''}; {whole}"


def _age(at: datetime) -> str:
    return durations.words(max(0.0, (datetime.now(UTC) - at).total_seconds()))


def utc(at: datetime) -> str:
    """A time, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
