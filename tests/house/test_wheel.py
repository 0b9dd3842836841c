"""What is built can be installed, bare and with its extras, and its command answers."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.house.tree import ROOT

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(300)]

UV = str(Path(sys.executable).with_name("uv"))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )


def succeed(*command: str | Path) -> str:
    finished = run(*command)
    assert finished.returncode == 0, f"{command}:\n{finished.stdout}{finished.stderr}"
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    succeed(
        *(UV, "build", "--wheel", "--no-build-isolation"),
        *("--python", sys.executable, "--out-dir", folder),
    )
    [built] = folder.glob("*.whl")
    return built


def install(folder: Path, requirement: str) -> Path:
    """An empty environment with that requirement alone, in the versions that are pinned."""
    succeed(UV, "venv", "--quiet", "--python", sys.executable, folder)
    constraints = ROOT / "requirements" / "dev.txt"
    succeed(
        *(UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python"),
        *("--constraints", constraints, requirement),
    )
    return folder / "bin"


def test_the_wheel_carries_what_is_not_python(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source)) for kind in ("*.sql", "*.txt") for path in source.rglob(kind)
    }
    wanted.add("troth/py.typed")
    carried = set(ZipFile(wheel).namelist())

    assert wanted <= carried
    assert not [name for name in carried if not name.startswith(("troth/", "troth-"))]


def test_bare(wheel: Path, tmp_path: Path) -> None:
    """Without extras: the library imports, and the command says what it lacks."""
    bin_ = install(tmp_path / "bare", f"troth @ {wheel.as_uri()}")

    succeed(bin_ / "python", "-W", "error", "-c", "import troth")
    for command in (["--help"], ["dev", "--help"]):
        answer = run(bin_ / "troth", *command)
        said = answer.stdout + answer.stderr
        assert "Traceback" not in said, said
        assert answer.returncode == 0 or "troth[cli]" in said, said


def test_with_extras(wheel: Path, tmp_path: Path) -> None:
    bin_ = install(tmp_path / "extras", f"troth[cli,embedded] @ {wheel.as_uri()}")

    assert "worker" in succeed(bin_ / "troth", "--help")
    assert "dev" in succeed(bin_ / "troth", "dev", "--help")
