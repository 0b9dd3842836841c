"""Payloads: what goes in comes out with its type, and what cannot is refused as early as possible."""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import PayloadError, UsageError
from troth.base import codec
from troth.base.codec import Arguments, Codec


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Money:
    amount: Decimal
    currency: Literal["EUR", "USD"] = "EUR"


class Line(msgspec.Struct, frozen=True):
    price: Money
    count: int
    note: str | None = None


class Card(msgspec.Struct, frozen=True, tag=True):
    last4: str


class Transfer(msgspec.Struct, frozen=True, tag=True):
    iban: str


class Person(pydantic.BaseModel):
    name: str
    born: date
    address: dict[str, str] = {}


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict, total=False):
    loud: bool


@dataclasses.dataclass(frozen=True)
class Order:
    id: uuid.UUID
    at: datetime
    lines: list[Line]
    paid_by: Card | Transfer
    colour: Colour
    buyer: Person | None
    tags: frozenset[str]


MOMENT = datetime(2026, 2, 28, 12, 30, 15, 123456, tzinfo=UTC)
ORDER = Order(
    id=uuid.UUID(int=7),
    at=MOMENT,
    lines=[Line(Money(Decimal("10.50")), 2, "fragile"), Line(Money(Decimal(1), "USD"), 1)],
    paid_by=Transfer("DE00"),
    colour=Colour.BLUE,
    buyer=Person(name="Ada", born=date(1815, 12, 10), address={"city": "London"}),
    tags=frozenset({"a"}),
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, -(2**63)),
        (float, 0.1),
        (str, "grüße\x00 \U0001f600"),
        (bytes, b"\x00\xff"),
        (Decimal, Decimal("10.50")),
        (datetime, MOMENT),
        (date, date(2024, 2, 29)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (uuid.UUID, uuid.UUID(int=1)),
        (Colour, Colour.RED),
        (Literal["a", "b"], "b"),
        (Money, Money(Decimal("0.10"))),
        (Line, Line(Money(Decimal(1)), 1)),
        (Person, Person(name="Ada", born=date(1815, 12, 10))),
        (list[Person], [Person(name="Ada", born=date(1815, 12, 10))]),
        (Point, Point(1, 2)),
        (Options, {"loud": True}),
        (tuple[int, str, Decimal], (1, "a", Decimal(2))),
        (set[int], {1, 2}),
        (dict[str, Money], {"a": Money(Decimal(1))}),
        (dict[Literal["a"], int], {"a": 1}),
        (int | None, None),
        (Money | None, Money(Decimal(1))),
        (int | str, "1"),
        (Card | Transfer, Card("4242")),
        (list[Card | Transfer], [Card("4242"), Transfer("DE00")]),
        (Annotated[int, msgspec.Meta(ge=0)], 5),
        (Any, {"a": [1, 2.5, None, True, "x"]}),
        (Order, ORDER),
        (dict[str, list[Order]], {"all": [ORDER]}),
    ],
    ids=str,
)
def test_a_value_comes_back_with_its_type(kind: Any, value: Any) -> None:
    codec_ = Codec(kind, where="here")
    data = codec_.encode(value)
    back = codec_.decode(data)
    assert back == value
    assert type(back) is type(value)
    assert codec_.echo(value, data) == back


def test_equal_values_have_equal_bytes_whatever_their_order() -> None:
    assert codec.encode({"b": 1, "a": {3, 1, 2}}) == codec.encode({"a": {2, 3, 1}, "b": 1})


def test_an_echo_is_what_a_replay_will_see_not_the_same_object() -> None:
    untyped = Codec(Any, where="here")
    value = {"at": MOMENT, "pair": (1, 2)}
    data = untyped.encode(value)
    assert untyped.echo(value, data) == {"at": "2026-02-28T12:30:15.123456Z", "pair": [1, 2]}
    listed = Codec(list[int], where="here")
    mutable = [1]
    assert listed.echo(mutable, listed.encode(mutable)) is not mutable


@pytest.mark.parametrize("value", [2**63, 2**64, 2**70, -(2**70), 10**30])
def test_a_large_integer_is_the_same_live_and_replayed(value: int) -> None:
    for kind in (Any, int):
        integer = Codec(kind, where="here")
        try:
            data = integer.encode(value)
            live = integer.echo(value, data)
        except PayloadError:
            continue  # refused is fine; another value would not be
        assert live == integer.decode(data)
        assert type(live) is type(integer.decode(data))
        assert live == value


@pytest.mark.parametrize(
    "kind",
    [
        threading.Lock().__class__,
        Path,
        Callable[[], int],
        complex,
        list[Path],
        dict[str, Path | None],
        tuple[int, Path],
        type("Plain", (), {}),
        dict[int, str],  # its keys would have no order
        list[dict[uuid.UUID, int]],
        Card | Money,  # nothing in the JSON would tell which it is
    ],
    ids=str,
)
def test_a_type_that_can_never_be_stored_is_refused_at_decoration(kind: Any) -> None:
    def function(argument):
        return argument

    function.__annotations__ = {"argument": kind}
    with pytest.raises(UsageError, match=r"function\(argument\)"):
        Arguments(function)
    with pytest.raises(UsageError, match="the result of function"):
        Codec(kind, where="the result of function")


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), object(), {"deep": [object()]}, "\ud800", 1j, Path("/")],
    ids=["lock", "object", "deep", "surrogate", "complex", "path"],
)
def test_a_value_that_cannot_be_stored_is_refused_at_the_call(value: Any) -> None:
    with pytest.raises(PayloadError, match=r"the result of f: .* cannot be stored"):
        Codec(Any, where="the result of f").encode(value)


def test_what_refers_to_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError):
        codec.encode(loop)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "1"),
        (Money, {"amount": "x"}),
        (Person, {"name": "Ada"}),
        (Colour, "green"),
        (float, math.nan),
    ],
    ids=str,
)
def test_json_that_does_not_fit_says_where_and_what_to_do(kind: Any, value: Any) -> None:
    with pytest.raises(
        PayloadError, match=r"(?s)^the result of f: the stored value does not fit .*Annotate"
    ):
        Codec(kind, where="the result of f").decode(codec.encode(value))


def test_a_name_that_is_imported_only_for_type_checking_is_explained() -> None:
    def function(argument: Nowhere): ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UsageError, match="import the type at run time"):
        Arguments(function)


# ── arguments ───────────────────────────────────────────────────────────────────────────────────


def shop(first: int, /, money: Money, *, note: str = "none", tags: list[str] = []) -> None:  # noqa: B006
    """Every kind of parameter that can be stored."""


def test_arguments_are_stored_by_name() -> None:
    data = Arguments(shop).encode((1, Money(Decimal(2))), {"note": "x"})
    assert codec.decode(data) == {
        "first": 1,
        "money": {"amount": "2", "currency": "EUR"},
        "note": "x",
        "tags": [],
    }


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1, Money(Decimal(2))), {}), ((1,), {"money": Money(Decimal(2)), "tags": ["a"]})],
)
def test_arguments_come_back_as_the_function_wants_them(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    arguments = Arguments(shop)
    back_args, back_kwargs = arguments.decode(arguments.encode(args, kwargs))
    assert back_args == (1,)
    assert back_kwargs == {
        "money": Money(Decimal(2)),
        "note": "none",
        "tags": kwargs.get("tags", []),
    }
    shop(*back_args, **back_kwargs)


def test_the_same_call_has_the_same_bytes_however_it_is_written() -> None:
    def function(a: int, b: int = 2): ...

    arguments = Arguments(function)
    assert (
        arguments.encode((1,), {})
        == arguments.encode((1, 2), {})
        == arguments.encode((), {"b": 2, "a": 1})
    )


def test_a_parameter_that_was_added_takes_its_default_and_never_shares_it() -> None:
    def before(a: int): ...
    def after(a: int, b: list[int] = [1]): ...  # noqa: B006

    data = Arguments(before).encode((1,), {})
    arguments = Arguments(after)
    _, first = arguments.decode(data)
    first["b"].append(2)
    assert arguments.decode(data) == ((), {"a": 1, "b": [1]})


def test_a_parameter_that_was_added_without_a_default_is_an_error() -> None:
    def before(a: int): ...
    def after(a: int, b: int): ...

    with pytest.raises(PayloadError, match="stored arguments do not fit"):
        Arguments(after).decode(Arguments(before).encode((1,), {}))


def test_injected_parameters_are_left_out() -> None:
    def function(tx: threading.Thread, a: int): ...

    arguments = Arguments(function, skip=1)
    assert arguments.decode(arguments.encode((5,), {})) == ((), {"a": 5})


@pytest.mark.parametrize("call", [((), {}), ((1, 2, 3), {}), ((1,), {"c": 1}), ((1,), {"a": 1})])
def test_a_wrong_call_names_the_function_and_its_signature(call: Any) -> None:
    def function(a: int, b: int = 0): ...

    with pytest.raises(UsageError, match=r"function\(a: .*int.*, b: .*int.* = 0\): ") as caught:
        Arguments(function).encode(*call)
    assert not isinstance(caught.value, PayloadError)


@pytest.mark.parametrize("star", ["*args", "**kwargs"])
def test_parameters_without_names_are_refused(star: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def function({star}): ...", space)
    with pytest.raises(UsageError, match="list the parameters"):
        Arguments(space["function"])


def test_an_argument_of_the_wrong_kind_is_refused_when_it_cannot_be_stored() -> None:
    def function(a: Any): ...

    with pytest.raises(PayloadError, match="an argument cannot be stored"):
        Arguments(function).encode((object(),), {})


def test_differences_are_by_parameter() -> None:
    def function(a: int, b: str, c: Money): ...

    encode = Arguments(function).encode
    first = encode((1, "x", Money(Decimal(1))), {})
    second = encode((1, "y", Money(Decimal(2))), {})
    assert codec.differences(first, first) == {}
    assert codec.differences(first, second) == {
        "b": ("x", "y"),
        "c": ({"amount": "1", "currency": "EUR"}, {"amount": "2", "currency": "EUR"}),
    }
    assert codec.differences(b'{"a":1}', b'{"b":null}') == {"a": (1, None)}


# ── any value ───────────────────────────────────────────────────────────────────────────────────

texts = st.text(st.characters(exclude_categories=["Cs"]))
moneys = st.builds(
    Money, st.decimals(allow_nan=False, allow_infinity=False), st.sampled_from(["EUR", "USD"])
)
orders = st.builds(
    Order,
    id=st.uuids(),
    at=st.datetimes(timezones=st.just(UTC)),
    lines=st.lists(st.builds(Line, moneys, st.integers(-(2**63), 2**63 - 1), st.none() | texts)),
    paid_by=st.builds(Card, texts) | st.builds(Transfer, texts),
    colour=st.sampled_from(Colour),
    buyer=st.none()
    | st.builds(Person, name=texts, born=st.dates(), address=st.dictionaries(texts, texts)),
    tags=st.frozensets(texts),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)  # fmt: skip


@given(orders)
def test_any_order_comes_back(order: Order) -> None:
    of_order = Codec(Order, where="here")
    data = of_order.encode(order)
    assert of_order.decode(data) == order
    assert of_order.encode(of_order.decode(data)) == data


@given(plain)
def test_any_json_comes_back_and_is_echoed(value: Any) -> None:
    untyped = Codec(Any, where="here")
    data = untyped.encode(value)
    assert untyped.decode(data) == value
    assert untyped.echo(value, data) == value


@given(plain, plain)
def test_digests_tell_different_arguments_apart(a: Any, b: Any) -> None:
    first, second = codec.encode(a), codec.encode(b)
    assert (codec.digest(first) == codec.digest(second)) is (first == second)
