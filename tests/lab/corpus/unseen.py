"""Handlers that are wrong where the lab cannot look. One for each class of refusal: were it passed over, they would seem right."""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.lab.corpus import trap
from tests.lab.corpus.shop import API, connect, order, paid
from tests.lab.corpus.traps import shop
from troth.lab import Lab

FLAG = pathlib.Path(tempfile.gettempdir()) / "troth-lab-corpus-charged"


def charge_beside(key: str) -> str:
    answer = httpx.post(f"{API}/charges", data={"amount": "4900"}, headers={"Idempotency-Key": key})
    return str(answer.json()["id"])


def buy_unless_there_is_a_file() -> int:
    db = connect()
    mine = order(db)
    if not FLAG.exists():
        FLAG.write_text("charging")  # who dies now is never charged, and told that he was
        paid(db, mine["id"], charge_beside("one"))
    return 200


@trap("REFUSED")
def state_in_a_file(lab: Lab) -> None:
    shop(lab, buy_unless_there_is_a_file)


def buy_by_another_program() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        subprocess.run(["true", str(mine["id"])], check=True)  # it charges, each time
        paid(db, mine["id"], "by the other program")
    return 200


@trap("REFUSED")
def effect_of_another_program(lab: Lab) -> None:
    shop(lab, buy_by_another_program)


def buy_over_a_socket() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        with socket.socket() as till:
            till.connect(("127.0.0.1", 9))  # a till that charges, each time
            till.sendall(b"4900")
        paid(db, mine["id"], "at the till")
    return 200


@trap("REFUSED")
def effect_over_a_socket(lab: Lab) -> None:
    shop(lab, buy_over_a_socket)


def buy_in_a_thread() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        worker = threading.Thread(target=charge_beside, args=("one",))
        worker.start()
        paid(db, mine["id"], "soon")  # before anybody knows
        worker.join()
    return 200


@trap("REFUSED")
def effect_in_a_thread(lab: Lab) -> None:
    shop(lab, buy_in_a_thread)


def buy_in_an_executor() -> int:
    db = connect()
    mine = order(db)
    with ThreadPoolExecutor() as pool:
        made = pool.submit(charge_beside, f"order-{mine['id']}")
        paid(db, mine["id"], "soon")
        made.result()
    return 200


@trap("REFUSED")
def effect_in_an_executor(lab: Lab) -> None:
    shop(lab, buy_in_an_executor)


async def buy_at_the_same_time() -> int:
    async with httpx.AsyncClient() as client:
        await asyncio.gather(
            client.post(f"{API}/charges", headers={"Idempotency-Key": "one"}),
            client.post(f"{API}/refunds", data={"charge": "ch_1"}),  # right only if it comes second
        )
    return 200


@trap("REFUSED")
def two_effects_at_the_same_time(lab: Lab) -> None:
    shop(lab, buy_at_the_same_time)


def buy_by_process() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge_beside(f"{os.getpid()}"))  # a new process has a new key
    return 200


@trap("REFUSED")
def key_per_process(lab: Lab) -> None:
    shop(lab, buy_by_process)


def buy_by_the_other_clock() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge_beside(f"{time.perf_counter_ns()}"))
    return 200


@trap("REFUSED")
def key_by_a_clock_that_is_not_the_labs(lab: Lab) -> None:
    shop(lab, buy_by_the_other_clock)


kept: list[sqlite3.Connection] = []


def buy_on_a_connection_that_is_kept() -> int:
    if not kept:
        kept.append(sqlite3.connect("shop.db"))
    # Not committed: the next request on this connection sees it, and after a crash it was never there
    kept[0].execute("INSERT INTO orders (email) VALUES ('ada@example.com') ON CONFLICT DO NOTHING")
    return 200


@trap("REFUSED")
def transaction_that_is_kept_between_requests(lab: Lab) -> None:
    shop(lab, buy_on_a_connection_that_is_kept)


def buy_in_another_database() -> int:
    audit = sqlite3.connect("audit.db")
    audit.execute("CREATE TABLE IF NOT EXISTS seen (id)")
    if audit.execute("SELECT 1 FROM seen").fetchone() is None:
        audit.execute("INSERT INTO seen VALUES (1)")
        audit.commit()
        charge_beside("one")
    return 200


@trap("REFUSED")
def state_in_a_database_that_was_not_named(lab: Lab) -> None:
    shop(lab, buy_in_another_database)


def buy_until_it_works() -> int:
    while True:
        db = connect()
        if order(db)["status"] == "paid":
            return 200


@trap("REFUSED")
def attempt_without_an_end(lab: Lab) -> None:
    shop(lab, buy_until_it_works)


def buy_and_tell_others() -> int:
    httpx.post("https://hooks.example.com/sold", json={"order": 1})  # each time, to whoever listens
    return 200


@trap("REFUSED")
def effect_at_a_host_that_is_no_provider(lab: Lab) -> None:
    shop(lab, buy_and_tell_others)
