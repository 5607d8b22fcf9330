"""Judge past run dates, one or hundreds, with the same checks as the gates: one query per table for the whole range."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from phasegate.core.checks.base import Answers, CheckResult, Mode, Outcome
from phasegate.core.checks.metrics import Cost
from phasegate.core.field_syntax import Span, parse_day
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Case, gate_verdict
from phasegate.core.gates.gate import Gate, GatesByPhase
from phasegate.core.gates.schedule import deadline
from phasegate.core.gates.verdict import DateVerdict, Verdict, judge_phase, summarise
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.gates.measurement import Progress, measure
from phasegate.ports import Warehouse


@dataclass(frozen=True, slots=True)
class Validation:
    """The judgement of a range of dates."""

    pipeline: str
    span: Span
    dates: tuple[DateVerdict, ...]
    cost: Cost

    @property
    def summary(self) -> Mapping[Verdict, int]:
        """How many dates have each verdict."""
        return {verdict: sum(day.verdict is verdict for day in self.dates) for verdict in Verdict}

    @property
    def findings(self) -> tuple["Finding", ...]:
        """The checks that did not pass, each with all its dates; worst and most frequent first."""
        by_check: dict[tuple[str, str], list[tuple[date, CheckResult]]] = {}
        phases: dict[tuple[str, str], str] = {}
        for day in self.dates:
            for phase in day.phases:
                for result in phase.results if phase.verdict is not Verdict.NOT_DUE else ():
                    if result.mode is Mode.ENFORCE and (rank := _rank(result, phase.verdict)) is not None:
                        by_check.setdefault((rank, result.name), []).append((day.run_date, result))
                        phases[rank, result.name] = phase.phase
        findings = (
            Finding(phases[key], key[0], tuple(day for day, _ in results), tuple(result for _, result in results))
            for key, results in by_check.items()
        )
        return tuple(sorted(findings, key=lambda finding: (_RANKS.index(finding.rank), -len(finding.dates))))


_RANKS = ("fail", "unverified", "warn", "acceptable")


def _rank(result: CheckResult, verdict: Verdict) -> str | None:
    if result.outcome is Outcome.FAILED:
        # A failure that a quorum, observe mode or a person lets pass holds nothing.
        return "fail" if result.severity == "block" and verdict is Verdict.FAIL else "warn"
    if result.unmeasured is not None:
        return "unverified"
    return "acceptable" if result.outcome is Outcome.ACCEPTABLE else None


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause: a check that did not pass, and the dates on which it did not.

    Args:
        rank: fail, unverified, warn or acceptable.
        results: One for each of *dates*.
    """

    phase: str
    rank: str
    dates: tuple[date, ...]
    results: tuple[CheckResult, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        """The dates, with neighbouring ones joined to spans."""
        spans: list[Span] = []
        for day in self.dates:
            if spans and (day - spans[-1].last).days == 1:
                spans[-1] = Span(spans[-1].first, day)
            else:
                spans.append(Span(day, day))
        return tuple(spans)


def parse_range(text: str, pipeline: Pipeline, *, now: datetime) -> Span:
    """The dates of an argument like `2013-02-08` or `2013-02-01..2013-02-28`, both ends included.

    Raises:
        ConfigError: It is not a date or range, is reversed, ends in the future, or lies outside of the pipeline's calendar.
    """
    first, dots, last = text.partition("..")
    try:
        start, end = parse_day(first), parse_day(last if dots else first)
    except ValueError:
        raise ConfigError(f'expected a date like 2013-02-08 or a range like 2013-02-01..2013-02-28, got "{text}"') from None
    if end < start:
        raise ConfigError(f"the range is reversed: {start} is after {end}; write {end}..{start}")
    today = pipeline.today(now)
    if end > today:
        raise ConfigError(f"{end} is in the future; the last date that can be judged is {today} ({pipeline.timezone})")
    span = Span(start, end)
    begin, to = pipeline.calendar.from_, pipeline.calendar.to
    if end < begin or (to is not None and start > to):
        dates = f"from {begin}" + (f" to {to}" if to else "")
        raise ConfigError(f"{span} contains no run date of pipeline {pipeline.name}; its calendar runs {dates}")
    return span


def validate(
    pipeline: Pipeline,
    phases: Iterable[str],
    span: Span,
    *,
    warehouse: Warehouse,
    now: datetime,
    known: Mapping[date, GatesByPhase] | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Judge some phases on every date of a span. Writes nothing.

    Args:
        known: Stored gates by run date, for what people decided and when runs are due; none when left out.

    Raises:
        WarehouseError: The warehouse could not be queried at all.
        ConfigError: SQL of the pipeline file does not parse.
    """
    chosen = tuple(phases)
    # Without key checksums: they only tell releases apart, and cost a scan of the key columns.
    answers = measure(warehouse, pipeline, chosen, span, progress, now=now)
    dates = (judge_date(pipeline, chosen, day, answers, (known or {}).get(day, {}), now=now) for day in span.days())
    return Validation(pipeline.name, span, tuple(dates), answers.cost)


def judge_date(
    pipeline: Pipeline, phases: Iterable[str], day: date, answers: Answers, gates: GatesByPhase, *, now: datetime
) -> DateVerdict:
    """Judge some phases on one date as their gates would, but without reports: a phase counts as done once it is due."""
    verdicts = []
    for phase in phases:
        due = deadline(pipeline, phase, day, gates)
        at = due.at if due else None
        verdict = judge_phase(pipeline, phase, day, answers, not_due=at is not None and now < at)
        gate = gates.get(phase, Gate(RunKey(pipeline.name, phase, day)))
        verdicts.append(gate_verdict(Case(pipeline, gate, gates, verdict, at, now)) or verdict)
    return summarise(day, verdicts)
