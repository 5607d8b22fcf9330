"""The numbers requested from the warehouse, as data: which metric of which table, and the answers.

A metric is one number per run date. All metrics of one table are measured in one query, and so are all comparisons of one
pair of tables. The adapters write the SQL.

Each metric declares what others must know of it: the columns it reads, the SQL it contains, its value on a date without
rows. A new metric derives from `CountMetric`, `ValueMetric` or `PairMetric` and joins `Metric` or `Comparison`; mypy then
lists every place that must handle it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, TypeAlias

from phasegate.core.checks.sql import SqlKind

Number: TypeAlias = int | float | Decimal
"""As the warehouse gave it: counts are int, decimals Decimal. Infinity and NaN are numbers, too."""

Scalar: TypeAlias = str | int | float | Decimal | bool

Columns: TypeAlias = tuple[str, ...]


class BaseMetric(ABC):
    """What every metric declares about itself."""

    __slots__ = ()

    is_count: ClassVar[bool]
    """True when it is 0 on a date without rows; any other metric is None then."""
    changes_on_reload: ClassVar[bool] = False
    """True when loading the same data again changes it, so that it is no sign of changed data."""
    where: str | None

    @property
    @abstractmethod
    def own_columns(self) -> Columns:
        """The columns of its table that it names; columns in its SQL are not listed."""

    @property
    def own_sql(self) -> tuple[tuple[str, SqlKind], ...]:
        """The user's SQL in it besides *where*."""
        return ()

    @property
    def sql(self) -> tuple[tuple[str, SqlKind], ...]:
        """All of the user's SQL in it."""
        condition = () if self.where is None else ((self.where, SqlKind.CONDITION),)
        return (*condition, *self.own_sql)


class CountMetric(BaseMetric):
    """A count over the rows of one table."""

    __slots__ = ()
    is_count = True


class ValueMetric(BaseMetric):
    """A value computed from the rows of one table, such as a maximum."""

    __slots__ = ()
    is_count = False


class PairMetric(BaseMetric):
    """A count that compares a table with another one by key."""

    __slots__ = ()
    is_count = True
    counts_other: ClassVar[bool] = False
    """True when it counts keys of the other table, and *where* is a condition on that table."""

    @property
    @abstractmethod
    def other_columns(self) -> Columns:
        """The columns of the other table that it names; none when it does not read that table."""

    @property
    def needs_other_date(self) -> bool:
        """True when the other table must have a run date column."""
        return bool(self.other_columns)


@dataclass(frozen=True, slots=True)
class Rows(CountMetric):
    """Rows of the date."""

    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return ()


@dataclass(frozen=True, slots=True)
class Nulls(CountMetric):
    """Rows whose *column* is null."""

    column: str
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class NullKeys(CountMetric):
    """Rows in which any of *columns* is null."""

    columns: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns


@dataclass(frozen=True, slots=True)
class Surplus(CountMetric):
    """Rows beyond the first of each value of *columns* (a, a, a, b has two); rows with a null in them are excluded."""

    columns: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns


@dataclass(frozen=True, slots=True)
class Distinct(CountMetric):
    """Distinct values of *column*; null is not one."""

    column: str
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class NotIn(CountMetric):
    """Rows whose *column* is not one of *values*; null is no violation."""

    column: str
    values: tuple[Scalar, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class OutOfRange(CountMetric):
    """Rows whose *column* is outside its bounds, or NaN; *low* and *high* are inside themselves, null is no violation."""

    column: str
    low: Scalar | None
    high: Scalar | None
    where: str | None = None
    above: Scalar | None = None
    """Instead of *low*, and outside itself."""
    below: Scalar | None = None
    """Instead of *high*, and outside itself."""

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class NotMatching(CountMetric):
    """Rows whose *column*, as text, does not match the RE2 *pattern* anywhere; null is no violation."""

    column: str
    pattern: str
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class Violating(CountMetric):
    """Rows for which the GoogleSQL *condition* is false; null is no violation."""

    condition: str
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return ()

    @property
    def own_sql(self) -> tuple[tuple[str, SqlKind], ...]:
        return ((self.condition, SqlKind.CONDITION),)


@dataclass(frozen=True, slots=True)
class Newest(ValueMetric):
    """The greatest value of a date or time *column*, in whole seconds since 1970 UTC; None when there is none.

    *zone*: that of values without one (DATE, DATETIME); a DATE is its midnight there.
    """

    changes_on_reload: ClassVar[bool] = True
    column: str
    where: str | None = None
    zone: str = "UTC"

    @property
    def own_columns(self) -> Columns:
        return (self.column,)


@dataclass(frozen=True, slots=True)
class Aggregate(ValueMetric):
    """The value of a GoogleSQL aggregate *expression*; None when it is null."""

    expression: str
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return ()

    @property
    def own_sql(self) -> tuple[tuple[str, SqlKind], ...]:
        return ((self.expression, SqlKind.AGGREGATE),)


@dataclass(frozen=True, slots=True)
class Checksum(ValueMetric):
    """A number that is equal for equal sets of values of *columns*, in any order; None without rows.

    Every warehouse gives the same number where it writes the values as the same text: for all types but floats and times with
    fractions of a second. A value that occurs twice cancels out; `Rows` and `Surplus` find duplicates.
    """

    columns: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns


Metric: TypeAlias = (
    Rows | Nulls | NullKeys | Surplus | Distinct | NotIn | OutOfRange | NotMatching | Violating | Newest | Aggregate | Checksum
)


@dataclass(frozen=True, slots=True)
class Orphans(PairMetric):
    """Rows of the date whose *columns* have no partner in the other table's *to*.

    Rows with a null in *columns* are excluded. *dated*: the partner must be on the same date.
    """

    columns: tuple[str, ...]
    to: tuple[str, ...]
    dated: bool
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns

    @property
    def other_columns(self) -> Columns:
        return self.to

    @property
    def needs_other_date(self) -> bool:
        return self.dated


@dataclass(frozen=True, slots=True)
class Referencing(PairMetric):
    """Rows of the date without a null in *columns*: the denominator for `Orphans`."""

    columns: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns

    @property
    def other_columns(self) -> Columns:
        return ()


@dataclass(frozen=True, slots=True)
class ExpectedKeys(PairMetric):
    """Distinct keys of the other table on the date; a key with a null is excluded."""

    counts_other: ClassVar[bool] = True
    key: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return ()

    @property
    def other_columns(self) -> Columns:
        return self.key


@dataclass(frozen=True, slots=True)
class PresentKeys(PairMetric):
    """How many of `ExpectedKeys` are in this table on the same date."""

    counts_other: ClassVar[bool] = True
    key: tuple[str, ...]
    columns: tuple[str, ...]
    where: str | None = None

    @property
    def own_columns(self) -> Columns:
        return self.columns

    @property
    def other_columns(self) -> Columns:
        return self.key


Comparison: TypeAlias = Orphans | Referencing | ExpectedKeys | PresentKeys


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table and the column that holds its run date."""

    table: str
    date: str


@dataclass(frozen=True, slots=True)
class PairSource:
    """A table compared by key with another one; *other_date* is None when the other has no run date column."""

    table: str
    date: str
    other: str
    other_date: str | None


@dataclass(frozen=True, slots=True)
class CustomSource:
    """A user's query in GoogleSQL with `@from` and `@to`; its rows are counted per value of *date*.

    With *value*, that column of a date's row is the number, instead of the count of rows.
    """

    text: str
    date: str
    value: str | None = None
    table: str = "query"
    """The name that errors and progress show."""


Source: TypeAlias = TableSource | PairSource | CustomSource


AnyMetric: TypeAlias = Metric | Comparison


@dataclass(frozen=True, slots=True)
class Query:
    """All numbers to measure on one source, for every date of a range, in one grouped query.

    *metrics* are `Metric`s for a table, `Comparison`s for a pair and exactly `(Rows(),)` for a custom query.
    *types*: the answer includes the table's column types.
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
        """True when measuring again may help."""
        return self.fault is Fault.UNAVAILABLE


MIN_BYTES_BILLED = 10 * 2**20
"""The minimum that BigQuery bills for each table in a query, and so the lowest useful limit."""

USD_PER_TIB = 6.25
"""BigQuery's on-demand list price. Source: BigQuery pricing, "On-demand compute pricing", us-central1."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of measuring."""

    queries: int = 0
    bytes_billed: int = 0

    @property
    def usd(self) -> float:
        """The bytes in dollars at the list price; contracts, other regions and reserved slots differ."""
        return self.bytes_billed / 2**40 * USD_PER_TIB

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.queries + other.queries, self.bytes_billed + other.bytes_billed)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one query.

    Args:
        numbers: Per run date, one value for each of `query.metrics`, in that order. A date without rows is absent.
        unmeasured: The metrics that could not be measured; ignore their values in *numbers*.
        of_nothing: What aggregates are without any rows, where that is a number: a count of nothing is 0.
        types: GoogleSQL type by lower-case column name; only when the query asked for types.
    """

    query: Query
    numbers: Mapping[date, tuple[Number | None, ...]]
    unmeasured: Mapping[AnyMetric, Unmeasured]
    types: Mapping[str, str] | Unmeasured | None = None
    cost: Cost = Cost()
    of_nothing: Mapping[AnyMetric, Number] = field(default_factory=dict)
