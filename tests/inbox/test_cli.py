"""`troth inbox` as a user meets it."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest

from tests.harness.audit import audited
from tests.inbox.site import Site, stripe_event
from troth.cli.failure import fail
from troth.cli.inbox import app


@pytest.fixture
def troth(site: Site, capsys):
    """Run `troth inbox ...` on this test's schema; returns exit code, standard output and error."""

    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = app(
                [*tokens, "--database-url", site.url, "--schema", site.schema],
                exit_on_error=False,
                result_action="return_value",
            )
        except Exception as error:  # noqa: BLE001  (as the root of the command line does)
            code = fail(error)
        printed = capsys.readouterr()
        return code or 0, printed.out, printed.err

    return invoke


@pytest.fixture
def events(site: Site) -> Site:
    """An event in each state, one conflict, and one that came by sweep alone."""
    inbox = site.inbox()
    states = ("received", "parked", "applied", "superseded", "ignored", "quarantined")
    asyncio.run(site.deliver(inbox, *(stripe_event(n, about=f"o{n}") for n in range(len(states)))))
    asyncio.run(site.deliver(inbox, stripe_event(2, about="changed")))
    for n, state in enumerate(states):
        site.rows(
            "UPDATE {s}.inbox_event SET state = %s, reason = %s WHERE event_id = %s",
            state,
            f"Traceback\n  why {state}",
            f"evt_{n}",
        )
    site.rows(
        "UPDATE {s}.inbox_event SET delivered = 0, found_by = 'sweep', received_at = now() - interval '1 hour' WHERE event_id = 'evt_1'"
    )
    return site


def test_list_says_how_sources_stand(troth, events):
    _, out, _ = troth("list", "-o", "json")
    (line,) = json.loads(out)
    assert line.pop("oldest_seconds") == pytest.approx(3600, abs=100)
    assert line == {
        "source": "stripe", "received": 1, "parked": 1, "quarantined": 1, "applied_24h": 1, "superseded_24h": 1, "ignored_24h": 1,
        "only_by_sweep": 1, "conflicts": 1, "swept_at": None, "sweep_error": None,
    }  # fmt: skip
    _, out, _ = troth("list")
    assert "1 h" in out
    assert "only by sweep" in out
    assert json.loads(troth("list", "--source", "other", "-o", "json")[1]) == []


def test_list_of_nothing(troth):
    assert troth("list")[1] == "No events have come.\n"


def test_list_of_a_state(troth, events):
    _, out, _ = troth("list", "--state", "quarantined")
    assert "evt_5" in out
    assert "why quarantined" in out
    assert "evt_1" not in out
    assert troth("list", "--state", "quarantined", "--source", "other")[1] == "No events match.\n"
    assert troth("list", "--state", "quarantined", "--limit", "0")[0] == 2


def test_show_tells_all_and_hides_what_is_said(troth, events):
    _, out, _ = troth("show", "evt_2")
    assert "applied" in out
    assert "Another content" in out
    assert "number" not in out
    cell = (events.url, events.schema)
    assert audited(cell) == []
    _, out, _ = troth("show", "evt_2", "--payloads", "-o", "json")
    ((act, about, details),) = audited(cell, "act, about, details")
    assert (act, about, details) == ("payload.show", "evt_2", {"of": "event", "path": None})
    told = json.loads(out)
    assert json.loads(told["body"])["id"] == "evt_2"
    assert json.loads(told["conflicts"][0]["body"])["data"]["object"]["id"] == "changed"
    code, _, error = troth("show", "evt_99")
    assert code == 1
    assert "there is no event evt_99 from stripe" in error


def test_the_same_id_at_two_sources(troth, events):
    with psycopg.connect(events.url, autocommit=True) as connection:
        connection.execute(
            f"SELECT {events.schema}.inbox_accept('other', 'evt_2', 't', 'o', NULL, NULL, 'webhook', 'x', 'd', '{{}}', '{{}}')"
        )
    code, _, error = troth("show", "evt_2")
    assert code == 1
    assert "other, stripe" in error.replace("stripe, other", "other, stripe")
    assert troth("show", "evt_2", "--source", "other")[0] == 0


def test_replay_puts_back_and_says_who(troth, events):
    code, out, _ = troth("replay", "evt_5", "--by", "ada", "--note", "mended")
    assert (code, out) == (
        0,
        "evt_5 is put back: it was quarantined, and is applied by the next worker\n",
    )
    assert "ada" in troth("show", "evt_5")[1]
    assert "mended" in troth("show", "evt_5")[1]
    assert (
        troth("replay", "--ignored", "--by", "ada")[1]
        == "1 events are put back that were ignored\n"
    )
    assert {events.states()[each] for each in ("evt_4", "evt_5")} == {"received"}
    assert audited((events.url, events.schema), "act, about, by, note, result") == [
        ("inbox.replay", "evt_5", "ada", "mended", {"was": "quarantined"}),
        ("inbox.replay_all", "ignored", "ada", None, {"events": ["evt_4"]}),
    ]
    code, _, error = troth("replay", "evt_2")
    assert code == 1
    assert "is applied" in error
    assert troth("replay")[0] == 2
    assert troth("replay", "evt_4", "--quarantined")[0] == 2
    assert troth("replay", "evt_4", "--type", "invoice.paid")[0] == 2


def test_replay_of_a_kind_leaves_the_others_alone(troth, events):
    none = "0 events are put back that were quarantined\n"
    assert troth("replay", "--quarantined", "--type", "no.such")[1] == none
    assert troth("replay", "--quarantined", "--object", "no such")[1] == none
    with psycopg.connect(events.url) as connection:
        (kind, about), = connection.execute(
            f"SELECT type, object_key FROM {events.schema}.inbox_event WHERE event_id = 'evt_5'"
        ).fetchall()  # fmt: skip
    done = troth("replay", "--quarantined", "--type", kind, "--object", about)[1]
    assert done == "1 events are put back that were quarantined\n"
    assert events.states()["evt_5"] == "received"
