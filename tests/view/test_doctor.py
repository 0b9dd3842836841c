"""Each rule of the doctor: on facts as they would be read, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from troth.store import migrate
from troth.store.road import Road
from troth.view.doctor import RULES, Facts, Here, Severity, examine
from troth.view.health import Server, SessionLine, Setting, SnapshotLine, TableLine, Weeks
from troth.view.paging import Count
from troth.view.workers import GoneLine, VersionLine, WorkerLine

NOW = datetime(2026, 11, 30, tzinfo=UTC)
DAY_S = 86_400.0
SERVER = Server("18.6", 180_006, NOW, 0.0, "app", 10**9, False, 100, 3, 10, 5, 1000)
TABLE = TableLine("run", 0, 10**6, 10**5, 100, 100, 0, 60.0, False)
WEEKS = Weeks(NOW, NOW, 6, 28 * DAY_S, 14 * DAY_S, True, None)
WORKER = WorkerLine(7, "w7", True, ("pay", "ship"), 5.0, NOW, 60.0, 60, 0.5, 3)
VERSION = VersionLine("pay", Count(3), 0, NOW, 1)
APPLIED = [migrate.Applied(m.number, m.name, m.sha256, NOW, "1") for m in migrate.load()]
HEALTHY = Facts(
    here=Here(),
    road=Road(),
    server=SERVER,
    settings={
        name: Setting(value, None, "default")
        for name, value in {
            "autovacuum": "on", "default_transaction_read_only": "off", "fsync": "on", "full_page_writes": "on",
            "idle_session_timeout": "0", "statement_timeout": "0", "synchronous_commit": "on", "synchronous_standby_names": "",
            "track_counts": "on", "zero_damaged_pages": "off",
        }.items()
    },
    migrations=migrate.Status("troth", APPLIED, migrate.load()),
    tables=(TABLE,),
    weeks=WEEKS,
    workers=(WORKER,),
    versions=(VERSION,),
)  # fmt: skip


def told(**settings: str) -> Facts:
    changed = {name: Setting(value, None, "file") for name, value in settings.items()}
    return replace(HEALTHY, settings={**HEALTHY.settings, **changed})


def session(state: str) -> SessionLine:
    return SessionLine(42, "app", "psql", state, 99.0, 99.0, 99.0, None, "SELECT 1")


ILL = {
    "variables": [
        replace(HEALTHY, here=Here(unknown=("the environment has TROTH_X",))),
        replace(HEALTHY, here=Here(wrong=("TROTH_CELL is 'x'",))),
    ],
    "server-version": [replace(HEALTHY, server=replace(SERVER, version_number=140_012))],
    "read-only": [
        replace(HEALTHY, server=replace(SERVER, standby=True)),
        told(default_transaction_read_only="on"),
    ],
    "schema": [
        replace(HEALTHY, migrations=migrate.Status("troth", APPLIED[:-1], migrate.load())),
        replace(HEALTHY, migrations=migrate.Status("troth", [], migrate.load())),
    ],
    "pooler": [
        replace(HEALTHY, road=Road(pooler=True, hears=False)),
        replace(HEALTHY, road=Road(keeps_locks=False)),
    ],
    "clock-skew": [
        replace(HEALTHY, here=Here(skew_s=5.0)),
        replace(HEALTHY, here=Here(skew_s=-5.0, error_s=0.5)),
    ],
    "clock-backwards": [replace(HEALTHY, ahead_s=30.0)],
    "not-durable": [told(fsync="off"), told(full_page_writes="off"), told(zero_damaged_pages="on")],
    "not-synchronous": [
        told(synchronous_commit="off"),
        told(synchronous_commit="local", synchronous_standby_names="*"),
    ],
    "timeouts": [told(idle_session_timeout="60000"), told(statement_timeout="500")],
    "connections": [
        replace(HEALTHY, server=replace(SERVER, connections=90)),
        replace(HEALTHY, here=Here(connections=200)),
        replace(HEALTHY, here=Here(processes=20)),
    ],
    "silent-worker": [replace(HEALTHY, workers=(replace(WORKER, beat_s=60.0),))],
    "unreleased-runs": [replace(HEALTHY, gone=(GoneLine(3, "w3", NOW, 600.0, 5),))],
    "not-executable": [
        replace(HEALTHY, versions=(VERSION, replace(VERSION, workflow="old@1", workers=0)))
    ],
    "mixed-versions": [
        replace(HEALTHY, workers=(WORKER, replace(WORKER, id=8, workflows=("ship",))))
    ],
    "autovacuum": [
        told(autovacuum="off"),
        told(track_counts="off"),
        replace(HEALTHY, tables=(replace(TABLE, off=True),)),
    ],
    "bloat": [replace(HEALTHY, tables=(replace(TABLE, dead=1_000_000),))],
    "idle-in-transaction": [
        replace(HEALTHY, sessions=(session("idle in transaction"),)),
        replace(HEALTHY, sessions=(session("idle in transaction (aborted)"),)),
    ],
    "old-snapshot": [
        replace(HEALTHY, snapshots=(SnapshotLine("transaction", "pid 1", 5, 700.0),)),
        replace(HEALTHY, snapshots=(SnapshotLine("prepared transaction", "x", 5, 700.0),)),
        replace(
            HEALTHY,
            snapshots=(SnapshotLine("replication slot", "s (nobody reads it)", None, None),),
        ),
    ],
    "wraparound": [replace(HEALTHY, server=replace(SERVER, xids=1_500_000_000))],
    "no-room": [
        replace(HEALTHY, weeks=replace(WEEKS, current=False)),
        replace(HEALTHY, weeks=replace(WEEKS, ahead_s=2 * DAY_S)),
        replace(HEALTHY, weeks=Weeks(None, None, 0, None, None, False, None)),
    ],
    "history-grows": [replace(HEALTHY, weeks=replace(WEEKS, oldest_s=400 * DAY_S))],
}


def test_nothing_is_found_where_all_is_well() -> None:
    assert examine(HEALTHY) == ()


def test_what_is_near_a_limit_is_not_found() -> None:
    near = replace(
        HEALTHY,
        here=Here(skew_s=2.0, error_s=1.5),
        server=replace(SERVER, connections=70, xids=900_000_000),
        workers=(replace(WORKER, beat_s=14.0), replace(WORKER, id=9, executes=False, workflows=())),
        gone=(GoneLine(3, "w3", NOW, 30.0, 5), GoneLine(4, "w4", NOW, 600.0, 0)),
        tables=(replace(TABLE, dead=90_000), replace(TABLE, live=10**7, dead=200_000)),
        snapshots=(SnapshotLine("replication slot", "s", 5, None),),
        sessions=(session("active"),),
        weeks=replace(WEEKS, oldest_s=400 * DAY_S, forgotten_at=NOW),
    )
    assert examine(near) == ()


@pytest.mark.parametrize("code", [rule.code for rule in RULES])
def test_a_rule_finds_what_it_is_for_and_nothing_else_does(code: str) -> None:
    for facts in ILL[code]:
        found = examine(facts)
        assert {each.code for each in found} == {code}
        assert all(each.found and each.means and each.do and each.command for each in found)


def test_problems_come_first() -> None:
    found = examine(replace(told(fsync="off"), here=Here(unknown=("TROTH_X",))))
    assert [each.severity for each in found] == [Severity.PROBLEM, Severity.WARNING]
