"""Workers and providers: what pages say is how they stand."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tests.cli.parked import Journal, park
from tests.console.conftest import rows, words
from tests.console.furnished import insert, worker


def line(page: str, row: str) -> str:
    """What a person reads in one row of a table."""
    found = re.search(rf'<tr id="{re.escape(row)}">.*?</tr>', page, re.DOTALL)
    assert found, row
    return words(found[0])


async def test_a_process_says_whether_it_beats_and_what_it_has_in_hand(cell, meet):
    well = worker(cell, "host-1:41", "order", "order@2")
    late = worker(cell, "host-2:42", "order", beat_s=12)
    web = worker(cell, "web-1:43", executes=False)
    run = park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow="order@2")
    rows(cell, "UPDATE {}.run SET owner = %s WHERE id = %s RETURNING 1", well, run)
    page = await meet().text("/workers")
    assert re.search(
        r"host-1:41 \d+ ✓ \d+ ms ago|host-1:41 \d+ ✓ \d\.\d s ago", line(page, f"w-{well}")
    )
    assert "5.0 s 1 order , order@2" in line(page, f"w-{well}")
    assert re.search(r"! 12\.\d s ago: late 5\.0 s 0 order", line(page, f"w-{late}"))
    assert "Who is late is found dead by the next one" in words(page)
    assert "it starts runs" in line(page, f"w-{web}")
    assert line(page, "v-order%402") == words(f"order@2 1 1 {moment(page, 'v-order%402')} 1")
    assert "Nobody can execute" not in words(page)


def moment(page: str, row: str) -> str:
    found = re.search(rf'<tr id="{re.escape(row)}">.*?<time[^>]*>([^<]*)<', page, re.DOTALL)
    assert found
    return found[1]


async def test_only_those_that_execute_or_one_of_them(cell, meet):
    well, web = worker(cell, "w", "order"), worker(cell, "web", executes=False)
    ada = meet()
    page = await ada.text("/workers?executes=true")
    assert f'id="w-{well}"' in page
    assert f'id="w-{web}"' not in page
    page = await ada.text(f"/workers?worker={web}")
    assert f'id="w-{well}"' not in page
    assert f'id="w-{web}"' in page
    assert "No process 99999 is there" in words(await ada.text("/workers?worker=99999"))
    assert (await ada.get("/workers?worker=x")).status_code == 400
    assert (await ada.get("/jump?q=web")).headers["location"] == f"/workers?worker={web}"


async def test_what_nobody_can_execute_stands_first(cell, meet):
    worker(cell, "web", executes=False)
    park(cell, Journal(), "bug", {"at": "x", "message": "m"}, workflow="retired@1")
    page = await meet().text("/workers")
    said = words(page)
    assert said.index("Nobody can execute this") < said.index("Process Beat")
    assert line(page, "n-retired%401").startswith("retired@1 1 1 ")
    assert "! nobody" in line(page, "v-retired%401")
    assert 'href="/runs?workflow=retired%401"' in page
    worker(cell, "w", "retired@1")
    assert "Nobody can execute" not in words(await meet().text("/workers"))


async def test_the_dead_are_listed_until_their_runs_are_let_go_of(cell, meet):
    run = park(cell, Journal(), "bug", {"at": "x", "message": "m"})
    gone = insert(cell, "worker_gone", id=77, name="host-9:1")
    rows(cell, "UPDATE {}.run SET owner = 77 WHERE id = %s RETURNING 1", run)
    page = await meet().text("/workers")
    assert "Found dead, and not let go of yet" in words(page)
    assert re.match(
        r"host-9:1 77 \S+ \S+ \d+ ms 1|host-9:1 77 \S+ \S+ \d\.\d s 1", line(page, f"g-{gone}")
    )


async def test_processes_come_in_pages(cell, meet):
    made = [worker(cell, f"w{n}", "order") for n in range(60)]
    ada = meet()
    page = await ada.text("/workers")
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following
    second = await ada.text(following[1].replace("&amp;", "&"))
    found = re.findall(r'<tr id="w-(\d+)"', page + second)
    assert [int(each) for each in found] == made


# Providers ------------------------------------------------------------------------------------------------------------


def provider(cell, name: str, **more) -> None:
    told = {
        "rate_limit": 100,
        "rate_per_s": 1.0,
        "breaker_failures": 20,
        "breaker_pause_s": 30.0,
        "concurrency": 8,
    }
    insert(cell, "provider", name=name, declared_by=1, **{**told, **more})


async def test_a_provider_says_whether_it_is_called_and_how_fast(cell, meet):
    provider(cell, "stripe", failures=3)
    provider(cell, "bank", rate_limit=None, rate_per_s=None, concurrency=None)
    provider(cell, "slow", breaker_failures=None, breaker_pause_s=None)
    rows(
        cell,
        "UPDATE {}.provider SET open_until = now() + interval '20 s' WHERE name = 'bank' RETURNING 1",
    )
    booked = "UPDATE {}.provider SET next_at = extract(epoch FROM now()) + 90 WHERE name = 'slow' RETURNING 1"
    rows(cell, booked)
    lease = {"provider": "stripe", "turn": 1, "in_flight_s": 1.0, "asked_at": "now"}
    insert(cell, "provider_lease", worker=1, held=3, demand=5, hungry_since="now", **lease)
    insert(cell, "provider_lease", worker=2, held=2, demand=2, lost_at="now", **lease)
    page = await meet().text("/providers")
    stripe, bank, slow = (line(page, f"p-{name}") for name in ("stripe", "bank", "slow"))
    assert "✓ closed: it is called 3 of 20 failures in a row" in stripe
    assert "100 per 1.0 s" in stripe
    assert "5 of 8 given out, 7 wanted by 2 workers, 1 with less than their share, 1 dead" in stripe
    assert "a worker that is gone" in stripe
    assert re.search(r"! open: it is not called tried again in (19|20)\.\d s", bank)
    assert re.search(r"1[01]\.\d s ago", bank), "open for 30 s, 20 s of them to come"
    failed = re.search(r'id="p-bank".*?<time datetime="([^"]+)"', page, re.DOTALL)
    assert failed
    assert 9 < (datetime.now(UTC) - datetime.fromisoformat(failed[1])).total_seconds() < 15
    assert "any number" in bank
    assert re.search(r"none .* 1 min (29|30) s|none .* 1 min \d+ s", slow)
    ada = meet()
    one = await ada.text("/providers?name=bank")
    assert re.findall(r'<tr id="p-(\w+)"', one) == ["bank"]
    assert (await ada.get("/jump?q=bank")).headers["location"] == "/providers?name=bank"
    rows(
        cell,
        "UPDATE {}.provider SET open_until = now() - interval '1 s' WHERE name = 'bank' RETURNING 1",
    )
    assert "one call tries it" in words(await ada.text("/providers?name=bank"))


async def test_where_there_is_nothing_pages_say_what_there_could_be(cell, meet):
    ada = meet()
    assert "No process is there. troth worker" in words(await ada.text("/workers"))
    assert "No provider declares a rate" in words(await ada.text("/providers"))
    assert "No provider of this name" in words(await ada.text("/providers?name=x"))
