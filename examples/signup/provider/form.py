"""Parameters: from `a[b][c]=1&d[0]=x` to typed values, or Stripe's error about them.

`decode` gives a tree of strings; a `Form` says which parameters an endpoint takes and checks the tree
against it. Everything here happens before an endpoint begins to execute, so none of these errors is
ever saved under an idempotency key.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from examples.signup.provider.errors import ApiError

Tree: TypeAlias = "str | dict[str, Tree]"
Check = Callable[[Tree, str], Any]

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(encoded: str) -> dict[str, Tree]:
    """Form-encoded parameters as a tree; `a[0]` and `a[]` become `{"a": {"0": ...}}`."""
    tree: dict[str, Tree] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        parts = NAME.fullmatch(name)
        if parts is None:
            raise ApiError(400, f"Invalid parameter name: {name}", param=name)
        keys = [parts[1], *re.findall(r"\[([^\[\]]*)\]", parts[2])]
        node = tree
        for key in keys[:-1]:
            child = node.setdefault(key or str(len(node)), {})
            if not isinstance(child, dict):
                raise invalid(name, "cannot be both a value and a hash")
            node = child
        last = keys[-1] or str(len(node))
        if last in node:
            raise invalid(name, "was given twice")
        node[last] = value
    return tree


class Form:
    """The parameters of an endpoint. `expand` is taken everywhere."""

    def __init__(self, needs: Mapping[str, Check] | None = None, /, **takes: Check) -> None:
        self._needs = set(needs or ())
        self._checks = {**(needs or {}), **takes, "expand": list_of(text)}

    def read(self, tree: Mapping[str, Tree]) -> dict[str, Any]:
        """Typed values of the parameters that were given. Raises `ApiError` 400."""
        return read(self._checks, self._needs, tree, "")


def read(
    checks: Mapping[str, Check], needs: set[str], tree: Mapping[str, Tree], inside: str
) -> dict[str, Any]:
    """The values of `tree` by `checks`; `inside` is the name of the enclosing parameter."""

    def full(name: str) -> str:
        return f"{inside}[{name}]" if inside else name

    if unknown := [full(name) for name in tree if name not in checks]:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise ApiError(400, message, code="parameter_unknown", param=unknown[0])
    for name in checks:
        if name in needs and name not in tree:
            message = f"Missing required param: {full(name)}."
            raise ApiError(400, message, code="parameter_missing", param=full(name))
    values = {name: checks[name](value, full(name)) for name, value in tree.items()}
    for name in needs:
        if values[name] is None:
            raise empty(full(name))
    return values


def invalid(param: str, why: str, code: str | None = None) -> ApiError:
    return ApiError(400, f"Invalid {param}: {why}", code=code, param=param)


def empty(param: str) -> ApiError:
    message = (
        f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset "
        f"a parameter; however '{param}' cannot be unset. You should remove '{param}' from your "
        "request or supply a non-empty value."
    )
    return ApiError(400, message, code="parameter_invalid_empty", param=param)


def text(value: Tree, param: str) -> str | None:
    """A string; the empty string unsets, and is None."""
    if not isinstance(value, str):
        raise invalid(param, "must be a string")
    if len(value) > 5000:
        raise invalid(param, "must be at most 5000 characters", "parameter_invalid_string_length")
    return value or None


def integer(value: Tree, param: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"-?\d{1,18}", value):
        message = f"Invalid integer: {value}"
        raise ApiError(400, message, code="parameter_invalid_integer", param=param)
    return int(value)


def at_least(lowest: int) -> Check:
    def check(value: Tree, param: str) -> int:
        number = integer(value, param)
        if number < lowest:
            message = f"This value must be greater than or equal to {lowest}."
            raise ApiError(400, message, code="parameter_invalid_integer", param=param)
        return number

    return check


def boolean(value: Tree, param: str) -> bool:
    if value not in ("true", "false"):
        message = f"Invalid boolean: {value}"
        raise ApiError(400, message, param=param)
    return value == "true"


def currency(value: Tree, param: str) -> str:
    code = text(value, param) or ""
    if not re.fullmatch(r"[A-Za-z]{3}", code):
        raise invalid(param, f"{code!r} is not a three-letter currency code")
    return code.lower()


def one_of(*choices: str) -> Check:
    def check(value: Tree, param: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise invalid(param, f"must be one of {', '.join(choices)}")
        return value

    return check


def timestamp(value: Tree, param: str) -> int:
    """Whole seconds since 1970."""
    return integer(value, param)


def timestamp_or_now(value: Tree, param: str) -> int | str:
    return "now" if value == "now" else integer(value, param)


def hash_of(needs: Mapping[str, Check] | None = None, /, **takes: Check) -> Check:
    checks = {**(needs or {}), **takes}

    def check(value: Tree, param: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ApiError(400, "Invalid object", param=param)
        return read(checks, set(needs or ()), value, param)

    return check


def list_of(item: Check) -> Check:
    def check(value: Tree, param: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(index.isdecimal() for index in value):
            raise ApiError(400, "Invalid array", param=param)
        return [item(value[index], f"{param}[{index}]") for index in sorted(value, key=int)]

    return check


def metadata(value: Tree, param: str) -> dict[str, str] | None:
    """Strings by name. An empty value unsets one name; an empty string unsets all, and is None."""
    if value == "":
        return None
    if not isinstance(value, dict) or len(value) > 50:
        raise invalid(param, "metadata is a hash of at most 50 strings")
    for name, one in value.items():
        if not isinstance(one, str):
            raise invalid(f"{param}[{name}]", "must be a string")
        if len(name) > 40 or len(one) > 500:
            raise invalid(f"{param}[{name}]", "names have at most 40 characters, values 500")
    return {name: str(one) for name, one in value.items()}


def moment(value: Tree, param: str) -> dict[str, int]:
    """A filter on a time: one second, or bounds `gt`, `gte`, `lt`, `lte`."""
    if isinstance(value, str):
        return {"gte": integer(value, param), "lte": integer(value, param)}
    return read(dict.fromkeys(("gt", "gte", "lt", "lte"), integer), set(), value, param)


def limit(value: Tree, param: str) -> int:
    number = integer(value, param)
    if not 1 <= number <= 100:
        raise invalid(param, "must be from 1 to 100", "parameter_invalid_integer")
    return number


def page_form(**filters: Check) -> Form:
    """The parameters of a list endpoint."""
    return Form(limit=limit, starting_after=text, ending_before=text, created=moment, **filters)
