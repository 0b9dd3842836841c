"""Prometheus: what this process counts, and what the database says at the scrape; both bounded, and neither in the way."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.house.tree import ROOT
from tests.workflow.place import QUICK, Place, soon
from troth import Call, Troth, UsageError
from troth.integrations.measures import TABLE
from troth.integrations.prometheus import Exporter
from troth.store.connect import connect_async
from troth.store.plan import carry_out
from troth.view import gauges


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


async def scrape(exporter: Exporter) -> str:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(exporter), base_url="http://m"
    ) as http:
        answer = await http.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert (await http.post("/metrics")).status_code == 405
        return answer.text


async def test_a_scrape_says_what_happened_here_and_how_the_database_stands(
    place: Place, troth: Troth
) -> None:
    exporter = Exporter(troth)

    @troth.effect(delivery="at_most_once", timeout=5)
    async def mail(call: Call) -> None:
        raise ConnectionResetError("reset by peer")

    @troth.workflow
    async def fine() -> None: ...

    @troth.workflow
    async def doubtful() -> None:
        await mail()

    @troth.workflow
    async def waiting() -> None:
        await troth.receive("go")

    async with troth.worker(QUICK):
        await soon((await troth.start(fine)).result())
        await place.attention(await troth.start(doubtful))
        await place.until_state(await troth.start(waiting), "waiting")
        text = await scrape(exporter)
    families = re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)
    assert len(families) == len(set(families)), "two of one name"
    ended = {"workflow": "fine", "state": "succeeded"}
    assert number(text, "troth_runs_ended_total", **ended) == 1
    assert number(text, "troth_run_duration_seconds_count", **ended) == 1
    outcome = {"step": "mail", "provider": "", "outcome": "unknown", "decided_by": "answer"}
    assert number(text, "troth_effect_outcomes_total", **outcome) == 1
    assert number(text, "troth_database_up") == 1
    assert number(text, "troth_runs", state="attention") == 1
    assert number(text, "troth_runs", state="waiting") == 1
    assert number(text, "troth_runs", state="running") == 0
    assert number(text, "troth_attention_runs", reason="in_doubt") == 1
    assert 0 <= number(text, "troth_attention_oldest_seconds", reason="in_doubt") < 60
    assert number(text, "troth_effects_in_doubt") == 1
    assert number(text, "troth_workers", kind="worker") == 1
    assert number(text, "troth_dead_letters") == 0


async def test_the_oldest_ages_and_backlogs_are_read_from_the_database(
    place: Place, troth: Troth
) -> None:
    place.rows(
        "INSERT INTO {s}.run (id, workflow, input, state, wake_at, starts_at, queue, in_line) VALUES"
        " (gen_random_uuid(), 'a', '', 'ready', now() - interval '90 s', now(), NULL, false),"
        " (gen_random_uuid(), 'a', '', 'ready', now() - interval '40 s', now(), 'q', true)"
    )
    place.rows(
        "INSERT INTO {s}.outbox_delivery (message, outbox, destination, target, next_at, state) VALUES"
        " (gen_random_uuid(), 'o', 'd', 't', now() - interval '70 s', 'pending'),"
        " (gen_random_uuid(), 'o', 'd', 't', now() - interval '10 s', 'pending'),"
        " (gen_random_uuid(), 'o', 'd', 't', now(), 'dead')"
    )
    place.rows(
        "INSERT INTO {s}.inbox_event (source, event_id, type, object_key, created_at, state, due_at, received_at,"
        " last_seen, delivered, found_by, digest, headers)"
        " SELECT 's', n::text, 't', 'o', now(), state, now(), now() - interval '30 s', now(), 1, 'webhook', '', '{{}}'"
        " FROM (VALUES (1, 'received'), (2, 'quarantined'), (3, 'applied')) AS e (n, state)"
    )
    place.rows("INSERT INTO {s}.worker_gone (id, name) VALUES (1, 'dead')")
    place.rows(
        "WITH a AS (INSERT INTO {s}.ledger_account (code, currency, side, limited, opened_at)"
        " SELECT 'clearing:' || n, CASE n WHEN 3 THEN 'USD' ELSE 'EUR' END, 'debit', 'none', now() FROM generate_series(1, 3) n"
        " RETURNING id, currency)"
        " INSERT INTO {s}.ledger_overdue (flow, account, since, due_at, minor)"
        " SELECT 'payouts', id, now(), now() - make_interval(secs => 50 * id), CASE currency WHEN 'EUR' THEN 7 ELSE -4 END FROM a"
    )
    text = await scrape(Exporter(troth))
    assert 90 <= number(text, "troth_ready_oldest_seconds", queued="false") < 150
    assert 40 <= number(text, "troth_ready_oldest_seconds", queued="true") < 100
    to = {"outbox": "o", "destination": "d"}
    assert number(text, "troth_outbox_waiting", **to) == 2
    assert 70 <= number(text, "troth_outbox_backlog_seconds", **to) < 130
    assert number(text, "troth_dead_letters") == 1
    assert number(text, "troth_ledger_overdue", flow="payouts") == 3
    assert number(text, "troth_ledger_overdue_money", flow="payouts", currency="EUR") == 14
    assert number(text, "troth_ledger_overdue_money", flow="payouts", currency="USD") == 4
    assert 150 <= number(text, "troth_ledger_overdue_oldest_seconds", flow="payouts") < 210
    assert number(text, "troth_inbox_waiting", source="s") == 1
    assert 30 <= number(text, "troth_inbox_oldest_seconds", source="s") < 90
    assert number(text, "troth_inbox_quarantined", source="s") == 1
    assert number(text, "troth_workers_gone") == 1


async def test_scans_end_at_their_limit(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "CAP", 10)
    place.rows(
        "INSERT INTO {s}.run (id, workflow, input, state, wake_at, starts_at)"
        " SELECT gen_random_uuid(), 'a', '', 'ready', now(), now() FROM generate_series(1, 50)"
    )
    async with await connect_async(place.url) as tx:
        found = {each.name: each for each in await carry_out(tx, gauges.gauges(place.schema))}
    assert found["troth_runs"].values["ready",] == 10


async def test_a_database_that_is_away_is_said_and_the_counters_are_there(
    place: Place, troth: Troth
) -> None:
    exporter = Exporter(troth)
    troth.url = "postgresql://nobody@127.0.0.1:1/none"
    text = await scrape(exporter)
    assert number(text, "troth_database_up") == 0
    assert "troth_workers{" not in text
    assert "# TYPE troth_runs_ended_total counter" in text
    troth.url = place.url
    assert number(await scrape(exporter), "troth_database_up") == 1


async def test_a_statement_that_takes_too_long_is_ended(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("troth.integrations.prometheus.READ_LIMIT_S", 0.1)
    exporter = Exporter(troth)
    async with await connect_async(place.url) as tx, tx.transaction():
        await tx.execute(f"LOCK TABLE {place.schema}.run IN ACCESS EXCLUSIVE MODE")
        assert number(await scrape(exporter), "troth_database_up") == 0
    assert number(await scrape(exporter), "troth_database_up") == 1


async def test_processes_share_a_range_of_ports(place: Place, troth: Troth) -> None:
    exporter = Exporter(troth, from_database=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} for metrics in use already"):
            exporter.serve(port, address="127.0.0.1")
        server = exporter.serve(port, ports=20, address="127.0.0.1")
    try:
        assert port < server.server_port < port + 20
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{server.server_port}/metrics")
        assert "troth_runs_ended_total" in answer.text
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


async def test_every_measure_has_a_metric_and_no_label_has_many_values(
    place: Place, troth: Troth
) -> None:
    text = Exporter(troth, from_database=False).text().decode()
    for measure in TABLE:
        assert f"# HELP {measure.name.replace('.', '_')}" in text, measure.name
        assert not {"run_id", "key", "path", "message_id", "event_id"} & set(measure.labels)


# Alerts -----------------------------------------------------------------------------------------------------------------

ALERTS = sorted((ROOT / "examples" / "alerts").glob("*.yml"))
CASES = Path(__file__).with_name("alerts_test.yml")
PAGE = ROOT / "docs" / "operating" / "alerts.md"
PROMTOOL = Path("/usr/bin/promtool")


@pytest.mark.parametrize("path", ALERTS, ids=[path.name for path in ALERTS])
def test_alerts_ask_for_metrics_that_there_are(path: Path, place: Place, troth: Troth) -> None:
    text = Exporter(troth).text().decode()
    known = set(re.findall(r"^# HELP (\w+)", text, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known}
    asked = set(re.findall(r"\btroth_\w+", path.read_text()))
    assert asked, path
    assert asked <= known, f"there is no {sorted(asked - known)}"


def test_prometheus_itself_accepts_the_rules_and_they_fire_when_they_should() -> None:
    if not PROMTOOL.exists():
        pytest.skip(f"no {PROMTOOL}: make outsiders")
    for arguments in (["check", "rules", *map(str, ALERTS)], ["test", "rules", str(CASES)]):
        done = subprocess.run([PROMTOOL, *arguments], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_section_that_says_what_to_do() -> None:
    named = {name for path in ALERTS for name in re.findall(r"alert: (\w+)", path.read_text())}
    sections = set(re.findall(r"^## `?(\w+)`?$", PAGE.read_text(), re.MULTILINE))
    assert named
    assert named == sections
