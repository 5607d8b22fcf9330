"""The kinds of checks, one class each: its fields are the keys that the pipeline file may have.

A new kind is one class here and its entry in `Check`. What else must know it asks the class: see `BaseCheck` for what a kind
can declare, and docs/extending.md for the steps.
"""

import operator
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Annotated, ClassVar, TypeAlias, get_args

from phasegate.core.checks.base import (
    Answers,
    BaseCheck,
    CheckContext,
    Judgement,
    MetricRequest,
    Mode,
    OtherTable,
    Outcome,
    Severity,
)
from phasegate.core.checks.bounds import (
    BoundedCheck,
    Count,
    PerExpectedCheck,
    ShareCheck,
    count_of,
    judge_tolerated,
    judgement,
    only,
    outcome_up_to,
    require_columns,
    spell_end,
    spell_ends,
)
from phasegate.core.checks.exact import exact, percent, percent_bound, spell
from phasegate.core.checks.metrics import (
    Aggregate,
    AnyMetric,
    CustomSource,
    Distinct,
    ExpectedKeys,
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
from phasegate.core.checks.sql import SqlKind, SqlText
from phasegate.core.field_syntax import (
    Column,
    ColumnType,
    Duration,
    Exact,
    Share,
    Table,
    TableOrExpected,
    Tagged,
    Zone,
    parse_type,
)


@dataclass(frozen=True, slots=True)
class PerTable:
    """Rows of another table on the same run date, as the denominator."""

    table: Table
    where: str | None = None
    """Count only rows of the other table for which this GoogleSQL condition is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount(BoundedCheck):
    """The row count, alone or divided by the expected count or by the rows of another table, is within bounds."""

    kind: ClassVar[str] = "row_count"
    rerun_may_help: ClassVar[bool] = True
    per: str | PerTable | None = None
    """The denominator: `expected` (the calendar's count), or another table of the pipeline."""

    def __post_init__(self) -> None:
        BoundedCheck.__post_init__(self)
        stated = (*self.bounds, *(self.acceptable or ()))
        if self.per is None and any(bound is not None and exact(bound) % 1 for bound in stated):
            raise ValueError("whole numbers of rows, or shares together with per")

    @property
    def per_table(self) -> PerTable | None:
        """The other table, when the denominator is one."""
        if isinstance(self.per, str):
            return None if self.per == "expected" else PerTable(self.per)
        return self.per

    @property
    def subject(self) -> str:
        return f"per_{self.per_table.table}" if self.per_table else ""

    @property
    def counts_expected(self) -> bool:
        return self.per == "expected"

    def other_tables(self) -> tuple[OtherTable, ...]:
        if self.per_table is None:
            return ()
        key = ("per",) if isinstance(self.per, str) else ("per", "table")
        return (OtherTable(key, self.per_table.table, needs_date=True, alternative="`expected` or "),)

    def own_sql(self) -> tuple[SqlText, ...]:
        if self.per_table is None or self.per_table.where is None:
            return ()
        return (SqlText(("per", "where"), self.per_table.where, SqlKind.CONDITION),)

    def _other(self, context: CheckContext) -> tuple[TableSource, Rows] | None:
        per = self.per_table
        return None if per is None else (TableSource(per.table, context.date_columns[per.table]), Rows(per.where))

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        other = self._other(context)
        own: MetricRequest = (context.source, Rows(self.where))
        return (own, other) if other else (own,)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        sentence = f"table {context.source.table} has {count_of(rows, 'row')}{only(self.where)}"
        bounds = self.expected()
        if self.per is None:
            return judgement(self.outcome(rows), rows, bounds, sentence)
        other = self._other(context)
        denominator = answers.count(*other, day) if other else answers.expected(day)
        whole = f"{spell(denominator)} {f'rows of {per.table}' if (per := self.per_table) else 'expected'}"
        expected = f"{bounds} of {spell(denominator)}"
        if not denominator:
            return Judgement(Outcome.FAILED, None, expected, f"{sentence}, compared with the {whole}") if rows else None
        ratio = Fraction(rows) / exact(denominator)
        outcome = self.outcome(ratio)
        sentence += f", {self.spelled(ratio)} × the {whole}"
        sentence += "" if outcome is Outcome.PASSED else f"; it must be {bounds} ×"
        return Judgement(outcome, float(ratio), expected, sentence)

    @property
    def proves_presence(self) -> bool:
        return self.replaces_presence and self.outcome(0) is Outcome.FAILED

    @property
    def replaces_presence(self) -> bool:
        holds_the_gate = self.severity is Severity.BLOCK and self.mode is Mode.ENFORCE
        # Per another table, it is not judged when that table is empty too; the calendar's 0 means that no run is expected.
        on_every_date = self.per in (None, "expected") and not self.only_in and not self.skip_in
        # Who says how few rows there may be, be it 0, has said what the implied check would say.
        low, _ = self.bounds if self.acceptable is None else self.acceptable
        return low is not None and holds_the_gate and on_every_date and self.where is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique(BaseCheck):
    """No value, or combination of values, of *columns* occurs twice; rows with a null in them are not counted."""

    kind: ClassVar[str] = "unique"
    rerun_may_help: ClassVar[bool] = False
    columns: tuple[Column, ...]
    """The columns that together must be unique."""
    at_most: Share = 0.0
    """The greatest share of duplicate rows that passes, from 0 to 1."""
    acceptable: Count | None = None
    """Up to this number of duplicate rows is amber instead of red."""
    nulls_violate: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_columns(self.columns)

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        own: list[AnyMetric] = [Surplus(self.columns, self.where)]
        own += [NullKeys(self.columns, self.where)] if self.nulls_violate else []
        own += [Rows(self.where)] if self.at_most else []
        return tuple((context.source, metric) for metric in own)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        duplicates = answers.count(context.source, Surplus(self.columns, self.where), day)
        # SQL finds no two nulls equal, so a null in a key would pass as unique.
        nulls = answers.count(context.source, NullKeys(self.columns, self.where), day) if self.nulls_violate else 0
        columns = ", ".join(self.columns)
        problems = [f"{count_of(duplicates, 'duplicate row')} for ({columns})"] if duplicates else []
        problems += [f"{count_of(nulls, 'row')} with a null in ({columns})"] if nulls else []
        none = f"no duplicate rows for ({columns})" + (" and no nulls in it" if self.nulls_violate else "")
        sentence = f"table {context.source.table} has {' and '.join(problems) or none}{only(self.where)}"
        expected = "no duplicate rows and no nulls" if self.nulls_violate else "no duplicate rows"
        violations = duplicates + nulls
        if self.at_most and violations:
            rows = answers.count(context.source, Rows(self.where), day)
            return judge_tolerated(violations, rows, sentence, at_most=self.at_most, acceptable=self.acceptable)
        return judgement(outcome_up_to(violations, 0, self.acceptable), violations, expected, sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Unique):
    """The output's business key: unique, and without nulls."""

    nulls_violate: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNull(ShareCheck):
    """The share of nulls in each of *columns* is at most *at_most*."""

    kind: ClassVar[str] = "not_null"
    rerun_may_help: ClassVar[bool] = False
    columns: tuple[Column, ...]
    """Each column is judged; the worst one decides."""

    def __post_init__(self) -> None:
        require_columns(self.columns)
        ShareCheck.__post_init__(self)

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        nulls: tuple[AnyMetric, ...] = tuple(Nulls(column, self.where) for column in self.columns)
        return tuple((context.source, metric) for metric in (Rows(self.where), *nulls))

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        nulls = {column: answers.count(context.source, Nulls(column, self.where), day) for column in self.columns}
        worst = max(nulls, key=nulls.__getitem__)
        valid = f"a value in {_listed(self.columns, 'and')}"
        judged = self.judge_share(nulls[worst], rows, context.source.table, valid=valid, invalid=f".{worst} is null")
        most = exact(self.at_most) * rows
        failing = [f"{column} ({count:,})" for column, count in nulls.items() if count > most]
        if judged is None or len(failing) < 2:
            return judged
        return replace(judged, message=f"{judged.message}; null too often: {', '.join(failing)}")


def _listed(words: Sequence[object], conjunction: str) -> str:
    """Words as in a sentence: `a, b and c`; the first six, when there are more."""
    if len(words) > 6:
        return f"{', '.join(map(str, words[:6]))} …"
    *most, last = map(str, words)
    return f"{', '.join(most)} {conjunction} {last}" if most else last


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowWiseCheck(ShareCheck):
    """A rule for each single row."""

    @abstractmethod
    def violations(self) -> AnyMetric:
        """The number of rows that break the rule."""

    @abstractmethod
    def valid_phrase(self) -> str:
        """What valid rows have: `origin in EWR or JFK`."""

    @abstractmethod
    def invalid_phrase(self) -> str:
        """What is wrong with the others, after the table's name: `.origin is not EWR or JFK`."""

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Rows(self.where)), (context.source, self.violations()))

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(context.source, Rows(self.where), day)
        violations = answers.count(context.source, self.violations(), day)
        return self.judge_share(
            violations, rows, context.source.table, valid=self.valid_phrase(), invalid=self.invalid_phrase()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedValues(_RowWiseCheck):
    """*column* contains only *values*; nulls are allowed."""

    kind: ClassVar[str] = "accepted_values"
    rerun_may_help: ClassVar[bool] = False
    column: Column
    values: tuple[Annotated[Scalar, Exact(text=True, boolean=True)], ...]
    """The accepted values, all of one type."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("at least one value")
        if len({bool if isinstance(v, bool) else str if isinstance(v, str) else float for v in self.values}) > 1:
            raise ValueError("values of one type")
        ShareCheck.__post_init__(self)

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> AnyMetric:
        return NotIn(self.column, self.values, self.where)

    def valid_phrase(self) -> str:
        return f"{self.column} in {_listed(self.values, 'or')}"

    def invalid_phrase(self) -> str:
        return f".{self.column} is not {_listed(self.values, 'or')}"


def _require_moment(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a date or time of the calendar, like 2013-02-08 or 2013-02-08 06:00:00, not {text}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class InRange(_RowWiseCheck):
    """*column* is from *min* to *max*, ends included, or between *above* and *below*, ends excluded; null passes, NaN fails."""

    kind: ClassVar[str] = "in_range"
    rerun_may_help: ClassVar[bool] = False
    column: Column
    min: Annotated[Number | str, Exact(text=True)] | None = None
    """A number, or a date or time as text for a column of that type."""
    max: Annotated[Number | str, Exact(text=True)] | None = None
    """A number, or a date or time as text for a column of that type."""
    above: Annotated[Number | str, Exact(text=True)] | None = None
    """Instead of *min*: only greater values, or those after a date or time, pass."""
    below: Annotated[Number | str, Exact(text=True)] | None = None
    """Instead of *max*: only smaller values, or those before a date or time, pass."""

    def __post_init__(self) -> None:
        low, high = self._ends
        if low is None and high is None:
            raise ValueError("min, max or both, or above or below in their place")
        if None not in (self.min, self.above) or None not in (self.max, self.below):
            raise ValueError("either min or above, and either max or below")
        ShareCheck.__post_init__(self)
        for bound in (low, high):
            if isinstance(bound, str) and re.match(r"\d{4}-\d", bound):
                _require_moment(bound)
        if low is None or high is None:
            return
        # As text, dates and times in ISO format sort as they should.
        inclusive = self.min is not None and self.max is not None
        in_order = operator.le if inclusive else operator.lt
        if isinstance(low, str) or isinstance(high, str):
            ordered = isinstance(low, str) and isinstance(high, str) and in_order(low, high)
        else:
            ordered = in_order(exact(low), exact(high))
        if not ordered:
            raise ValueError(
                "min and max of one type, with min ≤ max" if inclusive else "bounds of one type, with values between them"
            )

    @property
    def _ends(self) -> tuple[Number | str | None, Number | str | None]:
        return self.above if self.min is None else self.min, self.below if self.max is None else self.max

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> AnyMetric:
        return OutOfRange(self.column, self.min, self.max, self.where, self.above, self.below)

    def _bounds(self, both: str, other: str) -> str:
        """The bounds for people, after one word for two inclusive ones, and after another for the rest."""
        if self.min is not None and self.max is not None:
            return f"{both} {spell_end(self.min)} to {spell_end(self.max)}"
        # NaN is neither above nor below a bound, so these are not turned round.
        return f"{other} {spell_ends(self.min, self.above, self.max, self.below)}"

    def valid_phrase(self) -> str:
        return f"{self.column} {self._bounds('from', 'of')}"

    def invalid_phrase(self) -> str:
        return f".{self.column} is {self._bounds('outside', 'not')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches(_RowWiseCheck):
    """*column*, as text, matches the regular expression *pattern* (RE2; add ^ and $ to match all of it)."""

    kind: ClassVar[str] = "matches"
    rerun_may_help: ClassVar[bool] = False
    column: Column
    pattern: str

    def __post_init__(self) -> None:
        ShareCheck.__post_init__(self)
        if beyond := re.search(r"\(\?<?[=!]|\(\?>|\(\?P=|\\[1-9]", self.pattern):
            raise ValueError(f"a pattern that RE2 accepts, without {beyond[0]} (it has no look-around and no back-references)")

    @property
    def subject(self) -> str:
        return self.column

    def violations(self) -> AnyMetric:
        return NotMatching(self.column, self.pattern, self.where)

    def valid_phrase(self) -> str:
        return f"{self.column} matching {self.pattern}"

    def invalid_phrase(self) -> str:
        return f".{self.column} does not match {self.pattern}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant(_RowWiseCheck):
    """A GoogleSQL condition is true for every row; a null result is allowed."""

    kind: ClassVar[str] = "invariant"
    rerun_may_help: ClassVar[bool] = False
    that: str
    """The condition: `arr_time >= dep_time`."""

    @property
    def subject(self) -> str:
        return self.that

    def own_sql(self) -> tuple[SqlText, ...]:
        return (SqlText(("that",), self.that, SqlKind.CONDITION),)

    def violations(self) -> AnyMetric:
        return Violating(self.that, self.where)

    def valid_phrase(self) -> str:
        return self.that

    def invalid_phrase(self) -> str:
        return f" violates {self.that}"


@dataclass(frozen=True, slots=True, kw_only=True)
class References(ShareCheck):
    """The share of rows whose *columns* have no match in another table is at most *at_most*; nulls are not counted."""

    kind: ClassVar[str] = "references"
    rerun_may_help: ClassVar[bool] = True
    columns: tuple[Column, ...]
    table: Table
    """The table that must contain the values."""
    to: tuple[Column, ...] = ()
    """Its columns, in the order of *columns*; by default the same names."""
    same_date: bool = True
    """The match must be on the same run date, when the file declares the other table's run date column."""

    def __post_init__(self) -> None:
        require_columns(self.columns)
        if self.to and len(self.to) != len(self.columns):
            raise ValueError("as many columns in to as in columns")
        ShareCheck.__post_init__(self)

    @property
    def subject(self) -> str:
        return "+".join(self.columns)

    def other_tables(self) -> tuple[OtherTable, ...]:
        return (OtherTable(("table",), self.table),)

    def _pair_metrics(self, pair: PairSource) -> tuple[Referencing, Orphans]:
        dated = pair.other_date is not None
        return Referencing(self.columns, self.where), Orphans(self.columns, self.to or self.columns, dated, self.where)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        pair = context.pair(self.table, dated=self.same_date)
        return tuple((pair, metric) for metric in self._pair_metrics(pair))

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        pair = context.pair(self.table, dated=self.same_date)
        linked, orphans = (answers.count(pair, metric, day) for metric in self._pair_metrics(pair))
        columns = ", ".join(self.columns)
        valid = f"a match in {self.table} for ({columns})"
        subject = f".{columns}" if len(self.columns) == 1 else f" ({columns})"
        invalid = f"{subject} has no match in {self.table}"
        return self.judge_share(orphans, linked, context.source.table, valid=valid, invalid=invalid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage(BaseCheck):
    """The share of another table's keys for the run date that also occur here is at least *at_least*."""

    kind: ClassVar[str] = "coverage"
    rerun_may_help: ClassVar[bool] = True
    of: TableOrExpected
    """The table whose keys must be present here; `expected` for the entities of the calendar."""
    key: tuple[Column, ...] = ()
    """The key columns of that table; left out for `expected`, whose key is the calendar's *count*."""
    columns: tuple[Column, ...] = ()
    """The same columns here, when their names differ."""
    of_where: str | None = None
    """Expect only rows of the other table for which this GoogleSQL condition is true."""
    at_least: Share = 1.0
    acceptable: Share | None = None
    """A smaller share that is amber instead of red."""

    def __post_init__(self) -> None:
        if self.counts_expected:
            if self.key:
                raise ValueError("no key with of: expected; the calendar has it")
        else:
            require_columns(self.key)
        if self.columns and len(self.columns) != (len(self.key) or 1):
            raise ValueError("as many columns as key has")
        if self.where:
            raise ValueError("of_where instead of where: the condition is on the other table")
        if self.acceptable is not None and exact(self.acceptable) > exact(self.at_least):
            raise ValueError("an acceptable share ≤ at_least")

    @property
    def subject(self) -> str:
        return self.of

    @property
    def counts_expected(self) -> bool:
        return self.of == "expected"

    def other_tables(self) -> tuple[OtherTable, ...]:
        return () if self.counts_expected else (OtherTable(("of",), self.of, needs_date=True, alternative="`expected` or "),)

    def own_sql(self) -> tuple[SqlText, ...]:
        return () if self.of_where is None else (SqlText(("of_where",), self.of_where, SqlKind.CONDITION),)

    def _pair_metrics(self) -> tuple[ExpectedKeys, PresentKeys]:
        return ExpectedKeys(self.key, self.of_where), PresentKeys(self.key, self.columns or self.key, self.of_where)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return tuple((context.pair(self.of), metric) for metric in self._pair_metrics())

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        keys, present = (answers.count(context.pair(self.of), metric, day) for metric in self._pair_metrics())
        if not keys:
            return None
        share = Fraction(present, keys)
        low = self.at_least if self.acceptable is None else self.acceptable
        passed, acceptable = share >= exact(self.at_least), share >= exact(low)
        outcome = Outcome.PASSED if passed else Outcome.ACCEPTABLE if acceptable else Outcome.FAILED
        columns = ", ".join(self.key)
        sentence = f"table {context.source.table} has {present:,} of {count_of(keys, 'key')} ({columns}) of {self.of}"
        sentence += f" ({percent(share, [self.at_least, low])}), {keys - present:,} missing" if present < keys else ""
        return judgement(outcome, float(share), f"at least {percent_bound(self.at_least)}", sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh(BaseCheck):
    """The newest value of *column* is at most *within* older than the due time of the phase."""

    kind: ClassVar[str] = "fresh"
    rerun_may_help: ClassVar[bool] = True
    needs_due: ClassVar[bool] = True
    column: Column
    within: Duration
    acceptable: Duration | None = None
    """A longer time that is amber instead of red."""
    zone: Zone | None = None
    """The time zone of a column without one (DATE, DATETIME), when it is not the pipeline's: UTC."""

    def __post_init__(self) -> None:
        if self.acceptable is not None and self.acceptable < self.within:
            raise ValueError("an acceptable time at least as long as within")

    def _newest(self, context: CheckContext) -> Newest:
        return Newest(self.column, self.where, self.zone or context.zone)

    @property
    def subject(self) -> str:
        return self.column

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, self._newest(context)),)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        newest = answers.number(context.source, self._newest(context), day)
        due = context.due(day)
        assert due is not None, "a phase with a fresh check has a due time"
        expected = f"within {_hours(self.within)} before {context.moment}"
        if newest is None and self.spares(answers, context, day):
            return None
        if newest is None:
            sentence = f"{context.source.table}.{self.column} has no value{only(self.where)}"
            return judgement(Outcome.FAILED, None, expected, sentence)
        # Negative when the newest value is after the due time: a late load is fresh, whatever else is wrong with it.
        seconds = int(due.timestamp()) - int(newest)
        acceptable = None if self.acceptable is None else self.acceptable.total_seconds()
        outcome = outcome_up_to(seconds, self.within.total_seconds(), acceptable)
        age = f"{_hours(timedelta(seconds=abs(seconds)))} {'older' if seconds >= 0 else 'newer'}"
        sentence = f"the newest {context.source.table}.{self.column}{only(self.where)} is {age} than {context.moment}"
        if answers.measured_at is not None:
            ahead = timedelta(seconds=int(newest) - int(answers.measured_at.timestamp()))
            if ahead > _CLOCK_SKEW:  # a wrong clock or a wrong zone, which says nothing about when rows were loaded
                outcome = Outcome.FAILED
                sentence = f"the newest {context.source.table}.{self.column}{only(self.where)} is {_hours(ahead)} in the future"
        return judgement(outcome, round(seconds / 3600, 4), expected, sentence)


_CLOCK_SKEW = timedelta(minutes=1)
"""How far the clock of a loader may be ahead of ours."""


def _hours(span: timedelta) -> str:
    """A time for people, down to its seconds: `1 h 30 min`, `45 s`; days, when there are three or more.

    >>> _hours(timedelta(hours=26, seconds=1)), _hours(timedelta(days=3, hours=2)), _hours(timedelta(0))
    ('26 h 1 s', '3 days 2 h', '0 s')
    """
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24) if hours >= 72 else (0, hours)
    units = ((days, "days"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join(f"{count:,} {unit}" for count, unit in units if count) or "0 s"


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateCheck(PerExpectedCheck):
    """A GoogleSQL aggregate expression is within bounds; null fails, unless *null_ok*."""

    kind: ClassVar[str] = "aggregate"
    rerun_may_help: ClassVar[bool] = False
    sql: str
    """The expression: `AVG(dep_delay)`."""
    null_ok: bool = False
    """A null is not judged, instead of failing."""

    @property
    def subject(self) -> str:
        return self.sql

    def own_sql(self) -> tuple[SqlText, ...]:
        return (SqlText(("sql",), self.sql, SqlKind.AGGREGATE),)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Aggregate(self.sql, self.where)),)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        number = answers.number(context.source, Aggregate(self.sql, self.where), day)
        if number is None and (self.null_ok or self.spares(answers, context, day)):
            return None
        sentence = f"{self.sql} of {context.source.table}{only(self.where)} is "
        if number is None:
            return judgement(Outcome.FAILED, None, self.expected(), f"{sentence}null")
        shown = spell(number) if self.counts_expected else self.spelled(number)
        return self.judge_number(number, sentence + shown, answers, day)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistinctCheck(PerExpectedCheck):
    """The number of distinct values of *column* is within bounds; catches a constant column."""

    kind: ClassVar[str] = "distinct"
    rerun_may_help: ClassVar[bool] = False
    column: Column

    @property
    def subject(self) -> str:
        return self.column

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ((context.source, Distinct(self.column, self.where)),)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        number = answers.count(context.source, Distinct(self.column, self.where), day)
        if not number and self.spares(answers, context, day):
            return None
        sentence = f"{context.source.table}.{self.column} has {count_of(number, 'distinct value')}{only(self.where)}"
        return self.judge_number(number, sentence, answers, day)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaCheck(BaseCheck):
    """The declared columns exist with their types (GoogleSQL names: INT64, STRING, DATE …; `any` is any type)."""

    kind: ClassVar[str] = "schema"
    rerun_may_help: ClassVar[bool] = False
    columns: Mapping[Column, ColumnType] = field(hash=False)
    """The type of each column; `any` when it only has to exist."""
    exact: bool = False
    """There are no other columns."""
    ordered: bool = False
    """The columns are in this order; others may be between them."""

    def __post_init__(self) -> None:
        require_columns(tuple(self.columns))
        if len({column.lower() for column in self.columns}) < len(self.columns):
            raise ValueError("each column once; names that differ only in case are the same column")
        if self.where:
            raise ValueError("no where: columns are the same for all rows")

    @property
    def declared_types(self) -> Mapping[str, str]:
        return {column: parse_type(declared) for column, declared in self.columns.items()}

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        return ()

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        types = answers.types(context.source)
        wrong = [
            f"{column} is {actual} instead of {declared}" if (actual := types.get(column.lower())) else f"{column} is missing"
            for column, declared in self.declared_types.items()
            if types.get(column.lower()) not in ((declared,) if declared != "ANY" else types.values())
        ]
        wanted = [column.lower() for column in self.columns]
        if self.exact:
            wrong += [f"{column} is not declared" for column in types if column not in wanted]
        actual_order = [column for column in types if column in wanted]
        if self.ordered and actual_order != [column for column in wanted if column in types]:
            wrong.append(f"the order is {', '.join(actual_order)}")
        outcome = Outcome.FAILED if wrong else Outcome.PASSED
        sentence = f"table {context.source.table}: {'; '.join(wrong) or 'all declared columns exist with their types'}"
        expected = f"{count_of(len(self.columns), 'declared column')} with their types"
        expected += (" in this order" if self.ordered else "") + (" and no others" if self.exact else "")
        return Judgement(outcome, len(wrong), expected, sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(BaseCheck):
    """Your query returns no rows. It must filter on `@from` and `@to` and return the output's run date column."""

    kind: ClassVar[str] = "sql"
    rerun_may_help: ClassVar[bool] = False
    query: str
    """The query, in GoogleSQL."""
    at_most: Share = 0.0
    """The greatest number of rows that passes, as a share of the table's rows, from 0 to 1."""
    acceptable: Count | None = None
    """Up to this number of rows is amber instead of red."""

    def __post_init__(self) -> None:
        if "@from" not in self.query or "@to" not in self.query:
            raise ValueError("a query that filters on @from and @to")
        if self.where:
            raise ValueError("the condition inside the query instead of where")

    @property
    def subject(self) -> str:
        return self.query

    def own_sql(self) -> tuple[SqlText, ...]:
        return (SqlText(("query",), self.query, SqlKind.QUERY),)

    def _source(self, context: CheckContext) -> CustomSource:
        return CustomSource(self.query, context.source.date, table=context.source.table)

    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        own: MetricRequest = (self._source(context), Rows())
        return (own, (context.source, Rows())) if self.at_most else (own,)

    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        rows = answers.count(self._source(context), Rows(), day)
        sentence = f"the query on {context.source.table} returns {count_of(rows, 'row')}"
        if self.at_most and rows:
            whole = answers.count(context.source, Rows(), day)
            return judge_tolerated(rows, whole, sentence, at_most=self.at_most, acceptable=self.acceptable)
        return judgement(outcome_up_to(rows, 0, self.acceptable), rows, "no rows", sentence)


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
"""Every kind of check. mypy and the tests find what must know a new one from here."""
WrittenCheck = Annotated[Check, Tagged()]
"""A check as it is written in the pipeline file."""

KINDS: Mapping[str, type[Check]] = {kind.kind: kind for kind in get_args(Check)}
"""Every kind of check by the name it has in the pipeline file."""
