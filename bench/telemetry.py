"""What telemetry costs: nobody listens, somebody does, OpenTelemetry does; and beside them the code before there was any.

    python -m bench.telemetry [--rounds 7] [--before CHECKOUT] [--write]

Interleaved rounds, medians. CHECKOUT is a directory with an older version of this repository (`git worktree add`); without it
that column is left out. It runs in the environment of the tests, which has OpenTelemetry's SDK.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from bench.__main__ import LOWER_IS_BETTER, server_settings
from troth.store.embedded import Embedded

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("RESULTS.md")
MARKS = ("<!-- bench.telemetry -->", "<!-- end of bench.telemetry -->")
SIZE = ["3000", "400", "100", "3000", "200"]
CPU = "processor time of a round, ms"  # of client and worker; it says more than a clock on a machine that others use
BEFORE, OFF, LISTENER = "before", "nobody listens", "a listener"
HOW = {BEFORE: "", OFF: "", LISTENER: "listener", "sampled": "sampled", "OpenTelemetry": "otel"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    names = [name for name in HOW if name != BEFORE or options.before]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        for number in range(options.rounds):
            # Another one is the first each time: whoever comes after a quiet moment has it easier.
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
                rounds[name].append(one_round(server.url, name, options.before))
        settings = server_settings(server.url)
    table = render(rounds, options.rounds, settings)
    print(table)
    if options.write:
        page = RESULTS.read_text(encoding="utf-8")
        section = f"{MARKS[0]}\n{table}{MARKS[1]}"
        if MARKS[0] in page:
            pattern = re.compile(re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1]), re.DOTALL)
            page = pattern.sub(lambda _: section, page)
        else:
            page = f"{page.rstrip()}\n\n{section}\n"
        RESULTS.write_text(page, encoding="utf-8")


def one_round(url: str, name: str, before: Path | None) -> dict[str, float]:
    """One round in a process of its own, on a database that is new."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS bench WITH (FORCE)")
        connection.execute("CREATE DATABASE bench")
    found = psycopg.conninfo.conninfo_to_dict(url)
    target = f"postgresql://{found['user']}@/bench?host={found['host']}&port={found['port']}"
    root = before if name == BEFORE and before is not None else ROOT
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "bench.system_troth", target, *SIZE],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
        cwd=root,
        env=os.environ
        | {
            "PYTHONPATH": str(root.resolve() / "src"),
            "PYTHONWARNINGS": "ignore",
            "BENCH_TELEMETRY": HOW[name],
        },
    )
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    figures[CPU] = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) * 1000
    return figures


def render(rounds: dict[str, list[dict[str, float]]], count: int, settings: str) -> str:
    medians = {
        name: {figure: statistics.median(r[figure] for r in rs) for figure in rs[0]}
        for name, rs in rounds.items()
    }
    base = next(iter(medians))
    others = [name for name in medians if name != base]
    lines = [
        "## Telemetry",
        "",
        f"`python -m bench.telemetry --rounds {count} --before CHECKOUT --write`: medians of {count} interleaved rounds, client,",
        f"worker and server together on {os.cpu_count()} cores, Python {platform.python_version()}, {settings}. *{base}*:",
        "the code before there were events. *OpenTelemetry*: every span made and given to an exporter that drops it, and all",
        f"metrics; *sampled*: the same, with one trace of a hundred. In parentheses: the difference from *{base}*; positive is worse. Steps do nothing here, so this is what telemetry",
        "costs at the most. Where others use the machine, the clock varies by tens of per cent between rounds: then the last row,",
        "of client and worker together with their start, is the one to compare.",
        "",
        "| workload | " + " | ".join(medians) + " |",
        "|---|" + "---|" * len(medians),
    ]
    for figure, first in medians[base].items():
        lower = figure.endswith(LOWER_IS_BETTER)
        cells = [f"{first:,.2f}" if lower else f"{first:,.0f}"]
        for name in others:
            value = medians[name][figure]
            worse = value / first - 1 if lower else first / value - 1
            cells.append((f"{value:,.2f}" if lower else f"{value:,.0f}") + f" ({worse:+.0%})")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
