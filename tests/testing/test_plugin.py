"""The fixtures, in a project that has nothing else."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = """
import asyncio
from datetime import timedelta
from troth import Troth

troth = Troth()

@troth.workflow
async def wait() -> str:
    await troth.sleep(timedelta(days=30))
    return "a month later"

def test_a_month(troth_world):
    async def run() -> None:
        async with troth_world(troth) as world:
            assert await world.run(wait, within=timedelta(days=31)) == "a month later"
    asyncio.run(run())
"""


def test_a_project_tests_a_month_in_a_moment(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["troth.testing.plugin"]\n')
    (tmp_path / "test_month.py").write_text(PROJECT)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "TROTH_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
