"""The pipeline file as values: calendar, phases, outputs, messages, alerts.

The fields are the keys that the file may have (`from_` is written `from`). Each value validates itself when it is made;
`validate.problems` checks what involves several parts of the file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo

from phasegate.core.checks.base import BaseCheck, CheckContext, PlacedCheck
from phasegate.core.checks.kinds import (
    Coverage,
    Key,
    RowCount,
    WrittenCheck,
)
from phasegate.core.checks.metrics import CustomSource, Distinct, Query, Rows, TableSource
from phasegate.core.field_syntax import (
    Between,
    Column,
    Daily,
    Dates,
    Day,
    DueTime,
    Duration,
    FieldName,
    Host,
    Hours,
    MailAddress,
    OneOrMany,
    RecurringDays,
    SecretReference,
    Slug,
    Table,
    Tables,
    Weekdays,
    YearlySpan,
    Zone,
    is_loopback,
    parse_zone,
)
from phasegate.errors import UnknownPhase

PositiveInt = Annotated[int, Between(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How many entities a run date should have: games, stores, flights. 0 means that no run is expected."""

    table: Table | None = None
    """The table that lists them; a row is an entity or a part of one."""
    date: Column
    """Its run date column."""
    count: Column
    """The expected number is the count of its distinct values on a date; for a query, the column with the number."""
    where: str | None = None
    """Count only rows for which this GoogleSQL condition is true."""
    query: str | None = None
    """A GoogleSQL query that filters on @from and @to and returns the columns *date* and *count*."""
    ahead: Duration | None = None
    """How far ahead run dates must be known; `doctor`, and the daily check of the clock, say when they are not."""
    fresh: Duration | None = None
    """How long ago the table may have been loaded, by *loaded_at*."""
    loaded_at: Column | None = None
    """The column of the table that says when a row was loaded."""

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise ValueError("either table or query")
        if (self.fresh is None) != (self.loaded_at is None):
            raise ValueError("fresh and loaded_at together")
        if self.fresh is not None and self.table is None:
            raise ValueError("a table for fresh")
        if self.query is not None and ("@from" not in self.query or "@to" not in self.query):
            raise ValueError("a query that filters on @from and @to")

    def counting_query(self) -> Query:
        """The query that counts them for a range of dates."""
        if self.query is not None:
            return Query(CustomSource(self.query, self.date, self.count, table="calendar.expected"), (Rows(),))
        assert self.table is not None
        return Query(TableSource(self.table, self.date), (Distinct(self.count, self.where),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of the calendar in which other rules apply."""

    from_: Day | None = None
    """Its first date; optional for one that recurs yearly."""
    to: Day | None = None
    """Its last date; without it, and without days, it has no end."""
    days: PositiveInt | None = None
    """Its length in days, instead of its last date."""
    yearly: YearlySpan | None = None
    """The days of each year that it has, by month and day: `04-01..09-30`, or `11-15..02-15` across New Year."""

    def __post_init__(self) -> None:
        if self.from_ is None and self.yearly is None:
            raise ValueError("from or yearly")
        if self.days is not None and (self.to is not None or self.yearly is not None or self.from_ is None):
            raise ValueError("days with from alone, in place of to")
        if self.from_ is not None and self.last is not None and self.last < self.from_:
            raise ValueError("a last date on or after from")

    @property
    def last(self) -> date | None:
        """Its last date; None when it has no end."""
        if self.days is not None and self.from_ is not None:
            return self.from_ + timedelta(days=self.days - 1)
        return self.to

    def __contains__(self, day: date) -> bool:
        inside = (self.from_ is None or self.from_ <= day) and (self.last is None or day <= self.last)
        return inside and (self.yearly is None or day in self.yearly)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The dates for which the pipeline runs."""

    from_: Day
    """The first run date."""
    to: Day | None = None
    """The last run date; without it the calendar has no end."""
    weekdays: Weekdays = frozenset(range(7))
    """The days of the week with a run; by default all."""
    closed: tuple[Dates, ...] = ()
    """Dates or ranges without a run."""
    expected: Expected | None = None
    """How many entities each run date should have."""
    parts: Mapping[Slug, Annotated[tuple[Part, ...], OneOrMany()]] = field(default_factory=dict, hash=False)
    """Parts of the calendar by name, for `only_in` and `skip_in`; each is a stretch, or a list of stretches."""

    def __post_init__(self) -> None:
        if self.to is not None and self.to < self.from_:
            raise ValueError("a last date on or after from")

    def has_run(self, day: date) -> bool:
        """True when the date is a run date of the calendar; the expected count may still be 0."""
        inside = self.from_ <= day and (self.to is None or day <= self.to)
        return inside and day.weekday() in self.weekdays and not any(day in span for span in self.closed)

    def parts_of(self, day: date) -> frozenset[str]:
        """The parts that contain a date."""
        return frozenset(name for name, stretches in self.parts.items() if any(day in part for part in stretches))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWords:
    """The status words of another system's messages, by what they mean."""

    done: tuple[str, ...] = ("done",)
    partial: tuple[str, ...] = ("partial",)
    failed: tuple[str, ...] = ("failed",)
    nothing: tuple[str, ...] = ("nothing",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """The field names in this pipeline's completion messages; a list where messages have several names for one thing."""

    pipeline: FieldName = "pipeline"
    phase: FieldName = "phase"
    producer: FieldName = "producer"
    run_date: FieldName = "run_date"
    status: StatusWords = StatusWords()
    status_field: FieldName = "status"
    run_id: FieldName = "run_id"
    attempt: FieldName = "attempt"
    started: FieldName = "started_at"
    finished: FieldName = "finished_at"
    duration: FieldName | None = None
    """How long the run took, in seconds or as 90s, 5m, 2h: in place of a start time."""
    rows: FieldName = "rows"
    correlation_id: FieldName = "correlation_id"
    error: FieldName = "error"
    ignore: tuple[str, ...] = ()
    """Senders that are nobody's here, by the name in *producer*; `*` matches anything. Their messages are acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """A job that reports completion."""

    aliases: tuple[str, ...] = ()
    """Other names that its messages use; `*` matches anything, and an exact name comes first."""
    optional: bool = False
    """The phase does not wait for an optional producer."""
    fills: Table | None = None
    """The output whose rows its messages count. The count is compared with the table, not trusted."""
    from_: Day | None = None
    """The first run date for which it is waited for."""
    to: Day | None = None
    """The last one: of a source that has retired."""
    only_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it is waited for; all when empty."""
    skip_in: tuple[Slug, ...] = ()
    """Parts in which it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyIn:
    """The parts of the calendar in which an output may be empty."""

    only_in: tuple[Slug, ...] = ()
    skip_in: tuple[Slug, ...] = ()

    def __post_init__(self) -> None:
        if not self.only_in and not self.skip_in:
            raise ValueError("only_in or skip_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A table that a phase fills for a run date."""

    date: Column
    """The run date (partition) column, a DATE; every query filters on it."""
    key: tuple[Column, ...] = ()
    """The business key: unique and without nulls."""
    may_be_empty: bool | EmptyIn = False
    """An empty partition on a run date is not a failure; or not in some parts of the calendar: `{only_in: [playoffs]}`."""
    from_: Day | None = None
    """The first run date on which it is filled."""
    to: Day | None = None
    """The last one."""
    only_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it is filled; all when empty."""
    skip_in: tuple[Slug, ...] = ()
    """Parts in which it is not."""
    sample: tuple[Column, ...] = ()
    """Columns of failing rows that reports may show; by default none."""
    checks: tuple[WrittenCheck, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A table that a phase reads for a run date, with checks that must pass before the phase starts; preflight runs them."""

    date: Column
    """The run date (partition) column, a DATE."""
    may_be_empty: bool = False
    """The phase can run without rows in it."""
    checks: tuple[WrittenCheck, ...] = ()
    """`fresh` counts back from now, or from the due time once that has passed."""

    def __post_init__(self) -> None:
        if self.may_be_empty and not self.checks:
            raise ValueError("at least one check when it may be empty; otherwise nothing is checked")


class QuorumWhen(StrEnum):
    """When a quorum may release the gate."""

    DUE = "due"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Outputs that are enough to open the gate, which is then degraded; the go-signal lists what is missing."""

    at_least: PositiveInt
    of: PositiveInt
    """The number of outputs of the phase; it must be right, so that adding an output is a decision about the quorum, too."""
    always: tuple[str, ...] = ()
    """Outputs that are never waived, as `dataset.table` or `table`."""
    when: QuorumWhen = QuorumWhen.DUE

    def __post_init__(self) -> None:
        if self.at_least > self.of:
            raise ValueError("at_least ≤ of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How reruns of a phase are requested."""

    attempts: PositiveInt = 4
    """Rerun requests per gate."""
    first: Duration = timedelta(minutes=2)
    """The longest wait before the second attempt; it doubles with each further one."""
    at_most: Duration = timedelta(minutes=30)
    """The upper limit of the wait."""
    budget_per_day: PositiveInt = 20
    """Rerun requests per phase and day, for all run dates together."""
    breaker_after: PositiveInt = 3
    """After failures on so many run dates in a row, only the newest one is rerun, until its gate opens."""

    def __post_init__(self) -> None:
        if self.first > self.at_most:
            raise ValueError("first ≤ at_most")


class MessageNeed(StrEnum):
    """Whether a phase can be released without a completion message."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Again(StrEnum):
    """What happens when data changes after the release."""

    ON_CHANGE = "on_change"
    NEVER = "never"


class GateMode(StrEnum):
    """What a verdict does to a gate."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """Record the verdict and always release."""
    PAUSE = "pause"
    """Judge and record, but release nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One of the pipeline's ordered steps."""

    aliases: tuple[str, ...] = ()
    """Other names that messages use for it."""
    after: tuple[Slug, ...] = ()
    """The phases whose gates must be open before this one starts."""
    producers: Mapping[Slug, Producer] = field(default_factory=dict, hash=False)
    """The jobs that report for it; without any, the phase reports under its own name."""
    due: DueTime | None = None
    """The time by which it must be released."""
    late_by: Duration = timedelta(hours=1)
    """How long a run whose first report comes after the due time may take from there; a backfill, for example."""
    settle: Duration = timedelta(minutes=10)
    """A rerun is released once every needed producer has reported again, or no report has arrived for this long."""
    look_back: Duration | None = None
    """How far back it reads its inputs: a gap there contaminates its results."""
    only_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it runs; all when empty."""
    skip_in: tuple[Slug, ...] = ()
    """Parts of the calendar in which it does not run."""
    on: RecurringDays | None = None
    """The days on which it runs, for a weekly or monthly phase: `mon`, `last_day_of_month`, `day 1, 15`, `first mon`."""
    message: MessageNeed = MessageNeed.REQUIRED
    """optional releases a phase after its due time without a message, when its rows pass."""
    again: Again = Again.ON_CHANGE
    """on_change releases again when data changed after the release and passes."""
    mode: GateMode = GateMode.ENFORCE
    """observe always releases; pause releases nothing."""
    until: Day | None = None
    """The last date of a pause."""
    quorum: Quorum | None = None
    retry: Retry | None = None
    signal: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Extra fields of the go-signal: a fixed text, or `$name` to copy another of its fields."""
    needs: Mapping[Table, Need] = field(default_factory=dict, hash=False)
    """Tables that it reads and that need checks of their own before it starts, besides the release of the phases in `after`."""
    outputs: Mapping[Table, Output] = field(hash=False)
    """The tables that it fills."""

    def runs_in(self, parts: frozenset[str]) -> bool:
        """True when the phase runs on a date in these parts of the calendar."""
        return _applies(self.only_in, self.skip_in, parts)


def matches_name(name: str, patterns: Iterable[str]) -> bool:
    """True when a name matches a pattern, in which only `*` is special; capitals count."""
    literal = ((pattern, re.sub(r"[\[?]", r"[\g<0>]", pattern)) for pattern in patterns)
    return any(name == pattern or ("*" in pattern and fnmatchcase(name, escaped)) for pattern, escaped in literal)


SIGNAL_FIELDS = (
    "pipeline",
    "phase",
    "start",
    "run_date",
    "generation",
    "decision_id",
    "degraded",
    "missing",
    "upstream",
    "score",
    "correlation_id",
    "at",
    "traceparent",
)
"""The fields of every go-signal (`traceparent` only when a report had one): `signal:` can copy but not replace them."""


def _in_use(declared: Producer | Output, day: date, parts: frozenset[str]) -> bool:
    begun = declared.from_ is None or declared.from_ <= day
    return begun and (declared.to is None or day <= declared.to) and _applies(declared.only_in, declared.skip_in, parts)


def _applies(only_in: tuple[str, ...], skip_in: tuple[str, ...], parts: frozenset[str]) -> bool:
    return (not only_in or not parts.isdisjoint(only_in)) and parts.isdisjoint(skip_in)


class DestinationKind(StrEnum):
    """The kinds of places to which alerts can be sent."""

    GOOGLE_CHAT = "google_chat"
    SLACK = "slack"
    TEAMS = "teams"
    WEBHOOK = "webhook"
    EMAIL = "email"
    CONSOLE = "console"
    EML = "eml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A place to which alerts are sent."""

    kind: DestinationKind
    webhook: SecretReference | None = None
    """The address of a chat or webhook, as a reference to a secret."""
    signing_key: SecretReference | None = None
    """The key that signs the body for a generic webhook."""
    to: tuple[MailAddress, ...] = ()
    """Mail addresses."""
    fallback: Slug | None = None
    """The destination to use when this one rejects an alert for good."""

    def __post_init__(self) -> None:
        required, allowed = _KEYS[self.kind]
        present = {name for name in ("webhook", "signing_key", "to") if getattr(self, name)}
        if required is not None and required not in present:
            raise ValueError(f"{_REQUIRED[required]} for kind {self.kind}")
        if excess := sorted(present - allowed):
            raise ValueError(f"no {excess[0]} for kind {self.kind}")


# The key that a kind requires, and all that it allows.
_CHAT = ("webhook", frozenset({"webhook"}))
_KEYS: Mapping[DestinationKind, tuple[str | None, frozenset[str]]] = {
    DestinationKind.GOOGLE_CHAT: _CHAT,
    DestinationKind.SLACK: _CHAT,
    DestinationKind.TEAMS: _CHAT,
    DestinationKind.WEBHOOK: ("webhook", frozenset({"webhook", "signing_key"})),
    DestinationKind.EMAIL: ("to", frozenset({"to"})),
    DestinationKind.CONSOLE: (None, frozenset()),
    DestinationKind.EML: (None, frozenset({"to"})),
}
_REQUIRED = {"webhook": "a webhook like secret://chat-webhook", "to": "at least one address in to"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The mail server for all destinations of kind email; with TLS and a login, unless it is a relay on this machine."""

    host: Host
    port: Annotated[int, Between(1, 65535)] = 587
    """465 uses TLS from the start, any other port STARTTLS before the login. Google Cloud blocks port 25."""
    user: str = ""
    """Left out, with the password, for a relay on this machine (localhost): mails go there without TLS and without a login."""
    password: SecretReference | None = None
    from_: MailAddress
    hello: Host | None = None
    """The name that EHLO gives the server; the domain of `from`, unless said."""

    def __post_init__(self) -> None:
        if self.is_plain and is_loopback(self.host):
            return
        if self.port == 25:
            raise ValueError("port 465 or 587; 25 is for mail between servers, and Google Cloud blocks it")
        if not self.user.isprintable() or not self.user:
            raise ValueError("a user name in user")
        if self.password is None:
            raise ValueError("a password like secret://smtp-password")

    @property
    def is_plain(self) -> bool:
        """True when mails are sent without TLS and without a login."""
        return not self.user and self.password is None


class AlertSeverity(StrEnum):
    """How urgent an alert is."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Where an alert goes when nobody acknowledges it."""

    after: Duration
    to: Slug


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which alerts go where."""

    severity: AlertSeverity | None = None
    phase: Slug | None = None
    cause: Slug | None = None
    to: tuple[Slug, ...]
    remind: Duration | None = None
    """Send a reminder after this time, as long as the incident is open."""
    escalate: Escalation | None = None
    digest: Daily | None = None
    """Collect alerts and send them once a day."""
    quiet: Hours | None = None
    """Hours in which only critical alerts are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Where alerts go."""

    destinations: Mapping[Slug, Destination] = field(default_factory=dict, hash=False)
    mail: Mail | None = None
    """The mail server for destinations of kind email."""
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline and the rules by which its gates open."""

    pipeline: Slug
    timezone: Zone = "UTC"
    """The time zone of due times and run dates."""
    calendar: Calendar
    messages: Messages = Messages()
    phases: Mapping[Slug, Phase]
    alerts: Alerts = Alerts()
    unwatched: tuple[Tables, ...] = ()
    """Tables other than the outputs that need no checks, as `dataset.table`; `*` matches anything."""

    def __post_init__(self) -> None:
        parse_zone(self.timezone)
        if not self.phases:
            raise ValueError("at least one phase")

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone of due times and run dates."""
        return ZoneInfo(self.timezone)

    def phase(self, name: str) -> Phase:
        """A phase by name.

        Raises:
            UnknownPhase: The pipeline has no such phase; the message lists the phases that it has.
        """
        if name not in self.phases:
            raise UnknownPhase(f'unknown phase "{name}" in pipeline "{self.name}"; known phases: {", ".join(self.phases)}')
        return self.phases[name]

    def phases_called(self, name: str) -> tuple[str, ...]:
        """The phases that a message can mean by a name or alias: several, when they share a foreign name.

        Raises:
            UnknownPhase: No phase has this name or alias.
        """
        if name in self.phases:
            return (name,)
        called = tuple(phase for phase, declared in self.phases.items() if name in declared.aliases)
        if not called:
            self.phase(name)
        return called

    def producers(self, phase: str) -> Mapping[str, Producer]:
        """The producers of a phase; a phase that declares none reports under its own name."""
        return self.phase(phase).producers or {phase: Producer()}

    def needed_producers(self, phase: str, day: date) -> tuple[str, ...]:
        """The producers that must report for a run date before the gate opens."""
        parts = self.calendar.parts_of(day)
        return tuple(name for name, p in self.producers(phase).items() if not p.optional and _in_use(p, day, parts))

    def fills(self, phase: str, table: str, day: date) -> bool:
        """True when a phase fills an output of its on a run date."""
        return _in_use(self.phase(phase).outputs[table], day, self.calendar.parts_of(day))

    @cached_property
    def _reporters(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        reporters: dict[str, tuple[tuple[str, str], ...]] = {}
        for phase in self.phases:
            for producer, declared in self.producers(phase).items():
                for name in (producer, *declared.aliases):
                    reporters[name] = (*reporters.get(name, ()), (phase, producer))
        return reporters

    def reporters(self, name: str) -> tuple[tuple[str, str], ...]:
        """The (phase, producer) pairs that a producer's name or alias can mean; a pattern counts where no exact name does."""
        exact = self._reporters.get(name)
        if exact is not None:
            return exact
        return tuple(pair for alias, pairs in self._reporters.items() if matches_name(name, [alias]) for pair in pairs)

    def ignores(self, name: str) -> bool:
        """True for a sender that is nobody's."""
        return not self.reporters(name) and matches_name(name, self.messages.ignore)

    def runs(self, phase: str, day: date) -> bool:
        """True when the phase runs on a date by calendar and parts; the expected count may still be 0."""
        declared = self.phase(phase)
        is_its_day = declared.on is None or day in declared.on
        return self.calendar.has_run(day) and is_its_day and declared.runs_in(self.calendar.parts_of(day))

    def inputs(self, phase: str, day: date) -> tuple[str, ...]:
        """The phases that one waits for on a date: those in `after`, and the inputs of those that do not run on that date."""
        inputs: dict[str, None] = {}
        for name in self.phase(phase).after:
            inputs.update(dict.fromkeys((name,) if self.runs(name, day) else self.inputs(name, day)))
        return tuple(inputs)

    def followers(self, phase: str, day: date) -> tuple[str, ...]:
        """The phases that run on a date and wait for one."""
        return tuple(name for name in self.phases if self.runs(name, day) and phase in self.inputs(name, day))

    def today(self, now: datetime) -> date:
        """The current date in the pipeline's time zone."""
        return now.astimezone(self.zone).date()

    def due(self, phase: str, day: date) -> datetime | None:
        """When a phase is due for a run date, in UTC; None when it has no due time.

        When clocks go forward, a skipped local time is taken by the old UTC offset; when they go back, a time that comes twice
        means its first occurrence. A due time relative to another phase counts from that phase's due time.
        """
        due = self.phase(phase).due
        if due is None:
            return None
        if due.at is not None:
            return datetime.combine(day + timedelta(days=due.days), due.at, self.zone).astimezone(UTC)
        assert due.after is not None and due.after_release is not None
        base = self.due(due.after, day)
        return None if base is None else base + due.after_release

    @cached_property
    def date_columns(self) -> Mapping[str, str]:
        """The run date column of every table for which the file declares one."""
        columns = {table: output.date for phase in self.phases.values() for table, output in phase.outputs.items()}
        expected = self.calendar.expected
        return columns if expected is None or expected.table is None else {expected.table: expected.date} | columns

    @cached_property
    def _checks(self) -> Mapping[str, Mapping[str, tuple[PlacedCheck, ...]]]:
        return {
            name: {table: tuple(self._placed(name, table, output)) for table, output in phase.outputs.items()}
            for name, phase in self.phases.items()
        }

    def checks(self, phase: str) -> Mapping[str, tuple[PlacedCheck, ...]]:
        """The checks of each output table of a phase; the one that proves presence comes first."""
        return self._checks[phase]

    def _placed(self, phase: str, table: str, output: Output) -> Iterator[PlacedCheck]:
        source = TableSource(table, output.date)
        context = CheckContext(source, self.date_columns, lambda day: self.due(phase, day), zone=self.timezone)
        yield from self._resolved(_declared(output, context))
        if output.key:
            yield PlacedCheck(f"{table}.key", Key(columns=output.key), context)

    def _resolved(self, checks: Iterable[PlacedCheck]) -> Iterator[PlacedCheck]:
        """Checks with the calendar's table in place of `of: expected`; under the names that they have in the file."""
        expected = self.calendar.expected
        for placed in checks:
            check = placed.check
            if isinstance(check, Coverage) and check.counts_expected and expected is not None and expected.table is not None:
                conditions = [f"({condition})" for condition in (expected.where, check.of_where) if condition is not None]
                where = " AND ".join(conditions) or None
                check = replace(check, of=expected.table, key=(expected.count,), of_where=where)
            yield replace(placed, check=check)

    def written_checks(self) -> Iterator[tuple[tuple[str | int, ...], WrittenCheck]]:
        """Every check that the file has, with the keys that lead to it."""
        for name, phase in self.phases.items():
            for group, tables in (("needs", phase.needs), ("outputs", phase.outputs)):
                for table, declared in tables.items():
                    for n, check in enumerate(declared.checks):
                        yield ("phases", name, group, table, "checks", n, check.kind), check

    def needs(self, phase: str, day: date, now: datetime) -> Mapping[str, tuple[PlacedCheck, ...]]:
        """The checks of each table that a phase needs on a date; the one that proves presence comes first."""
        due = self.due(phase, day)
        at, moment = (due, "the due time") if due is not None and due <= now else (now, "now")
        declared, parts = self.phase(phase).needs, self.calendar.parts_of(day)
        columns = {**{table: need.date for table, need in declared.items()}, **self.date_columns}
        contexts = {
            table: CheckContext(TableSource(table, need.date), columns, lambda _: at, moment, self.timezone)
            for table, need in declared.items()
        }
        return {
            table: tuple(placed for placed in self._resolved(_declared(need, contexts[table])) if applies(placed.check, parts))
            for table, need in declared.items()
        }


def _declared(table: Output | Need, context: CheckContext) -> Iterator[PlacedCheck]:
    """The checks of a table, the one that proves presence first: `evaluate` relies on that."""
    name = context.source.table
    declared = sorted(table.checks, key=lambda check: not check.proves_presence)
    empty = table.may_be_empty
    if empty is not True and not any(check.replaces_presence for check in declared):
        # Where it may be empty, it need not be proven that it is not.
        only_in, skip_in = (empty.skip_in, empty.only_in) if isinstance(empty, EmptyIn) else ((), ())
        yield PlacedCheck(f"{name}.not_empty", RowCount(at_least=1, only_in=only_in, skip_in=skip_in), context)
    for check in declared:
        yield PlacedCheck(check_name(name, check), check, context)


def check_name(table: str, check: BaseCheck) -> str:
    """The full name of a check: its own, or table, kind and subject."""
    subject = re.sub(r"\W+", "_", check.subject).strip("_")[:40]
    return check.name or ".".join(part for part in (table, check.kind, subject) if part)


def applies(check: BaseCheck, parts: frozenset[str]) -> bool:
    """True when a check is judged on a date in these parts of the calendar."""
    return _applies(check.only_in, check.skip_in, parts)
