"""What a check is: which numbers it needs of the warehouse, and what those numbers mean. The kinds are in `kinds`.

Both halves are pure. `plan` folds the numbers of many checks into one query per table and one per compared pair;
`evaluate` turns one date's numbers into one `CheckResult` per check.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias

from phasegate.core.checks.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    Checksum,
    Cost,
    Newest,
    Number,
    PairSource,
    Query,
    Rows,
    Source,
    TableSource,
    Unmeasured,
)
from phasegate.core.field_syntax import Between, Slug


class Outcome(StrEnum):
    """What one check says of one date."""

    PASSED = "passed"
    ACCEPTABLE = "acceptable"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"


class Severity(StrEnum):
    """What a failed check does to the gate: hold it, or open it and alert."""

    BLOCK = "block"
    WARN = "warn"


class Mode(StrEnum):
    """Whether a result counts (enforce) or is only recorded (observe)."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found on one date.

    Args:
        measured: The number that was judged; None when there was none.
        expected: The bound in words: "0.98 to 1.02 of 930".
        unmeasured: Set when the check could not be measured. A check with nothing to judge (no rows, no expected keys) is
            `not_evaluated` without it.
    """

    name: str
    kind: str
    table: str
    severity: Severity
    mode: Mode
    weight: float
    outcome: Outcome
    measured: Number | str | None
    expected: str
    message: str
    unmeasured: Unmeasured | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The part of a result that a check itself decides."""

    outcome: Outcome
    measured: Number | str | None
    expected: str
    message: str


class _NotMeasured(Exception):
    """Carries an `Unmeasured` from the number to the check that asked for it."""

    def __init__(self, unmeasured: Unmeasured) -> None:
        self.unmeasured = unmeasured


@dataclass(frozen=True, slots=True)
class CheckContext:
    """Where a check stands.

    Args:
        table: The output table, and its run date column.
        date_columns: Run date column of every other table that the pipeline file knows to have one.
        due: When the phase is due for a run date, in UTC; None when it has no due time.
        moment: What that time is called.
    """

    source: TableSource
    date_columns: Mapping[str, str]
    due: Callable[[date], datetime | None]
    moment: str = "the due time"

    def pair(self, other: str, *, dated: bool | None = None) -> PairSource:
        """The table beside *other*."""
        column = self.date_columns.get(other) if dated is not False else None
        return PairSource(self.source.table, self.source.date, other, column)


class Answers:
    """All numbers that came back, to be looked up by source, metric and date.

    Args:
        answers: One for each query that was asked.
        calendar: The query that counts the entities expected per run date, when the calendar counts them.
    """

    def __init__(self, answers: Iterable[Answer], calendar: Query | None = None) -> None:
        self._of = {answer.query.source: (answer, {m: n for n, m in enumerate(answer.query.metrics)}) for answer in answers}
        self._calendar = calendar
        self._names: dict[Source, tuple[tuple[str, int], ...]] = {}

    @property
    def cost(self) -> Cost:
        """What measuring has cost."""
        return sum((answer.cost for answer, _ in self._of.values()), Cost())

    def number(self, source: Source, metric: AnyMetric, day: date) -> Number | None:
        """One number; a count is 0 on a date without rows, any other metric is None then."""
        answer, positions = self._of[source]
        if answer.unmeasured and (unmeasured := answer.unmeasured.get(metric)):
            raise _NotMeasured(unmeasured)
        row = answer.numbers.get(day)
        if row is None:
            return None if isinstance(metric, Newest | Aggregate | Checksum) else 0
        return row[positions[metric]]

    def count(self, source: Source, metric: AnyMetric, day: date) -> int:
        """A metric that counts."""
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
        """False when the calendar counted, and counted 0; a count that could not be measured is no 0."""
        try:
            return self._calendar is None or self.expected(day) > 0
        except _NotMeasured as error:
            return error.unmeasured

    def checksum(self, source: TableSource, columns: tuple[str, ...], day: date) -> int | None:
        """The checksum of some columns on a date; None when it was not asked for, not measured, or there are no rows."""
        answer, positions = self._of[source]
        metric, row = Checksum(columns), answer.numbers.get(day)
        if row is None or metric not in positions or metric in answer.unmeasured:
            return None
        found = row[positions[metric]]
        return None if found is None else int(found)

    def others(self, source: Source, day: date) -> Mapping[str, Number | None]:
        """Every other number of a source on a date, by what it is: but for load times, which are new for the same data too."""
        row = self._of[source][0].numbers.get(day)
        return {} if row is None else {name: row[n] for name, n in self._named(source)}

    def _named(self, source: Source) -> tuple[tuple[str, int], ...]:
        """What each number of a source is, in words that do not depend on the order of the query."""
        if source not in self._names:
            answer, positions = self._of[source]
            kept = {
                metric: n
                for metric, n in positions.items()
                if not isinstance(metric, Newest | Checksum) and metric != Rows() and metric not in answer.unmeasured
            }
            self._names[source] = tuple((str(metric), n) for metric, n in kept.items())
        return self._names[source]

    def types(self, source: Source) -> Mapping[str, str]:
        """GoogleSQL type by lower-case column name."""
        types = self._of[source][0].types
        if isinstance(types, Unmeasured):
            raise _NotMeasured(types)
        assert types is not None, "types were not asked for"
        return types


MetricRequest: TypeAlias = tuple[Source, AnyMetric]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCheck:
    """What every kind of check takes."""

    kind: ClassVar[str]
    needs_types: ClassVar[bool] = False

    where: str | None = None
    """Only rows for which this GoogleSQL condition is true are judged."""
    severity: Severity = Severity.BLOCK
    """block holds the gate when the check fails; warn opens it and alerts."""
    mode: Mode = Mode.ENFORCE
    """observe records the result and lets it count for nothing."""
    weight: Annotated[float, Between(0)] = 1.0
    """Its part in the score."""
    name: str | None = None
    """What reports and overrides call it; by default table, kind and columns."""
    only_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it applies; all, when empty."""
    skip_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it does not apply."""

    @property
    def subject(self) -> str:
        """What tells two checks of a kind apart in their default names."""
        return ""

    @property
    def proves_presence(self) -> bool:
        """True when an empty partition always fails it, so that no implied check is needed beside it."""
        return False

    def wanted(self, context: CheckContext) -> tuple[MetricRequest, ...]:
        """The numbers that `find` looks up."""
        raise NotImplementedError

    def find(self, answers: Answers, context: CheckContext, day: date) -> Judgement | None:
        """What the numbers of a date mean; None when there is nothing to judge."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class PlacedCheck:
    """A check of one output, with its full name."""

    name: str
    check: BaseCheck
    context: CheckContext

    def wanted(self) -> tuple[MetricRequest, ...]:
        """The numbers it needs."""
        return self.check.wanted(self.context)

    def evaluate(self, answers: Answers, day: date) -> CheckResult:
        """Its result on a date."""
        check = self.check
        unmeasured = None
        try:
            found = check.find(answers, self.context, day)
        except _NotMeasured as error:
            unmeasured = error.unmeasured
            found = Judgement(Outcome.NOT_EVALUATED, None, "", f"could not be measured: {unmeasured.reason}")
        if found is None:
            found = Judgement(Outcome.NOT_EVALUATED, None, "", "nothing to judge")
        return self._result(found, unmeasured)

    def absent(self) -> CheckResult:
        """Its result on a date whose partition is empty: the absence was punished by another check."""
        return self._result(Judgement(Outcome.NOT_EVALUATED, None, "", "not judged: the table has no rows for this date"))

    def _result(self, found: Judgement, unmeasured: Unmeasured | None = None) -> CheckResult:
        check = self.check
        return CheckResult(
            self.name,
            check.kind,
            self.context.source.table,
            check.severity,
            check.mode,
            check.weight,
            found.outcome,
            found.measured,
            found.expected,
            found.message,
            unmeasured,
        )


def plan(checks: Iterable[PlacedCheck]) -> tuple[Query, ...]:
    """Fold the numbers of many checks into one query per table, one per compared pair and one per custom query."""
    wanted: dict[Source, dict[AnyMetric, None]] = {}
    typed: set[Source] = set()
    for placed in checks:
        own = wanted.setdefault(placed.context.source, {})
        own[Rows()] = None
        for source, metric in placed.wanted():
            wanted.setdefault(source, {})[metric] = None
        if placed.check.needs_types:
            typed.add(placed.context.source)
    return tuple(Query(source, tuple(metrics), source in typed) for source, metrics in wanted.items())


def evaluate(checks: Sequence[PlacedCheck], answers: Answers, day: date) -> tuple[CheckResult, ...]:
    """One result per check of one output on one date.

    The first check must be the one that proves presence, when the output has one: on an empty partition it alone is judged.
    """
    if not checks:
        return ()
    presence = checks[0]
    first = presence.evaluate(answers, day)
    if presence.check.proves_presence and first.unmeasured is None and not answers.count(presence.context.source, Rows(), day):
        return (first, *(placed.absent() for placed in checks[1:]))
    return (first, *(placed.evaluate(answers, day) for placed in checks[1:]))
