"""A schema as it looks after years: rows of every kind, made by SQL, for measuring what people look at."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from troth.store.embedded import Embedded
from troth.store.migrate import migrate, status

SCHEMA = "troth"

WORKFLOWS = 12
WORKERS = 8


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows of which kind."""

    finished: int = 10_000_000
    live: int = 100_000
    attention: int = 10_000  # of the live ones
    outbox: int = 1_000_000
    inbox: int = 1_000_000
    requests: int = 1_000_000
    decisions: int = 1_000_000
    objects: int = 1_000_000
    acts: int = 100_000
    entries: int = 50_000  # of the journal of one run, and of one account
    accounts: int = 10_000


@contextmanager
def filled(millions: float, keep: Path | None) -> Iterator[tuple[str, Size]]:
    """A server with such a schema: its URL. With *keep*, it stays in that directory and is filled once."""
    size = Size(finished=int(millions * 1_000_000))
    with server(keep, lambda url: fill(url, SCHEMA, size)) as url:
        yield url, size


@contextmanager
def server(keep: Path | None, filling: Callable[[str], None]) -> Iterator[str]:
    """A migrated server that was filled so: its URL. With *keep*, it stays in that directory and is filled once."""
    with ExitStack() as stack:
        directory = keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="troth-bench-"))
        )
        directory.mkdir(parents=True, exist_ok=True)
        # The server's user may enter, so that its files go with the directory.
        directory.chmod(0o755)
        found = stack.enter_context(Embedded.acquire(directory))
        if status(found.url, SCHEMA).state == "missing":
            migrate(found.url, SCHEMA)
            filling(found.url)
        yield found.url


def fill(url: str, schema: str, size: Size, *, vacuum: bool = True) -> None:
    """Fill a migrated schema, and have its statistics made."""
    numbers = {name: getattr(size, name) for name in Size.__slots__}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in FILL.format(schema=schema, **numbers).split(";\n"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("VACUUM (ANALYZE)" if vacuum else "ANALYZE")
        if vacuum:
            connection.execute("CHECKPOINT")


FILL = """
SELECT {schema}.ensure_partitions(now() - interval '9 weeks', now() + interval '1 week');

INSERT INTO {schema}.worker (name, executes, workflows, lease_s)
SELECT 'worker-' || n, true, ARRAY(SELECT 'flow' || w FROM generate_series(1, 11) w), 5 FROM generate_series(1, 8) n;
INSERT INTO {schema}.worker (name, executes, workflows, lease_s) SELECT 'web-' || n, false, '{{}}', 5 FROM generate_series(1, 20) n;
INSERT INTO {schema}.worker_gone (id, name) SELECT 1000 + n, 'gone-' || n FROM generate_series(1, 3) n;

CREATE TEMP TABLE made AS
SELECT n, (overlay({schema}.first_id(now() - random() * interval '56 days')::text
        PLACING lpad(to_hex(n), 12, '0') FROM 25 FOR 12))::uuid AS id
FROM generate_series(1, {finished}) n;
INSERT INTO {schema}.run_history (id, workflow, key, input, state, claim, starts_at, ended_at, outcome)
SELECT id, 'flow' || n % 12, CASE WHEN n % 10 = 0 THEN 'order:' || n END, '{{"steps":1}}',
       CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 77 = 0 THEN 'cancelled' ELSE 'succeeded' END::{schema}.run_state, 1,
       now() - interval '1 day' * (n % 56), now() - interval '1 day' * (n % 56) + interval '3 s',
       CASE WHEN n % 50 = 0 THEN '{{"type":"CardDeclined","message":"the card was declined","args":[]}}' ELSE '1' END::bytea
FROM made;
INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT id, 'increment', 2, 0, 1, true, '\\x00112233445566778899aabbccddeeff', '1', now() FROM made;
INSERT INTO {schema}.start_key (key, run_id, digest)
SELECT 'order:' || n, id, '\\x00' FROM made WHERE n % 10 = 0 AND n <= 1000000;
DROP TABLE made;

CREATE TEMP TABLE alive AS
SELECT n, (overlay({schema}.first_id(now() - random() * interval '5 days')::text
        PLACING lpad(to_hex(n + 1000000000), 12, '0') FROM 25 FOR 12))::uuid AS id, n <= {attention} AS parked,
       n > {attention} AND n % 5 = 0 AS taken, n > {attention} AND n % 5 = 1 AS ready
FROM generate_series(1, {live}) n;
INSERT INTO {schema}.run (id, workflow, key, input, state, owner, claim, wake_at, starts_at, reason, detail)
SELECT id, 'flow' || n % 12, CASE WHEN n % 3 = 0 THEN 'live:' || n END, '{{"steps":1}}',
       CASE WHEN parked THEN 'attention' WHEN taken THEN 'running' WHEN ready THEN 'ready' ELSE 'waiting' END::{schema}.run_state,
       CASE WHEN taken THEN 1 + n % 8 END, 1,
       CASE WHEN parked OR taken THEN 'infinity' WHEN ready THEN now() - interval '1 min' ELSE now() + interval '1 day' END,
       now() - random() * interval '5 days',
       CASE WHEN parked THEN (ARRAY['in_doubt', 'bug', 'retries_exhausted', 'undo_failed', 'code_changed'])[1 + n % 5] END,
       CASE WHEN parked THEN convert_to(json_build_object('at', 'charge' || n % 7, 'type', 'ReadTimeout', 'message', 'no answer',
           'stake', n || ' EUR', 'provider', 'stripe', 'settled_by', 1, 'probed', true, 'sent', json_build_array(n),
           'sent_at', json_build_array(1796000000), 'traceback', repeat('  File "app.py", line 1', 100))::text, 'UTF8') END
FROM alive;
INSERT INTO {schema}.attention (run_id, since) SELECT id, now() - random() * interval '5 days' FROM alive WHERE parked
ON CONFLICT DO NOTHING;
INSERT INTO {schema}.attention_note (run_id, claim, claimed_by, claimed_at)
SELECT id, 1, CASE WHEN n % 200 = 0 THEN 'ada' ELSE 'bob' END, now() FROM alive WHERE parked AND n % 20 = 0;
INSERT INTO {schema}.start_key (key, run_id, digest) SELECT 'live:' || n, id, '\\x00' FROM alive WHERE n % 3 = 0;
INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT (SELECT id FROM alive ORDER BY n DESC LIMIT 1), 'step#' || n, 2, 0, n, true, '\\x00112233445566778899aabbccddeeff',
       convert_to(to_json(repeat(md5(n::text), 30))::text, 'UTF8'), now() - interval '1 s' * ({entries} - n)
FROM generate_series(1, {entries}) n;
DROP TABLE alive;

INSERT INTO {schema}.outbox_endpoint (id, outbox, destination, url, types, per_key, allow_private, secret, failing_since, disabled_at)
SELECT ('019d0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'events', 'webhooks', 'https://c' || n || '.example/hook', '{{*}}',
       true, false, 'whsec_x', CASE WHEN n % 20 = 0 THEN now() - interval '1 day' END, CASE WHEN n % 40 = 0 THEN now() END
FROM generate_series(1, 200) n;
INSERT INTO {schema}.outbox_message (id, outbox, type, key, payload, headers, published_at, kept_from)
SELECT ('019d0000-0001-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'events', 'order.' || n % 9, 'k' || n % 1000,
       convert_to('{{"n":' || n || '}}', 'UTF8'), '{{}}', now() - interval '1 s' * ({outbox} - n), now()
FROM generate_series(1, {outbox}) n;
INSERT INTO {schema}.outbox_delivery (message, outbox, destination, endpoint, target, state, next_at, claim, tries, ended_at)
SELECT ('019d0000-0001-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'events', 'webhooks',
       ('019d0000-0000-7000-8000-' || lpad(to_hex(1 + n % 200), 12, '0'))::uuid,
       '019d0000-0000-7000-8000-' || lpad(to_hex(1 + n % 200), 12, '0'),
       CASE WHEN n > {outbox} * 0.95 THEN 'pending' WHEN n % 33 = 0 THEN 'dead' WHEN n % 50 = 0 THEN 'in_doubt' ELSE 'delivered' END
       ::{schema}.outbox_state, now(), 1, 1, CASE WHEN n <= {outbox} * 0.95 THEN now() END
FROM generate_series(1, {outbox}) n;
INSERT INTO {schema}.outbox_attempt (delivery, claim, duration_s, outcome)
SELECT d.id, 1, 0.1, CASE WHEN d.state = 'dead' THEN 'HTTP 500' WHEN d.state = 'in_doubt' THEN 'ReadTimeout' ELSE 'HTTP 200' END
FROM {schema}.outbox_delivery d WHERE d.state <> 'pending';

INSERT INTO {schema}.inbox_event (source, event_id, type, object_key, created_at, state, due_at, reason, received_at, last_seen,
    delivered, found_by, digest, headers, body, failures)
SELECT (ARRAY['stripe', 'github', 'shop'])[1 + n % 3], 'evt_' || n, 'charge.' || n % 11, 'ch_' || n % 50000, now(),
       CASE WHEN n % 100 = 0 THEN 'quarantined' WHEN n % 100 = 1 THEN 'parked' WHEN n > {inbox} * 0.99 THEN 'received'
            WHEN n % 10 = 0 THEN 'ignored' ELSE 'applied' END, now(), CASE WHEN n % 100 = 0 THEN 'ValueError: no' END,
       now() - interval '1 s' * ({inbox} - n), now(), CASE WHEN n % 500 = 0 THEN 0 ELSE 1 END, 'webhook', '\\x00', '{{}}', '{{"a":1}}', 0
FROM generate_series(1, {inbox}) n;
INSERT INTO {schema}.inbox_conflict (source, event_id, digest, type, found_by, first_seen, last_seen, seen, body)
SELECT (ARRAY['stripe', 'github', 'shop'])[1 + n % 3], 'evt_' || n, '\\x01', 'charge.1', 'webhook', now(), now(), 1, '{{}}'
FROM generate_series(1, least(1000, {inbox})) n;

INSERT INTO {schema}.request (id, name, caller, method, route, key, salt, parts, status, headers, body, run_id, at, expires_at)
SELECT decode(md5(n::text), 'hex'), 'api', 'person:' || n % 1000, 'POST', '/orders/' || n % 20, 'key-' || n, '\\x00', '{{"body":"x"}}',
       CASE WHEN n % 100 = 0 THEN NULL WHEN n % 50 = 1 THEN 409 ELSE 201 END, '[]', '{{"id":1}}',
       CASE WHEN n % 100 = 0 THEN ('019d0000-0002-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid END,
       now() - interval '86 ms' * ({requests} - n), now() + interval '1 day'
FROM generate_series(1, {requests}) n;

INSERT INTO {schema}.policy_set (digest, policies, schema) VALUES ('\\x00', 'permit (principal, action, resource);', '');
INSERT INTO {schema}.decision (id, at, principal_type, principal_id, action, resource_type, resource_id, allowed, because, policies, errors,
    digest, inputs, policy_set)
SELECT overlay({schema}.first_id(now() - interval '1 s' * ({decisions} - n))::text PLACING lpad(to_hex(n), 12, '0') FROM 25 FOR 12)::uuid,
       now() - interval '1 s' * ({decisions} - n), 'Person', 'p' || n % 5000, 'Order::' || n % 6, 'Order', 'o' || n, n % 9 <> 0,
       CASE WHEN n % 9 = 0 THEN 'default' ELSE 'permit' END, '{{owner}}', '{{}}', '\\x00', '{{"principal":{{}}}}', '\\x00'
FROM generate_series(1, {decisions}) n;

INSERT INTO {schema}.machine_object (machine, id, state, version, seq, since)
SELECT CASE WHEN n % 2 = 0 THEN 'order' ELSE 'subscription' END, 'o' || n,
       (ARRAY['created', 'paid', 'packed', 'shipped', 'returned', 'closed'])[1 + n % 6], n, 1, now() - random() * interval '30 days'
FROM generate_series(1, {objects}) n;
INSERT INTO {schema}.machine_history (machine, id, seq, event, to_state, superseded, cause, data, at)
SELECT CASE WHEN n % 2 = 0 THEN 'order' ELSE 'subscription' END, 'o' || n, 1, 'create', 'created', false, 'run:' || n, '{{"a":1}}', now()
FROM generate_series(1, {objects}) n;
INSERT INTO {schema}.machine_history (machine, id, seq, event, to_state, superseded, cause, data, at)
SELECT 'order', 'o2', 1 + n, 'touch', 'created', false, 'again:' || n, '{{"a":1}}', now() FROM generate_series(1, {entries} / 5) n;

INSERT INTO {schema}.schedule (name, workflow, cron, tz, overlap, catch_up, missed, jitter, input, next_at, look_at)
SELECT 'schedule-' || n, 'flow' || n % 12, n % 60 || ' 3 * * 1-5', 'Europe/Berlin', 'skip', interval '1 hour', 'latest', interval '0', '{{}}',
       now() + interval '1 h', now() + interval '1 h' FROM generate_series(1, 200) n;
INSERT INTO {schema}.schedule_firing (schedule, n, at, result)
SELECT 'schedule-' || s, n, now() - interval '1 day' * n, 'started' FROM generate_series(1, 200) s, generate_series(1, 100) n;

INSERT INTO {schema}.provider (name, declared_by, rate_limit, rate_per_s, concurrency, breaker_failures, breaker_pause_s, open_until)
SELECT 'provider-' || n, 1, 100, 1, 10, 5, 30, CASE WHEN n = 3 THEN now() + interval '20 s' END FROM generate_series(1, 20) n;
INSERT INTO {schema}.provider_lease (provider, worker, turn, held, demand, in_flight_s, asked_at)
SELECT 'provider-' || p, w, 1, 2, 3, 10, now() FROM generate_series(1, 20) p, generate_series(1, 8) w;

INSERT INTO {schema}.operator_act (at, by, role, via, act, about, outcome)
SELECT now() - interval '1 min' * ({acts} - n), 'ada', 'operator', 'console', CASE WHEN n % 9 = 0 THEN 'db.retain' ELSE 'run.cancel' END,
       'run ' || n, 'done' FROM generate_series(1, {acts}) n;

INSERT INTO {schema}.reconcile (name, ours, theirs, lookback, margin) SELECT 'books-' || n, 'ours', 'theirs', '7 days', '1 day' FROM generate_series(1, 20) n;
INSERT INTO {schema}.reconcile_run (reconciliation, since, until, margin, asked_at, phase, ended_at, verdict)
SELECT 'books-' || 1 + n % 20, now() - interval '1 day', now(), '1 day', now(), 'ended', now(), 'breaks' FROM generate_series(1, {acts}) n;
INSERT INTO {schema}.reconcile_break (reconciliation, subject, kind, state, at, minor, currency, note, action, evidence, last_run)
SELECT 'books-' || 1 + n % 20, 'key:' || n, 'amount', CASE WHEN n % 3 = 0 THEN 'open' ELSE 'resolved' END, now() - interval '1 min' * n, n,
       'EUR', 'it differs', 'ask', '{{}}', 1 FROM generate_series(1, {acts} * 5) n;

INSERT INTO {schema}.ledger_account (code, currency, side, limited, tenant, opened_at)
SELECT CASE n WHEN 0 THEN 'assets:bank' ELSE 'wallets:w' || n END, 'EUR', (CASE n WHEN 0 THEN 'debit' ELSE 'credit' END)::{schema}.ledger_side,
       'none', CASE WHEN n > 0 THEN 'tenant-' || n % 50 END, now() - interval '1 year' FROM generate_series(0, {accounts}) n;
INSERT INTO {schema}.ledger_transfer (seq, id, booked_at, effective_at, debit, credit, amount, kind, key, code)
SELECT 8192 * n, md5(n::text)::uuid, t, t, b.id, w.id, 100, 'transfer', 'top-up:' || n, 'top_up'
FROM generate_series(1, {entries}) n, LATERAL (SELECT now() - interval '1 min' * ({entries} - n) AS t) at,
     {schema}.ledger_account b, {schema}.ledger_account w WHERE b.code = 'assets:bank' AND w.code = 'wallets:w' || 1 + n % {accounts};
INSERT INTO {schema}.ledger_id (id, seq) SELECT id, seq FROM {schema}.ledger_transfer;
SELECT setval('{schema}.ledger_batch', {entries});
INSERT INTO {schema}.ledger_entry (account, version, transfer, booked_at, effective_at, posted, pending, side, debits_posted, credits_posted,
    debits_pending, credits_pending)
SELECT account, row_number() OVER so_far, seq, booked_at, effective_at, posted, 0, side,
       sum(CASE side WHEN 'debit' THEN posted ELSE 0 END) OVER so_far, sum(CASE side WHEN 'credit' THEN posted ELSE 0 END) OVER so_far, 0, 0
FROM {schema}.ledger_leg WINDOW so_far AS (PARTITION BY account ORDER BY seq);
INSERT INTO {schema}.ledger_balance SELECT DISTINCT ON (account) account, version, booked_at, interval '0', debits_posted, credits_posted,
       debits_pending, credits_pending FROM {schema}.ledger_entry ORDER BY account, version DESC;
INSERT INTO {schema}.ledger_overdue (flow, account, since, due_at, minor)
SELECT 'top-ups', id, now() - interval '3 days', now() - interval '1 h' * id, 100 FROM {schema}.ledger_account WHERE id % 20 = 1;

INSERT INTO {schema}.worker_minute (minute, worker, workflow, started, succeeded, failed, cancelled, attention, steps, effects_unknown)
SELECT m, w, 'flow' || f, 10, 8, 1, 0, 0, 40, 0
FROM generate_series(date_trunc('minute', now()) - interval '1 minute' * least(2880, {acts} / 30), now(), interval '1 minute') m,
     generate_series(1, 8) w, generate_series(0, 11) f;
"""
