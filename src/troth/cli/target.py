"""MODULE:NAME: finds the `Troth` object that a command works for, importing from the current directory."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType

from troth.app import Troth
from troth.base.errors import TrothError, UsageError


class ProgramError(TrothError):
    """The module of the program raised while it was imported; `__cause__` is what."""


def find(target: str) -> Troth:
    """The object that *target* names.

    Raises `UsageError` that says what is there instead, and `ProgramError` if importing the module raises.
    """
    module_name, colon, name = target.partition(":")
    if not module_name or not colon or not name:
        msg = f"{target!r} does not name a Troth object: write MODULE:NAME, like shop.app:troth"
        raise UsageError(msg)
    module = _import(module_name)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            msg = f"{module_name} ({_file(module)}) has no {name}; {_offer(module)}"
            raise UsageError(msg)
        found = getattr(found, part)
    if not isinstance(found, Troth):
        msg = f"{target} is a {type(found).__name__}, not a Troth; {_offer(module)}"
        raise UsageError(msg)
    return found


def _import(name: str) -> ModuleType:
    here = os.getcwd()  # noqa: PTH109  (sys.path holds strings)
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            msg = f"there is no module {error.name} in {here} or among the installed packages"
            raise UsageError(msg) from None
        raise _raised(name, error) from error
    except Exception as error:
        raise _raised(name, error) from error


def _raised(name: str, error: Exception) -> ProgramError:
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}"
        return ProgramError(
            f"{name} cannot be imported: {where}: {type(error).__name__}: {error.msg}"
        )
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    where = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return ProgramError(f"{name} cannot be imported: {where}{type(error).__name__}: {error}")


def _file(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "a namespace package"


def _offer(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Troth)]
    if not names:
        return "no Troth object is defined there"
    return "it has " + ", ".join(f"{module.__name__}:{name}" for name in names)
