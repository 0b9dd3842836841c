"""The lab beside frontrun and beside faults before the call, on the same programs: `.venv-bench/bin/python -m bench.lab_beside`.

*frontrun* gets two calls of the handler at once; *faults before the call* is what an exception instead of the call finds: each
outgoing call of the first attempt, and each pair of them in two attempts, fails without being made, and the user asks again.
The provider is the same model in all three. Counted: programs with a defect that were found wrong, right programs that were
called wrong, executions of a handler, seconds, and lines of set-up.
"""

from __future__ import annotations

import inspect
import itertools
import json
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from bench.lab_programs import FILE, PROGRAMS, Program, sound
from troth.lab import Lab


def with_the_lab(program: Program) -> tuple[bool | None, int]:
    lab = Lab(program.handler.__name__)
    lab.database(FILE, seed=program.seed)
    lab.stripe()
    lab.user(program.handler, within=timedelta(hours=1))
    lab.always("sound", lambda w: sound(len(w.stripe.charges), *_counts(w.db)), costs="money")
    verdict = lab.explore()
    return {"VIOLATED": True, "HOLDS": False}.get(
        verdict.word
    ), verdict.counts.runs + verdict.counts.repeated


def _counts(db: Any) -> tuple[int, int]:
    tables = db._tables  # noqa: SLF001  (the programs have different ones)
    payments = len(db.payments) if "payments" in tables else 0
    return payments, db.account[0].spent if "account" in tables else 0


class Provider(httpx.BaseTransport):
    """Charges, remembered by key, as the lab's model of Stripe has them. `failing`: which of its calls are not made."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.charges: list[dict[str, str]] = []
        self.keys: dict[str, dict[str, str]] = {}
        self.failing = failing
        self.calls = 0
        self.lock = threading.Lock()  # a provider does one thing at a time

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            return self.answer(request)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.calls - 1 in self.failing:
            raise httpx.ReadTimeout("timed out", request=request)
        if request.method == "GET":
            return httpx.Response(200, json={"data": self.charges}, request=request)
        key = request.headers.get("Idempotency-Key", "")
        made = self.keys.get(key) or {"id": f"ch_{len(self.charges) + 1}"}
        if key not in self.keys:
            self.charges.append(made)
            if key:
                self.keys[key] = made
        return httpx.Response(200, json=made, request=request)


class World:
    def __init__(self, program: Program, failing: tuple[int, ...] = ()) -> None:
        Path(FILE).unlink(missing_ok=True)
        with sqlite3.connect(FILE) as db:
            db.executescript(program.seed)
        db.close()
        self.provider = Provider(failing)
        httpx.HTTPTransport.handle_request = lambda _, request: self.provider.handle_request(
            request
        )  # type: ignore[method-assign]

    def sound(self) -> bool:
        db = sqlite3.connect(FILE)
        found = {}
        for table, column in (("payments", "count(*)"), ("account", "spent")):
            with suppress(sqlite3.OperationalError):
                found[table] = db.execute(f"SELECT {column} FROM {table}").fetchone()[0]
        db.close()
        return sound(len(self.provider.charges), found.get("payments", 0), found.get("account", 0))


def with_frontrun(program: Program) -> tuple[bool | None, int]:
    import frontrun

    result = frontrun.explore(
        setup=lambda: World(program),
        workers=lambda _: program.handler(),
        count=2,
        invariant=lambda world: world.sound(),
        total_timeout=20,
        reproduce_on_failure=0,
        warn_nondeterministic_sql=False,
    )
    found = (
        None
        if result.property_holds is None or not (result.exhausted or not result.property_holds)
        else not result.property_holds
    )
    return found, 2 * result.num_explored


def with_faults_before_the_call(program: Program) -> tuple[bool | None, int]:
    executions = 0
    for failing in [(), *((n,) for n in range(4)), *itertools.combinations(range(4), 2)]:
        world = World(program, failing)
        for _ in range(4):
            executions += 1
            try:
                program.handler()
            except httpx.HTTPError:
                continue
            break
        if not world.sound():
            return True, executions
    return False, executions


TOOLS = {
    "the lab": (with_the_lab, [with_the_lab, _counts]),
    "frontrun": (with_frontrun, [with_frontrun, World, Provider]),
    "faults before the call": (
        with_faults_before_the_call,
        [with_faults_before_the_call, World, Provider],
    ),
}


def main() -> None:
    """Each tool in a process of its own: frontrun wants its command around it."""
    rows = []
    for name in TOOLS:
        command = [sys.executable, "-m", "bench.lab_beside", name]
        if name == "frontrun":
            command.insert(0, str(Path(sys.executable).with_name("frontrun")))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, end="", flush=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    Path(FILE).unlink(missing_ok=True)
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")


def measure(name: str) -> None:
    tool, parts = TOOLS[name]
    found: dict[str, Any] = {}
    for program in PROGRAMS:
        started = time.monotonic()
        try:
            wrong, executions = tool(program)
        except Exception as error:  # noqa: BLE001  (a tool that gives up has found nothing)
            wrong, executions = None, 0
            print(
                f"  {name}, {program.handler.__name__}: {type(error).__name__}: {error}".splitlines()[
                    0
                ]
            )
        seconds = time.monotonic() - started
        found[program.handler.__name__] = [wrong, executions, round(seconds, 2)]
        print(
            f"{name:24}{program.handler.__name__:32}{wrong!s:7}{executions:7}{seconds:8.2f} s",
            flush=True,
        )
    bad = [one.handler.__name__ for one in PROGRAMS if one.wrong]
    good = [one.handler.__name__ for one in PROGRAMS if not one.wrong]
    row = {
        "tool": name,
        "found": f"{sum(found[one][0] is True for one in bad)} of {len(bad)}",
        "false alarms": sum(found[one][0] is True for one in good),
        "right ones finished": f"{sum(found[one][0] is False for one in good)} of {len(good)}",
        "executions": sum(one[1] for one in found.values()),
        "seconds": round(sum(one[2] for one in found.values()), 1),
        "lines of set-up": sum(len(inspect.getsource(one).splitlines()) for one in parts),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) > 1 else main()
