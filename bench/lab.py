"""
How long does the lab take for handlers of 10 to 50 calls, and how much memory? (bench/lab_handlers.py)

    python -m bench.lab [--write] [--only TEXT]

Each handler is explored in a process of its own, with overlap 2 and everything else as `prove()` has it, real processes included. Who
is wrong must be found, and who is right must hold; the command fails if one is called otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.lab_handlers import HANDLERS, Handler
from bench.results import write
from troth.lab import Lab
from troth.store.embedded import Embedded

BUDGET = 240.0
"""Seconds. What has not closed by then is called BOUNDED, before five minutes are over."""
ENOUGH = 50_000
"""States. Of fewer, the memory is mostly that of the program itself."""


def explored(handler: Handler, server: str) -> dict[str, object]:
    """One search, and what it took. A small one goes before it, so that everything is imported."""
    small = Lab(handler.name, closer=0)
    handler.describe(small, server)
    small.explore(overlap=1, survived=0)
    lab = Lab(handler.name, closer=0)
    handler.describe(lab, server)
    before = psutil.Process().memory_info().rss
    started, processor = time.monotonic(), _processor()
    verdict = lab.explore(budget=BUDGET)
    seconds = time.monotonic() - started
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    counts = verdict.counts
    return {
        "word": verdict.word,
        "why": verdict.reason or "; ".join(verdict.open_because),
        "first": counts.first_s,
        "seconds": seconds,
        "processor": _processor() - processor,
        "states": counts.states,
        "steps": counts.steps,
        "runs": counts.runs + counts.repeated,
        "effects": counts.effects,
        "per million, MB": more / counts.states if counts.states >= ENOUGH else None,
    }


def _processor() -> float:
    """Seconds of processor time that this process and those that it has waited for have taken; the server's are not among them."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def table(rows: list[tuple[Handler, dict[str, object]]]) -> str:
    about = (
        f"2 attempts at once, 2 survived errors, 1 effect under way, expiry; {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.0f}. *first*: seconds of search until the first counterexample. *seconds*: until the verdict, with "
        "its confirmation by real processes. *processor*: seconds of it, without the server's. *runs*: real executions of the handler, second ones included. *MB*: of memory for a million states."
    )
    lines = [
        about,
        "",
        "| handler | verdict | first | seconds | processor | states | steps | runs | effects | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for handler, row in rows:
        memory, first = row["per million, MB"], row["first"]
        lines.append(
            f"| {handler.name} | {row['word']} | {'' if first is None else f'{first:.2f}'} | {row['seconds']:.1f} | {row['processor']:.1f} | {row['states']:,} "
            f"| {row['steps']:,} | {row['runs']:,} | {row['effects']:,} | {'' if memory is None else f'{memory:,.0f}'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lab")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--only", default="", help="handlers whose names contain this")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(explored(HANDLERS[int(options.one[0])], options.one[1])))
        return 0
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        for number, handler in enumerate(HANDLERS):
            if options.only in handler.name:
                command = [sys.executable, "-m", "bench.lab", "--one", str(number), server.url]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.append((handler, json.loads(done.stdout)))
                print(handler.name, rows[-1][1], flush=True)
    text = table(rows)
    print(text)
    if options.write:
        write("bench.lab", text)
    wrong = [one.name for one, row in rows if one.word not in {"", row["word"]}]
    for name in wrong:
        print(f"called otherwise than it is: {name}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
