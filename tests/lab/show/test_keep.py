"""A verdict is kept, and the next one of the same test is compared with it."""

from __future__ import annotations

from pathlib import Path

from tests.lab.corpus.shop import ORDERS, connect, order
from troth.lab import Lab
from troth.lab.show.keep import keep
from troth.lab.show.shelf import HOME, Shelf


def note() -> int:
    order(connect())
    return 200


def kept(root: Path, *, promises: int = 2, overlap: int = 2):
    lab = Lab("test_note", closer=0, test="t.py::test_note")
    lab.database("shop.db", seed=ORDERS)
    lab.user(note)
    lab.redact("email")
    lab.always("at most one order", lambda w: len(w.db.orders) <= 1)
    if promises > 1:
        lab.told(200, "there is an order", lambda w: w.db.orders)
    return keep(lab.explore(confirm=False, overlap=overlap), root)


def test_the_same_verdict_has_the_same_id_and_nothing_was_weakened(tmp_path):
    first, second = kept(tmp_path), kept(tmp_path)
    assert first.id == second.id
    assert second.weakened == ()
    assert Shelf(tmp_path / HOME).last("t.py::test_note") == second


def test_you_weakened(tmp_path):
    kept(tmp_path)
    weaker = kept(tmp_path, promises=1, overlap=1)
    assert weaker.weakened == (
        "the promise 'there is an order' (told) is gone",
        "attempts alive at once: 1, and were 2",
    )
    assert kept(tmp_path).weakened == (), "what is stronger again is no news"


def test_what_the_test_redacts_is_in_no_file(tmp_path):
    lab = Lab("test_secret", test="t.py::test_secret")
    lab.database("shop.db", seed=ORDERS)
    lab.user(note)
    lab.redact("email")
    lab.always("no order", lambda w: not w.db.orders)
    found = keep(lab.explore(confirm=False, overlap=1), tmp_path)
    assert found.counterexamples[0].steps
    for file in tmp_path.rglob("*.json"):
        assert b"ada@example.com" not in file.read_bytes()
    assert any(
        "email=…" in change for step in found.counterexamples[0].steps for change in step.changes
    )
