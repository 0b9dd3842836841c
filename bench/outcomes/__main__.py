"""`python -m bench.outcomes [--only TEXT] [--jobs 4] [--write]`: run every system through every situation, and print the table.

With --write it goes into docs/comparisons/unknown-outcomes.md.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from bench.outcomes.processes import ROOT, CardProvider, NotStagedError, Said
from bench.outcomes.situations import SITUATIONS, WITH_KEY, Cell, Row, Stage
from bench.outcomes.table import render, versions
from troth.store.embedded import Embedded

PAGE = ROOT / "docs" / "comparisons" / "unknown-outcomes.md"
BEGIN, END = "<!-- written by python -m bench.outcomes --write -->", "<!-- end -->"

TRIES = 3  # to stage a situation

HAND, DBOS, IDEMKIT, JUSTONCE, TROTH = (
    "peer_handwritten",
    "peer_dbos",
    "peer_idemkit",
    "peer_justonce",
    "system_troth",
)
ROWS = [
    Row("a retry loop", "retries every error", HAND, "plain"),
    Row("a retry loop", "retries what was refused", HAND, "careful"),
    Row("a retry loop", "looks before it charges", HAND, "look"),
    Row("dbos", "retries every error", DBOS, "plain"),
    Row("dbos", "no retries (default)", DBOS, "default"),
    Row("dbos", "retries what was refused, limits the time", DBOS, "careful"),
    Row("dbos", "10 attempts, looks before it charges, limits the time", DBOS, "look"),
    Row("idemkit", "default", IDEMKIT, "plain"),
    Row("idemkit", "caches what may have charged, lease of a day", IDEMKIT, "careful"),
    Row("justonce", "default", JUSTONCE, "plain"),
    Row("justonce", "burns the key, lease of a day", JUSTONCE, "careful"),
    Row("troth", "`at_least_once`", TROTH, "at least once"),
    Row("troth", "`at_most_once`", TROTH, "at most once"),
    Row("troth", "a probe", TROTH, "probe"),
    Row("a retry loop", "a fresh key for every try", HAND, "fresh key", keyed=True),
    Row("a retry loop", "one key for all tries", HAND, "key of the call", keyed=True),
    Row("a retry loop", "a key made of the order", HAND, "key of the order", keyed=True),
    Row("a retry loop", "that key, looks before it charges", HAND, "key and look", keyed=True),
    Row("dbos", "retries, key made of workflow and step", DBOS, "key", keyed=True),
    Row(
        "dbos",
        "that key, 10 attempts, looks before it charges, limits the time",
        DBOS,
        "key and look",
        keyed=True,
    ),
    Row("idemkit", "default, key made of the order", IDEMKIT, "key", keyed=True),
    Row("justonce", "default, its key handed on", JUSTONCE, "key", keyed=True),
    Row("troth", "`Provider` with a key lifetime", TROTH, "key", keyed=True),
    Row("troth", "that, and a probe", TROTH, "key and probe", keyed=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.outcomes")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--jobs", type=int, default=4, help="rows at the same time")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write needs all rows")
    rows = [row for row in ROWS if options.only in row.name]
    with (
        tempfile.TemporaryDirectory(prefix="troth-outcomes-") as directory,
        Embedded.acquire(Path(directory)) as server,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        databases = [new_database(server.url, f"outcomes_{n}") for n in range(len(rows))]
        found = pool.map(of_row, rows, itertools.count(), databases)
        table = dict(zip(rows, found, strict=True))
    text = render(table) + versions()
    print(text)
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def of_row(row: Row, number: int, database: str) -> dict[str, Cell]:
    """All situations, one after the other, with one database and one provider."""
    cells: dict[str, Cell] = {}
    with tempfile.TemporaryDirectory(prefix="troth-outcomes-") as directory:
        provider = CardProvider(Path(directory))
        try:
            for name, happen in (WITH_KEY if row.keyed else SITUATIONS).items():
                orders = (f"order-{number}-{len(cells)}-{n}" for n in range(TRIES))
                stages = (Stage(row, o, database, provider, Path(directory)) for o in orders)
                cells[name] = staged(stages, happen)
                print(row.name, "|", name, "|", cells[name], file=sys.stderr)
        finally:
            provider.stop()
    return cells


def staged(stages: Iterator[Stage], happen: Callable[[Stage], Said]) -> Cell:
    """The first that comes about: on a busy machine a program may be too late for what it was to meet."""
    for stage in stages:
        try:
            return stage.play(happen)
        except NotStagedError as error:
            print("once more:", error, file=sys.stderr)
    raise NotStagedError(f"not in {TRIES} tries")


def new_database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return f"postgresql://{parts['user']}@/{name}?host={parts['host']}&port={parts['port']}"


if __name__ == "__main__":
    main()
