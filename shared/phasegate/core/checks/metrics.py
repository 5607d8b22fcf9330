"""The numbers asked of the warehouse, as data: which metric of which table, and what came back.

Every metric is one number per run date. All metrics of one table travel in one `TableQuery`, all comparisons of one
pair of tables in one `PairQuery`. How a metric is written in SQL is the adapters' business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TypeAlias

Number: TypeAlias = int | float
"""Whole counts are int; a NaN never comes back, the adapter turns it into None."""

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the date."""

    where: str | None = None


@dataclass(frozen=True, slots=True)
class Nulls:
    """Rows whose *column* is null."""

    column: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class NullKeys:
    """Rows in which any of *columns* is null."""

    columns: tuple[str, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Surplus:
    """Rows beyond the first of each value of *columns* (a, a, a, b has two); rows with a null in them are left out."""

    columns: tuple[str, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Distinct:
    """Distinct values of *column*, null left out."""

    column: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class NotIn:
    """Rows whose *column* is none of *values*; null is no violation."""

    column: str
    values: tuple[Scalar, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """Rows whose *column* is below *low*, above *high*, or NaN; both bounds are inclusive, null is no violation."""

    column: str
    low: Scalar | None
    high: Scalar | None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class NotMatching:
    """Rows whose *column*, as text, nowhere matches the RE2 *pattern*; null is no violation."""

    column: str
    pattern: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Violating:
    """Rows for which the GoogleSQL *condition* is false; null is no violation."""

    condition: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """The greatest value of a date or time *column*, in whole seconds since 1970 UTC; None when there is none."""

    column: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The value of a GoogleSQL aggregate *expression*; None when it is null."""

    expression: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A number that is the same for the same set of values of *columns*, in whatever order; None without rows.

    It is the same in every warehouse where texts of the values are: for all types but floats, and times with fractions of a
    second. A value that stands twice is not in it; that is for `Rows` and `Surplus` to see.
    """

    columns: tuple[str, ...]
    where: str | None = None


Metric: TypeAlias = (
    Rows | Nulls | NullKeys | Surplus | Distinct | NotIn | OutOfRange | NotMatching | Violating | Newest | Aggregate | Checksum
)


@dataclass(frozen=True, slots=True)
class Orphans:
    """Rows of the date whose *columns* have no partner in the other table's *to*.

    Rows with a null in *columns* are left out. *dated*: the partner must stand on the same date.
    """

    columns: tuple[str, ...]
    to: tuple[str, ...]
    dated: bool
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Referencing:
    """Rows of the date with no null in *columns*: what `Orphans` is a share of."""

    columns: tuple[str, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedKeys:
    """Distinct keys of the other table on the date; a key with a null is left out."""

    key: tuple[str, ...]
    where: str | None = None


@dataclass(frozen=True, slots=True)
class PresentKeys:
    """How many of `ExpectedKeys` stand in this table on the same date."""

    key: tuple[str, ...]
    columns: tuple[str, ...]
    where: str | None = None


Comparison: TypeAlias = Orphans | Referencing | ExpectedKeys | PresentKeys


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table and the column that holds its run date."""

    table: str
    date: str


@dataclass(frozen=True, slots=True)
class PairSource:
    """A table compared by key with another one; *other_date* is None when the other has no run date."""

    table: str
    date: str
    other: str
    other_date: str | None


@dataclass(frozen=True, slots=True)
class CustomSource:
    """A query of the user's in GoogleSQL, with `@from` and `@to`; its rows are counted per value of *date*.

    With *value*, that column of a date's row is the number instead of the count of rows.
    """

    text: str
    date: str
    value: str | None = None
    table: str = "query"
    """What errors and progress call it."""


Source: TypeAlias = TableSource | PairSource | CustomSource


AnyMetric: TypeAlias = Metric | Comparison


@dataclass(frozen=True, slots=True)
class Query:
    """All numbers wanted from one source, for every date of a range, in one grouped query.

    *metrics* are `Metric`s for a table, `Comparison`s for a pair and exactly `(Rows(),)` for a custom query.
    *types*: the table's column types are wanted too.
    """

    source: Source
    metrics: tuple[AnyMetric, ...]
    types: bool = False


class Fault(StrEnum):
    """Why a number could not be measured."""

    TABLE = "table"
    COLUMN = "column"
    SQL = "sql"
    REFUSED = "refused"
    """Valid GoogleSQL that this warehouse is not known to answer like BigQuery."""
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A number that could not be measured, and why; never a number, never a pass."""

    fault: Fault
    reason: str

    @property
    def retryable(self) -> bool:
        """True when asking again may help."""
        return self.fault is Fault.UNAVAILABLE


MIN_BYTES_BILLED = 10 * 2**20
"""Bytes that BigQuery bills at least for each table that a query names, and so the lowest limit that makes sense."""

USD_PER_TIB = 6.25
"""BigQuery's list price on demand. Source: BigQuery pricing, "On-demand compute pricing", us-central1."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What measuring has cost."""

    queries: int = 0
    bytes_billed: int = 0

    @property
    def usd(self) -> float:
        """The bytes in dollars, at the list price; a contract, another region or reserved slots have their own."""
        return self.bytes_billed / 2**40 * USD_PER_TIB

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.queries + other.queries, self.bytes_billed + other.bytes_billed)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one query.

    Args:
        numbers: Per run date, one value for each of `query.metrics`, in that order. A date without rows is absent.
        unmeasured: The metrics that could not be measured; their values in *numbers* mean nothing.
        types: GoogleSQL type by column name in lower case; only when the query asked for it.
    """

    query: Query
    numbers: Mapping[date, tuple[Number | None, ...]]
    unmeasured: Mapping[AnyMetric, Unmeasured]
    types: Mapping[str, str] | Unmeasured | None = None
    cost: Cost = Cost()
