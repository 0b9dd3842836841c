"""Migrations: numbered without a gap, and never changed once a release has carried them."""

import re

from tests.house.tree import ROOT
from tools import freeze_migrations as frozen


def test_migrations_are_numbered_without_a_gap() -> None:
    names = [path.name for path in frozen.migrations()]
    wrong = [name for name in names if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name)]
    assert not wrong, f"name a migration NNNN_what_it_does.sql: {wrong}"

    numbers = [int(name[:4]) for name in names]
    assert numbers == list(range(1, len(numbers) + 1)), (
        f"migrations run in the order of their numbers, from 0001, one by one: {names}"
    )


def test_released_migrations_are_never_changed() -> None:
    now = frozen.hashes()
    changed = {name for name, digest in frozen.recorded().items() if now.get(name) != digest}
    assert not changed, (
        f"databases in the world already ran {sorted(changed)}; put the change into a new migration"
    )


def test_a_release_freezes_its_migrations() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    if ".dev" in version[1]:
        return  # not released: a migration that no release has carried may still change
    missing = set(frozen.hashes()) - set(frozen.recorded())
    assert not missing, f"run `python tools/freeze_migrations.py`: {sorted(missing)}"
