"""Three doors: the application around it, people with a password, links that work once."""

from __future__ import annotations

import re

import httpx2
import psycopg
import pytest
import pytest_asyncio

from tests.cli import program
from tests.console.conftest import ORIGIN, words
from troth.access import Access, Limit, Passwords, Throttle
from troth.base.errors import UsageError
from troth.console import Console, Operator, Role
from troth.console.sign_in import COOKIE, Links

OWN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
PASSWORD = "correct horse battery"


@pytest_asyncio.fixture
async def browse(cell):
    """Browsers in front of a console: `browse(console)`."""
    opened: list[httpx2.AsyncClient] = []
    consoles: list[Console] = []

    def browser(console: Console) -> httpx2.AsyncClient:
        transport = httpx2.ASGITransport(app=console)
        opened.append(httpx2.AsyncClient(transport=transport, base_url=ORIGIN))
        consoles.append(console)
        return opened[-1]

    yield browser
    for each in opened:
        await each.aclose()
    for console in consoles:
        await console._watcher.close()
        await console._site.reach.close()


def token_of(page: str) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', page)
    assert found
    return found[1]


@pytest.mark.parametrize("given", [{}, {"identify": lambda _: None, "links": True}, {"roles": {}}])
def test_a_console_says_in_one_way_who_may_use_it(given):
    with pytest.raises(UsageError, match="say who may use the console, in one way"):
        Console(program.troth, **given)


def test_roles_are_for_people(cell):
    with pytest.raises(UsageError, match="for the groups of people"):
        Console(program.troth, identify=lambda _: None, roles={})


# Links ----------------------------------------------------------------------------------------------------------------


async def test_a_link_works_once(browse):
    used = []
    links = Links(Operator("ada@laptop", Role.ADMIN), lambda: used.append(1))
    console = Console(program.troth, links=links)
    mine, other = browse(console), browse(console)
    token = links.token()
    assert (await mine.get("/runs")).headers["location"] == "/sign-in?next=%2Fruns"
    entered = await mine.get(f"/sign-in?token={token}")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert token not in cookie
    assert "ada@laptop" in words((await mine.get("/runs")).text)
    assert used == [1], "the next link can be told"

    again = await other.get(f"/sign-in?token={token}")
    assert again.status_code == 401
    assert "was used already" in words(again.text)
    assert (await other.get("/runs")).status_code == 303
    assert (await other.get("/sign-in?token=" + "x" * 43)).status_code == 401
    assert (await other.get("/sign-in?token=%FF%00")).status_code == 401


async def test_a_session_of_a_link_ends(browse, monkeypatch):
    import troth.console.sign_in as module

    links = Links(Operator("ada", Role.ADMIN))
    mine = browse(Console(program.troth, links=links))
    await mine.get(f"/sign-in?token={links.token()}")
    page = (await mine.get("/runs")).text
    now = module.time.monotonic()
    monkeypatch.setattr(module.time, "monotonic", lambda: now + module.SESSION_S + 1)
    assert (await mine.get("/runs")).status_code == 303
    monkeypatch.undo()
    left = await mine.post("/sign-out", data={"form_token": token_of(page)}, headers=OWN)
    assert left.status_code == 303
    assert (await mine.get("/runs")).status_code == 303


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/runs?state=attention", "/runs?state=attention"),
        ("//evil.test/x", "/"),
        ("https://evil.test", "/"),
        ("/\\evil.test", "/"),
        ("/\n/evil.test", "/"),
    ],
)
async def test_signing_in_leads_where_one_was_going_and_never_elsewhere(wanted, leads_to, browse):
    links = Links(Operator("ada", Role.ADMIN))
    mine = browse(Console(program.troth, links=links))
    entered = await mine.get("/sign-in", params={"token": links.token(), "next": wanted})
    assert entered.headers["location"] == leads_to


# People ---------------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def people(cell):
    """An `Access` with a person of each role, and one without."""
    url, schema = cell
    access = Access(
        passwords=Passwords(memory_kib=64, passes=1, lanes=1),
        throttle=Throttle(pair=Limit(2)),
    )
    access.bind(schema)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for name in ("viewer", "operator", "admin"):
            await access.people.add(
                connection, f"{name}@example.com", PASSWORD, groups=["staff", f"troth-{name}"]
            )
        await access.people.add(connection, "nobody@example.com", PASSWORD, groups=["staff"])
    return access


async def sign_in(browser: httpx2.AsyncClient, email: str, password: str = PASSWORD):
    page = (await browser.get("/sign-in?next=%2Fruns")).text
    form = {"form_token": token_of(page), "email": email, "password": password}
    return await browser.post("/sign-in?next=%2Fruns", data=form, headers=OWN)


async def test_people_sign_in_and_their_groups_say_what_they_may(people, browse):
    console = Console(program.troth, people=people)
    for name in ("viewer", "operator", "admin"):
        browser = browse(console)
        entered = await sign_in(browser, f"{name}@example.com")
        assert (entered.status_code, entered.headers["location"]) == (303, "/runs")
        assert f"{name}@example.com {name}" in words((await browser.get("/runs")).text)
        left = (await browser.get("/runs")).text
        await browser.post("/sign-out", data={"form_token": token_of(left)}, headers=OWN)
        assert (await browser.get("/runs")).status_code == 303


async def test_who_is_in_no_group_of_the_console_stays_outside(people, browse, cell):
    browser = browse(Console(program.troth, people=people))
    refused = await sign_in(browser, "nobody@example.com")
    assert refused.status_code == 401
    assert "it is for members of troth-viewer" in words(refused.text)
    assert COOKIE not in browser.cookies
    with psycopg.connect(cell[0]) as connection:
        assert connection.execute(f"SELECT count(*) FROM {cell[1]}.session").fetchone() == (0,)


async def test_a_program_has_groups_of_its_own(people, browse):
    browser = browse(Console(program.troth, people=people, roles={"staff": Role.VIEWER}))
    assert (await sign_in(browser, "nobody@example.com")).status_code == 303
    assert "nobody@example.com viewer" in words((await browser.get("/runs")).text)


async def test_wrong_passwords_are_told_and_slowed_down(people, browse):
    browser = browse(Console(program.troth, people=people))
    for _ in range(2):
        wrong = await sign_in(browser, "admin@example.com", "wrong wrong wrong")
        assert wrong.status_code == 401
    slowed = await sign_in(browser, "admin@example.com")
    assert slowed.status_code == 401
    assert "too many" in words(slowed.text).lower()


async def test_a_person_who_is_disabled_is_out_at_once(people, browse, cell):
    browser = browse(Console(program.troth, people=people))
    await sign_in(browser, "admin@example.com")
    assert (await browser.get("/runs")).status_code == 200
    async with await psycopg.AsyncConnection.connect(cell[0], autocommit=True) as connection:
        admin = await people.people.find(connection, "admin@example.com")
        await people.people.disable(connection, admin.id)
    assert (await browser.get("/runs")).status_code == 303


async def test_a_part_of_a_page_is_sent_to_the_door_as_a_whole(people, browse):
    browser = browse(Console(program.troth, people=people))
    answer = await browser.get("/runs?state=failed", headers={"hx-request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in?next=%2Fruns%3Fstate%3Dfailed"
