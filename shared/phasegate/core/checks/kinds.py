"""The kinds of checks, one class each: its fields are what the pipeline file may say.

Bounds and shares are inclusive. A share is one division of two whole counts, compared with the bound as written: both are
rounded the same way, so 28 of 30 is never above or below a bound that it equals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Annotated, ClassVar, TypeAlias, get_args

from phasegate.core.checks.base import Answers, BaseCheck, CheckContext, Judgement, MetricRequest, Mode, Outcome, Severity
from phasegate.core.checks.metrics import (
    Aggregate,
    CustomSource,
    Distinct,
    ExpectedKeys,
    Metric,
    Newest,
    NotIn,
    NotMatching,
    NullKeys,
    Nulls,
    Number,
    Orphans,
    OutOfRange,
    PairSource,
    PresentKeys,
    Referencing,
    Rows,
    Scalar,
    Surplus,
    TableSource,
    Violating,
)
from phasegate.core.field_syntax import Between, Column, Duration, Share, Table, Tagged

Bounds = tuple[float, float]
Count = Annotated[int, Between(0)]


def format_number(number: Number | None) -> str:
    """A number for people: thousands separated, at most four significant decimals."""
    if number is None:
        return "nothing"
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.4g}"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"


def _between(bounds: tuple[float | None, float | None]) -> str:
    low, high = bounds
    if low is not None and high is not None:
        return _plain(low) if low == high else f"{_plain(low)} to {_plain(high)}"
    if low is not None:
        return f"at least {_plain(low)}"
    return "any number" if high is None else f"at most {_plain(high)}"


def _inside(number: Number, bounds: tuple[float | None, float | None]) -> bool:
    low, high = bounds
    return (low is None or number >= low) and (high is None or number <= high)


def _check_bounds(*pairs: tuple[float | None, float | None] | None) -> None:
    for pair in pairs:
        if pair is not None and pair[0] is not None and pair[1] is not None and pair[0] > pair[1]:
            raise ValueError("bounds whose first number is not above the second")


@dataclass(frozen=True, slots=True, kw_only=True)
class _BoundedCheck(BaseCheck):
    between: Bounds | None = None
    """Smallest and greatest number that pass."""
    at_least: float | None = None
    """Smallest number that passes."""
    at_most: float | None = None
    """Greatest number that passes."""
    acceptable: Bounds | None = None
    """A wider band that is amber instead of red."""

    def __post_init__(self) -> None:
        if self.between is None and self.at_least is None and self.at_most is None:
            raise ValueError("one of between, at_least, at_most")
        if self.between is not None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("either between, or at_least and at_most, not both")
        _check_bounds(self.bounds, self.acceptable)
        if self.acceptable and not all(_inside(bound, self.acceptable) for bound in self.bounds if bound is not None):
            raise ValueError("an acceptable band that includes the passing one")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper bound, both inclusive; None is open."""
        return self.between or (self.at_least, self.at_most)

    def judge(self, number: Number) -> Outcome:
        """Where a number stands."""
        if _inside(number, self.bounds):
            return Outcome.PASSED
        return Outcome.ACCEPTABLE if self.acceptable and _inside(number, self.acceptable) else Outcome.FAILED


@dataclass(frozen=True, slots=True)
class PerTable:
    """Rows of another table on the same run date, as the denominator."""

    table: Table
    where: str | None = None
    """Only these rows of the other table are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount(_BoundedCheck):
    """Rows, or rows ÷ expected, or rows ÷ rows of another table, are within bounds."""

    kind: ClassVar[str] = "row_count"
    per: str | PerTable | None = None
    """`expected` (the calendar's count), or another table of the pipeline."""

    @property
    def per_table(self) -> PerTable | None:
        """The other table, when the denominator is one."""
        if isinstance(self.per, str):
            return None if self.per == "expected" else PerTable(self.per)
        return self.per

    @property
    def subject(self) -> str:
        return f"per_{self.per_table.table}" if self.per_table else ""

    def _other(self, context: CheckContext) -> tuple[TableSource, Rows] | None:
        per = self.per_table
        return None if per is None else (TableSource(per.table, context.date_columns[per.table]), Rows(per.where))

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        other = self._other(context)
        own: MetricRequest = (context.source, Rows(self.where))
        return (own, other) if other else (own,)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        said = f"table {context.source.table} has {rows:,} {'row' if rows == 1 else 'rows'}"
        if self.where:
            said += f" where {self.where}"
        if self.per is None:
            return _judgement(self.judge(rows), rows, _between(self.bounds), said)
        other = self._other(context)
        of = answers.count(*other, day) if other else answers.expected(day)
        if not of:
            return None
        ratio = rows / of
        bounds, whole = (
            _between(self.bounds),
            f"{format_number(of)} {f'rows of {per.table}' if (per := self.per_table) else 'expected'}",
        )
        outcome = self.judge(ratio)
        said += f", {format_number(ratio)} × the {whole}" + ("" if outcome is Outcome.PASSED else f"; it must be {bounds} ×")
        return Judgement(outcome, ratio, f"{bounds} of {format_number(of)}", said)

    @property
    def proves_presence(self) -> bool:
        low, _ = self.bounds
        counts = self.severity is Severity.BLOCK and self.mode is Mode.ENFORCE and self.where is None
        floor = low if self.acceptable is None else self.acceptable[0]
        always = self.per in (None, "expected") and not self.only_in and not self.skip_in
        return counts and always and low is not None and low > 0 and floor is not None and floor > 0


def _judgement(outcome: Outcome, measured: Number | str | None, expected: str, said: str) -> Judgement:
    message = said if outcome is Outcome.PASSED else f"{said}, expected {expected}"
    return Judgement(outcome, measured, expected, message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique(BaseCheck):
    """No value, or combination of values, of *columns* stands twice; rows with a null in them are not counted."""

    kind: ClassVar[str] = "unique"
    columns: tuple[Column, ...]
    """The columns that together must be unique."""
    acceptable: Count | None = None
    """So many surplus rows are amber instead of red."""
    nulls_violate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require(self.columns)

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        surplus: MetricRequest = (context.source, Surplus(self.columns, self.where))
        return (surplus, (context.source, NullKeys(self.columns, self.where))) if self.nulls_violate else (surplus,)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        surplus = answers.count(context.source, Surplus(self.columns, self.where), day)
        nulls = answers.count(context.source, NullKeys(self.columns, self.where), day) if self.nulls_violate else 0
        columns = ", ".join(self.columns)
        parts = [f"{surplus:,} surplus {'row' if surplus == 1 else 'rows'}"] if surplus or not nulls else []
        parts += [f"{nulls:,} {'row' if nulls == 1 else 'rows'} with a null"] if nulls else []
        said = f"table {context.source.table} has {' and '.join(parts)} for ({columns})"
        bad = surplus + nulls
        return _judgement(_at_most(bad, 0, self.acceptable), bad, "no surplus rows", said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Unique):
    """The output's business key: unique, and without nulls."""

    nulls_violate: ClassVar[bool] = True


def _require(columns: Sequence[str]) -> None:
    if not columns:
        raise ValueError("at least one column")


def _at_most(number: Number, bound: float, acceptable: float | None) -> Outcome:
    if number <= bound:
        return Outcome.PASSED
    return Outcome.ACCEPTABLE if acceptable is not None and number <= acceptable else Outcome.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class _ShareCheck(BaseCheck):
    at_most: Share = 0.0
    """Greatest share that passes, from 0 to 1."""
    acceptable: Share | None = None
    """A greater share that is amber instead of red."""

    def _share(self, bad: int, of: int, said: str) -> Judgement | None:
        if not of:
            return None
        share = bad / of
        expected = f"at most {self.at_most:g}" if self.at_most else "none"
        counted = f"{said} in {bad:,} of {of:,} rows" + (f" ({share:.2%})" if bad else "")
        return _judgement(_at_most(share, self.at_most, self.acceptable), share, expected, counted)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNull(_ShareCheck):
    """The share of nulls in each of *columns* is at most *at_most*."""

    kind: ClassVar[str] = "not_null"
    columns: tuple[Column, ...]
    """Judged one by one; the worst counts."""

    def __post_init__(self) -> None:
        _require(self.columns)

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        nulls: tuple[Metric, ...] = tuple(Nulls(column, self.where) for column in self.columns)
        return tuple((context.source, metric) for metric in (Rows(self.where), *nulls))

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        nulls = {column: answers.count(context.source, Nulls(column, self.where), day) for column in self.columns}
        worst = max(nulls, key=nulls.__getitem__)
        bad = [f"{column} ({count:,})" for column, count in nulls.items() if rows and count / rows > self.at_most]
        listed = f"; null too often: {', '.join(bad)}" if len(bad) > 1 else ""
        found = self._share(nulls[worst], rows, f"{context.source.table}.{worst} is null")
        return found and Judgement(found.outcome, found.measured, found.expected, found.message + listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowWiseCheck(_ShareCheck):
    """A condition that each row keeps or violates."""

    def violations(self) -> Metric:
        """Counts the violating rows."""
        raise NotImplementedError

    def sentence(self) -> str:
        """What a violating row does, after the table's name."""
        raise NotImplementedError

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Rows(self.where)), (context.source, self.violations()))

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        bad = answers.count(context.source, self.violations(), day)
        return self._share(bad, rows, f"{context.source.table}{self.sentence()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedValues(_RowWiseCheck):
    """*column* holds nothing but *values*."""

    kind: ClassVar[str] = "accepted_values"
    column: Column
    values: tuple[Scalar, ...]
    """What may stand in the column."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("at least one value")
        if len({bool if isinstance(v, bool) else str if isinstance(v, str) else float for v in self.values}) > 1:
            raise ValueError("values of one type")

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> Metric:
        return NotIn(self.column, self.values, self.where)

    def sentence(self) -> str:
        shown = ", ".join(str(value) for value in self.values[:6])
        return f".{self.column} is none of {shown}{' …' if len(self.values) > 6 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InRange(_RowWiseCheck):
    """*column* lies within *min* and *max*, both included; NaN is a violation."""

    kind: ClassVar[str] = "in_range"
    column: Column
    min: float | str | None = None
    """A number, or a date or time as text for a column of that type."""
    max: float | str | None = None
    """A number, or a date or time as text for a column of that type."""

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("min, max or both")
        if self.min is None or self.max is None:
            return
        if isinstance(self.min, str) or isinstance(self.max, str):
            ordered = isinstance(self.min, str) and isinstance(self.max, str) and self.min <= self.max
        else:
            ordered = self.min <= self.max
        if not ordered:
            raise ValueError("min and max of one type, min not above max")

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> Metric:
        return OutOfRange(self.column, self.min, self.max, self.where)

    def sentence(self) -> str:
        low, high = (bound if isinstance(bound, str) or bound is None else _plain(bound) for bound in (self.min, self.max))
        if low is None:
            return f".{self.column} is above {high}"
        return f".{self.column} is below {low}" if high is None else f".{self.column} is not {low} to {high}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches(_RowWiseCheck):
    """*column*, as text, matches the regular expression *pattern* (RE2; anchor it with ^ and $ to mean the whole)."""

    kind: ClassVar[str] = "matches"
    column: Column
    pattern: str

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> Metric:
        return NotMatching(self.column, self.pattern, self.where)

    def sentence(self) -> str:
        return f".{self.column} does not match {self.pattern}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant(_RowWiseCheck):
    """A row-wise condition in GoogleSQL is true of every row; null is no violation."""

    kind: ClassVar[str] = "invariant"
    that: str
    """The condition: `arr_time >= dep_time`."""

    @property
    def subject(self) -> str:
        return self.that

    def violations(self) -> Metric:
        return Violating(self.that, self.where)

    def sentence(self) -> str:
        return f" breaks {self.that}"


@dataclass(frozen=True, slots=True, kw_only=True)
class References(_ShareCheck):
    """The share of rows of *columns* that have no partner in another table is at most *at_most*; nulls are not counted."""

    kind: ClassVar[str] = "references"
    columns: tuple[Column, ...]
    table: Table
    """The table that must hold the partners."""
    to: tuple[Column, ...] = ()
    """Its columns, in the order of *columns*; the same names when left out."""
    same_date: bool = True
    """The partner must stand on the same run date, when the other table has one."""

    def __post_init__(self) -> None:
        _require(self.columns)
        if self.to and len(self.to) != len(self.columns):
            raise ValueError("as many columns in to as in columns")

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def _metrics(self, pair: PairSource) -> tuple[Referencing, Orphans]:
        dated = pair.other_date is not None
        return Referencing(self.columns, self.where), Orphans(self.columns, self.to or self.columns, dated, self.where)

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        pair = context.pair(self.table, dated=self.same_date)
        return tuple((pair, metric) for metric in self._metrics(pair))

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        pair = context.pair(self.table, dated=self.same_date)
        linked, orphans = (answers.count(pair, metric, day) for metric in self._metrics(pair))
        columns = ", ".join(self.columns)
        return self._share(orphans, linked, f"{context.source.table}.{columns} has no partner in {self.table}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage(BaseCheck):
    """The share of another table's keys of the date that are present here is at least *at_least*."""

    kind: ClassVar[str] = "coverage"
    of: Table
    """The table whose keys are expected here."""
    key: tuple[Column, ...]
    """The key columns in that table."""
    columns: tuple[Column, ...] = ()
    """The same columns here, when they have other names."""
    of_where: str | None = None
    """Only these rows of the other table are expected."""
    at_least: Share = 1.0
    acceptable: Share | None = None
    """A smaller share that is amber instead of red."""

    def __post_init__(self) -> None:
        _require(self.key)
        if self.columns and len(self.columns) != len(self.key):
            raise ValueError("as many columns as key has")
        if self.where:
            raise ValueError("of_where instead of where: the condition is on the other table")

    @property
    def subject(self) -> str:
        return self.of

    def _metrics(self) -> tuple[ExpectedKeys, PresentKeys]:
        return ExpectedKeys(self.key, self.of_where), PresentKeys(self.key, self.columns or self.key, self.of_where)

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return tuple((context.pair(self.of), metric) for metric in self._metrics())

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        keys, present = (answers.count(context.pair(self.of), metric, day) for metric in self._metrics())
        if not keys:
            return None
        share = present / keys
        low = self.at_least if self.acceptable is None else self.acceptable
        outcome = Outcome.PASSED if share >= self.at_least else Outcome.ACCEPTABLE if share >= low else Outcome.FAILED
        columns = ", ".join(self.key)
        said = f"table {context.source.table} holds {present:,} of {keys:,} ({columns}) of {self.of}"
        said += f", {keys - present:,} are missing" if present < keys else ""
        return _judgement(outcome, share, f"at least {self.at_least:g}", said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh(BaseCheck):
    """The newest value of *column* is no older than *within*, counted back from when the phase is due."""

    kind: ClassVar[str] = "fresh"
    column: Column
    within: Duration
    acceptable: Duration | None = None
    """A longer time that is amber instead of red."""

    @property
    def subject(self) -> str:
        return self.column

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Newest(self.column, self.where)),)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        newest = answers.number(context.source, Newest(self.column, self.where), day)
        due = context.due(day)
        assert due is not None, "a phase with a fresh check has a due time"
        expected = f"within {_hours(self.within)} before {context.moment}"
        if newest is None:
            return _judgement(Outcome.FAILED, None, expected, f"{context.source.table}.{self.column} holds no time at all")
        seconds = int(due.timestamp()) - int(newest)
        longest = None if self.acceptable is None else self.acceptable.total_seconds()
        outcome = _at_most(seconds, self.within.total_seconds(), longest)
        age = _hours(timedelta(seconds=abs(seconds)))
        than = f"{age} {'older' if seconds >= 0 else 'newer'} than {context.moment}"
        said = f"the newest {context.source.table}.{self.column} is {than}"
        return _judgement(outcome, round(seconds / 3600, 4), expected, said)


def _hours(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{rest} min"


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateCheck(_BoundedCheck):
    """An aggregate expression in GoogleSQL lies within bounds; null fails, unless *null_ok*."""

    kind: ClassVar[str] = "aggregate"
    sql: str
    """The expression: `AVG(dep_delay)`."""
    null_ok: bool = False

    @property
    def subject(self) -> str:
        return self.sql

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Aggregate(self.sql, self.where)),)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        number = answers.number(context.source, Aggregate(self.sql, self.where), day)
        expected = _between(self.bounds)
        if number is None and self.null_ok:
            return None
        said = f"{self.sql} of {context.source.table} is {'null' if number is None else format_number(number)}"
        return _judgement(Outcome.FAILED if number is None else self.judge(number), number, expected, said)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistinctCheck(_BoundedCheck):
    """The number of distinct values of *column* lies within bounds; catches a constant column."""

    kind: ClassVar[str] = "distinct"
    column: Column

    @property
    def subject(self) -> str:
        return self.column

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Distinct(self.column, self.where)),)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        number = answers.count(context.source, Distinct(self.column, self.where), day)
        said = f"{context.source.table}.{self.column} has {number:,} distinct {'value' if number == 1 else 'values'}"
        return _judgement(self.judge(number), number, _between(self.bounds), said)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck(BaseCheck):
    """The declared columns are present with their types (GoogleSQL names: INT64, STRING, DATE …)."""

    kind: ClassVar[str] = "schema"
    needs_types: ClassVar[bool] = True
    columns: Mapping[Column, str] = field(hash=False)

    def __post_init__(self) -> None:
        _require(tuple(self.columns))

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ()

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        types = answers.types(context.source)
        wrong = [
            f"{column} is {got} instead of {declared.upper()}" if (got := types.get(column.lower())) else f"{column} is missing"
            for column, declared in self.columns.items()
            if types.get(column.lower()) != declared.upper()
        ]
        outcome = Outcome.FAILED if wrong else Outcome.PASSED
        said = f"table {context.source.table}: {'; '.join(wrong) or 'all declared columns are there'}"
        return Judgement(outcome, len(wrong), f"{len(self.columns)} declared columns with their types", said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(BaseCheck):
    """A query of yours returns no rows. It filters on `@from` and `@to` and returns the output's run date column."""

    kind: ClassVar[str] = "sql"
    query: str
    acceptable: Count | None = None
    """So many rows are amber instead of red."""

    def __post_init__(self) -> None:
        if "@from" not in self.query or "@to" not in self.query:
            raise ValueError("a query that filters on @from and @to")
        if self.where:
            raise ValueError("the condition within the query, not where")

    @property
    def subject(self) -> str:
        return self.query

    def _source(self, context: CheckContext) -> CustomSource:
        return CustomSource(self.query, context.source.date, table=context.source.table)

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((self._source(context), Rows()),)

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(self._source(context), Rows(), day)
        said = f"the query on {context.source.table} returns {rows:,} {'row' if rows == 1 else 'rows'}"
        return _judgement(_at_most(rows, 0, self.acceptable), rows, "no rows", said)


Check: TypeAlias = (
    RowCount
    | Unique
    | NotNull
    | AcceptedValues
    | InRange
    | Matches
    | Invariant
    | References
    | Coverage
    | Fresh
    | AggregateCheck
    | DistinctCheck
    | SchemaCheck
    | Sql
)
WrittenCheck = Annotated[Check, Tagged()]
"""A check as the file writes it."""

KINDS: Mapping[str, type[Check]] = {kind.kind: kind for kind in get_args(Check)}
"""Every kind of check by the name it has in the pipeline file."""
