"""The user's GoogleSQL, wherever a check or a number contains some."""

from dataclasses import dataclass
from enum import StrEnum


class SqlKind(StrEnum):
    """What a piece of GoogleSQL in the pipeline file is."""

    CONDITION = "condition"
    AGGREGATE = "aggregate"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class SqlText:
    """A piece of GoogleSQL in a check.

    Args:
        key: Where it is in the check's mapping: `("per", "where")`.
    """

    key: tuple[str, ...]
    text: str
    kind: SqlKind
