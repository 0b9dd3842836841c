"""SQLAlchemy under the lab: the ORM with its pool, as applications use it."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, func, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import base

from troth.lab import Lab


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[str] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Purchase(Base):
    __tablename__ = "purchases"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]


engine = create_engine("sqlite:///wallet-under-the-lab.db")


def create() -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Account(id="ada", balance=1000))
        session.commit()


def spend() -> int:
    with Session(engine) as session:
        account = session.get_one(Account, "ada")
        if account.balance < 300:
            return 402
        account.balance -= 300
        session.add(Purchase(amount=300))
        session.commit()
        return 200


def spend_at_once() -> int:
    with Session(engine) as session:
        paid = session.execute(
            update(Account)
            .where(Account.id == "ada", Account.balance >= 300)
            .values(balance=Account.balance - 300)
            .returning(Account.id)
        )
        if paid.one_or_none() is None:
            return 402
        session.add(Purchase(amount=300))
        session.commit()
        return 200


def describe(lab: Lab, handler, *, users: int = 2) -> None:
    lab.database("wallet-under-the-lab.db", migrate=create)
    for _ in range(users):
        lab.user(handler, overlap=1, again=lambda answer: False)
    lab.always(
        "the books agree",
        lambda w: w.db.accounts[0].balance == 1000 - sum(one.amount for one in w.db.purchases),
        costs="300",
    )


def test_a_lost_update_through_the_orm_is_found(lab: Lab):
    describe(lab, spend)
    verdict = lab.explore()
    (example,) = verdict.counterexamples
    assert example.faults == ("second caller",)
    assert [line.told for line in example.lines if line.op == "COMMIT"] == ["ok", "ok"]
    assert {line.site.split()[1] for line in example.lines if line.site} == {"spend"}


def test_one_statement_is_right_and_its_graph_closes(lab: Lab):
    describe(lab, spend_at_once)
    verdict = lab.explore()
    assert not verdict.counterexamples, str(verdict)
    assert verdict.closed


def test_nothing_is_left_behind():
    clock, get = base.time, type(engine.pool)._do_get
    lab = Lab("left behind", closer=0)
    describe(lab, spend, users=1)
    lab.explore()
    assert base.time is clock
    assert type(engine.pool)._do_get is get
    assert engine.pool.checkedin() == 0


def ask_for_floor() -> None:
    with Session(engine) as session:
        session.execute(select(func.floor(1.5)))


def make_a_function() -> None:
    with engine.connect() as connection:
        connection.connection.create_function("twice", 1, lambda value: 2 * value)
        connection.execute(text("SELECT twice(2)"))


@pytest.mark.parametrize("handler", [ask_for_floor, make_a_function])
def test_functions_of_the_applications_own_are_refused(lab: Lab, handler):
    describe(lab, handler, users=1)
    verdict = lab.explore()
    assert verdict.word == "REFUSED"
    assert "of the application's own" in verdict.reason
