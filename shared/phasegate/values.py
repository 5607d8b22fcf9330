"""Domain values as JSON and back, for every store and bus; the dataclasses themselves are the schema."""

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(value: object) -> str:
    """A dataclass as JSON text."""
    return _adapter(type(value)).dump_json(value).decode()


def from_json(kind: type[T], text: str) -> T:
    """The dataclass that `to_json` wrote. Fields that it did not know yet get their defaults."""
    found: T = _adapter(kind).validate_json(text)
    return found
