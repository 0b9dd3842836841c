"""Compares three truths about every person: the database's, the provider's and the mailbox's. No I/O.

A thing that should be there once is *doubled* if it is there more often. If it is missing, it is
*lost* when somebody was told otherwise (the run has succeeded, or nothing at all is there although
the signup was accepted), and else the signup is *half-done*. A mail that nobody can know about, and
that stands in the attention list as such, is *in doubt*: named, and looked up in the mailbox.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Kind = Literal["doubled", "lost", "half-done"]

SUCCEEDED = "succeeded"
FAILED = "failed"
UNDONE = "failed, undone"
MAIL_STEP = "send_welcome"


@dataclass(frozen=True)
class Account:
    """A row of the application, and how many rows hang on it. The ids are what it has recorded."""

    id: str
    email: str
    workspaces: int
    roles: int
    quotas: int
    customer: str | None
    subscription: str | None
    closed: bool = False


@dataclass(frozen=True)
class Run:
    """A run of the workflow; `sent` says that the journal has an answer from the mail server."""

    id: str
    email: str
    state: str
    reason: str | None
    at: str | None
    sent: bool

    @property
    def mail_in_doubt(self) -> bool:
        """It waits for a person, because nobody knows whether its mail went out."""
        return (self.state, self.reason, self.at) == ("attention", "in_doubt", MAIL_STEP)


Owned = TypeVar("Owned", Account, Run)


@dataclass(frozen=True)
class Remote:
    """An object of the provider, and the account that its metadata names. `good`: as it should be."""

    id: str
    account: str | None
    good: bool = True


@dataclass(frozen=True)
class Truths:
    """What each of the three says. `mails` are the addresses that got a welcome, once per message."""

    accounts: Sequence[Account]
    runs: Sequence[Run]
    customers: Sequence[Remote]
    subscriptions: Sequence[Remote]
    mails: Sequence[str]

    def of(self, people: Collection[str], *, but: bool = False) -> "Truths":
        """The part that is about these people; with *but*, the rest."""
        mine = {one.id for one in self.accounts if (one.email in people) is not but}
        others = {one.id for one in self.accounts} - mine
        return Truths(
            accounts=[one for one in self.accounts if one.id in mine],
            runs=[one for one in self.runs if (one.email in people) is not but],
            customers=[
                c
                for c in self.customers
                if (c.account in mine) or (but and c.account not in others)
            ],
            subscriptions=[
                t
                for t in self.subscriptions
                if (t.account in mine) or (but and t.account not in others)
            ],
            mails=[mail for mail in self.mails if (mail.lower() in people) is not but],
        )


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, with one person."""

    kind: Kind
    thing: str
    email: str
    explanation: str


@dataclass(frozen=True)
class Doubt:
    """A mail that may have been sent; `arrived` is what the mailbox knows and troth cannot."""

    email: str
    run: str
    arrived: bool


@dataclass(frozen=True)
class Row:
    """One line of the table. None: this side has no such thing.

    The database knows of nothing that is in doubt, and the mailbox lacks the part of it that is `absent`.
    """

    thing: str
    expected: int
    database: int
    provider: int | None
    mailbox: int | None
    in_doubt: int
    absent: int
    doubled: int
    lost: int
    half_done: int

    @property
    def adds_up(self) -> bool:
        """Every side, together with what is in doubt, comes to what is expected."""
        return (
            self.database + self.in_doubt == self.expected
            and self.provider in {None, self.expected}
            and (self.mailbox is None or self.mailbox + self.absent == self.expected)
        )


@dataclass(frozen=True)
class Verdict:
    rows: Sequence[Row]
    findings: Sequence[Finding]
    doubts: Sequence[Doubt]

    @property
    def holds(self) -> bool:
        """Everything is there exactly once, or honestly in doubt."""
        return not self.findings and all(row.adds_up for row in self.rows)


THINGS = (
    "runs",
    "accounts",
    "workspaces",
    "roles",
    "quotas",
    "customers",
    "subscriptions",
    "mails",
)


def compare(
    people: Sequence[str], truths: Truths, refused: Collection[str] = frozenset()
) -> Verdict:
    """The verdict over everybody in `people`, and over everything that belongs to nobody.

    Of those whose card is *refused* nothing may be left.
    """
    undone, standing = undoing(refused, truths.of(refused))
    verdict = compare_served(
        [one for one in people if one not in refused], truths.of(refused, but=True)
    )
    rows = [*verdict.rows, undone] if refused else verdict.rows
    return Verdict(rows, [*standing, *verdict.findings], verdict.doubts)


def undoing(refused: Collection[str], truths: Truths) -> tuple[Row, list[Finding]]:
    """How many of the refused are as if they had never come, as each side has it, and what stands of the others."""
    runs = by_email(truths.runs)
    owner = {account.id: account.email for account in truths.accounts}
    here = [
        *((email, f"the run is not {FAILED}") for email in refused
          if [run.state for run in runs[email]] != [FAILED]),
        *((one.email, f"account {one.id} is open") for one in truths.accounts if not one.closed),
        *((one.email, f"account {one.id} has a workspace") for one in truths.accounts if one.workspaces),
    ]  # fmt: skip
    at_provider = [
        *((owner[c.account or ""], f"{c.id} is not deleted") for c in truths.customers if c.good),
        *((owner[t.account or ""], f"{t.id} was made") for t in truths.subscriptions),
    ]
    in_mailbox = [(mail.lower(), "a welcome was sent") for mail in truths.mails]
    sides = (here, at_provider, in_mailbox)
    findings = [Finding("half-done", UNDONE, email, what) for left in sides for email, what in left]
    database, provider, without_mail = (
        len(refused) - len({who for who, _ in left}) for left in sides
    )
    row = Row(
        UNDONE, len(refused), database, provider, without_mail,
        in_doubt=0, absent=0, doubled=0, lost=0, half_done=len(findings),
    )  # fmt: skip
    return row, findings


def compare_served(people: Sequence[str], truths: Truths) -> Verdict:
    """The verdict over those who should have been signed up."""
    expected = list(dict.fromkeys(people))
    accounts, runs = by_email(truths.accounts), by_email(truths.runs)
    customers, subscriptions = by_account(truths.customers), by_account(truths.subscriptions)
    mails = Counter(mail.lower() for mail in truths.mails)
    findings: list[Finding] = []
    doubts: list[Doubt] = []
    for email in expected:
        mine, run = accounts[email], runs[email]
        counts = {
            "runs": len(run),
            "accounts": len(mine),
            "workspaces": sum(account.workspaces for account in mine),
            "roles": sum(account.roles for account in mine),
            "quotas": sum(account.quotas for account in mine),
            "customers": sum(len(customers[account.id]) for account in mine),
            "subscriptions": sum(len(subscriptions[account.id]) for account in mine),
            "mails": mails[email],
        }
        doubtful = [one for one in run if one.mail_in_doubt]
        doubts += [Doubt(email, one.id, arrived=mails[email] > 0) for one in doubtful]
        findings += judge(email, counts, run, excused={"mails"} if doubtful else set())
        for account in mine:
            findings += disagreements(account, customers[account.id], subscriptions[account.id])
    findings += strays(set(expected), truths)
    return Verdict(table(len(expected), truths, findings, doubts), findings, doubts)


def judge(
    email: str, counts: Mapping[str, int], runs: Sequence[Run], excused: set[str]
) -> Iterator[Finding]:
    """What is there too often, what is missing, and a run that has not come to its end."""
    if not any(counts.values()):
        yield Finding("lost", "runs", email, "the signup was accepted, and nothing is there")
        return
    states = ", ".join(state_of(run) for run in runs) or "no run"
    succeeded = any(run.state == SUCCEEDED for run in runs)
    for thing, count in counts.items():
        if count > 1:
            yield Finding("doubled", thing, email, f"{count} {thing} ({states})")
        elif count == 0 and thing not in excused:
            yield Finding("lost" if succeeded else "half-done", thing, email, f"none ({states})")
    for run in runs:
        if run.state != SUCCEEDED and not run.mail_in_doubt:
            yield Finding("half-done", "runs", email, state_of(run))


def state_of(run: Run) -> str:
    return f"{run.id} {run.state}" + (f": {run.reason} at {run.at}" if run.reason else "")


def disagreements(
    account: Account, customers: Sequence[Remote], subscriptions: Sequence[Remote]
) -> Iterator[Finding]:
    """What the database has recorded and the provider does not confirm."""
    for thing, recorded, remote in (
        ("customers", account.customer, customers),
        ("subscriptions", account.subscription, subscriptions),
    ):
        if remote and recorded not in {one.id for one in remote}:
            told = f"the database has recorded {recorded}, the provider has {remote[0].id}"
            yield Finding("half-done", thing, account.email, told)
        for one in remote:
            if not one.good:
                yield Finding("half-done", thing, account.email, f"{one.id} is not as it should be")


def strays(expected: set[str], truths: Truths) -> Iterator[Finding]:
    """What belongs to nobody who signed up."""
    ids = {account.id for account in truths.accounts}
    for account in truths.accounts:
        if account.email not in expected:
            yield Finding("half-done", "accounts", account.email, "nobody asked for it")
    for run in truths.runs:
        if run.email not in expected:
            yield Finding("half-done", "runs", run.email, "nobody asked for it")
    for thing, remotes in (
        ("customers", truths.customers),
        ("subscriptions", truths.subscriptions),
    ):
        for remote in remotes:
            if remote.account not in ids:
                told = f"{remote.id} names account {remote.account}, which does not exist"
                yield Finding("half-done", thing, "", told)
    for mail in truths.mails:
        if mail.lower() not in expected:
            yield Finding("half-done", "mails", mail, "nobody asked for it")


def table(
    expected: int, truths: Truths, findings: Iterable[Finding], doubts: Sequence[Doubt]
) -> list[Row]:
    """Totals, as each side counts them."""
    wrong = Counter((finding.thing, finding.kind) for finding in findings)
    accounts = truths.accounts
    database = {
        "runs": len(truths.runs),
        "accounts": len(accounts),
        "workspaces": sum(account.workspaces for account in accounts),
        "roles": sum(account.roles for account in accounts),
        "quotas": sum(account.quotas for account in accounts),
        "customers": sum(account.customer is not None for account in accounts),
        "subscriptions": sum(account.subscription is not None for account in accounts),
        "mails": sum(run.sent for run in truths.runs),
    }
    provider = {"customers": len(truths.customers), "subscriptions": len(truths.subscriptions)}
    return [
        Row(
            thing,
            expected,
            database[thing],
            provider.get(thing),
            mailbox=len(truths.mails) if thing == "mails" else None,
            in_doubt=len(doubts) if thing == "mails" else 0,
            absent=sum(not doubt.arrived for doubt in doubts) if thing == "mails" else 0,
            doubled=wrong[thing, "doubled"],
            lost=wrong[thing, "lost"],
            half_done=wrong[thing, "half-done"],
        )
        for thing in THINGS
    ]


def by_email(things: Sequence[Owned]) -> Mapping[str, list[Owned]]:
    found: defaultdict[str, list[Owned]] = defaultdict(list)
    for thing in things:
        found[thing.email].append(thing)
    return found


def by_account(remotes: Sequence[Remote]) -> Mapping[str, list[Remote]]:
    found: defaultdict[str, list[Remote]] = defaultdict(list)
    for remote in remotes:
        found[remote.account or ""].append(remote)
    return found
