"""HOLDS is not found again while nothing has changed on which it depends; and anything of that finds it again."""

from __future__ import annotations

import importlib
import sys

import pytest

from troth.lab import Lab, proof
from troth.lab.request import FunctionCall
from troth.lab.reuse import Reuse

CODE = """
import sqlite3
from shop_of_reuse_rates import RATE

def register():
    db = sqlite3.connect("reuse.db")
    db.execute("INSERT INTO users (rate) VALUES (?) ON CONFLICT DO NOTHING", (RATE,))
    db.commit()
    return 200
"""
SEED = "CREATE TABLE users (id INTEGER PRIMARY KEY, rate INTEGER UNIQUE)"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An application of two modules: one has the code, the other a number."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_of_reuse.py").write_text(CODE)
    (tmp_path / "shop_of_reuse_rates.py").write_text("RATE = 1\n")
    yield tmp_path
    for name in ("shop_of_reuse", "shop_of_reuse_rates"):
        sys.modules.pop(name, None)


@pytest.fixture
def searches(monkeypatch) -> list[str]:
    """What was searched for."""
    found: list[str] = []
    real = proof.explore

    def explore(*positional, **options):
        found.append("search")
        return real(*positional, **options)

    monkeypatch.setattr(proof, "explore", explore)
    return found


def edited(folder, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    for one in ("shop_of_reuse", "shop_of_reuse_rates"):
        sys.modules.pop(one, None)


def proved(folder, *, seed: str = SEED, most: int = 1, **limits):
    lab = Lab("reuse", closer=0)
    lab.reuse = Reuse(folder / "holds")
    lab.database("reuse.db", seed=seed)
    lab.user(importlib.import_module("shop_of_reuse").register)
    lab.always("one user", lambda w: len(w.db.users) <= most)
    return lab.explore(**limits)


def test_what_still_stands_is_not_searched_again(shop, searches):
    first = proved(shop)
    assert first.word == "HOLDS", str(first)
    again = proved(shop)
    assert (again.word, again.closed, again.exit_status) == ("HOLDS", True, 0)
    assert len(searches) == 1
    assert "nothing has changed since on which it depends" in str(again)
    assert again.model == first.model
    assert again.asked == first.asked


def code(shop, monkeypatch) -> None:
    edited(shop, "shop_of_reuse", CODE + "\n# another line\n")


def number_elsewhere(shop, monkeypatch) -> None:
    edited(shop, "shop_of_reuse_rates", "RATE = 2\n")


def environment(shop, monkeypatch) -> None:
    monkeypatch.setenv("RATE_OF_REUSE", "2")


@pytest.mark.parametrize(
    "change",
    [
        code,
        pytest.param(number_elsewhere, marks=pytest.mark.slow),
        pytest.param(environment, marks=pytest.mark.slow),
    ],
)
def test_another_program_is_searched(shop, searches, monkeypatch, change):
    proved(shop)
    change(shop, monkeypatch)
    assert proved(shop).word == "HOLDS"
    assert len(searches) == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"seed": SEED.replace("rate INTEGER", "rate BIGINT")},
        pytest.param({"most": 2}, marks=pytest.mark.slow),
        pytest.param({"survived": 1}, marks=pytest.mark.slow),
    ],
)
def test_another_question_is_searched(shop, searches, asked):
    proved(shop)
    assert proved(shop, **asked).word == "HOLDS"
    assert len(searches) == 2


def test_only_what_holds_is_kept(shop, searches):
    broken = CODE.replace(" ON CONFLICT DO NOTHING", "")
    plain = "CREATE TABLE users (id INTEGER PRIMARY KEY, rate INTEGER)"
    edited(shop, "shop_of_reuse", broken)
    for _ in range(2):
        assert proved(shop, seed=plain).word == "VIOLATED"
    assert len(searches) > 2, "and each time it is looked for the shortest history"
    assert not [*(shop / "holds").glob("*.json")]


def test_what_no_plain_data_says_is_searched_each_time(shop, searches, monkeypatch):
    """As Celery's configuration, a function that signs deliveries, and troth's engine are: nothing is kept of their verdicts."""
    monkeypatch.setattr(FunctionCall, "asked", lambda _: None)
    assert [proved(shop).word, proved(shop).word] == ["HOLDS", "HOLDS"]
    assert len(searches) == 2
    assert not (shop / "holds").exists()
