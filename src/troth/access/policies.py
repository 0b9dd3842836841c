"""Policies in Cedar: read, checked and parsed once, when a program starts.

Cedar numbers policies (`policy0` …); here they go by their `@id`, and each knows the line at which it begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from troth.access.model import PolicyError
from troth.base import codec
from troth.base.errors import UsageError

if TYPE_CHECKING:
    import cedarpy

_TOKEN = re.compile(r'//[^\n]*|"(?:[^"\\]|\\.)*"|;|[^\s";/]+|/', re.DOTALL)
_NUMBER = re.compile(r"\bpolicy(\d+)\b")


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: its `@id` (or Cedar's number for it), where it begins, its text, and the same as Cedar's JSON."""

    id: str
    line: int
    effect: str
    text: str
    tree: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Policies:
    """A set of policies that is valid for its schema. *digest* stands for both texts."""

    text: str
    schema_text: str
    digest: bytes
    by_number: Mapping[str, Policy]
    parsed: cedarpy.PolicySet = field(repr=False)
    schema: cedarpy.Schema = field(repr=False)

    def named(self, message: str) -> str:
        """A message of Cedar, with the ids that people know."""

        def name(match: re.Match[str]) -> str:
            known = self.by_number.get(match[0])
            return known.id if known else match[0]

        return _NUMBER.sub(name, message)


def cedar() -> Any:
    """The module `cedarpy`. Raises `UsageError` that says how to install it."""
    try:
        import cedarpy
    except ImportError:
        msg = "policies need cedarpy: pip install 'troth[access]'"
        raise UsageError(msg) from None
    return cedarpy


def read(policies: Path | str, schema: Path | str) -> Policies:
    """Policies and their schema, each a text or the path of a file. Raises `PolicyError`, which names file and line."""
    where = str(policies) if isinstance(policies, Path) else "the policies"
    try:
        text = policies.read_text("utf-8") if isinstance(policies, Path) else policies
        schema_text = schema.read_text("utf-8") if isinstance(schema, Path) else schema
    except OSError as error:
        raise PolicyError(f"{error.filename} cannot be read: {error.strerror}") from None
    try:
        return parsed(text, schema_text)
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}") from None


@lru_cache(maxsize=16)
def parsed(text: str, schema_text: str) -> Policies:
    """As `read`, of texts. The same texts are parsed once."""
    cedarpy = cedar()
    try:
        schema = cedarpy.Schema.from_str(schema_text)
    except ValueError as error:
        raise PolicyError(f"the schema: {error}") from None
    pieces = list(split(text))
    try:
        policy_set = cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        raise PolicyError(_where_it_breaks(cedarpy, pieces, str(error))) from None
    tree = json.loads(cedarpy.policies_to_json_str(text))
    if tree["templates"]:
        msg = "templates (?principal, ?resource) are not used here: write a condition on an attribute or a group"
        raise PolicyError(msg)
    by_number = _named(pieces, tree["staticPolicies"])
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise PolicyError("; ".join(_told(by_number, error) for error in result.errors))
    digest = codec.digest(codec.encode([text, schema_text]))
    return Policies(text, schema_text, digest, by_number, policy_set, schema)


def split(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each policy. A semicolon outside of strings and comments ends one: Cedar has no other use for it."""
    begin: int | None = None
    for token in _TOKEN.finditer(text):
        if token[0].startswith("//"):
            continue
        begin = token.start() if begin is None else begin
        if token[0] == ";":
            yield text.count("\n", 0, begin) + 1, text[begin : token.end()]
            begin = None
    if begin is not None:
        yield text.count("\n", 0, begin) + 1, text[begin:].rstrip()


def _named(pieces: list[tuple[int, str]], trees: Mapping[str, Any]) -> dict[str, Policy]:
    if len(pieces) != len(trees):
        msg = f"found {len(pieces)} policies where Cedar found {len(trees)}"
        raise PolicyError(msg)
    found: dict[str, Policy] = {}
    taken: dict[str, int] = {}
    for number, (line, text) in enumerate(pieces):
        tree = trees[f"policy{number}"]
        name = tree.get("annotations", {}).get("id") or f"policy{number}"
        if name in taken:
            raise PolicyError(f"line {line}: another policy is called {name} (line {taken[name]})")
        taken[name] = line
        found[f"policy{number}"] = Policy(name, line, tree["effect"], text, tree)
    return found


def _where_it_breaks(cedarpy: Any, pieces: list[tuple[int, str]], message: str) -> str:
    for line, text in pieces:
        try:
            cedarpy.PolicySet.from_str(text)
        except ValueError as error:
            return f"the policy in line {line} cannot be read: {error}"
    return message


def _told(by_number: Mapping[str, Policy], error: Any) -> str:
    policy = by_number[error.policy_id]
    message = re.sub(r"^for policy `policy\d+`, ", "", error.error)
    return f"line {policy.line}, {policy.id}: {message}"
