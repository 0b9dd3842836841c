"""Random programs against a ledger, and the same against the auditor: several transactions at once, crashes, repeats.

Two transactions that are open at once may touch the same account without a limit. Whatever else one of them would have to
wait for, the other is ended first, one way or the other: so the order in which things count is known, and the auditor can
say of every item what must come of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import psycopg
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import sql

from tests.ledger.auditor import Account, Auditor, Item, Undo, take_back
from troth import Money
from troth.ledger import (
    Compound,
    Credit,
    Debit,
    Hold,
    Ledger,
    Linked,
    PostHold,
    Reversal,
    Transfer,
    VoidHold,
)

LANES = 3
ACCOUNTS = [
    # code, currency, normal side, limit, minimum
    ("bank", "EUR", "debit", "none", 0),
    ("sales", "EUR", "credit", "none", 0),
    ("wallet:ann", "EUR", "credit", "debits_must_not_exceed_credits", 0),
    ("wallet:bob", "EUR", "credit", "debits_must_not_exceed_credits", 0),
    ("stock", "EUR", "debit", "credits_must_not_exceed_debits", 0),
    ("credit-line", "EUR", "credit", "minimum_balance", -300),
    ("till", "EUR", "debit", "minimum_balance", -200),
    ("trading", "EUR", "debit", "none", 0),
    ("trading-yen", "JPY", "debit", "none", 0),
    ("bank-yen", "JPY", "debit", "none", 0),
    ("purse-yen", "JPY", "credit", "debits_must_not_exceed_credits", 0),
]

FUNDS = [
    (0, 2),
    (0, 3),
    (4, 1),
    (9, 10),
]  # places of a debit and a credit account: what limits leave room for at first

_small = st.integers(0, 9)
_minor = st.integers(1, 250)
_place = st.integers(0, len(ACCOUNTS) - 1)
_which = st.integers(0, 40)
_lane = st.integers(0, LANES - 1)

items = st.one_of(
    st.tuples(st.just("transfer"), _place, _place, _minor),
    st.tuples(st.just("transfer"), _place, _place, _minor),
    st.tuples(st.just("hold"), _place, _place, _minor, st.booleans()),
    st.tuples(st.just("post_hold"), _which, st.none() | _minor, st.booleans()),
    st.tuples(st.just("void_hold"), _which),
    st.tuples(st.just("reversal"), _which, st.none() | _minor),
    st.tuples(st.just("compound"), _place, _place, _place, _minor, _minor),
    st.tuples(st.just("exchange"), _minor, _minor),
    st.tuples(st.just("again"), _which, st.booleans()),
    st.tuples(st.just("backdated"), _place, _place, _minor, _small),
    st.tuples(st.just("nowhere"), _place, _minor, st.booleans()),
    st.tuples(st.just("brim"), _place, st.integers(0, 1), st.booleans()),
    st.tuples(st.just("brim"), _place, st.integers(0, 1), st.booleans()),
)
# Many that say nothing else, between accounts without a limit, with an id that is taken now and then: they are written at once.
_unlimited = st.sampled_from(
    [n for n, each in enumerate(ACCOUNTS) if each[1:4:2] == ("EUR", "none")]
)
_bare = st.integers(1, 250).map(lambda minor: minor if minor % 7 else minor + 1)
plain_calls = st.lists(
    st.tuples(st.just("transfer"), _unlimited, _unlimited, _bare)
    | st.tuples(st.just("again"), _which, st.booleans()),
    min_size=8,
    max_size=14,
)
calls = st.lists(items | st.lists(items, min_size=2, max_size=3), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("post"), _lane, calls),
    st.tuples(st.just("post"), _lane, calls),
    st.tuples(st.just("post"), _lane, calls),
    st.tuples(st.just("post"), _lane, plain_calls),
    st.tuples(
        st.just("end"), _lane, st.sampled_from(["commit", "commit", "commit", "rollback", "kill"])
    ),
    st.tuples(st.just("fold"), st.integers(1, 20)),
    st.tuples(st.just("over"), _which),
    st.tuples(st.just("expire")),
    st.tuples(st.just("close_period"), _small),
    st.tuples(st.just("close_account"), _place, _small),
)
long_programs = st.lists(steps, min_size=30, max_size=60)


@dataclass
class Lane:
    """One session, and what its open transaction has done so far."""

    connection: psycopg.Connection
    undo: Undo = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    is_open: bool = False


class Bench:
    """One schema in which program after program runs; each has accounts and ids of its own."""

    def __init__(self, url: str, schema: str) -> None:
        self.url, self.schema = url, schema
        self.ledger = Ledger()
        self.ledger.bind(schema)
        self.watch = psycopg.connect(url, autocommit=True)
        self.lanes = [Lane(psycopg.connect(url)) for _ in range(LANES)]
        self.programs = 0
        self.items = 0
        self.commits = 0
        self.outcomes: dict[str, int] = {}

    def close(self) -> None:
        """Give everything back."""
        self.watch.close()
        for lane in self.lanes:
            lane.connection.close()

    def query(self, text: str, *params: Any) -> list[tuple[Any, ...]]:
        """What a query returns now; {} is the schema."""
        composed = sql.SQL(text).format(*[sql.Identifier(self.schema)] * text.count("{}"))  # type: ignore[arg-type]
        cursor = self.watch.execute(composed, params)
        return cursor.fetchall() if cursor.description else []

    def run(self, program: Sequence[tuple[Any, ...]]) -> None:
        """One program, to its end; every difference is an AssertionError."""
        self.programs += 1
        Run(self, f"p{self.programs}").run(program)


class Run:
    """One program."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.name = bench, name
        self.ledger = bench.ledger
        opened = [
            Account(f"{name}:{code}", currency, side, limit, minimum)
            for code, currency, side, limit, minimum in ACCOUNTS
        ]
        self.auditor = Auditor(opened)
        self.codes = [each.code for each in opened]
        self.base = datetime(1971, 1, 1, tzinfo=UTC) + timedelta(seconds=100 * bench.programs)
        self.auditor.closed_before = self.base - timedelta(seconds=50)
        with bench.lanes[0].connection.transaction():
            for each in opened:
                minimum = (
                    Money(each.minimum, each.currency) if each.limit == "minimum_balance" else None
                )
                self.ledger.accounts.open_blocking(
                    bench.lanes[0].connection, each.code, currency=each.currency, side=each.side,
                    limit=each.limit, minimum=minimum,
                )  # fmt: skip
        self.ids = [row[0] for row in bench.query(
            "SELECT id FROM {}.ledger_account WHERE starts_with(code, %s)", f"{name}:"
        )]  # fmt: skip
        self.numbers = 0
        self.made: list[Item] = []

    def run(self, program: Sequence[tuple[Any, ...]]) -> None:
        """Do it, end what is open, and compare everything."""
        verbs: dict[str, Callable[..., None]] = {
            "post": self.post, "end": self.end, "fold": self.fold, "over": self.over, "expire": self.expire,
            "close_period": self.close_period, "close_account": self.close_account,
        }  # fmt: skip
        try:
            for debit, credit in FUNDS:
                self.post(0, [("transfer", debit, credit, 400)])
            for verb, *rest in program:
                verbs[verb](*rest)
            for lane in range(LANES):
                self.end(lane, "commit")
            self.expire()
        finally:
            for each in self.bench.lanes:
                with contextlib.suppress(psycopg.Error):
                    each.connection.rollback()
                each.is_open, each.undo = False, []
                each.touched.clear()
        self.compare()
        with self.bench.lanes[0].connection.transaction():
            while self.ledger.fold_blocking(self.bench.lanes[0].connection):
                pass
        self.compare()

    # Steps ------------------------------------------------------------------------------------------------------------

    def post(self, number: int, call: Sequence[Any]) -> None:
        """One call of so many items in the transaction of a lane."""
        made: list[Item | Linked] = []
        used: set[str] = set()
        for spec in call:
            group = [self.item(each, used) for each in (spec if isinstance(spec, list) else [spec])]
            found = [each for each in group if each is not None]
            if isinstance(spec, list) and len(found) > 1:
                made.append(Linked(*found))
            else:
                made += found
        if not made:
            return
        flat = [each for one in made for each in (one.items if isinstance(one, Linked) else [one])]
        touches = {name for each in flat for name in self.touches(each)}
        self.let_go(touches, but=number)
        lane = self.bench.lanes[number]
        lane.is_open = True
        lane.touched |= touches
        expected, undo = self.auditor.post(made)
        lane.undo += undo
        results = self.ledger.try_post_all_blocking(lane.connection, made)
        said = [str(each.outcome) for each in results]
        assert said == expected, f"{made} came to {said}, and should to {expected}"
        for item, result, outcome in zip(flat, results, expected, strict=True):
            if outcome == "id_already_failed":
                assert str(result.first) == self.auditor.refused[str(item.id)]
            elif outcome in {"created", "exists"}:
                assert result.amount == self.auditor.kept[str(item.id)].amount
            self.bench.outcomes[outcome] = self.bench.outcomes.get(outcome, 0) + 1
        self.bench.items += len(flat)

    def end(self, number: int, how: str) -> None:
        """The transaction of a lane ends; what was not committed never was."""
        lane = self.bench.lanes[number]
        if not lane.is_open:
            return
        if how == "commit":
            lane.connection.commit()
            self.bench.commits += 1
            self.in_balance()
        elif how == "kill":
            self.bench.query(
                "SELECT pg_terminate_backend(%s, 10000)", lane.connection.info.backend_pid
            )
            lane.connection.close()
            lane.connection = psycopg.connect(self.bench.url)
            take_back(lane.undo)
        else:
            lane.connection.rollback()
            take_back(lane.undo)
        lane.undo, lane.is_open = [], False
        lane.touched.clear()

    def fold(self, most: int) -> None:
        """Legs become entries, whoever has transactions open."""
        with self.bench.watch.transaction():
            self.ledger.fold_blocking(self.bench.watch, limit=most)
        self.in_balance()

    def over(self, which: int) -> None:
        """The time of a hold is over; what it held there is room for at once."""
        holds = [each for each in self.made if isinstance(each, Hold) and each.timeout is not None]
        if not holds:
            return
        hold = holds[-1 - which % len(holds)]
        key = str(hold.id)
        self.let_go(set(self.touches(hold)) | {key})
        kept = self.auditor.kept.get(key)
        if kept is None or kept.state != "open":
            return
        self.auditor.pass_time_of(key)
        self.bench.query(
            "UPDATE {}.ledger_hold h SET expires_at = clock_timestamp() - interval '1 second'"
            " FROM {}.ledger_transfer t WHERE t.seq = h.transfer AND %s IN (t.key, t.id::text)",
            key,
        )
        for code in (hold.debit, hold.credit):
            self.post(which % LANES, [("brim", self.codes.index(code), which % 2, False)])

    def expire(self) -> None:
        """What is over is booked as released."""
        self.let_go(None)
        with self.bench.watch.transaction():
            booked = 0
            while some := self.ledger.expire_blocking(self.bench.watch):
                booked += some
        assert booked == self.auditor.book_expiries()
        self.in_balance()

    def close_period(self, second: int) -> None:
        """What counts earlier cannot be posted any more."""
        through = self.base + timedelta(seconds=second)
        if self.auditor.closed_before is not None and through <= self.auditor.closed_before:
            return
        self.let_go(None)
        with self.bench.watch.transaction():
            self.ledger.periods.close_blocking(self.bench.watch, through, by="the test")
        self.auditor.closed_before = through

    def close_account(self, place: int, seldom: int) -> None:
        """An account takes nothing more."""
        account = self.auditor.accounts[self.codes[place]]
        if seldom or account.closed:
            return
        self.let_go(None)
        with self.bench.watch.transaction():
            self.ledger.accounts.close_blocking(self.bench.watch, account.code)
        account.closed = True

    # Items ------------------------------------------------------------------------------------------------------------

    def item(self, spec: tuple[Any, ...], used: set[str]) -> Item | None:
        """The item that a spec stands for here and now; None if there is nothing that it could be about."""
        kind, *rest = spec
        made: Item | None = getattr(self, f"_{kind}")(*rest)
        if made is None or str(made.id) in used:
            return None
        about = getattr(made, "hold", None) or getattr(made, "of", None)
        if about == made.id:
            return None
        used.add(str(made.id))
        self.made.append(made)
        return made

    def _id(self) -> str | UUID:
        """A text or, as often, a UUID: what has no text is written by a shorter way."""
        self.numbers += 1
        text = f"{self.name}/{self.numbers}"
        return text if self.numbers % 2 else uuid5(NAMESPACE_OID, text)

    def _two(self, debit: int, credit: int) -> tuple[str, str]:
        if debit == credit:
            credit = (credit + 1) % len(self.codes)
        return self.codes[debit], self.codes[credit]

    def _money(self, code: str, minor: int) -> Money:
        return Money(minor, self.auditor.accounts[code].currency)

    def _transfer(self, debit: int, credit: int, minor: int) -> Item:
        to, from_ = self._two(debit, credit)
        return Transfer(
            self._id(), to, from_, self._money(to, minor), code="x" if minor % 7 == 0 else None
        )

    def _hold(self, debit: int, credit: int, minor: int, ends: bool) -> Item:
        to, from_ = self._two(debit, credit)
        timeout = timedelta(hours=1) if ends else None
        return Hold(self._id(), to, from_, self._money(to, minor), timeout=timeout)

    def _of(self, kind: type, which: int) -> Any:
        """Mostly one of that kind, sometimes any, sometimes what there is not."""
        if which == 40 or not self.made:
            return f"{self.name}/nothing"
        some = [each for each in self.made if isinstance(each, kind)] if which % 8 else self.made
        return (some or self.made)[-1 - which % len(some or self.made)].id

    def _currency_of(self, key: Any) -> str:
        """Of what is referred to, also if it comes to nothing."""
        item = next((each for each in self.made if each.id == key), None)
        match item:
            case Transfer() | Hold():
                return item.amount.currency
            case PostHold() | VoidHold():
                return self._currency_of(item.hold)
            case Reversal():
                return self._currency_of(item.of)
        return "EUR"

    def _post_hold(self, which: int, minor: int | None, keep: bool) -> Item:
        hold = self._of(Hold, which)
        currency = self._currency_of(hold)
        return PostHold(
            self._id(), hold, None if minor is None else Money(minor, currency), keep_rest=keep
        )

    def _void_hold(self, which: int) -> Item:
        return VoidHold(self._id(), self._of(Hold, which))

    def _reversal(self, which: int, minor: int | None) -> Item:
        of = self._of(Transfer | Compound | PostHold | Reversal, which)  # type: ignore[arg-type]
        currency = self._currency_of(of)
        return Reversal(self._id(), of, None if minor is None else Money(minor, currency))

    def _compound(self, one: int, two: int, three: int, first: int, second: int) -> Item | None:
        places = [p % 8 for p in (one, two, three)]  # euros
        if len(set(places)) < 3:
            return None
        codes = [self.codes[p] for p in places]
        return Compound(
            self._id(),
            [
                Debit(codes[0], Money(first + second, "EUR")),
                Credit(codes[1], Money(first, "EUR")),
                Credit(codes[2], Money(second, "EUR")),
            ],
        )

    def _exchange(self, euros: int, yen: int) -> Item:
        bank, trading, trading_yen, purse = (self.codes[p] for p in (0, 7, 8, 10))
        return Compound(
            self._id(),
            [
                Debit(bank, Money(euros, "EUR")),
                Credit(trading, Money(euros, "EUR")),
                Debit(trading_yen, Money(yen, "JPY")),
                Credit(purse, Money(yen, "JPY")),
            ],
        )

    def _backdated(self, debit: int, credit: int, minor: int, second: int) -> Item:
        to, from_ = self._two(debit, credit)
        return Transfer(
            self._id(),
            to,
            from_,
            self._money(to, minor),
            effective_at=self.base + timedelta(seconds=second),
        )

    def _brim(self, place: int, more: int, hold: bool) -> Item | None:
        """As much as an account with a limit has room for, or one more."""
        account = self.auditor.accounts[self.codes[place]]
        side = "debit" if self.auditor.room(account, "debit") < float("inf") else "credit"
        room = self.auditor.room(account, side) + more
        if not 0 < room < float("inf"):
            return None
        other = self.codes[0 if account.currency == "EUR" else 9]
        debit, credit = (account.code, other) if side == "debit" else (other, account.code)
        kind = Hold if hold else Transfer
        return kind(self._id(), debit, credit, Money(int(room), account.currency))

    def _nowhere(self, place: int, minor: int, debit: bool) -> Item:
        there, nowhere = self.codes[place], f"{self.name}:nowhere"
        sides = (nowhere, there) if debit else (there, nowhere)
        return Transfer(self._id(), *sides, self._money(there, minor))

    def _again(self, which: int, change: bool) -> Item | None:
        """The same id again, with the same or with another content."""
        if not self.made:
            return None
        item = self.made[-1 - which % len(self.made)]
        if not change:
            return item
        nothing = f"{self.name}/nothing"
        match item:
            case Transfer():
                more = item.amount + Money(1, item.amount.currency)
                changed: Item = (
                    replace(item, code="another"),
                    replace(item, debit=item.credit, credit=item.debit),
                    replace(item, amount=more),
                )[which % 3]
            case Hold():
                changed = Transfer(item.id, item.debit, item.credit, item.amount)
            case PostHold():
                changed = replace(item, keep_rest=not item.keep_rest)
            case VoidHold():
                changed = replace(item, hold=nothing)
            case Reversal():
                changed = replace(item, of=nothing)
            case Compound():
                doubled = [type(leg)(leg.account, leg.amount * 2) for leg in item.legs]
                changed = replace(item, legs=doubled)
        return changed

    # Who would wait for whom ------------------------------------------------------------------------------------------

    def touches(self, item: Item) -> set[str]:
        """What only one transaction at a time may touch."""
        found = {str(item.id)}
        codes: list[str] = []
        match item:
            case Transfer() | Hold():
                codes = [item.debit, item.credit]
            case Compound():
                codes = [leg.account for leg in item.legs]
            case PostHold() | VoidHold():
                found.add(str(item.hold))
            case Reversal():
                found.add(str(item.of))
        about = getattr(item, "hold", None) or getattr(item, "of", None)
        if about is not None:
            first = next((each for each in self.made if each.id == about), None)
            if first is not None:
                found |= self.touches(first)
        limits = {
            code: self.auditor.accounts[code].limit
            for code in codes
            if code in self.auditor.accounts
        }
        return found | {code for code, limit in limits.items() if limit != "none"}

    def let_go(self, touches: set[str] | None, but: int | None = None) -> None:
        """End every other transaction that holds any of this; None: all of them."""
        for number, lane in enumerate(self.bench.lanes):
            if number != but and lane.is_open and (touches is None or lane.touched & touches):
                self.end(number, "rollback" if self.numbers % 5 == 0 else "commit")

    # What must be so --------------------------------------------------------------------------------------------------

    def in_balance(self) -> None:
        """At every commit: debits and credits are equal in each currency, posted and pending."""
        rows = self.bench.query(
            "SELECT a.currency, sum(t.posted), sum(t.pending) FROM ("
            " SELECT account, debits_posted - credits_posted AS posted, debits_pending - credits_pending AS pending"
            " FROM {}.ledger_balance UNION ALL"
            " SELECT account, CASE side WHEN 'debit' THEN posted ELSE -posted END,"
            " CASE side WHEN 'debit' THEN pending ELSE -pending END FROM {}.ledger_queue) AS t"
            " JOIN {}.ledger_account a ON a.id = t.account WHERE a.id = ANY (%s) GROUP BY a.currency",
            self.ids,
        )
        assert all(posted == pending == 0 for _, posted, pending in rows), rows

    def compare(self) -> None:
        """Every balance is the auditor's, and the books hold what the auditor holds."""
        with self.bench.watch.transaction():
            now = self.ledger.balances_blocking(self.bench.watch, self.codes)
        for code, expected in self.auditor.totals().items():
            b = now[code]
            found = (b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending)
            assert found == expected, f"{code} has {found}, and should have {expected}"
        mine = (f"{self.name}/", [each.id for each in self.made if isinstance(each.id, UUID)])
        kept = {row[0] for row in self.bench.query(
            "SELECT coalesce(key, id::text) FROM {}.ledger_transfer WHERE starts_with(key, %s) OR id = ANY (%s)", *mine
        )}  # fmt: skip
        assert kept == set(self.auditor.kept)
        refused = dict(self.bench.query(
            "SELECT coalesce(key, id::text), outcome FROM {}.ledger_refusal WHERE starts_with(key, %s) OR id = ANY (%s)", *mine
        ))  # fmt: skip
        assert refused == self.auditor.refused
