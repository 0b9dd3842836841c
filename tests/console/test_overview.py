"""The first screen: counters that lead to what they count, charts, what goes wrong, who is at work."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from tests.cli.parked import Journal, in_doubt
from tests.console.conftest import rows, words
from tests.console.test_attention_pages import BUG, sent, waits
from tests.console.test_runs import listed
from troth.base import codec


def tiles(page: str) -> dict[str, tuple[str, str | None]]:
    """Each counter: its number, and where it leads."""
    found = re.findall(
        r'<(?:a class="tile" href="([^"]*)"|div class="tile")><span class="n[^"]*">([^<]*)</span>'
        r'<span class="label">([^<]*)</span>',
        page,
    )
    return {label: (n.strip(), html.unescape(href) or None) for href, n, label in found}


async def test_counters_lead_to_what_they_count(runs, meet):
    ada = meet()
    page = await ada.text("/overview")
    found = tiles(page)
    assert found["waiting"] == ("1", "/runs?state=waiting")
    assert found["needs attention"] == ("2", "/attention")
    assert found["ready"][0] == "0"
    assert listed(await ada.text("/runs?state=waiting")) == [runs["listener"]]
    assert found["dead letters"][0] == "0"
    assert found["workers"][0] == "0"
    assert found["oldest in a queue"][0] == "–"
    said = words(page)
    assert "No worker is there" in said
    assert "No worker executes: broken (1 run), doubtful (1 run), listener (1 run)." in said
    assert 'href="/attention?reason=in_doubt"' in page
    assert (await ada.get("/")).headers["location"] == "/overview"


async def test_links_of_counters_are_filters_that_their_screens_understand(cell, meet):
    ada = meet()
    for label, (_, href) in tiles(await ada.text("/overview")).items():
        if href is not None:
            page = await ada.get(href)
            assert page.status_code == 200, label
            for word, values in parse_qs(urlsplit(href).query).items():
                for value in values:
                    box = rf'name="{word}" value="{value}"\s+checked'
                    tab = rf'href="[^"]*\b{word}={value}[^"]*"\s+aria-current="true"'
                    assert re.search(f"{box}|{tab}", page.text), label


async def test_what_goes_wrong_is_grouped_and_leads_to_its_runs(runs, cell, meet):
    ada = meet()
    page = await ada.text("/overview")
    troubles = re.findall(r'<tr id="w-\d+".*?</tr>', page, re.DOTALL)
    failed = next(each for each in troubles if "refuse" in each)
    assert "troth.base.errors.Refused" in words(failed)
    assert "no stock" in words(failed)
    link = re.search(r'href="(/runs\?[^"]+)">1</a>', failed)
    assert link
    assert listed(await ada.text(html.unescape(link[1]))) == [runs["refuse"]]
    broken = next(each for each in troubles if "broken" in each)
    assert "divide builtins.ZeroDivisionError" in words(broken)
    link = re.search(r'href="(/attention\?[^"]+)">1</a>', broken)
    assert link
    assert runs["broken"] in await ada.text(html.unescape(link[1]))


async def test_what_waits_for_a_person_first_is_told_first(cell, meet):
    made = [waits(cell, sent(), "in_doubt", in_doubt(), 1000 - n) for n in range(6)]
    page = await meet().text("/overview")
    assert re.findall(r'<tr id="f-([0-9a-f-]{36})"', page) == [str(run) for run in made[:5]]
    assert "All that waits for a person" in words(page)
    assert "16 min 40 s oldest in attention" in words(page)
    assert f'href="/effects/{made[0]}?path=refund"' in page


MINUTES = """
INSERT INTO {}.worker_minute (minute, worker, workflow, started, succeeded, failed, cancelled, attention, steps, effects_unknown)
SELECT date_trunc('minute', now()) - n * interval '1 minute', 1, 'shop', 10, 7, 2, 1, 3, 40, 4 FROM generate_series(1, 30) n
RETURNING 1
"""


async def test_charts_show_what_workers_have_said_and_not_the_minute_that_is_not_over(cell, meet):
    rows(cell, MINUTES)
    ada = meet()
    page = await ada.text("/overview")
    first, second = (
        codec.decode(html.unescape(each).encode())
        for each in re.findall(r'data-chart="([^"]*)"', page)
    )
    assert [each["label"] for each in first["series"]] == ["started", "succeeded"]
    assert [each["label"] for each in second["series"]] == [
        "failed",
        "cancelled",
        "attention",
        "unknown",
    ]
    assert len(first["x"]) == 60
    assert first["series"][0]["values"][-29:] == [10] * 29
    assert sum(second["series"][0]["values"]) >= 29 * 2
    assert (
        "300 started; 210 succeeded; 60 failed; 30 cancelled; 90 came into attention; 120 outcomes"
        in words(page)
    )
    day = await ada.text("/overview?span=24h")
    assert "A point is 15 min" in words(day)
    assert "300 started" in words(day)
    assert (await ada.get("/overview?span=1y")).status_code == 400


WORKERS = """
INSERT INTO {}.worker (name, executes, workflows, lease_s, beat_at) VALUES
('w1', true, '{{shop}}', 30, clock_timestamp()), ('w2', true, '{{}}', 3, now() - interval '9 seconds'), ('c', false, '{{}}', 3, now())
RETURNING 1
"""


async def test_who_is_at_work_and_who_is_late(cell, meet):
    waits(cell, Journal(), "bug", BUG, workflow="shop")
    rows(cell, WORKERS)
    page = await meet().text("/overview")
    first, second = (words(each) for each in re.findall(r'<tr id="p-\d+".*?</tr>', page, re.DOTALL))
    assert first.startswith("w1 0")
    assert "later" not in first
    assert "later than its lease" in second
    assert tiles(page)["workers"][0] == "2"
    assert "No worker executes" not in words(page)


# Jumping --------------------------------------------------------------------------------------------------------------


async def test_an_idempotency_key_leads_to_its_effect(cell, meet):
    run = waits(cell, sent(), "in_doubt", in_doubt())
    ada = meet()
    for key in (f"{run}/refund", f"{run}/refund~1", f" '{run}/refund' "):
        answer = await ada.get("/jump", params={"q": key})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/effects/{run}?path=refund"
    page = await ada.text(answer.headers["location"])
    assert "At stake: EUR 7.00" in words(page)


async def test_what_may_mean_several_things_is_chosen_from(cell, meet):
    one = waits(cell, Journal(), "bug", BUG, workflow="shop")
    query = "INSERT INTO {}.start_key (key, run_id, digest) VALUES ('shop', %s, '') RETURNING 1"
    rows(cell, query, one)
    page = await meet().text("/jump?q=shop")
    assert "This may mean" in words(page)
    assert f'href="/runs/{one}"' in page
    assert 'href="/runs?workflow=shop"' in page


async def test_what_was_not_found_says_what_was_searched(cell, meet):
    answer = await meet().get("/jump", params={"q": f"{UUID(int=5)}/refund"})
    said = words(answer.text)
    assert answer.status_code == 404
    assert f"Nothing here has the id, the key or the name {UUID(int=5)}/refund" in said
    assert "What was searched" in said
    assert "effects, by idempotency key" in said
