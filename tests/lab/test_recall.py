"""After an edit only those histories are executed again that it could have changed; and the verdict is that of a whole search."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.bank import Bank
from troth.lab import Lab, proof, session
from troth.lab.postgres import Postgres
from troth.lab.processes import Confirmed
from troth.lab.reuse import Reuse
from troth.lab.steps import Limits
from troth.lab.trail import Shape, alike
from troth.lab.verdict import Verdict

SHOP = """
import sqlite3
from shop_of_recall_money import pay, thank

def connect():
    return sqlite3.connect("recall.db")

def order(email="ada"):
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (email,))
    db.commit()
    number, status = db.execute("SELECT id, status FROM orders WHERE email = ?", (email,)).fetchone()
    if status == "new":
        made = pay(number)
        db.execute("UPDATE orders SET status = 'paid', payment = ? WHERE id = ?", (made, number))
        db.commit()
    thank(db, number)
    return 200

def report():
    return connect().execute("SELECT count(*) FROM orders").fetchone()
"""
MONEY = """
import httpx

CENTS = 4900

def key_of(number):
    return f"order-{number}"

def pay(number):
    answer = httpx.post("https://api.bank.test/payouts", data={"amount": str(CENTS)}, headers={"Idempotency-Key": key_of(number)})
    answer.raise_for_status()
    return answer.json()["id"]

def thank(db, number):
    db.execute("INSERT INTO thanks (order_id) VALUES (?) ON CONFLICT DO NOTHING", (number,))
    db.commit()
"""
SEED = """CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT UNIQUE, status TEXT DEFAULT 'new', payment TEXT);
CREATE TABLE thanks (order_id INTEGER PRIMARY KEY);"""
HOUR = timedelta(hours=1)


class Forgetful(Bank):
    keys = None
    name = "bank"


class Shop:
    """An application of two modules, in files that can be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = {"shop_of_recall": SHOP, "shop_of_recall_money": MONEY}
        self.seed, self.bank, self.most = SEED, Bank, 1
        self.url = "recall.db"
        self.write()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a module."""
        assert old in self.sources[name]
        self.sources[name] = self.sources[name].replace(old, new)
        self.write()

    def write(self) -> None:
        """As Python finds it next time."""
        for name, source in self.sources.items():
            (self.folder / f"{name}.py").write_text(source)
        self.forget()

    def forget(self) -> None:
        """Nothing is imported."""
        importlib.invalidate_caches()
        for name in self.sources:
            sys.modules.pop(name, None)

    def proved(self, kept: str | None, **limits: Any) -> Verdict:
        """The verdict, with what is kept there."""
        self.forget()
        lab = Lab("recall", closer=0)
        lab.reuse = None if kept is None else Reuse(self.folder / kept)
        lab.database(self.url, seed=self.seed)
        lab.provider(self.bank)
        lab.user(importlib.import_module("shop_of_recall").order, within=HOUR)
        lab.always("paid once", lambda w: len(w.bank.payouts) <= self.most, costs="49 EUR")
        lab.told(200, "is paid", lambda w: w.bank.payouts)
        return lab.explore(survived=1, in_flight=0, overlap=1, **limits)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    # What an edit may have changed is judged by all code that is loaded: here it is no other test's.
    mine = {"tests", "tests.lab", __name__, Bank.__module__}
    for name in [one for one in sys.modules if one.startswith(("tests.", "examples.", "bench."))]:
        if name not in mine:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits within a second
    monkeypatch.setattr(
        proof, "confirm", lambda *_, **__: Confirmed()
    )  # it reads the tables, and has tests of its own
    # what is found must not depend on how busy the machine is
    monkeypatch.setattr(session, "Limits", partial(Limits, aftermath=60.0, growth=2))
    made = Shop(tmp_path)
    yield made
    made.forget()


def essence(verdict: Verdict) -> object:
    """All that a search finds, but for what it took."""
    counts = verdict.counts
    return (
        verdict.word,
        verdict.open_because,
        [(one.promise.title, one.faults, one.lines, one.world) for one in verdict.counterexamples],
        (counts.states, counts.steps, counts.histories, counts.worlds),
    )


def after_the_charge(shop: Shop) -> None:
    shop.edit("shop_of_recall_money", 'ON CONFLICT DO NOTHING", (number,))\n    db.commit()', 'ON CONFLICT DO NOTHING", (number,))\n    db.rollback()')  # fmt: skip


def end_of_the_handler(shop: Shop) -> None:
    shop.edit("shop_of_recall", "    thank(db, number)\n    return 200", "    thank(db, number)\n    db.close()\n    return 201")  # fmt: skip


def beginning_of_the_handler(shop: Shop) -> None:
    shop.edit("shop_of_recall", '    db = connect()\n    db.execute("INSERT', '    db = connect()\n    db.execute("SELECT 1 FROM orders")\n    db.execute("INSERT')  # fmt: skip


def key_of_the_charge(shop: Shop) -> None:
    shop.edit("shop_of_recall_money", 'return f"order-{number}"', "import uuid\n    return str(uuid.uuid4())")  # fmt: skip


def function_that_is_not_reached(shop: Shop) -> None:
    shop.edit("shop_of_recall", "SELECT count(*)", "SELECT max(id)")


def lines_above(shop: Shop) -> None:
    shop.edit("shop_of_recall", "def connect", "# where\n# it is\n\ndef connect")


def constant(shop: Shop) -> None:
    shop.edit("shop_of_recall_money", "CENTS = 4900", "CENTS = 0")


def default_of_an_argument(shop: Shop) -> None:
    shop.edit("shop_of_recall", 'email="ada"', 'email="bob"')


def guard_around_it_all(shop: Shop) -> None:
    shop.edit("shop_of_recall_money", '    answer.raise_for_status()\n    return answer.json()["id"]', "    try:\n        answer.raise_for_status()\n    except httpx.HTTPStatusError:\n        return 'none'\n    return answer.json()[\"id\"]")  # fmt: skip


def another_function_of_that_name(shop: Shop) -> None:
    shop.edit("shop_of_recall", "def report():", "def pay(number):\n    return 'by hand'\n\ndef report():")  # fmt: skip


def schema(shop: Shop) -> None:
    shop.seed = SEED.replace("order_id INTEGER PRIMARY KEY", "order_id INTEGER UNIQUE")


def provider(shop: Shop) -> None:
    shop.bank = Forgetful


def promise(shop: Shop) -> None:
    shop.most = 0


EDITS: dict[Callable[[Shop], None], tuple[str, bool]] = {
    # the verdict after it, and whether histories are known from before
    after_the_charge: ("HOLDS", True),
    end_of_the_handler: ("HOLDS", True),
    beginning_of_the_handler: ("HOLDS", False),
    key_of_the_charge: ("VIOLATED", True),
    function_that_is_not_reached: ("HOLDS", True),
    lines_above: ("HOLDS", True),
    constant: ("REFUSED", False),
    default_of_an_argument: ("HOLDS", False),
    guard_around_it_all: ("VIOLATED", True),
    another_function_of_that_name: ("VIOLATED", False),
    schema: ("HOLDS", True),
    provider: ("VIOLATED", True),
    promise: ("VIOLATED", True),
}


FAST = {end_of_the_handler, promise}


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(one, id=one.__name__, marks=[] if one in FAST else [pytest.mark.slow])
        for one in EDITS
    ],
)
def test_the_verdict_is_that_of_a_whole_search(shop: Shop, edit: Callable[[Shop], None]):
    word, known = EDITS[edit]
    before = shop.proved("kept")
    assert before.word == "HOLDS", str(before)
    edit(shop)
    whole = shop.proved(None)
    again = shop.proved("kept")
    assert whole.word == word, str(whole)
    assert essence(again) == essence(whole), f"{again}\n\n{whole}"
    assert (again.counts.runs < whole.counts.runs) == known, (again.counts, whole.counts)


STEPS = {  # what a body may consist of; each says what it needs
    "select": "db.execute('SELECT status FROM orders').fetchone()",
    "insert": "db.execute('INSERT INTO orders (email) VALUES (1) ON CONFLICT DO NOTHING')",
    "other": "db.execute('INSERT INTO orders (email) VALUES (2) ON CONFLICT DO NOTHING')",
    "thanks": "db.execute('INSERT INTO thanks (order_id) VALUES (1) ON CONFLICT DO NOTHING')",
    "commit": "db.commit()",
    "rollback": "db.rollback()",
    "pay": "pay(1)",
    "pay more": "pay(2)",
    "if": "if db.execute('SELECT 1 FROM orders').fetchone():\n        {}",
    "try": "try:\n        {}\n    except Exception:\n        db.rollback()",
    "for": "for _ in range(2):\n        {}",
}


def body(chance: random.Random) -> list[str]:
    """Some statements of a function."""
    plain = [one for one in STEPS.values() if "{}" not in one]
    return [
        chance.choice(list(STEPS.values())).format(chance.choice(plain)) for _ in range(chance.randint(1, 4))
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_edited_the_verdict_is_that_of_a_whole_search(shop: Shop, seed: int):
    """Programs by chance; each is the one before with a statement changed, added or removed, in the handler or in what it calls."""
    chance = random.Random(seed)
    bodies = [body(chance), body(chance)]
    saved = 0
    for _ in range(8):
        edited = chance.choice(bodies)
        place = chance.randrange(len(edited) + 1)
        edited[place : place + chance.randint(0, 1)] = body(chance)[: chance.randint(0, 1)]
        helper, handler = ("\n    ".join([*one, "pass"]) for one in bodies)
        shop.sources["shop_of_recall"] = (
            "import sqlite3\nfrom shop_of_recall_money import pay\n"
            f"def help_it(db):\n    {helper}\n"
            f"def order():\n    db = sqlite3.connect('recall.db')\n    {handler}\n    help_it(db)\n    db.commit()\n    return 200\n"
        )
        shop.write()
        whole, again = shop.proved(None), shop.proved("kept")
        assert essence(again) == essence(whole), shop.sources["shop_of_recall"]
        saved += whole.counts.runs - again.counts.runs
    assert saved > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_on_a_server_is_not_asked_again(
    shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """What statements do to which content is known, whatever the code that sends them."""
    code = SHOP.replace("import sqlite3", "import psycopg").replace("?", "%s")
    shop.sources["shop_of_recall"] = code.replace(
        'sqlite3.connect("recall.db")', 'psycopg.connect("host=db.internal")'
    )
    shop.sources["shop_of_recall_money"] = MONEY.replace("?", "%s")
    shop.seed = SEED.replace("id INTEGER PRIMARY KEY", "id serial PRIMARY KEY")
    shop.url = database_url
    shop.write()
    asked: list[str] = []
    perform = Postgres.perform

    def counted(self: Postgres, *args: Any) -> Any:
        asked.append("a statement")
        return perform(self, *args)

    monkeypatch.setattr(Postgres, "perform", counted)
    before = shop.proved("kept")
    assert before.word == "HOLDS", str(before)
    first = len(asked)
    shop.edit("shop_of_recall", "return 200", "return 201")
    again = shop.proved("kept")
    assert again.word == "HOLDS", str(again)
    assert first > 0
    assert len(asked) == first


def test_how_far_two_functions_are_the_same():
    """As far as their instructions are, and what guards these."""
    steps = ("one", "two", "three")
    plain = Shape("f", steps, (), frozenset())
    assert alike((plain,), (plain,)) is None
    assert alike((plain,), (Shape("f", (*steps[:2], "else"), (), frozenset()),)) == 2
    assert alike((plain,), (Shape("f", (*steps, "more"), (), frozenset()),)) == 3
    assert alike((plain,), (Shape("f", steps, ((1, 3, 9, 0, 0),), frozenset()),)) == 1
    assert alike((plain,), (Shape("f, with an argument", steps, (), frozenset()),)) == 0
    assert alike((plain,), (plain, plain)) == 0
    assert alike((), (plain,)) == 0
