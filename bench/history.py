"""Does the cost of a run grow with history? `python -m bench.history [MILLIONS]` fills the history, and measures before and after.

Finished runs and their journals are made by SQL, spread over the partitions of the last eight weeks, one entry each.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psycopg

from bench.__main__ import SYSTEMS, one_round
from troth.store.embedded import Embedded

SCHEMA = "bench_troth"
FILL = """
SELECT {schema}.ensure_partitions(now() - interval '9 weeks', now() + interval '1 week');
CREATE TEMP TABLE made AS
SELECT (overlay({schema}.first_id(now() - random() * interval '56 days')::text
        PLACING lpad(to_hex(n), 12, '0') FROM 25 FOR 12))::uuid AS id
FROM generate_series(1, {count}) n;
INSERT INTO {schema}.run_history (id, workflow, key, input, state, claim, starts_at, outcome)
SELECT id, 'sequential', NULL, '{{"steps":1}}', 'succeeded', 1, now(), '1' FROM made;
INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, digest, payload, at)
SELECT id, 'increment', 2, 0, 1, true, '\\x00112233445566778899aabbccddeeff', '1', now() FROM made;
"""


def main() -> None:
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    module, size = SYSTEMS["troth"]
    with (
        tempfile.TemporaryDirectory(prefix="troth-bench-") as directory,
        Embedded.acquire(Path(directory)) as server,
    ):
        before = [one_round(server.url, module, size) for _ in range(2)]
        target = server.url.replace("/postgres?", "/bench?")
        with psycopg.connect(target, autocommit=True) as connection:
            for statement in FILL.format(schema=SCHEMA, count=int(millions * 1e6)).split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            for table in ("run_history", "journal"):
                connection.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
            connection.execute("CHECKPOINT")
            rows = connection.execute(f"SELECT count(*) FROM {SCHEMA}.run_history").fetchone()
        after = [one_round(server.url, module, size, fresh=False) for _ in range(2)]
    print(f"| workload | empty history | {rows[0] if rows else 0:,} finished runs | ratio |")
    print("|---|---|---|---|")
    for figure in before[0]:
        a = sum(r[figure] for r in before) / len(before)
        b = sum(r[figure] for r in after) / len(after)
        print(f"| {figure} | {a:,.2f} | {b:,.2f} | {b / a:.2f} |")


if __name__ == "__main__":
    main()
