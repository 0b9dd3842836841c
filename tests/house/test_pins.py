"""The pinned requirements are those that the project declares."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house.tree import ROOT

PIN = re.compile(r"^([\w.-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, Version]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return {canonicalize_name(package): Version(version) for package, version in PIN.findall(text)}


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    development = (ROOT / "requirements" / "dev.in").read_text().splitlines()
    wanted = [line for line in development if line and not line.startswith("#")]
    return [Requirement(line) for line in [*project["dependencies"], *extras, *wanted]]


def test_everything_declared_is_pinned_within_its_bounds() -> None:
    pinned = pins("dev")
    wrong = [
        str(requirement)
        for requirement in declared()
        if (version := pinned.get(canonicalize_name(requirement.name))) is None
        or version not in requirement.specifier
    ]
    assert not wrong, f"run `make pins`; requirements/dev.txt does not satisfy {wrong}"


def test_benchmarks_run_on_the_versions_that_are_tested() -> None:
    tested = pins("dev")
    other = {
        package: f"{version}, tested: {tested[package]}"
        for package, version in pins("bench").items()
        if package in tested and tested[package] != version
    }
    assert not other, f"run `make pins`: {other}"
