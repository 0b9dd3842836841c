"""Lists that the console has, too: by the same filters, with the same pages; and where an id leads."""

from __future__ import annotations

import json
import shlex

import pytest

from tests.cli.parked import Journal, in_doubt, park
from tests.console import kept
from tests.console.furnished import decision, insert, schedule, worker
from troth.cli.find import command
from troth.console.jumping import PLACES
from troth.view.jump import Target


def test_workers_that_are_there_and_those_that_were_found_dead(troth, cell):
    assert troth("worker", "list")[1] == "No such process is there.\n"
    busy = worker(cell, "w-1", "shop", "pay", "ship", "refund", "mail", beat_s=60)
    client = worker(cell, "web-1", executes=False)
    insert(cell, "worker_gone", id=77, name="lost")
    code, out, error = troth("worker", "list")
    (line,) = [line for line in out.splitlines() if "w-1" in line]
    assert "1 min ago: late" in line
    assert "and 1 more" in line
    assert "lost (77) was found dead" in error
    assert (code, "web-1" in out) == (0, True)
    assert "web-1" not in troth("worker", "list", "--executes")[1]
    found = json.loads(troth("worker", "list", "--worker", str(client), "-o", "json")[1])
    assert [(each["id"], each["executes"]) for each in found] == [(client, False)]
    _, out, error = troth("worker", "list", "--limit", "1")
    assert f" {busy} " in out
    after = error.split("--after ")[1].split()[0]
    assert f" {client} " in troth("worker", "list", "--after", after)[1]


def test_providers_whether_they_are_called(troth, cell):
    assert troth("provider", "list")[1] == "No provider declares any of these.\n"
    told = {"rate_limit": 10, "rate_per_s": 1.0, "concurrency": 4, "declared_by": 1}
    breaker = {"breaker_failures": 2, "breaker_pause_s": 30.0, "open_until": "2126-01-01"}
    insert(cell, "provider", name="bank", **told, **breaker)
    insert(cell, "provider", name="mail", declared_by=1, concurrency=2)
    out = troth("provider", "list")[1]
    (line,) = [line for line in out.splitlines() if "bank" in line]
    for said in ("open, tried again in", "10 per 1.0 s", "0 of 4"):
        assert said in line, line
    assert "bank" not in troth("provider", "list", "--name", "mail")[1]
    (found,) = json.loads(troth("provider", "list", "--name", "bank", "-o", "json")[1])
    assert (found["breaker"], found["rate_limit"]) == ("open", 10)


def test_decisions_by_what_was_answered(troth, cell):
    assert troth("access", "decisions")[1] == "No decisions match.\n"
    denied = decision(cell)
    allowed = decision(cell, allowed=True, because="permit", principal_id="ada")
    out = troth("access", "decisions")[1]
    assert out.index(allowed) < out.index(denied), "the latest first"
    assert allowed not in troth("access", "decisions", "--verdict", "denied")[1]
    assert denied not in troth("access", "decisions", "--principal", "ada")[1]
    (found,) = json.loads(troth("access", "decisions", "--action", "Account::read", "--verdict", "denied", "-o", "json")[1])  # fmt: skip
    assert (found["id"], found["because"]) == (denied, "default")
    assert troth("access", "decisions", "--limit", "0")[0] == 2


def test_an_id_leads_to_the_command_that_shows_it(troth, cell):
    run = park(cell, Journal().sent("refund").lost("refund"), "in_doubt", in_doubt())
    kept.event(cell, "evt_1", source="a b")
    message = kept.message(cell, kept.endpoint(cell))
    schedule(cell, "nightly")
    kept.made(cell, "machine_object", machine="order", id="o 1", state="paid", seq=1, since="2026-11-24")  # fmt: skip
    for text, shown in {
        str(run): f"troth run show {run}",
        f"{run}/refund": f"troth effect show {run} refund",
        "evt_1": "troth inbox show evt_1 --source 'a b'",
        str(message): f"troth outbox list {message}",
        kept.request(cell): "troth request show " + "01" * 32,
        "nightly": "troth schedule show nightly",
        "o 1": "troth machine show order 'o 1'",
    }.items():
        code, out, _ = troth("find", text, "-o", "json")
        (first, *_) = json.loads(out)
        assert (code, first["shown by"]) == (0, shown)
        assert troth(*shlex.split(shown)[1:])[0] == 0, shown
    code, out, error = troth("find", "nothing of this name")
    assert (code, out.strip()) == (1, "")
    assert "Nothing has the id, the key or the name 'nothing of this name'" in error


@pytest.mark.parametrize("screen", PLACES)
def test_whatever_the_console_jumps_to_has_a_command(screen):
    words = shlex.split(command(Target(screen, "--{within} x", "", "y")))
    assert words[0] == "troth"
    assert "--{within} x" in words, "the id as it is, a word by itself"
