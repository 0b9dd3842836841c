"""One of everything that pages show, with one text in every field that somebody chooses; and every screen over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from tests.cli.parked import Journal, in_doubt, park
from tests.console import kept
from tests.console.conftest import rows
from tests.console.furnished import ITEM, Cell, decision, difference, insert, schedule, worker
from troth.base import codec
from troth.journal.model import Kind

POLICY = """@id("evil<script>'<img src=x>")
permit (principal, action, resource) when { principal.name == "<script>alert(1)</script><img src=x>" };"""
SCHEMA = """namespace App { entity Person = { name: String }; entity Account;
action "Account::read" appliesTo { principal: [Person], resource: [Account] }; }"""


@dataclass(frozen=True, slots=True)
class World:
    """What was made. *doubtful*: a run in doubt; *broken*: one that stopped for another reason, at an effect. *breaks*: their
    numbers.
    """

    text: str
    doubtful: UUID
    broken: UUID
    record: str
    endpoint: UUID
    message: UUID
    worker: str
    decision: str
    breaks: tuple[int, ...]

    @property
    def bare(self) -> str:
        """The text as far as it may go into a record of the desk."""
        return self.text.replace("\x01", "")

    def screens(self) -> Mapping[str, tuple[str, ...]]:
        """The addresses of every screen, by the name of its `Page`."""

        def at(path: str, /, **query: str) -> str:
            return f"{path}?{urlencode(query)}"

        text, event = self.text, {"source": self.text, "event": self.text}
        views = [at(f"/runs/{self.doubtful}", view=each) for each in ("timeline", "journal")]
        return {
            "overview": ("/overview",),
            "attention": ("/attention", at("/attention", workflow=text, owner=text)),
            "effects": ("/effects",),
            "effect": (
                at(f"/effects/{self.doubtful}", path=text),
                at(f"/effects/{self.broken}", path=text),
            ),
            "runs": ("/runs", at("/runs", state="attention", workflow=self.bare)),
            "run": (f"/runs/{self.doubtful}", f"/runs/{self.broken}", *views),
            "requests": ("/requests", at("/requests", key=text)),
            "request": (f"/requests/{self.record}",),
            "inbox": ("/inbox", at("/inbox", state="quarantined", source=text)),
            "event": (at("/inbox/event", **event),),
            "outbox": ("/outbox", f"/outbox?endpoint={self.endpoint}"),
            "endpoints": ("/outbox/endpoints",),
            "message": (f"/outbox/messages/{self.message}",),
            "machines": ("/machines",),
            "machine": (at("/machines/machine", machine=text),),
            "machine_object": (at("/machines/object", machine=text, id=text),),
            "schedules": ("/schedules",),
            "schedule": (at("/schedule", name=text),),
            "ledger": ("/ledger", at("/ledger", under=text), at("/ledger", tenant=text)),
            "account": (at("/ledger/account", code=text),),
            "reconcile": ("/reconcile", at("/reconcile", name=text, owner=text)),
            "break": tuple(f"/break?number={each}" for each in self.breaks),
            "workers": ("/workers", f"/workers?worker={self.worker}"),
            "providers": ("/providers", at("/providers", name=self.bare)),
            "decisions": ("/decisions", at("/decisions", principal=self.bare)),
            "decision": (f"/decisions/{self.decision}",),
            "audit": ("/audit", at("/audit", by=self.bare)),
            "waiting": ("/audit/waiting",),
            "rules": ("/audit/rules",),
            "health": ("/health", "/health?doctor=true"),
        }


def world(cell: Cell, text: str) -> World:
    """Make it, in an empty schema."""
    doubtful, broken = in_attention(cell, text)
    record, endpoint, message = coming_and_going(cell, text)
    known = operating(cell, text)
    breaks = money(cell, text)
    return World(
        text,
        doubtful,
        broken,
        record,
        endpoint,
        message,
        known["worker"],
        known["decision"],
        breaks,
    )


def in_attention(cell: Cell, text: str) -> tuple[UUID, UUID]:
    """A run in doubt about an effect, with a finding that somebody proposes; and one that stopped after one was settled."""
    detail = in_doubt(
        path=text, message=text, provider=text, key=text, answers=[text], stake=text,
        probes=[{"at": 1.0, "answer": text, "message": text}], traceback=text, type=text, **{text: text},
    )  # fmt: skip
    journal = Journal()
    journal.done(text, 1, {text: text}).sent(text + "2").lost(text + "2")
    journal.add(text + "3", Kind.RESULT, {"type": text, "message": text}, seq=2, ok=False)
    journal.add("!resume", Kind.DECISION, {"by": text, "note": text}, attempt=1)
    decided = {"proposal": {"done": True, "value": text}, "by": text, "note": text}
    journal.add(text, Kind.DECISION, decided, attempt=1)
    doubtful = park(cell, journal, "in_doubt", detail, workflow=text)
    noted = "INSERT INTO {}.attention_note VALUES (%s, 1, %s, now(), %s, %s, now()) RETURNING 1"
    rows(cell, noted, doubtful, *[text] * 3)
    keyed = "INSERT INTO {}.start_key (key, run_id, digest) VALUES (%s, %s, '') RETURNING 1"
    rows(cell, keyed, text, doubtful)
    settled = Journal().sent(text).lost(text)
    settled.add(text, Kind.EVIDENCE, {"answer": "found", "message": text}, attempt=1)
    settled.add("!resume", Kind.DECISION, {"by": text, "note": text, "at": text, "done": True})
    settled.done(text, 1, text)
    broken = park(cell, settled, "bug", {"at": text, "message": text, "type": text})
    return doubtful, broken


def coming_and_going(cell: Cell, text: str) -> tuple[str, UUID, UUID]:
    """A request, an event, a message with its endpoint, and an object of a machine; the ids of three of them."""
    said = text.encode()
    record = kept.request(cell, name=text, caller=text, method=text, route=text, key=text, body=said,
        parts=json.dumps({text: "x"}).encode())  # fmt: skip
    kept.event(cell, text, source=text, type=text, object_key=text, reason=text, verified_by=text,
        headers=json.dumps({text: text}), body=said)  # fmt: skip
    kept.made(cell, "inbox_conflict", source=text, event_id=text, digest=b"\x01", type=text, found_by=text,
        first_seen="2026-11-24", last_seen="2026-11-24", seen=2, body=said)  # fmt: skip
    kept.made(cell, "inbox_replay", source=text, event_id=text, at="2026-11-24", by=text, note=text, was="parked",
        reason=text)  # fmt: skip
    kept.made(cell, "inbox_sweep", source=text, turn=1, due_at="2026-11-24", failures=3, error=text)
    endpoint = kept.endpoint(cell, url=text, outbox=text, destination=text, types=[text], disabled_at="2026-11-24",
        disabled_because=text)  # fmt: skip
    message = kept.message(cell, endpoint, outbox=text, type=text, key=text, payload=said)
    kept.message(cell, None, outbox=text)
    rows(cell, "UPDATE {}.outbox_attempt SET outcome = %s, answer = %s RETURNING 1", text, said)
    kept.made(cell, "machine_object", machine=text, id=text, state=text, version=1, seq=1, since="2026-11-24")  # fmt: skip
    kept.made(cell, "machine_history", machine=text, id=text, seq=1, event=text, from_state="x", to_state=text,
        superseded=False, cause=text, by=text, why=text, data=json.dumps({"k": text.replace("\x01", "")}),
        at="2026-11-24")  # fmt: skip
    return record, endpoint, message


def operating(cell: Cell, text: str) -> dict[str, str]:
    """A worker and one that has gone, a provider, a schedule, a decision, acts of people and what waits for a second one."""
    bare = text.replace("\x01", "")
    process = worker(cell, text, text, text + "@2", beat_s=60)
    insert(cell, "worker_gone", id=77, name=text)
    for workflow in (text, text + "@3"):
        park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow=workflow)
    told = {
        "rate_limit": 1, "rate_per_s": 1.0, "breaker_failures": 2, "breaker_pause_s": 30.0, "open_until": "2126-01-01",
    }  # fmt: skip
    insert(cell, "provider", name=text, declared_by=process, **told)
    schedule(
        cell, text, text, paused_at="2026-11-01", paused_by=text, paused_note=text, last_at="2026-11-01", last_result=text
    )  # fmt: skip
    insert(
        cell, "schedule_firing", schedule=text, n=1, at="2026-11-01", result=text, by=text, note=text
    )  # fmt: skip
    insert(cell, "policy_set", digest=b"\x01", policies=POLICY, schema=SCHEMA)
    inputs = {
        "principal": {"type": "App::Person", "id": text}, "action": {"type": "App::Action", "id": "Account::read"},
        "resource": {"type": "App::Account", "id": text}, "context": {}, "entities": [], "withheld": [],
    }  # fmt: skip
    made = decision(
        cell, principal_type=text, principal_id=text, action=text, resource_type=text, resource_id=text,
        policies=[text], errors=[text], inputs=codec.encode(inputs).decode().replace("\\u0001", ""), policy_set=b"\x01",
        because="error",
    )  # fmt: skip
    act = {"by": text, "about": text, "note": text, "via": "program", "act": text}
    details = codec.encode({bare: bare, "n": {bare: [bare]}}).decode()
    insert(
        cell, "operator_act", outcome="done", agrees_with=text, details=details, result=details, **act
    )  # fmt: skip
    waits = {"content": b"\x00", "until": "2126-01-01", "by": text, "note": text, "about": text}
    insert(cell, "act_proposal", act=text, details=b"{}", **waits)
    insert(cell, "act_proposal", act="db.retain", details=details.encode(), **waits)
    insert(cell, "act_proposal", act="attention.note", details=codec.encode({"text": bare}), **waits)  # fmt: skip
    insert(cell, "act_proposal", act="schedule.pause", details=b"{}", **waits)
    return {"schedule": text, "decision": made, "worker": str(process)}


def money(cell: Cell, text: str) -> tuple[int, ...]:
    """Accounts with an entry, which are overdue, and a reconciliation with breaks; the numbers of these."""
    named = {"side": "debit", "limited": "none", "tenant": text, "opened_at": "2026-11-01"}
    whole = insert(
        cell, "ledger_account", code=text, currency="EUR", **named, closed_at="2026-11-30"
    )
    inner = insert(cell, "ledger_account", code=f"{text}:{text}", currency="EUR", **named)
    clearing = insert(cell, "ledger_account", code=f"clearing:{text}", currency="EUR", metadata=json.dumps({"customer": text}),
        **named | {"tenant": None})  # fmt: skip
    when = {"booked_at": "2026-11-02", "effective_at": "2026-11-01"}
    insert(cell, "ledger_transfer", seq=8192, id=UUID(int=1), debit=whole, credit=inner, amount=5, kind="transfer", key=text,
        code=text, metadata=json.dumps({text: text}), **when)  # fmt: skip
    for account, side, totals in ((whole, "debit", (5, 0, 0, 0)), (inner, "credit", (0, 5, 0, 0))):
        names = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")
        after = dict(zip(names, totals, strict=True))
        insert(cell, "ledger_entry", account=account, version=1, transfer=8192, posted=5, pending=0, side=side, **when, **after)  # fmt: skip
        insert(cell, "ledger_balance", account=account, version=1, booked_at="2026-11-02", most_late="0", **after)  # fmt: skip
    due = {"since": "2026-11-01", "due_at": "2026-11-02", "minor": 5}
    for account in (whole, inner, clearing):
        insert(cell, "ledger_overdue", flow=text, account=account, **due)
    insert(cell, "reconcile", name=text, ours=text, theirs=text, lookback="7 days", margin="1 day")
    insert(cell, "reconcile_run", reconciliation=text, since="2026-11-01", until="2026-11-30", margin="1 day", phase="ended",
        asked_by=text, note=text, error=text, verdict="failed", ended_at="2026-11-30", held_until="2026-11-30",
        due_at="2026-11-30")  # fmt: skip
    texts = dict.fromkeys(("id", "key", "kind", "reference", "group", "evidence"), text)
    said = json.dumps(
        {"ours": [ITEM | texts], "theirs": [ITEM | texts | {"currency": text}], "more": 3}
    )
    told = {"reconciliation": text, "note": text, "evidence": said, "owner": text, "currency": text}
    explained = {
        "until": "2126-01-01",
        "explained_by": text,
        "explanation": text,
        "correction": text,
    }
    made = (
        difference(cell, text, wanted=text, **told),
        difference(cell, f"key:{text}", state="accepted", **told, **explained),
    )
    for each in made:
        rows(cell, "SELECT {}.reconcile_tell(%s, 'owned', NULL, %s, %s)", each, text, text)
    return made
