"""Why a decision was made as it was: found by asking Cedar again, part by part, never by reading policies ourselves.

A policy applies if its head does (principal, action, resource) and all its conditions hold. Each head, and each part of a
condition between `&&`, is made a policy of its own, and Cedar is asked whether it holds for the recorded request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from troth.access.model import Because, Recorded
from troth.access.policies import Policies, Policy, cedar, parsed
from troth.base import codec

# What became of a request, in words.
MEANS: Mapping[Because, str] = {
    Because.PERMIT: "allowed: a policy permits it, and none forbids it",
    Because.FORBID: "denied: a policy forbids it",
    Because.DEFAULT: "denied: no policy permits it",
    Because.SCOPE: "denied: the API key is not for this action; no policy was asked",
    Because.ERROR: "denied: something could not be evaluated",
}

_ALL = {"op": "All"}


@dataclass(frozen=True, slots=True)
class Told:
    """A policy, and which attributes it reads, as `resource.tenant`."""

    id: str
    line: int
    effect: str
    text: str
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """What stands between a request and a policy that would permit it. *unknown*: reads what was not recorded."""

    policy: Told
    unmet: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """*decided*: the policies that the decision rests on. *near*: permits whose head fits, and what they lack, the fewest
    first. *far*: permits that are about something else, and which part of their head it is.
    """

    decision: Recorded
    decided: tuple[Told, ...]
    near: tuple[Missing, ...]
    far: tuple[tuple[str, tuple[str, ...]], ...]


def explain(decision: Recorded) -> Explanation:
    """Explain a recorded decision by the policies of its time."""
    if decision.policy_text is None or decision.schema_text is None:
        return Explanation(decision, (), (), ())
    policies = parsed(decision.policy_text, decision.schema_text)
    by_id = {policy.id: policy for policy in policies.by_number.values()}
    decided = tuple(_told(by_id[name]) for name in decision.policies if name in by_id)
    if decision.because in {Because.PERMIT, Because.SCOPE}:
        return Explanation(decision, decided, (), ())
    asked = _Asked(policies, codec.decode(decision.inputs))
    near, far = [], []
    for policy in by_id.values():
        if policy.effect != "permit":
            continue
        elsewhere = tuple(
            part for part in ("principal", "action", "resource") if not asked.head(policy, part)
        )
        if elsewhere:
            far.append((policy.id, elsewhere))
        else:
            near.append(asked.missing(policy))
    near.sort(key=lambda each: len(each.unmet) + len(each.unknown))
    return Explanation(decision, decided, tuple(near), tuple(far))


class _Asked:
    """The recorded request, to be asked about again."""

    def __init__(self, policies: Policies, inputs: Mapping[str, Any]) -> None:
        self._cedar = cedar()
        self._request = {
            name: inputs[name] for name in ("principal", "action", "resource", "context")
        }
        self._entities = codec.encode(inputs["entities"]).decode()
        self._withheld = {name.rpartition(".")[::2] for name in inputs.get("withheld", ())}
        self._schema = policies.schema

    def head(self, policy: Policy, part: str) -> bool:
        tree = {**_anything(), part: policy.tree[part]}
        return self._holds(tree) is True

    def missing(self, policy: Policy) -> Missing:
        unmet, unknown = [], []
        for kind, body in _parts(policy.tree):
            tree = {**_anything(), "conditions": [{"kind": kind, "body": body}]}
            if any(self._hidden(read) for read in _reads(body)):
                unknown.append(_written(self._cedar, tree))
            elif self._holds(tree) is not True:
                unmet.append(_written(self._cedar, tree))
        return Missing(_told(policy), tuple(unmet), tuple(unknown))

    def _hidden(self, read: str) -> bool:
        root, _, rest = read.partition(".")
        kind = "context" if root == "context" else self._request.get(root, {}).get("type", "")
        return (kind, rest.partition(".")[0]) in self._withheld

    def _holds(self, tree: Mapping[str, Any]) -> bool | None:
        """Whether a policy of this tree applies; None if Cedar cannot say."""
        made = self._cedar.PolicySet.from_json_str(_set_of(tree))
        # Without what is private the entities may not fit the schema any more; it is needed for groups of actions only.
        schema = None if self._withheld else self._schema
        answer = self._cedar.is_authorized(self._request, made, self._entities, schema)
        if answer.diagnostics.errors:
            return None
        return bool(answer.allowed)


def _anything() -> dict[str, Any]:
    return {
        "effect": "permit",
        "principal": _ALL,
        "action": _ALL,
        "resource": _ALL,
        "conditions": [],
    }


def _set_of(tree: Mapping[str, Any]) -> str:
    return json.dumps({"templates": {}, "staticPolicies": {"asked": tree}, "templateLinks": []})


def _parts(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The conditions, those of a `when` split where `&&` stands; a guard stays with what it guards."""
    for condition in tree["conditions"]:
        body = condition["body"]
        if condition["kind"] == "unless":
            yield "unless", body
            continue
        terms = list(_terms(body))
        for n, term in enumerate(terms):
            if any(_guards(term, later) for later in terms[n + 1 :]):
                continue  # told with the terms that rely on it
            told = term
            for guard in reversed([each for each in terms[:n] if _guards(each, term)]):
                told = {"&&": {"left": guard, "right": told}}
            yield "when", told


def _guards(term: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether *term* is a `has` of something that *other* reads."""
    path = _path(term) if set(term) == {"has"} else None
    return path is not None and any(
        read == path or read.startswith(f"{path}.") for read in _reads(other)
    )


def _terms(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if set(body) == {"&&"}:
        yield from _terms(body["&&"]["left"])
        yield from _terms(body["&&"]["right"])
    else:
        yield body


def _written(cedarpy: Any, tree: Mapping[str, Any]) -> str:
    """The condition of a tree as Cedar writes it."""
    text = " ".join(cedarpy.policies_from_json_str(_set_of(tree)).split())
    for kind in ("when {", "unless {"):
        if kind in text:
            return (
                kind.split()[0]
                + " "
                + text.partition(kind)[2].rstrip("; ").removesuffix("}").strip()
            )
    return text


def _told(policy: Policy) -> Told:
    reads = sorted({read for each in policy.tree["conditions"] for read in _reads(each["body"])})
    return Told(policy.id, policy.line, policy.effect, policy.text, tuple(reads))


def _reads(body: Any) -> set[str]:
    """Every `variable.attribute` in an expression, as far as it is written out."""
    if isinstance(body, list):
        return {read for each in body for read in _reads(each)}
    if not isinstance(body, Mapping):
        return set()
    found: set[str] = set()
    for operator, operand in body.items():
        if operator in {".", "has"} and (path := _path(body)) is not None:
            return {path}
        found |= _reads(operand)
    return found


def _path(body: Any) -> str | None:
    if not isinstance(body, Mapping) or len(body) != 1:
        return None
    ((operator, operand),) = body.items()
    if operator == "Var":
        return str(operand)
    if operator in {".", "has"} and isinstance(operand, Mapping) and "attr" in operand:
        above = _path(operand["left"])
        attr = operand["attr"]
        named = ".".join(map(str, attr)) if isinstance(attr, list) else str(attr)
        return None if above is None else f"{above}.{named}"
    return None
