"""`python -m bench [--rounds 3] [--json]`: interleaved rounds, medians, ratios; writes bench/RESULTS.md with --write."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from troth.store.embedded import Embedded

HERE = Path(__file__).parent
LOWER_IS_BETTER = " ms"
BEGIN, END = "<!-- written by python -m bench --write -->", "<!-- end -->"

# one-step runs, ten-step runs, single runs, queued runs, concurrency: peers do less in the same time.
SYSTEMS = {
    "troth": ("bench.system_troth", ["6000", "1500", "300", "20000", "200"]),
    "dbos": ("bench.system_dbos", ["400", "60", "60", "400", "50"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
        for number in range(options.rounds):
            for name, (module, size) in SYSTEMS.items():
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                rounds[name].append(one_round(server.url, module, size))
        settings = server_settings(server.url)
    medians = {
        name: {figure: statistics.median(r[figure] for r in rs) for figure in rs[0]}
        for name, rs in rounds.items()
    }
    table = render(medians, options.rounds, settings)
    print(json.dumps(medians) if options.json else table)
    if options.write:
        page = HERE / "RESULTS.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def one_round(url: str, module: str, size: list[str], *, fresh: bool = True) -> dict[str, float]:
    """One system in a process of its own; its last line of output is its figures."""
    if fresh:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
            connection.execute("CREATE DATABASE bench")
    database = psycopg.conninfo.conninfo_to_dict(url)
    target = (
        f"postgresql://{database['user']}@/bench?host={database['host']}&port={database['port']}"
    )
    done = subprocess.run(
        [sys.executable, "-m", module, target, *size],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def server_settings(url: str) -> str:
    with psycopg.connect(url) as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("server_version", "fsync", "synchronous_commit")
        ]
    version, fsync, synchronous = (row[0] for row in shown if row)
    return f"PostgreSQL {version}, fsync {fsync}, synchronous_commit {synchronous}"


def render(medians: dict[str, dict[str, float]], rounds: int, settings: str) -> str:
    lines = [
        f"Made by `make bench` on {dt.datetime.now(dt.UTC):%Y-%m-%d}: medians of {rounds} interleaved rounds, client and",
        f"server together on {os.cpu_count()} cores, Python {platform.python_version()}, {settings}. Each system runs in one process,",
        "at the concurrency at which it is fastest here (troth 200, dbos 50). Absolute figures do not travel; ratios do.",
        "",
        "| workload | " + " | ".join(medians) + " | troth is |",
        "|---|" + "---|" * (len(medians) + 1),
    ]
    for figure, ours in medians["troth"].items():
        theirs = medians["dbos"][figure]
        lower = figure.endswith(LOWER_IS_BETTER)
        ratio = theirs / ours if lower else ours / theirs
        cells = " | ".join(
            f"{m[figure]:,.2f}" if lower else f"{m[figure]:,.0f}" for m in medians.values()
        )
        word = "quicker" if lower else "as much"
        lines.append(f"| {figure} | {cells} | {ratio:,.1f} times {word} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
