"""`troth access` as an operator meets it."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from tests.access.conftest import CHEAP
from tests.access.test_decisions import ACCOUNT, ADA, BOB
from troth.access import NotAuthenticatedError
from troth.access import passwords as module
from troth.base.errors import UsageError
from troth.cli.access import app


@pytest.fixture
def troth(migrated, capsys, monkeypatch):
    """Run `troth access ...`; returns exit code and standard output."""
    url, schema = migrated

    def invoke(*tokens, typed=""):
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        more = ["--database-url", url, "--schema", schema]
        code = app([*tokens, *more], exit_on_error=False, result_action="return_value")
        return code or 0, capsys.readouterr().out

    return invoke


def decided(access, begin, *asked):
    async def go():
        async with begin() as tx:
            return await access.decide(tx, *asked)

    return asyncio.run(go())


def test_why_a_person_may_not(troth, access, begin):
    decision = decided(access, begin, BOB, "Account::read", ACCOUNT)
    for tokens in (
        ["why", str(decision.id)],
        ["why", "--principal", "bob", "--action", "Account::read", "--resource", "a1"],
    ):
        code, out = troth(*tokens)
        assert code == 0
        assert "denied: no policy permits it" in out
        assert "tenant-reads, line 2: not true: when (principal has tenant) && (" in out
        assert "tenant-changes-plan: another action" in out
        assert "staff-does-all: another principal" in out
        assert "other" not in out.replace(
            "another", ""
        )  # what is known of people is shown on demand
    assert '"tenant"' in troth("why", str(decision.id), "--payloads")[1]


def test_why_a_person_may(troth, access, begin):
    decision = decided(access, begin, ADA, "Account::read", ACCOUNT)
    _, out = troth("why", str(decision.id))
    assert "allowed: a policy permits it" in out
    assert "permit tenant-reads, line 2" in out
    assert "principal.tenant == resource.tenant" in out
    assert "It reads principal.tenant, resource.tenant." in out


def test_why_of_nothing(troth):
    assert troth("why", "01a20bfa-bd1c-76a5-8000-d7a5de594954")[0] == 1
    assert troth("why", "--principal", "nobody")[0] == 1
    with pytest.raises(UsageError, match="say which"):
        troth("why")


def test_the_life_of_a_key(troth, access, begin_blocking, sql):
    assert troth("key", "list")[1] == "There are no API keys.\n"
    first = troth(
        "key",
        "create",
        "export",
        "--scope",
        "Account::read",
        "--tenant",
        "acme",
        "--lifetime",
        "90d",
    )[1].strip()
    prefix = first.split("_")[1]
    second = troth("key", "rotate", prefix, "--overlap", "1h", "--by", "ops", "--note", "yearly")[
        1
    ].strip()
    (newer, older) = json.loads(troth("key", "list", "-o", "json")[1])
    assert (older["prefix"], older["name"], older["scopes"]) == (
        prefix,
        "export",
        ["Account::read"],
    )
    assert newer["machine"] == older["machine"]
    assert first.split("_")[2] not in troth("key", "list")[1]
    assert "is not valid any more" in troth("key", "revoke", prefix)[1]
    with begin_blocking() as tx:
        assert access.authenticate_blocking(tx, api_key=second).tenant == "acme"
        with pytest.raises(NotAuthenticatedError):
            access.authenticate_blocking(tx, api_key=first)
    acts = sql("SELECT act, about, by, note, result->>'prefix' FROM {}.operator_act ORDER BY id")
    assert [(act[0], act[1], act[4]) for act in acts] == [
        ("access.key.create", "export", prefix),
        ("access.key.rotate", prefix, second.split("_")[1]),
        ("access.key.revoke", prefix, None),
    ]
    assert acts[1][2:4] == ("ops", "yearly")


def test_people_and_their_sessions(troth, access, begin_blocking, sql, monkeypatch):
    monkeypatch.setattr(module, "Passwords", lambda: CHEAP)
    assert troth("session", "list")[1] == "Nobody is logged in.\n"
    person = troth("person", "add", "ada@example.com", "--group", "staff", typed="correct horse\n")[
        1
    ].strip()
    for _ in range(2):
        access.log_in_blocking(
            begin_blocking, "ada@example.com", "correct horse", client="10.0.0.1"
        )
    listed = json.loads(troth("session", "list", "--email", "ADA@example.com", "-o", "json")[1])
    assert {each["client"] for each in listed} == {"10.0.0.1"}
    assert troth("session", "end", listed[0]["id"])[1] == "1 ended.\n"
    assert troth("session", "end", "--email", "ada@example.com")[1] == "1 ended.\n"
    assert "is disabled" in troth("person", "disable", "ada@example.com")[1]
    assert sql("SELECT disabled_at IS NOT NULL, id::text FROM {}.person") == [(True, person)]
    with pytest.raises(UsageError, match="nobody has the address"):
        troth("person", "disable", "nobody@example.com")
    acts = [row[0] for row in sql("SELECT act FROM {}.operator_act ORDER BY id")]
    assert acts == [
        "access.person.add",
        "access.session.end",
        "access.session.end_all",
        "access.person.disable",
    ]
