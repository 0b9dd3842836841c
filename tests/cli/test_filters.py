"""The filter of a page of the console, as options: every command that lists the same takes them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.harness.audit import audited
from troth.inbox.model import State as EventState
from troth.journal.model import Reason, RunState
from troth.outbox.model import State as DeliveryState
from troth.view.attention import AttentionFilter
from troth.view.filters import Criteria, Since
from troth.view.inbox import InboxFilter
from troth.view.outbox import OutboxFilter
from troth.view.requests import RequestFilter
from troth.view.runs import RunFilter
from troth.view.schedules import ScheduleFilter

SINCE = Since("2h")
FULL: dict[str, tuple[list[str], Criteria]] = {
    "runs": (
        ["run", "list"],
        RunFilter(
            states=frozenset({RunState.ATTENTION, RunState.FAILED}), reasons=frozenset({Reason.BUG}), workflow="pay",
            key="k", parent=uuid4(), since=SINCE,
        ),
    ),
    "attention": (
        ["attention", "list"],
        AttentionFilter(frozenset({Reason.IN_DOUBT}), workflow="pay", owner="ada", unclaimed=True),
    ),
    "requests": (
        ["request", "list"],
        RequestFilter(
            key="k", name="api", caller="ada", method="POST", route="/orders", status=201, unanswered=True, since=SINCE
        ),
    ),
    "events": (
        ["inbox", "list"],
        InboxFilter(frozenset(EventState), source="stripe", type="charge", object="ch_1", since=SINCE),
    ),
    "deliveries": (
        ["outbox", "list"],
        OutboxFilter(frozenset(DeliveryState), outbox="o", destination="d", endpoint=uuid4()),
    ),
    "deliveries of a message": (["outbox", "list"], OutboxFilter(message=uuid4())),
    "schedules": (["schedule", "list"], ScheduleFilter(workflow="pay", paused=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FULL)
def test_a_command_takes_what_a_page_filters_by(troth, name: str) -> None:
    command, which = FULL[name]
    code, out, err = troth(*command, *which.to_flags(), "-o", "json")
    assert (code, out.strip()) == (0, "[]"), err


def test_attention(troth, runs) -> None:
    _, out, _ = troth("attention", "list")
    assert runs["doubtful"] in out
    assert "in_doubt" in out
    _, out, _ = troth("attention", "list", "--reason", "bug", "-o", "jsonl")
    assert out.count("\n") == 1
    assert runs["broken"] in out
    _, out, _ = troth("attention", "reasons", "-o", "json")
    assert '"reason": "bug"' in out
    _, out, err = troth("attention", "list", "--limit", "1")
    after = err.split()[-1]
    _, rest, err = troth("attention", "list", "--limit", "1", "--after", after)
    assert (runs["doubtful"] in out) != (runs["doubtful"] in rest)
    code, _, err = troth("attention", "list", "--reason", "sorrow")
    assert code == 2
    assert "reason is 'sorrow': it must be one of in_doubt" in err


def test_requests(troth, cell) -> None:
    import psycopg

    url, schema = cell
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO {schema}.request (id, name, caller, method, route, key, salt, parts, status, headers, body, expires_at)"
            " VALUES (decode(md5('1'), 'hex'), 'api', 'ada', 'POST', '/orders', 'k-1', '', '{\"body\": \"x\"}', 201, '[]',"
            " '{\"secret\": 1}', now() + interval '1 day')"
        )
    _, out, _ = troth("request", "list", "--key", "k-1")
    assert "POST /orders" in out
    request = "c4ca4238a0b923820dcc509a6f75849b"
    assert request in out
    _, out, _ = troth("request", "show", request)
    assert "secret" not in out
    assert audited(cell) == []
    _, out, _ = troth("request", "show", request, "--payloads")
    assert "secret" in out
    (shown,) = audited(cell, "act, about, details")
    assert shown == ("payload.show", request, {"of": "request", "path": None})
    assert "secret" not in troth("request", "show", request, "-o", "json")[1]
    assert troth("request", "show", "ab" * 16)[0] == 2
