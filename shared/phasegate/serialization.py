"""Domain values as JSON and back, for every store and bus; the dataclasses themselves are the schema."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

# Making an adapter takes milliseconds: each type gets one.
_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(value: object) -> str:
    """A dataclass as JSON text."""
    return _adapter(type(value)).dump_json(value).decode()


def from_json(kind: type[T], text: str) -> T:
    """The dataclass that `to_json` wrote. Fields added since then get their defaults."""
    value: T = _adapter(kind).validate_json(text)
    return value


def to_object(value: object) -> dict[str, Any]:
    """A dataclass as a JSON object."""
    body: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return body


def from_object(kind: type[T], body: Mapping[str, Any]) -> T:
    """The dataclass that `to_object` wrote. Fields added since then get their defaults."""
    value: T = _adapter(kind).validate_python(body)
    return value
