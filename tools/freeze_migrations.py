"""Record the hash of every migration, so that a released one can never change unnoticed."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIGRATIONS = ROOT / "src" / "troth" / "store" / "migrations"
RECORD = ROOT / "tests" / "house" / "released_migrations.txt"
HEADER = (
    "# sha256 and name of every migration that a release has carried (tools/freeze_migrations.py)"
)


def migrations() -> list[Path]:
    """The migration files in the order in which they run."""
    return sorted(MIGRATIONS.glob("*.sql"))


def hashes() -> dict[str, str]:
    """The sha256 of each migration as it is now, by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in migrations()}


def recorded() -> dict[str, str]:
    """The sha256 of each released migration, by file name."""
    lines = RECORD.read_text().splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def main() -> None:
    """Add what is new; refuse if a released migration was changed or removed."""
    now, before = hashes(), recorded()
    if changed := sorted(name for name in before if now.get(name) != before[name]):
        raise SystemExit(f"released migrations were changed or removed: {', '.join(changed)}")
    lines = [HEADER, *(f"{digest}  {name}" for name, digest in now.items())]
    RECORD.write_text("\n".join(lines) + "\n")
    print(f"{len(now) - len(before)} new, {len(now)} in all")


if __name__ == "__main__":
    main()
