"""Health: what is asked of the database about itself, and what the doctor finds, on demand."""

from __future__ import annotations

import re

import psycopg
import pytest

from tests.cli.parked import Journal, park
from tests.console.conftest import rows, words
from tests.console.furnished import worker
from tests.console.test_workers_page import line
from tests.harness.postgres import wait_until
from troth.console import Role
from troth.console.pages.health import without_values
from troth.store.migrate import load
from troth.view import doctor


async def test_the_page_says_how_server_schema_and_history_are(cell, meet):
    park(cell, Journal(), "bug", {"at": "x", "message": "m"})
    said = words(await meet(role=Role.VIEWER).text("/health"))
    assert re.search(r"PostgreSQL 1[5-9]\S*", said)
    assert re.search(r"\d+ of [\d,]+, \d+ of them troth's", said)
    assert f"✓ all {len(load())} applied" in said
    assert re.search(r"Partitions \d+ weeks? ", said)
    assert "never: troth db retain does" in said
    assert "Look again" in said
    assert f"{len(doctor.RULES)} rules look for" in said


async def test_history_that_was_forgotten_and_bloat_show(cell, meet, monkeypatch):
    query = "INSERT INTO {}.operator_act (by, role, via, act, about, outcome, at) VALUES ('a', 'admin', 'cli', 'db.retain', 'x', 'done', '2026-11-02') RETURNING 1"
    rows(cell, query)
    ada = meet()
    page = await ada.text("/health")
    assert "Last forgotten 2026-11-02 00:00:00" in words(page)
    assert re.match(r"operator_act \d", line(page, "t-operator_act"))
    assert " % " not in words(page)
    monkeypatch.setattr(doctor, "DEAD_ROWS", -1)
    monkeypatch.setattr(doctor, "DEAD_SHARE", -1.0)
    assert "! 0 %" in line(await ada.text("/health"), "t-operator_act")


async def test_who_does_nothing_in_a_transaction_shows_without_the_values_of_its_statement(
    cell, meet, monkeypatch
):
    monkeypatch.setattr("troth.view.health.IDLE_IN_TRANSACTION_S", 0.0)
    url, _ = cell
    with psycopg.connect(url, application_name="idler") as idle, psycopg.connect(url) as eyes:
        idle.execute("SELECT 'card 4111' AS x, 4112, pg_current_xact_id()")
        pid = idle.info.backend_pid
        state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
        wait_until(
            lambda: eyes.execute(state, (pid,)).fetchone() == ("idle in transaction",), "it is idle"
        )
        page = await meet().text("/health")
        said = line(page, f"e-{pid}")
    assert "idle in transaction" in said
    assert "idler" in said
    assert "SELECT … AS x, …, pg_current_xact_id()" in said
    assert "411" not in page


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT * FROM t WHERE a = 'it''s' AND b = $1", "SELECT * FROM t WHERE a = … AND b = $1"),
        ("SELECT 'cut off her", "SELECT …"),
        ("SELECT $$a 'b' c$$, $x$d$x$, $y$cut", "SELECT …, …, …"),
        ("SELECT 12.5, -7, t1.c2, x_3, 1e10", "SELECT …, -…, t1.c2, x_3, …"),
    ],
)
def test_values_are_taken_out_of_statements(statement, shown):
    assert without_values(statement) == shown


async def test_the_doctor_looks_on_demand_and_says_what_to_do(cell, meet):
    ada = meet()
    park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow="retired")
    rows(
        cell,
        "UPDATE {}.run SET state = 'ready', reason = NULL, detail = NULL, wake_at = now() RETURNING 1",
    )
    worker(cell, "w", "order", beat_s=120)
    assert "Settings and clock are those" not in words(await ada.text("/health"))
    page = await ada.text("/health?doctor=true")
    found = re.findall(r'<li id="o-([\w.-]+)">', page)
    assert found
    said = words(page)
    by_code = {rule.code: rule for rule in doctor.RULES}
    for code in found:
        rule = by_code[code]
        assert rule.do[1:] in said
        assert rule.means[1:] in said
    assert "retired" in said
    assert "Settings and clock are those" in said
    assert (await ada.get("/health?doctor=no")).status_code == 400


async def test_where_all_is_well_the_doctor_says_so(cell, meet, monkeypatch):
    monkeypatch.setattr(doctor, "RULES", ())
    assert "✓ Nothing was found." in words(await meet().text("/health?doctor=true"))
