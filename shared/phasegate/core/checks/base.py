"""What a check is: the metrics that it needs and what their numbers mean. The kinds are in `kinds`.

Both halves are pure. `plan` combines the metrics of many checks into one query per table and one per compared pair;
`evaluate` turns the numbers of one date into one `CheckResult` per check.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias

from phasegate.core.checks.exact import in_json
from phasegate.core.checks.metrics import (
    Answer,
    AnyMetric,
    Checksum,
    Cost,
    Number,
    PairSource,
    Query,
    Rows,
    Source,
    TableSource,
    Unmeasured,
)
from phasegate.core.checks.sql import SqlKind, SqlText
from phasegate.core.field_syntax import Between, Slug


class Outcome(StrEnum):
    """How a check ended on a date."""

    PASSED = "passed"
    ACCEPTABLE = "acceptable"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"


class Severity(StrEnum):
    """What a failed check does: hold the gate, or open it and alert."""

    BLOCK = "block"
    WARN = "warn"


class Mode(StrEnum):
    """Whether a result counts (enforce) or is only recorded (observe)."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check on one date.

    Args:
        measured: The number that was judged; None when there was none, text when it is none that JSON has.
        expected: The bound in words: "0.98 to 1.02 of 930".
        unmeasured: Set when the check could not be measured. Without it, `not_evaluated` means that there was nothing to
            judge: no rows, no expected keys.
    """

    name: str
    kind: str
    table: str
    severity: Severity
    mode: Mode
    weight: float
    outcome: Outcome
    measured: int | float | str | None
    expected: str
    message: str
    unmeasured: Unmeasured | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The part of a result that the check itself decides."""

    outcome: Outcome
    measured: Number | str | None
    expected: str
    message: str


class _NotMeasured(Exception):
    """Carries an `Unmeasured` from a number to the check that needs it."""

    def __init__(self, unmeasured: Unmeasured) -> None:
        self.unmeasured = unmeasured


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a check must know about the place where it is declared.

    Args:
        source: The table to check, and its run date column.
        date_columns: The run date column of every table for which the pipeline file declares one.
        due: When the phase is due for a run date, in UTC; None when it has no due time.
        moment: What messages call that time.
        zone: The pipeline's time zone: that of dates and times without one.
    """

    source: TableSource
    date_columns: Mapping[str, str]
    due: Callable[[date], datetime | None]
    moment: str = "the due time"
    zone: str = "UTC"

    def pair(self, other: str, *, dated: bool = True) -> PairSource:
        """The table and *other*, compared by date and key; without *dated* by key alone."""
        column = self.date_columns.get(other) if dated else None
        return PairSource(self.source.table, self.source.date, other, column)


class Answers:
    """All measured numbers, by source, metric and date.

    Args:
        answers: One for each query.
        calendar: The query that counts the entities expected per run date, when the calendar counts them.
        measured_at: When they were measured; None when it does not matter.
    """

    def __init__(
        self, answers: Iterable[Answer], calendar: Query | None = None, *, measured_at: datetime | None = None
    ) -> None:
        self.measured_at = measured_at
        self._of = {answer.query.source: (answer, {m: n for n, m in enumerate(answer.query.metrics)}) for answer in answers}
        self._calendar = calendar
        self._names: dict[Source, tuple[tuple[str, int], ...]] = {}

    @property
    def cost(self) -> Cost:
        """The cost of all answers."""
        return sum((answer.cost for answer, _ in self._of.values()), Cost())

    def number(self, source: Source, metric: AnyMetric, day: date) -> Number | None:
        """One number; without rows a count is 0, as is an aggregate that only counts, and any other metric None."""
        answer, positions = self._of[source]
        if answer.unmeasured and (unmeasured := answer.unmeasured.get(metric)):
            raise _NotMeasured(unmeasured)
        row = answer.numbers.get(day)
        number = None if row is None else row[positions[metric]]
        if number is None:  # also when no row meets the condition of an aggregate
            return 0 if metric.is_count else answer.of_nothing.get(metric)
        return number

    def count(self, source: Source, metric: AnyMetric, day: date) -> int:
        """A number as a count; None is 0."""
        return int(self.number(source, metric, day) or 0)

    def rows(self, source: Source, day: date) -> int | None:
        """Rows of a table on a date; None when they could not be counted."""
        try:
            return self.count(source, Rows(), day)
        except _NotMeasured:
            return None

    def expected(self, day: date) -> Number:
        """Entities expected on a date; the calendar must count them."""
        assert self._calendar is not None, "the calendar counts nothing"
        return self.number(self._calendar.source, self._calendar.metrics[0], day) or 0

    def expects(self, day: date) -> bool | Unmeasured:
        """False when the calendar counts 0 entities; `Unmeasured` when they could not be counted, which is not 0."""
        try:
            return self._calendar is None or self.expected(day) > 0
        except _NotMeasured as error:
            return error.unmeasured

    def checksum(self, source: TableSource, columns: tuple[str, ...], day: date) -> int | None:
        """The checksum of some columns on a date; None when it was not queried or measured, or there are no rows."""
        answer, positions = self._of[source]
        metric, row = Checksum(columns), answer.numbers.get(day)
        if row is None or metric not in positions or metric in answer.unmeasured:
            return None
        checksum = row[positions[metric]]
        return None if checksum is None else int(checksum)

    def others(self, source: Source, day: date) -> Mapping[str, Number | None]:
        """Every other number of a source on a date, by metric, but for load times: a reload of the same data changes them."""
        row = self._of[source][0].numbers.get(day)
        return {} if row is None else {name: row[n] for name, n in self._named(source)}

    def _named(self, source: Source) -> tuple[tuple[str, int], ...]:
        """The metric of each number of a source, as text that does not depend on the order of the query."""
        if source not in self._names:
            answer, positions = self._of[source]
            compared = {
                metric: n
                for metric, n in positions.items()
                if not metric.changes_on_reload
                and not isinstance(metric, Checksum)
                and metric != Rows()
                and metric not in answer.unmeasured
            }
            self._names[source] = tuple((str(metric), n) for metric, n in compared.items())
        return self._names[source]

    def types(self, source: Source) -> Mapping[str, str]:
        """GoogleSQL type by lower-case column name."""
        types = self._of[source][0].types
        if isinstance(types, Unmeasured):
            raise _NotMeasured(types)
        assert types is not None, "the query did not ask for types"
        return types


MetricRequest: TypeAlias = tuple[Source, AnyMetric]


@dataclass(frozen=True, slots=True)
class OtherTable:
    """A table that a check reads besides its own.

    Args:
        key: Where it is in the check's mapping: `("per", "table")`. infra/main.tf grants access by these keys.
        needs_date: The pipeline file must declare its run date column.
        alternative: What else the key may hold, for the error about a wrong table.
    """

    key: tuple[str, ...]
    table: str
    needs_date: bool = False
    alternative: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCheck(ABC):
    """What every kind of check takes, and what it declares about itself."""

    kind: ClassVar[str]
    """Its name in the pipeline file."""
    rerun_may_help: ClassVar[bool]
    """True when missing or old data is the usual cause of a failure: a rerun may fix it. Other failures would come again."""
    needs_due: ClassVar[bool] = False
    """True when it counts back from the due time, so that a phase must have one."""

    where: str | None = None
    """Judge only rows for which this GoogleSQL condition is true."""
    severity: Severity = Severity.BLOCK
    """When the check fails, block holds the gate; warn opens it and alerts."""
    mode: Mode = Mode.ENFORCE
    """observe only records the result: it neither holds the gate nor counts in the score."""
    weight: Annotated[float, Between(0)] = 1.0
    """Its weight in the score."""
    name: str | None = None
    """Its name in reports and overrides; by default made of table, kind and columns."""
    only_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it applies; all when empty."""
    skip_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it does not apply."""
    judge_empty: bool = False
    """Judge it on an empty partition, too, where the output may be empty."""

    @property
    def subject(self) -> str:
        """What distinguishes two checks of a kind in their default names."""
        return ""

    @property
    def proves_presence(self) -> bool:
        """True when it always fails on an empty partition, so that the output needs no implied check."""
        return False

    @property
    def replaces_presence(self) -> bool:
        """True when it counts the rows of every date and holds the gate: it replaces the implied check."""
        return self.proves_presence

    def spares(self, answers: "Answers", context: CheckContext, day: date) -> bool:
        """True on a date without rows, unless the check says that it is judged then, too."""
        return not self.judge_empty and not answers.count(context.source, Rows(), day)

    @property
    def counts_expected(self) -> bool:
        """True when it compares with the number of entities that the calendar expects."""
        return False

    @property
    def declared_types(self) -> Mapping[str, str]:
        """The GoogleSQL types that columns must have; with any, the query asks for the table's types, too."""
        return {}

    def other_tables(self) -> tuple[OtherTable, ...]:
        """Every other table that the check reads, but for those in SQL."""
        return ()

    def own_sql(self) -> tuple[SqlText, ...]:
        """The GoogleSQL in it besides *where*."""
        return ()

    def sql_texts(self) -> tuple[SqlText, ...]:
        """All GoogleSQL in it."""
        condition = () if self.where is None else (SqlText(("where",), self.where, SqlKind.CONDITION),)
        return (*condition, *self.own_sql())

    @abstractmethod
    def metrics(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        """The numbers that `judge` looks up."""

    @abstractmethod
    def judge(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        """What the numbers of a date mean; None when there is nothing to judge."""


@dataclass(frozen=True, slots=True)
class PlacedCheck:
    """A check of one output, with its full name."""

    name: str
    check: BaseCheck
    context: CheckContext

    def metrics(self) -> tuple[MetricRequest, ...]:
        """The numbers that it needs."""
        return self.check.metrics(self.context)

    def evaluate(self, answers: Answers, day: date) -> CheckResult:
        """Its result on a date."""
        check = self.check
        unmeasured = None
        try:
            judgement = check.judge(answers, self.context, day)
        except _NotMeasured as error:
            unmeasured = error.unmeasured
            judgement = Judgement(Outcome.NOT_EVALUATED, None, "", f"could not be measured: {unmeasured.reason}")
        if judgement is None:
            judgement = Judgement(Outcome.NOT_EVALUATED, None, "", "nothing to judge")
        return self._result(judgement, unmeasured)

    def absent(self) -> CheckResult:
        """Its result on a date without rows, when another check has failed for that already."""
        return self._result(Judgement(Outcome.NOT_EVALUATED, None, "", "not judged: the table has no rows for this date"))

    def _result(self, judgement: Judgement, unmeasured: Unmeasured | None = None) -> CheckResult:
        check = self.check
        return CheckResult(
            self.name,
            check.kind,
            self.context.source.table,
            check.severity,
            check.mode,
            check.weight,
            judgement.outcome,
            in_json(judgement.measured),
            judgement.expected,
            judgement.message,
            unmeasured,
        )


def plan(checks: Iterable[PlacedCheck]) -> tuple[Query, ...]:
    """Combine the metrics of many checks into one query per table, one per compared pair and one per custom query."""
    by_source: dict[Source, dict[AnyMetric, None]] = {}
    typed: set[Source] = set()
    for placed in checks:
        # Rows are always counted: without them, an empty partition looks like one in which nothing is wrong.
        by_source.setdefault(placed.context.source, {})[Rows()] = None
        for source, metric in placed.metrics():
            by_source.setdefault(source, {})[metric] = None
        if placed.check.declared_types:
            typed.add(placed.context.source)
    return tuple(Query(source, tuple(metrics), source in typed) for source, metrics in by_source.items())


def evaluate(checks: Sequence[PlacedCheck], answers: Answers, day: date) -> tuple[CheckResult, ...]:
    """One result per check of one output on one date.

    When the output has a check that proves presence, it must come first: on an empty partition only that one is judged, so that
    missing rows fail once and not once per check.
    """
    if not checks:
        return ()
    presence = checks[0]
    first = presence.evaluate(answers, day)
    if presence.check.proves_presence and first.unmeasured is None and not answers.count(presence.context.source, Rows(), day):
        return (first, *(placed.absent() for placed in checks[1:]))
    return (first, *(placed.evaluate(answers, day) for placed in checks[1:]))
