"""The demo itself, smaller: real processes, one kill, one crash of the database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from examples.signup.demo.people import crowd
from examples.signup.demo.trouble import schedule

ROOT = Path(__file__).parents[3]
PAYMENTS = {
    "disbursed": {"count": 2, "minor": 1000},
    "refused payments": {"count": 1, "minor": 500},
    "returned payments": {"count": 1, "minor": 500},
}


def documented() -> set[str]:
    """The keys that the README promises of --json."""
    readme = (ROOT / "examples" / "signup" / "README.md").read_text()
    rows = readme.partition("## For machines")[2].partition("\n## ")[0].splitlines()
    first = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.timeout(180)
def test_thirty_people_a_kill_and_a_crash(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.signup.demo", "--json"]
    numbers = ["--people", "30", "--concurrency", "10", "--kills", "1", "--restarts", "1"]
    demo = subprocess.run(
        [*command, *numbers], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    result = json.loads(demo.stdout)
    assert result["holds"] is True
    assert set(result) == documented(), "these names stay: examples/signup/README.md"
    assert result["clicks"] == 30 + 2 * 3 + 3 * 3
    [kill] = result["kills"]
    assert kill["runs_in_flight"] > 0
    assert len(result["database_outages_s"]) == 1
    rows = {row["thing"]: row for row in result["table"]}
    assert result["explained"] is True
    assert result["not_zero"] == []
    money = {line["thing"]: line for line in result["money"]}
    assert money["paid"]["expected"] == {"count": 8, "minor": 4 * 900 + 4 * 4900}
    assert money["refunded"]["provider"] == {"count": 1, "minor": 4900}
    assert money["payouts refused"]["books"]["count"] == 1, "and its money came with the next"
    assert money["paid out"]["bank"] == money["paid out"]["books"]
    assert money["at the bank"]["bank"]["minor"] > 0
    reconciled = {one["name"]: (one["verdict"], one["breaks"]) for one in result["reconciled"]}
    assert {name: money[name]["bank"] for name in PAYMENTS} == PAYMENTS
    assert result["statements"]["late"]
    [gap] = result["statements"]["missed"]["breaks"]
    assert (result["statements"]["missed"]["verdict"], gap["kind"]) == (
        "unproven",
        "statement_arithmetic",
    )
    [bank] = [one for one in result["reconciled"] if one["name"] == "bank"]
    assert bank["repeated"] > 0, "the statement that was late came twice"
    assert reconciled == dict.fromkeys(("asked", "refunds", "balance", "bank"), ("clean", []))
    assert rows["customers"]["provider"] == rows["subscriptions"]["provider"] == 28
    assert rows["mails"]["mailbox"] + rows["mails"]["absent"] == 28
    assert rows["mails"]["database"] + len(result["in_doubt"]) == 28
    undone = rows["failed, undone"]
    assert (undone["database"], undone["provider"], undone["mailbox"]) == (2, 2, 2)
    assert result["told"]["failed"] == 2
    faults = result["provider_faults"]
    assert all(faults[kind] for kind in ("hang_after", "reset_after", "http500_after")), faults


@pytest.mark.slow  # the gate has the comparison without the processes
@pytest.mark.timeout(180)
def test_a_line_that_the_bank_forgets_is_missed() -> None:
    command = [sys.executable, "-m", "examples.signup.demo", "--json", "--with-a-break"]
    numbers = ["--people", "4", "--kills", "0", "--restarts", "0", "--no-faults"]
    demo = subprocess.run(
        [*command, *numbers], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    result = json.loads(demo.stdout)
    assert (result["holds"], result["explained"]) == (True, False)
    [missed] = result["not_zero"]
    [paid_out] = [line for line in result["money"] if line["thing"] == "paid out"]
    [bank] = [one for one in result["reconciled"] if one["name"] == "bank"]
    kinds = {each["kind"]: each["minor"] for each in bank["breaks"]}
    assert kinds["statement_arithmetic"] == missed["minor"]
    assert missed["code"].startswith("clearing:payouts:po_")
    assert missed["minor"] == paid_out["books"]["minor"]


@pytest.mark.parametrize(
    "kind", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_demo_leaves_nothing_behind(kind: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "examples.signup.demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if "effects give up" in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 4, said  # provider, mailbox, service, workers
        demo.send_signal(kind)
        told = demo.stdout.read()

    assert demo.returncode == 130
    assert "Interrupted" in told
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_one_of_fifteen_has_a_card_that_is_declined() -> None:
    assert [person.refused for person in crowd(300)].count(True) == 20


def test_every_tenth_person_clicks_three_times() -> None:
    people = crowd(30)

    assert [person.clicks for person in people].count(3) == 3
    assert len({person.email for person in people}) == 30


def test_one_of_three_pays_at_once_and_one_of_thirty_wants_it_back() -> None:
    people = crowd(300)

    assert [person.pays for person in people].count(True) == 80  # but for those who are refused
    assert [person.regrets for person in people].count(True) == 10
    assert all(person.pays for person in people if person.regrets)


def test_trouble_is_spread_over_the_crowd() -> None:
    troubles = schedule(300, kills=3, crashes=1)

    assert [(one.after, one.kind) for one in troubles] == [
        (60, "kill"),
        (120, "kill"),
        (180, "crash"),
        (240, "kill"),
    ]
