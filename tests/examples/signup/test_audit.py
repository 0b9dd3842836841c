"""The comparison of the demo finds what is planted: it is no check if it cannot fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from examples.signup.demo.audit import Account, Finding, Remote, Run, Truths, Verdict, compare

ADA, BOB = "ada@example.com", "bob@example.com"


def account(name: str) -> Account:
    return Account(f"id-{name}", f"{name}@example.com", 1, 1, 1, f"cus-{name}", f"sub-{name}")


def run(name: str) -> Run:
    return Run(f"run-{name}", f"{name}@example.com", "succeeded", None, None, sent=True)


IN_DOUBT = Run("run-bob", BOB, "attention", "in_doubt", "send_welcome", sent=False)

TRUTHS = Truths(
    accounts=[account("ada"), account("bob")],
    runs=[run("ada"), run("bob")],
    customers=[Remote("cus-ada", "id-ada"), Remote("cus-bob", "id-bob")],
    subscriptions=[Remote("sub-ada", "id-ada"), Remote("sub-bob", "id-bob")],
    mails=[ADA, BOB],
)


def verdict(**changes: object) -> Verdict:
    return compare([ADA, BOB], replace(TRUTHS, **changes))


def found(verdict: Verdict) -> set[tuple[str, str, str]]:
    assert not verdict.holds
    return {(finding.kind, finding.thing, finding.email) for finding in verdict.findings}


def test_everything_once_holds() -> None:
    whole = verdict()

    assert whole.holds
    assert whole.findings == []
    assert whole.doubts == []
    assert {row.thing: row.expected for row in whole.rows}["accounts"] == 2


@pytest.mark.parametrize("thing", ["customers", "subscriptions"])
def test_a_second_object_at_the_provider_is_doubled(thing: str) -> None:
    twice = [*getattr(TRUTHS, thing), Remote("another", "id-bob")]

    assert found(verdict(**{thing: twice})) == {("doubled", thing, BOB)}


def test_a_second_mail_is_doubled() -> None:
    assert found(verdict(mails=[ADA, BOB, BOB])) == {("doubled", "mails", BOB)}


@pytest.mark.parametrize("thing", ["workspaces", "roles", "quotas"])
def test_a_default_that_was_provisioned_twice_is_doubled(thing: str) -> None:
    accounts = [account("ada"), replace(account("bob"), **{thing: 2})]

    assert found(verdict(accounts=accounts)) == {("doubled", thing, BOB)}


def test_two_runs_of_one_person_are_doubled() -> None:
    assert found(verdict(runs=[*TRUTHS.runs, run("bob")])) == {("doubled", "runs", BOB)}


def test_a_mail_that_is_recorded_as_sent_and_is_not_there_is_lost() -> None:
    assert found(verdict(mails=[ADA])) == {("lost", "mails", BOB)}


@pytest.mark.parametrize("thing", ["customers", "subscriptions"])
def test_an_object_that_a_finished_signup_lacks_is_lost(thing: str) -> None:
    assert found(verdict(**{thing: getattr(TRUTHS, thing)[:1]})) == {("lost", thing, BOB)}


def test_a_signup_that_was_accepted_and_vanished_is_lost() -> None:
    only_ada = Truths(
        TRUTHS.accounts[:1], TRUTHS.runs[:1], TRUTHS.customers[:1], TRUTHS.subscriptions[:1], [ADA]
    )

    assert found(compare([ADA, BOB], only_ada)) == {("lost", "runs", BOB)}


@pytest.mark.parametrize(
    ("state", "reason", "at"),
    [
        ("running", None, None),
        ("failed", None, None),
        ("attention", "bug", "send_welcome"),
        ("attention", "in_doubt", "create_customer"),
    ],
)
def test_a_run_that_has_not_succeeded_is_half_done(
    state: str, reason: str | None, at: str | None
) -> None:
    stuck = Run("run-bob", BOB, state, reason, at, sent=False)
    found_ = found(verdict(runs=[run("ada"), stuck], mails=[ADA]))

    assert found_ == {("half-done", "runs", BOB), ("half-done", "mails", BOB)}


def test_an_id_that_the_database_has_not_recorded_is_half_done() -> None:
    accounts = [account("ada"), replace(account("bob"), customer=None)]

    assert found(verdict(accounts=accounts)) == {("half-done", "customers", BOB)}


def test_another_id_than_the_providers_is_half_done() -> None:
    accounts = [account("ada"), replace(account("bob"), subscription="sub-ada")]

    assert found(verdict(accounts=accounts)) == {("half-done", "subscriptions", BOB)}


def test_a_trial_that_is_not_running_is_half_done() -> None:
    subscriptions = [TRUTHS.subscriptions[0], Remote("sub-bob", "id-bob", good=False)]

    assert found(verdict(subscriptions=subscriptions)) == {("half-done", "subscriptions", BOB)}


@pytest.mark.parametrize("thing", ["customers", "subscriptions"])
def test_an_object_that_belongs_to_nobody_is_half_done(thing: str) -> None:
    stray = [*getattr(TRUTHS, thing), Remote("stray", None)]

    assert found(verdict(**{thing: stray})) == {("half-done", thing, "")}


def test_what_nobody_asked_for_is_found() -> None:
    eve = "eve@example.com"
    extra = Truths(
        [*TRUTHS.accounts, account("eve")],
        [*TRUTHS.runs, run("eve")],
        [*TRUTHS.customers, Remote("cus-eve", "id-eve")],
        [*TRUTHS.subscriptions, Remote("sub-eve", "id-eve")],
        [*TRUTHS.mails, eve],
    )

    whole = compare([ADA, BOB], extra)

    assert {finding.thing for finding in whole.findings} == {"accounts", "runs", "mails"}
    assert {finding.email for finding in whole.findings} == {eve}
    assert not whole.holds


class TestMailInDoubt:
    def test_is_named_and_looked_up_when_it_arrived(self) -> None:
        whole = verdict(runs=[run("ada"), IN_DOUBT])

        assert [(doubt.email, doubt.arrived) for doubt in whole.doubts] == [(BOB, True)]
        assert whole.holds

    def test_is_named_and_looked_up_when_it_did_not(self) -> None:
        whole = verdict(runs=[run("ada"), IN_DOUBT], mails=[ADA])

        assert [(doubt.email, doubt.arrived) for doubt in whole.doubts] == [(BOB, False)]
        [mails] = [row for row in whole.rows if row.thing == "mails"]
        assert (mails.database, mails.mailbox, mails.in_doubt, mails.absent) == (1, 1, 1, 1)
        assert whole.holds

    def test_may_not_have_arrived_twice(self) -> None:
        whole = verdict(runs=[run("ada"), IN_DOUBT], mails=[ADA, BOB, BOB])

        assert found(whole) == {("doubled", "mails", BOB)}

    def test_excuses_nothing_but_the_mail(self) -> None:
        whole = verdict(runs=[run("ada"), IN_DOUBT], subscriptions=TRUTHS.subscriptions[:1])

        assert found(whole) == {("half-done", "subscriptions", BOB)}


def test_totals_that_do_not_add_up_fail_even_without_a_finding() -> None:
    whole = verdict()
    [runs, *others] = whole.rows

    assert not replace(whole, rows=[replace(runs, database=1), *others]).holds
    assert not replace(whole, findings=[Finding("lost", "runs", ADA, "")]).holds


REFUSED = replace(
    TRUTHS,
    accounts=[account("ada"), Account("id-bob", BOB, 0, 0, 0, None, None, closed=True)],
    runs=[run("ada"), Run("run-bob", BOB, "failed", None, None, sent=False)],
    customers=[Remote("cus-ada", "id-ada"), Remote("cus-bob", "id-bob", good=False)],
    subscriptions=[Remote("sub-ada", "id-ada")],
    mails=[ADA],
)


def test_who_was_refused_is_undone() -> None:
    undone = compare([ADA, BOB], REFUSED, {BOB})
    assert undone.holds, undone.findings
    row = undone.rows[-1]
    assert (row.thing, row.database, row.provider, row.mailbox) == ("failed, undone", 1, 1, 1)


@pytest.mark.parametrize(
    ("side", "left"),
    [
        ("database", {"accounts": [account("ada"), replace(REFUSED.accounts[1], closed=False)]}),
        ("database", {"accounts": [account("ada"), replace(REFUSED.accounts[1], workspaces=1)]}),
        ("database", {"runs": [run("ada"), run("bob")]}),
        ("provider", {"customers": [Remote("cus-ada", "id-ada"), Remote("cus-bob", "id-bob")]}),
        ("provider", {"subscriptions": [Remote("sub-ada", "id-ada"), Remote("sub-bob", "id-bob")]}),
        ("mailbox", {"mails": [ADA, BOB]}),
    ],
)
def test_what_stands_of_who_was_refused_is_found(side: str, left: dict[str, object]) -> None:
    undone = compare([ADA, BOB], replace(REFUSED, **left), {BOB})
    assert not undone.holds
    assert {(finding.thing, finding.email) for finding in undone.findings} == {
        ("failed, undone", BOB)
    }
    assert getattr(undone.rows[-1], side) == 0
