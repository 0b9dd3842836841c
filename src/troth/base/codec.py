"""Payloads: JSON by msgspec, typed by the annotations of the function they belong to. Never pickle.

A `Codec` is made once per type, when a function is decorated, so that a type that cannot be stored is an error at
import time. Values go through JSON and back even on the live path (`Codec.echo`): what a workflow sees the first
time is exactly what a replay will show it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec

from troth.base.errors import PayloadError, UsageError

# Exact types whose JSON round trip is the identity and which nobody can mutate.
_PLAIN = frozenset({type(None), bool, int, str})


def _to_json(value: Any) -> Any:
    if hasattr(type(value), "model_validate"):  # a pydantic model; pydantic itself is not imported
        return value.model_dump(mode="json")
    msg = f"{type(value).__module__}.{type(value).__qualname__} cannot be stored as JSON"
    raise NotImplementedError(msg)


def _from_json(kind: type, value: Any) -> Any:
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    msg = f"{kind.__module__}.{kind.__qualname__} cannot be restored from JSON"
    raise NotImplementedError(msg)


_encoder = msgspec.json.Encoder(enc_hook=_to_json, order="deterministic")
_plain_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """JSON bytes, the same for equal values. Raises `PayloadError`, which names the offending type."""
    try:
        return _encoder.encode(value)
    except (TypeError, NotImplementedError, ValueError, OverflowError, RecursionError) as error:
        msg = (
            f"a {type(value).__qualname__} cannot be stored: {error}. Use JSON types, dataclasses, "
            "msgspec structs, pydantic models, Decimal, datetime, UUID or enums."
        )
        raise PayloadError(msg) from error


def decode(data: bytes | memoryview) -> Any:
    """Plain JSON values: dict, list, str, int, float, bool, None."""
    return _plain_decoder.decode(data)


def digest(data: bytes) -> bytes:
    """Sixteen bytes that identify *data* (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Codec:
    """Turns values of one annotated type into JSON bytes and back."""

    def __init__(self, annotation: Any, *, where: str) -> None:
        """Raise `UsageError` if the type *annotation* of *where* can never be stored."""
        self.annotation = annotation
        self._where = where
        _refuse_unstorable(annotation, where)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            annotation, dec_hook=_from_json
        )

    def encode(self, value: Any) -> bytes:
        """JSON bytes of *value*. Raises `PayloadError` that names the function."""
        try:
            return encode(value)
        except PayloadError as error:
            msg = f"{self._where}: {error}"
            raise PayloadError(msg) from error.__cause__

    def decode(self, data: bytes | memoryview) -> Any:
        """The value, with its type restored. Raises `PayloadError` if the JSON does not fit the annotation."""
        try:
            return self._decoder.decode(data)
        except (msgspec.DecodeError, NotImplementedError, ValueError, TypeError) as error:
            msg = (
                f"{self._where}: the stored value does not fit {self.annotation!r}: {error}. "
                "Annotate what is really returned; new fields need defaults."
            )
            raise PayloadError(msg) from error

    def echo(self, value: Any, data: bytes) -> Any:
        """What a replay would see of *value*, whose encoding is *data*."""
        kind = type(value)
        if kind in _PLAIN and (self.annotation is kind or self.annotation is Any):
            return value
        return self.decode(data)


class Arguments:
    """The parameters of one function as one JSON object, by name."""

    def __init__(self, function: Callable[..., Any], *, skip: int = 0) -> None:
        """Leave out the first *skip* parameters (those that troth injects)."""
        signature = inspect.signature(function)
        name = getattr(function, "__qualname__", repr(function))
        hints = hints_of(function)
        parameters = list(signature.parameters.values())[skip:]
        for p in parameters:
            if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                msg = f"{name}: *args and **kwargs cannot be stored by name; list the parameters"
                raise UsageError(msg)
        self._signature = signature.replace(parameters=parameters)
        self._positional_only = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self._names = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self._has_keyword_only = len(self._names) != len(parameters)
        fields: list[Any] = []
        for p in parameters:
            kind = hints.get(p.name, Any)
            _refuse_unstorable(kind, f"{name}({p.name})")
            fields.append((p.name, kind) if p.default is p.empty else (p.name, kind, _default(p)))
        fields.sort(key=len)
        self._struct = msgspec.defstruct(f"{name} arguments", fields, kw_only=True)
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=_from_json)
        self._kinds = tuple(hints.get(name, Any) for name in self._names)
        self._where = name

    def __len__(self) -> int:
        return len(self._struct.__struct_fields__)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """JSON of one call. Raises `UsageError` for wrong arguments, `PayloadError` for unstorable ones."""
        if not kwargs and not self._has_keyword_only and len(args) == len(self._names):
            named: dict[str, Any] = dict(zip(self._names, args, strict=True))
        else:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                msg = f"{self._where}{self._signature}: {error}"
                raise UsageError(msg) from None
            bound.apply_defaults()
            named = bound.arguments
        try:
            return encode(named)
        except PayloadError as error:
            msg = f"{self._where}: an argument cannot be stored: {error.__cause__}"
            raise PayloadError(msg) from error.__cause__

    def are_plain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Would `decode` give back these very values? Then it need not be asked."""
        if kwargs or self._has_keyword_only or len(args) != len(self._kinds):
            return False
        for value, annotation in zip(args, self._kinds, strict=True):
            kind = type(value)
            if kind not in _PLAIN or (annotation is not kind and annotation is not Any):
                return False
        return True

    def by_position(self, data: bytes | memoryview) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As `decode`, for another function with the same parameters in the same order under other names."""
        first, named = self.decode(data)
        rest = self._names[len(first) :]
        return (*first, *(named.pop(name) for name in rest)), named

    def decode(self, data: bytes | memoryview) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with their types restored."""
        try:
            values = self._decoder.decode(data)
        except (msgspec.DecodeError, NotImplementedError, ValueError, TypeError) as error:
            msg = f"{self._where}: the stored arguments do not fit its signature: {error}"
            raise PayloadError(msg) from error
        named = {field: getattr(values, field) for field in self._struct.__struct_fields__}
        first = tuple(named.pop(name) for name in self._positional_only)
        return first, named


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of *function*; raises `UsageError` if a name in them cannot be found."""
    try:
        return get_type_hints(function)
    except NameError as error:
        msg = (
            f"{function.__qualname__}: {error}. troth reads annotations to restore types, so import the type "
            "at run time (not only under TYPE_CHECKING)."
        )
        raise UsageError(msg) from None


def differences(first: bytes, second: bytes) -> dict[str, tuple[Any, Any]]:
    """The parameters in which two encoded argument objects differ, with both values."""
    a, b = decode(first), decode(second)
    return {name: (a.get(name), b.get(name)) for name in (a | b) if a.get(name) != b.get(name)}


def _default(parameter: inspect.Parameter) -> Any:
    value = parameter.default
    if isinstance(value, list | dict | set):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value


def _refuse_unstorable(annotation: Any, where: str) -> None:
    try:
        info = msgspec.inspect.type_info(annotation)
    except (TypeError, NameError) as error:
        msg = f"{where}: {annotation!r} cannot be stored as JSON: {error}"
        raise UsageError(msg) from None
    for below in _types_below(info):
        if isinstance(below, msgspec.inspect.DictType) and not _is_key(below.key_type):
            msg = (
                f"{where}: {annotation!r} cannot be stored as JSON: the keys of a dict must be str"
            )
            raise UsageError(msg)
        custom = below.cls if isinstance(below, msgspec.inspect.CustomType) else None
        if custom is not None and not hasattr(custom, "model_validate"):
            msg = (
                f"{where}: {custom.__module__}.{custom.__qualname__} cannot be stored as JSON. Pass an id or "
                "plain data; use dataclasses, msgspec structs, pydantic models, Decimal, datetime, UUID or enums."
            )
            raise UsageError(msg)


def _is_key(info: msgspec.inspect.Type) -> bool:
    """Only text can be sorted, so that equal values have equal bytes."""
    if isinstance(info, msgspec.inspect.LiteralType):
        return all(isinstance(value, str) for value in info.values)
    return isinstance(info, msgspec.inspect.StrType | msgspec.inspect.AnyType)


def _types_below(info: Any) -> list[Any]:
    """*info* and every type inside it, each once."""
    found: dict[int, Any] = {}
    waiting = [info]
    while waiting:
        info = waiting.pop()
        if id(info) in found:
            continue
        found[id(info)] = info
        for attribute in getattr(info, "__struct_fields__", ()):
            value = getattr(info, attribute)
            items = value if isinstance(value, tuple) else (value,)
            waiting += [
                item
                for item in items
                if isinstance(item, msgspec.inspect.Type | msgspec.inspect.Field)
            ]
    return list(found.values())
