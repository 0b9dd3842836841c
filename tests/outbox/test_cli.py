"""`troth outbox` as an operator meets it."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.outbox.destinations import Memory
from troth.cli import outbox as noun
from troth.cli.failure import fail
from troth.integrations.webhooks_out import Webhooks
from troth.outbox import Outbox
from troth.store.connect import connect_blocking


@pytest.fixture
def troth(migrated, capsys):
    """Run `troth outbox …` on this test's schema; exit code, standard output and error."""
    url, schema = migrated

    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        given = [*tokens, "--database-url", url, "--schema", schema]
        try:
            code = noun.app(given, exit_on_error=False, result_action="return_value") or 0
        except Exception as error:  # noqa: BLE001
            code = fail(error)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return invoke


@pytest.fixture
def published(migrated):
    """(endpoint, its secret, a dead message, one in doubt); one more waits at the endpoint."""
    url, schema = migrated
    events = Outbox("events", destinations=[Webhooks(), Memory()])
    events.bind(schema)
    with connect_blocking(url) as tx:
        endpoint, secret = events.endpoints.add_blocking(tx, "https://a.example/hook", types=["a"])
        dead = events.publish_blocking(tx, "b", 1, key="k")
        doubt = events.publish_blocking(tx, "b", 2)
        events.publish_blocking(tx, "a", 3)
        for message, state in ((dead, "dead"), (doubt, "in_doubt")):
            tx.execute(
                f"UPDATE {schema}.outbox_delivery SET state = '{state}', ended_at = now() WHERE message = %s",
                (message,),
            )
        tx.execute(
            f"INSERT INTO {schema}.outbox_attempt (delivery, claim, outcome)"
            f" SELECT id, 1, '550' FROM {schema}.outbox_delivery WHERE message = %s",
            (dead,),
        )
    return endpoint, secret, dead, doubt


def test_lag_says_who_is_behind(troth, published):
    code, out, _ = troth("lag", "-o", "json")
    lines = {each["destination"]: each for each in json.loads(out)}
    assert code == 0
    assert lines["events/webhooks"]["pending"] == 1
    assert lines["events/webhooks"]["oldest_s"] > 0
    memory = lines["events/memory"]
    assert (memory["pending"], memory["dead"], memory["in_doubt"]) == (1, 1, 1)
    assert "https://a.example/hook" in troth("lag")[1]


def test_dead_and_list(troth, published):
    endpoint, _, dead, doubt = published
    lines = json.loads(troth("dead", "-o", "json")[1])
    assert [(each["message"], each["state"], each["last"]) for each in lines] == [
        (str(doubt), "in_doubt", None),
        (str(dead), "dead", "550"),
    ]
    (line,) = json.loads(troth("list", "--endpoint", str(endpoint), "-o", "json")[1])
    assert line["state"] == "pending"
    assert str(dead) in troth("list", str(dead))[1]
    assert troth("list", "--state", "dropped")[1] == "No deliveries.\n"
    assert troth("list", "--limit", "0")[0] == 2


def test_resend_is_recorded_and_leaves_what_is_in_doubt_to_a_person(troth, published, migrated):
    url, schema = migrated
    _, _, dead, doubt = published
    assert troth("resend")[0] == 2
    assert troth("resend", "--since", "1h", "--by", "ada", "--note", "mended")[1].startswith("1 ")
    assert troth("resend", str(doubt), "--by", "bob")[1].startswith("1 ")
    with psycopg.connect(url) as tx:
        acts = tx.execute(f"SELECT act, by, note, result FROM {schema}.operator_act ORDER BY id")
        assert acts.fetchall() == [
            ("outbox.resend_all", "ada", "mended", {"messages": [str(dead)]}),
            ("outbox.resend", "bob", None, {"messages": [str(doubt)]}),
        ]
    assert troth("dead")[1] == "No dead letters.\n"


def test_endpoints_are_switched_and_their_secrets_not_shown(troth, published):
    endpoint, secret, _, _ = published
    code, out, _ = troth("endpoint", "disable", str(endpoint), "--by", "ada")
    assert (code, "disabled" in out) == (0, True)
    for form in ("json", "table"):
        listed = troth("endpoint", "list", "-o", form)[1]
        assert "disabled by ada" in listed
        assert secret not in listed
    assert troth("endpoint", "enable", str(endpoint))[0] == 0
    (line,) = json.loads(troth("endpoint", "list", "-o", "json")[1])
    assert line["disabled_since"] is None
    code, _, err = troth("endpoint", "enable", "01a20bfa-bd1c-76a5-8000-d7a5de594954")
    assert (code, "no endpoint" in err) == (1, True)
