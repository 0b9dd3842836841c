"""A subset of Stripe's search language: `field:'value'` and `metadata['name']:'value'`, with AND."""

import re
from collections.abc import Mapping

from examples.signup.provider.errors import ApiError

FIELDS: Mapping[str, tuple[str, ...]] = {
    "customer": ("email", "name", "phone", "metadata"),
    "product": ("active", "description", "name", "metadata"),
    "price": ("active", "currency", "lookup_key", "product", "type", "metadata"),
    "subscription": ("status", "metadata"),
    "payment_intent": ("amount", "currency", "customer", "status", "metadata"),
    "charge": ("amount", "currency", "customer", "status", "metadata"),
}

QUOTED = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\""
CLAUSE = re.compile(rf"\s*([a-z_]+)(?:\[(?:{QUOTED})\])?\s*:\s*(?:{QUOTED}|(\w+))")
AND = re.compile(r"\s+AND\s+", re.IGNORECASE)


def parse_query(query: str, kind: str) -> dict[str, list[str]]:
    """The terms that a search asks for, as the index names them. Raises `ApiError` 400."""
    terms: dict[str, list[str]] = {}
    at = 0
    while True:
        clause = CLAUSE.match(query, at)
        if clause is None:
            raise unclear(query, at)
        field, name1, name2, value1, value2, bare = clause.groups()
        name = unescape(name1 if name1 is not None else name2)
        if field not in FIELDS[kind]:
            raise ApiError(400, f"Field `{field}` is an unsupported search field.", param="query")
        if (name is not None) != (field == "metadata"):
            raise unclear(query, at)
        value = unescape(value1 if value1 is not None else value2)
        key = field if name is None else f"metadata.{name}"
        if key in terms:
            raise ApiError(400, f"`{key}` appears twice in the query.", param="query")
        terms[key] = [bare if value is None else value]
        at = clause.end()
        if not query[at:].strip():
            return terms
        joint = AND.match(query, at)
        if joint is None:
            raise unclear(query, at)
        at = joint.end()


def unescape(quoted: str | None) -> str | None:
    return None if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def unclear(query: str, at: int) -> ApiError:
    message = (
        f"We were unable to parse your search query near {query[at : at + 20]!r}. This server knows "
        "field:'value' and metadata['name']:'value', joined by AND."
    )
    return ApiError(400, message, param="query")
