"""A document as a verdict gives it, small and made by hand, for tests of what is made from it."""

from __future__ import annotations

from troth.lab.show.document import (
    SCHEMA,
    Acting,
    Asked,
    Bounds,
    Cell,
    Check,
    Counterexample,
    Document,
    Entry,
    Excuse,
    Map,
    Need,
    Numbers,
    Promised,
    Remedy,
    Replay,
    Row,
    Site,
    Twin,
)  # fmt: skip

HERE = Site("app.py", 7, "pay")
STEPS = (
    Entry(1, 1, "pay", "COMMIT: db.orders + id=1", "ok", "COMMIT", (), ("db.orders + id=1",), HERE),
    Entry(
        2, 1, "pay", "stripe POST /v1/charges amount=<i>1: stripe.charges + ch_1", "timeout", "stripe POST /v1/charges",
        ("amount=<i>1",), ("stripe.charges + ch_1",), HERE, "lost answer", irreversible=True,
    ),
    Entry(3, 2, "pay", "answers", "→ 200", "answers"),
)  # fmt: skip
REMEDY = Remedy(
    "missing key", "Send a key.", "it took effect twice", "certain", (2,), (HERE,),
    Check("with a stable key", "holds", "", 12, "one attempt at a time"),
)  # fmt: skip
EXAMPLE = Counterexample(
    "c0ffee00", "charged once", "money", "49 EUR", True, "One lost answer is enough.", ("lost answer",), STEPS,
    ("stripe.charges + id=ch_1",), False, (Need(2, "lost answer", "vanishes"),),
    Twin(2, "the lost answer", STEPS[:1], "pay is told 200, and every promise is kept"), ("keys expire",),
    (REMEDY,), (Site("other.py", 9, "refund"),), None, Replay("troth lab replay c0ffee00", 'pytest "t.py::test_pay"'),
)  # fmt: skip
ASKED = Asked(
    (Acting("pay", 2),),
    (
        Promised("always", "charged once", "money", 0, "49 EUR", "d1", "broken"),
        Promised("told", "it is paid", "lie", 200, "", "d2", "kept"),
    ),
    (Excuse("accepted", "mail may repeat", "harmless"),),
    Bounds(2, 2, 1, expiry=True, budget_s=60.0),
)
CELLS = (
    Cell("crash", "kept", told="200"),
    Cell(
        "lost answer",
        "money",
        "money",
        "49 EUR",
        ("charged once",),
        "2 stripe.charges, not 1",
        "200",
    ),
)
DOCUMENT = Document(
    SCHEMA, "beef0001", "test_pay", "VIOLATED", "broken: charged once", False, "t.py::test_pay", "2026-11-30", "",
    ("stripe model 1",), ("hash order",), "4 histories in real processes", ("the search ended early",), ("a warning",),
    ("the promise 'x' is gone",), ASKED, (EXAMPLE,),
    Map((Row("pay", "stripe POST /v1/charges", HERE, CELLS),), "Without any fault it ends with 1 charge."),
    Numbers(10, 20, 3, 4, 5, 5, 6, 0.5, 0.1),
)  # fmt: skip
