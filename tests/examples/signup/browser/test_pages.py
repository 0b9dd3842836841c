"""Impatient people, in a real browser: one account, one charge, and pages that say what is true."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.examples.signup.browser.conftest import PATIENCE_MS, Service
from tests.harness.postgres import wait_until
from troth import Money

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("a running service"),  # it is started once
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

expect.set_options(timeout=PATIENCE_MS)

PASSWORD = "correct horse battery"
GOOD, DECLINED = "pm_card_visa", "pm_card_chargeDeclined"
PAYABLE, CLOSED = "GB82 WEST 1234 5698 7654 32", "NL84MOCK0000000003"


async def fill(page: Page, email: str, *, card: str = GOOD, start: str = "now") -> None:
    await page.goto("/signup?plan=pro")
    await refill(page, email, card=card, start=start)


async def refill(page: Page, email: str, *, card: str = GOOD, start: str = "now") -> None:
    await page.get_by_label("Name").fill("Ada")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.locator(f"input[name=start][value={start}]").check()
    await page.locator("select[name=card]").select_option(card)


def button(page: Page):
    return page.locator("main button")


async def ends(page: Page, title: str) -> None:
    """The page comes to this title, by looking again by itself."""
    await expect(page.locator("#title")).to_have_text(title, timeout=PATIENCE_MS)


async def sign_up(page: Page, email: str, **how: str) -> None:
    await fill(page, email, **how)
    await button(page).click()
    await ends(page, "Welcome")


async def log_in(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.goto("/login")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(password)
    await button(page).click()


async def exactly_one(service: Service, email: str) -> None:
    assert service.accounts(email) == 1
    assert len(await service.customers(email)) == 1
    assert len(await service.charges(email)) == 1


async def test_three_clicks_are_one_signup(page: Page, service: Service) -> None:
    await service.fault("hang_after", "^/v1/subscriptions$", count=1, seconds=2)
    posts = []
    page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
    await fill(page, "clicks@example.com")
    await page.evaluate("""() => {
        const form = document.querySelector('main form');
        for (let click = 0; click < 3; click++)
            fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form))});
    }""")
    await button(page).click(click_count=3)
    await ends(page, "Welcome")

    assert len(posts) >= 4, "the button was pressed in earnest"
    assert await page.locator("#money").get_attribute("data-money") == "charged"
    await exactly_one(service, "clicks@example.com")


async def test_the_page_tells_the_truth_while_an_answer_is_missing(
    page: Page, service: Service
) -> None:
    """The card is charged, and the answer is lost: nothing is claimed until it is found out. Reloads change nothing."""
    await service.fault("hang_after", "^/v1/subscriptions$", count=1, seconds=30)
    await fill(page, "truth@example.com")
    await button(page).click()
    money = page.locator("#money")
    await expect(money).to_have_attribute("data-money", re.compile("asked|unknown"))
    assert "charged" not in (await page.locator("#title").inner_text()).lower()
    for _ in range(3):
        await page.reload()
    await ends(page, "Welcome")
    await expect(money).to_have_text("Your card was charged once.")
    await page.reload()
    await ends(page, "Welcome")
    await exactly_one(service, "truth@example.com")


async def owe(service: Service, email: str, amount: str) -> None:
    """Support gives somebody credit."""
    [(account,)] = service.rows("SELECT id FROM signup.account WHERE email = %s", email)
    headers = {"authorization": f"Bearer {service.stage.support_key}"}
    async with httpx.AsyncClient(base_url=service.url) as http:
        url, body = f"/v1/accounts/{account}/credit", {"amount": amount}
        (await http.post(url, json=body, headers=headers)).raise_for_status()
    balance = (
        "SELECT count(*) FROM troth.ledger_transfer WHERE code = 'credit granted' AND amount = %s"
    )
    minor = Money.parse(amount, "EUR").minor
    await asyncio.to_thread(
        wait_until, lambda: service.rows(balance, minor) != [(0,)], "credit in the books"
    )


@pytest.mark.slow
async def test_credit_is_paid_out_once_while_the_bank_does_not_answer(
    page: Page, service: Service
) -> None:
    """Three clicks, and no answer: nothing is claimed until it is known. What the bank refuses is owed as before."""
    email = "credit@example.com"
    await sign_up(page, email, start="trial")
    await owe(service, email, "7.31")
    await log_in(page, email)
    await expect(page.locator("#credit")).to_have_text("€7.31")
    form = page.locator("form[action='/account/payout']")
    await form.get_by_label("Amount").fill("5.31")
    await form.get_by_label("IBAN").fill(PAYABLE)
    service.stage.stand_still("bank")
    try:
        await page.evaluate("""() => {
            const form = document.querySelector("form[action='/account/payout']");
            for (let click = 0; click < 3; click++)
                fetch(form.action, {method: 'POST', body: new URLSearchParams(new FormData(form))});
        }""")
        await form.get_by_role("button").click()
        money = page.locator("#money")
        await expect(money).to_have_attribute("data-money", "unknown")
        await expect(money).to_contain_text("not paid twice")
        await page.reload()
    finally:
        service.stage.go_on("bank")
    await ends(page, "Your credit is on its way")
    await expect(money).to_contain_text("Our bank has taken the order.")
    assert [one["amount"] for one in await service.payments() if one["status"] == "accepted"] == [
        531
    ]

    await page.goto("/account")
    await expect(page.locator("#credit")).to_have_text("€2.00")
    await form.get_by_label("IBAN").fill(CLOSED)
    await form.get_by_role("button").click()
    await ends(page, "That was not possible")
    await expect(page.locator("main")).to_contain_text("is closed")
    await expect(money).to_have_text("Nothing was paid out.")
    await page.goto("/account")
    await expect(page.locator("#credit")).to_have_text("€2.00")


@pytest.mark.slow
async def test_a_payment_that_cannot_be_is_not_begun(page: Page, service: Service) -> None:
    email = "typing@example.com"
    await sign_up(page, email, start="trial")
    await owe(service, email, "4.17")
    await log_in(page, email)
    form = page.locator("form[action='/account/payout']")
    await form.get_by_label("IBAN").fill(PAYABLE[:-1] + "1")
    await form.get_by_role("button").click()
    await expect(page.locator("main")).to_contain_text("a digit may be wrong")
    await page.goto("/account")
    await form.get_by_label("Amount").fill("4.18")
    await form.get_by_label("IBAN").fill(PAYABLE)
    await form.get_by_role("button").click()
    await ends(page, "That was not possible")
    await expect(page.locator("main")).to_contain_text("your credit is less than 4.18 EUR")


@pytest.mark.slow
async def test_the_back_button_and_another_click(page: Page, service: Service) -> None:
    """The form is the same form, so it is the same signup. With other values, it says that it was sent."""
    await sign_up(page, "back@example.com")
    first = page.url
    await page.go_back()
    await refill(page, "back@example.com")
    await button(page).click()
    await ends(page, "Welcome")
    assert page.url == first

    await page.go_back()
    await refill(page, "other@example.com")
    await button(page).click()
    await expect(page.locator("h1")).to_have_text("This form was sent before")
    await page.get_by_text("See what became of it").click()
    assert page.url == first
    assert service.accounts("other@example.com") == 0
    await exactly_one(service, "back@example.com")


@pytest.mark.slow
async def test_two_tabs_with_one_address(
    page: Page, person: BrowserContext, service: Service
) -> None:
    other = await person.new_page()
    for tab in (page, other):
        await fill(tab, "tabs@example.com")
    for tab in (page, other):
        await button(tab).click(no_wait_after=True)
    titles = set()
    for tab in (page, other):
        title = tab.locator("#title")
        await expect(title).to_have_text(re.compile("Welcome|You were not signed up"))
        titles.add(await title.inner_text())
        if await title.inner_text() != "Welcome":
            await expect(tab.locator("main")).to_contain_text("has an account already")
            await expect(tab.locator("#money")).to_have_text("Your card was not charged.")

    assert titles == {"Welcome", "You were not signed up"}
    await exactly_one(service, "tabs@example.com")


@pytest.mark.slow
async def test_a_refused_card_leaves_nothing(page: Page, service: Service) -> None:
    await fill(page, "refused@example.com", card=DECLINED)
    await button(page).click()
    await ends(page, "You were not signed up")

    await expect(page.locator("main")).to_contain_text("declined")
    await expect(page.locator("#money")).to_have_text("Your card was not charged.")
    assert service.accounts("refused@example.com") == 0
    assert await service.customers("refused@example.com") == []
    assert await service.charges("refused@example.com") == []
    await log_in(page, "refused@example.com")
    await expect(page.get_by_role("alert")).to_have_text("Address or password is wrong.")

    await sign_up(page, "refused@example.com")
    await exactly_one(service, "refused@example.com")


@pytest.mark.slow
async def test_a_worker_that_is_killed_while_somebody_waits(page: Page, service: Service) -> None:
    await service.fault("hang_after", "^/v1/subscriptions$", count=1, seconds=30)
    await fill(page, "killed@example.com")
    await button(page).click()
    await expect(page.locator("#money")).to_have_attribute("data-money", "asked")
    [(worker,)] = service.rows(
        "SELECT w.name FROM troth.worker w JOIN troth.run r ON r.owner = w.id "
        "WHERE convert_from(r.input, 'UTF8')::json ->> 'email' = 'killed@example.com'"
    )
    await service.stage.kill(worker)
    await ends(page, "Welcome")
    await exactly_one(service, "killed@example.com")


@pytest.mark.slow
async def test_an_account_from_the_first_day_to_the_last(page: Page, service: Service) -> None:
    email = "life@example.com"
    await sign_up(page, email, start="trial")
    await page.get_by_text("Log in", exact=True).last.click()
    await log_in(page, email, "wrong horse battery")
    await expect(page.get_by_role("alert")).to_have_text("Address or password is wrong.")
    await log_in(page, email)
    await expect(page.locator("#plan")).to_have_text("pro, 25 seats")
    await expect(page.locator("#subscription")).to_have_attribute("data-state", "trialing")

    await page.locator("input[name=plan][value=starter]").check()
    await page.get_by_role("button", name="Change", exact=True).click()
    await ends(page, "You have Starter now")
    await page.get_by_text("Your account").last.click()
    await expect(page.locator("#plan")).to_have_text("starter, 3 seats")

    await page.get_by_role("button", name="Cancel the subscription").click()
    await ends(page, "Your subscription has ended")
    await page.goto("/account")
    await expect(page.locator("#subscription")).to_have_attribute(
        "data-state", "canceled", timeout=PATIENCE_MS
    )
    await page.get_by_role("button", name="Close the account").click()
    await ends(page, "Your account is closed")
    await log_in(page, email)
    await expect(page.get_by_role("alert")).to_have_text("Address or password is wrong.")
    assert await service.charges(email) == []


@pytest.mark.slow
async def test_nobody_sees_the_account_of_another(
    browser: Browser, page: Page, service: Service
) -> None:
    await sign_up(page, "mine@example.com", start="trial")
    await log_in(page, "mine@example.com")
    await page.locator("input[name=plan][value=starter]").check()
    await page.get_by_role("button", name="Change", exact=True).click()
    await ends(page, "You have Starter now")
    change = page.url
    stranger = await browser.new_context(base_url=service.url)
    try:
        theirs = await stranger.new_page()
        answer = await theirs.goto(change)
        assert answer is not None
        assert answer.status == 404
        await theirs.goto("/account")
        assert theirs.url.endswith("/login")
    finally:
        await stranger.close()
