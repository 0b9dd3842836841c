from __future__ import annotations

import sys
from types import ModuleType

import pytest

from troth.lab.reach import around

SOURCES = {
    "shop.api": "from shop.stock import (\n    reserve,\n)\n",
    "shop.stock": "def reserve():\n    from . import prices\n",
    "shop.prices": "import os\n",
    "shop.admin.pages": "from ..prices import cents\n",
    "main": "from shop import api\nimport json, settings as s\n",
    "settings": "",
    "unrelated.jobs": "import settings_of_another\n",
    "settings_of_another": "",
}


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    for name, source in SOURCES.items():
        file = tmp_path / f"{name}.py"
        file.write_text(source)
        module = ModuleType(name)
        module.__file__ = str(file)
        module.__package__ = name.rpartition(".")[0]
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("start", ["shop.api", "shop.admin.pages", "main", "settings"])
def test_what_imports_tie_together(loaded, start):
    """In both directions, in brackets, inside functions, relative, several at once."""
    names = {module.__name__ for module in around([start])}
    assert names & SOURCES.keys() == set(SOURCES) - {"unrelated.jobs", "settings_of_another"}


def test_what_nothing_ties_is_left_alone(loaded):
    names = {module.__name__ for module in around(["unrelated.jobs"])}
    assert names & SOURCES.keys() == {"unrelated.jobs", "settings_of_another"}
