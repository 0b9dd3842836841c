"""One decision: a request for Cedar, its answer, and what is recorded of both. Nothing here touches a database.

The answer is yes only if Cedar says so *and* nothing went wrong: Cedar skips a policy that fails, so a `forbid` that
cannot be evaluated would forbid nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from troth.access import rules
from troth.access.model import Because, Decision, Principal, Ref, Resource
from troth.access.policies import Policies, cedar
from troth.base import codec, ids

# PostgreSQL's JSON has no NUL; what follows another backslash is not one.
_NUL = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_ENTITIES = re.compile(r"^failed to parse entities from:\n.*\]: ", re.DOTALL)


# What it rests on, the policies that decided, what went wrong.
_Answer: TypeAlias = tuple[Because, tuple[str, ...], tuple[str, ...]]
_NOT_IN_SCOPE: _Answer = (Because.SCOPE, (), ())


@dataclass(frozen=True, slots=True)
class Request:
    """What Cedar is asked: who, what, on what, in which context; and what is known of all of these."""

    principal: Ref
    action: Ref
    resource: Ref
    context: Mapping[str, Any]
    entities: tuple[dict[str, Any], ...]

    def for_cedar(self) -> dict[str, Any]:
        return {
            "principal": {"type": self.principal.type, "id": self.principal.id},
            "action": {"type": self.action.type, "id": self.action.id},
            "resource": {"type": self.resource.type, "id": self.resource.id},
            "context": self.context,
        }


def request(
    principal: Principal,
    action: str,
    resource: Resource,
    context: Mapping[str, Any],
    namespace: str,
) -> Request:
    """The request, with the entities built for it. Raises `UsageError` for values that Cedar does not have."""

    def name(kind: str) -> str:
        return rules.qualified(kind, namespace)

    attributes: dict[str, Any] = dict(principal.attributes)
    if principal.tenant is not None:
        attributes["tenant"] = rules.cedar_value(
            Ref("Tenant", principal.tenant), "tenant", namespace
        )
    if principal.scopes is not None:
        attributes["scopes"] = list(principal.scopes)
    if principal.owner is not None:
        attributes["owner"] = rules.cedar_value(Ref("Person", principal.owner), "owner", namespace)
    who = Ref(name(principal.type), principal.id)
    what = Ref(name(resource.type), resource.id)
    groups = [{"type": name("Group"), "id": group} for group in principal.groups]
    above = [{"type": name(parent.type), "id": parent.id} for parent in resource.parents]
    known = rules.cedar_record(resource.attributes, str(resource.ref), namespace)
    entities: list[dict[str, Any]] = [_entity(what, known, above)]
    if who != what:  # people act on themselves, too: then what the caller says of them is looked at
        entities.insert(0, _entity(who, attributes, groups))
    else:
        entities[0]["attrs"] = {**known, **attributes}
        entities[0]["parents"] = groups + [parent for parent in above if parent not in groups]
    told = rules.cedar_record(context, "context", namespace)
    return Request(who, Ref(name("Action"), action), what, told, tuple(entities))


def decide(
    policies: Policies,
    principal: Principal,
    action: str,
    resource: Resource,
    context: Mapping[str, Any],
    *,
    namespace: str,
    private: Collection[str],
) -> Decision:
    """Ask the policies. A key's scopes come first: what is outside of them, no policy can permit."""
    asked = request(principal, action, resource, context, namespace)
    recorded = _NUL.sub(_visible, codec.encode(_recorded(asked, private)))
    if principal.scopes is not None and not rules.in_scope(principal.scopes, action):
        because, deciding, errors = _NOT_IN_SCOPE
    else:
        because, deciding, errors = _ask(policies, asked)
    return Decision(
        ids.new_id(), principal, action, resource, because, deciding,
        tuple(_redacted(error, asked, private) for error in errors),
        recorded, codec.digest(recorded), policies.digest,
    )  # fmt: skip


def _ask(policies: Policies, asked: Request) -> _Answer:
    cedarpy = cedar()
    entities = codec.encode(asked.entities).decode()
    try:
        answer = cedarpy.is_authorized(
            asked.for_cedar(), policies.parsed, entities, policies.schema
        )
    except Exception as error:  # noqa: BLE001  (whatever it is: nobody may)
        return Because.ERROR, (), (f"{type(error).__name__}: {error}",)
    deciding = tuple(policies.by_number[number].id for number in answer.diagnostics.reasons)
    errors = tuple(_ENTITIES.sub("", policies.named(each)) for each in answer.diagnostics.errors)
    if errors or answer.decision is cedarpy.Decision.NoDecision:
        return Because.ERROR, deciding, errors or ("Cedar gave no decision",)
    if answer.decision is cedarpy.Decision.Allow:
        return Because.PERMIT, deciding, ()
    return (Because.FORBID if deciding else Because.DEFAULT), deciding, ()


def _entity(ref: Ref, attributes: dict[str, Any], parents: list[dict[str, str]]) -> dict[str, Any]:
    uid = {"type": ref.type, "id": ref.id}
    return {"uid": uid, "attrs": attributes, "parents": parents}


# What is recorded -----------------------------------------------------------------------------------------------------


def _visible(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[0] == rb"\u0000" else escape[0]


def _private(kind: str, private: Collection[str]) -> set[str]:
    """The attributes of a type, or of `context`, that are private."""
    named = (each.rpartition(".") for each in private)
    return {name for owner, _, name in named if owner in {kind, kind.rpartition("::")[2]}}


def _recorded(asked: Request, private: Collection[str]) -> dict[str, Any]:
    """The request as it is kept. What is left out is named, not shown; no digest of it is kept either: it could be guessed."""
    withheld: list[str] = []

    def open_part(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
        hidden = _private(kind, private)
        withheld.extend(f"{kind}.{name}" for name in values if name in hidden)
        return {name: value for name, value in values.items() if name not in hidden}

    entities = [
        {**each, "attrs": open_part(each["uid"]["type"], each["attrs"])} for each in asked.entities
    ]
    told = {
        **asked.for_cedar(),
        "context": open_part("context", asked.context),
        "entities": entities,
    }
    return {**told, "withheld": sorted(withheld)} if withheld else told


def _redacted(message: str, asked: Request, private: Collection[str]) -> str:
    """A message of Cedar may quote the value that it could not use."""
    values = [asked.context[name] for name in _private("context", private) & set(asked.context)]
    for each in asked.entities:
        hidden = _private(each["uid"]["type"], private)
        values += [value for name, value in each["attrs"].items() if name in hidden]
    for text in sorted(
        {leaf for value in values for leaf in _leaves(value)}, key=len, reverse=True
    ):
        message = message.replace(text, "…")
    return message


def _leaves(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    text = str(value)
    return [text] if len(text) > 1 else []
