"""A Django project with troth as an application, in processes of its own: Django has one configuration in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from troth import UsageError
from troth.integrations.django_app.management.commands.troth import PROGRAM, arguments
from troth.integrations.django_app.project import url_of

SOURCES = str(Path(__file__).parents[2] / "src")

SETTINGS = """
    SECRET_KEY = "test"
    INSTALLED_APPS = ["troth.integrations.django_app", "shop"]
    DATABASES = {"default": DATABASE}
    TROTH = TROTH_SETTINGS
    USE_TZ = True
"""
MANAGE = """
    import os, sys
    from django.core.management import execute_from_command_line

    os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
    execute_from_command_line(sys.argv)
"""
WORKFLOWS = """
    from troth.integrations.django_app import troth

    @troth.workflow
    async def greet(name: str) -> str:
        return f"hello {name}"
"""
WORK = """
    import asyncio
    from troth.integrations.django_app import troth  # before django.setup(), as `troth worker` does

    async def main():
        async with troth.worker():
            run = await troth.start(troth.workflows["greet"], "ada", key="greet:ada")
            print(await run.result(timeout=30))

    asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path, migrated):
    url, schema = migrated
    parts = conninfo_to_dict(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts["dbname"],
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": str(parts.get("port", "")),
    }
    settings = SETTINGS.replace("TROTH_SETTINGS", repr({"schema": schema}))
    files = {
        "site_settings.py": settings.replace(
            '= {"default": DATABASE}', f"= {{'default': {database!r}}}"
        ),
        "manage.py": MANAGE,
        "shop/__init__.py": "",
        "shop/workflows.py": WORKFLOWS,
        "work.py": WORK,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    return tmp_path


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TROTH_DATA", "PG"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment | {"PYTHONPATH": SOURCES, "DJANGO_SETTINGS_MODULE": "site_settings"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_definitions_are_found_and_the_commands_are_on_the_projects_database(project):
    worked = python(project, "work.py")
    assert (worked.returncode, worked.stdout) == (0, "hello ada\n"), worked.stderr
    listed = python(project, "manage.py", "troth", "run", "list", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    assert [(run["workflow"], run["state"]) for run in json.loads(listed.stdout)] == [
        ("greet", "succeeded")
    ]


def test_wrong_settings_are_told(project):
    path = project / "site_settings.py"
    path.write_text(path.read_text().replace("'schema'", "'shema'"))
    checked = python(project, "manage.py", "check")
    assert checked.returncode != 0
    assert "settings.TROTH has 'shema'" in checked.stderr
    assert "did you mean 'schema'?" in checked.stderr


def test_a_database_of_djangos_as_a_url():
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop/1",
        "USER": "ada",
        "PASSWORD": "s3@cr:et&é",
        "HOST": "/run/postgresql",
        "PORT": 5433,
        "OPTIONS": {"sslmode": "require", "pool": True, "isolation_level": 3},
    }
    assert conninfo_to_dict(url_of(database)) == {
        "dbname": "shop/1",
        "user": "ada",
        "password": "s3@cr:et&é",
        "host": "/run/postgresql",
        "port": "5433",
        "sslmode": "require",
    }
    with pytest.raises(UsageError, match="troth needs PostgreSQL"):
        url_of({"ENGINE": "django.db.backends.sqlite3", "NAME": "db"})


def test_commands_about_a_program_are_about_the_projects():
    assert arguments(["worker", "--processes", "2"]) == ["worker", PROGRAM, "--processes", "2"]
    assert arguments(["run", "list"]) == ["run", "list"]
    assert arguments(["worker", "--help"]) == ["worker", "--help"]
