"""The checks of a phase or date taken together: a verdict, and a score that can be explained point by point."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum

from phasegate.core.checks.base import (
    Answers,
    CheckContext,
    CheckResult,
    Mode,
    Outcome,
    PlacedCheck,
    Severity,
    evaluate,
    plan,
)
from phasegate.core.checks.kinds import RowCount
from phasegate.core.checks.metrics import Checksum, Cost, Query, Rows, Source, TableSource, Unmeasured
from phasegate.core.pipeline.model import Pipeline, applies


class Verdict(StrEnum):
    """The judgement of a phase or of a whole date, from best to worst."""

    OFF = "off"
    PASS = "pass"  # noqa: S105
    ACCEPTED = "accepted"
    ACCEPTABLE = "acceptable"
    NOT_DUE = "not_due"
    UNVERIFIED = "unverified"
    FAIL = "fail"


_ORDER = list(Verdict)
_CREDIT = {Outcome.PASSED: 1.0, Outcome.ACCEPTABLE: 0.5, Outcome.FAILED: 0.0}


@dataclass(frozen=True, slots=True)
class OutputVerdict:
    """The results of one output table."""

    table: str
    results: tuple[CheckResult, ...]
    rows: int | None = None
    """Rows of the date; None when they could not be counted."""

    def blocking(self, waived: frozenset[str] = frozenset()) -> tuple[CheckResult, ...]:
        """The failed checks that hold the gate, without the waived ones."""
        return tuple(r for r in _binding(self.results, waived) if r.outcome is Outcome.FAILED)

    def unmeasured(self, waived: frozenset[str] = frozenset()) -> tuple[CheckResult, ...]:
        """The blocking checks that could not be measured, without the waived ones."""
        return tuple(r for r in _binding(self.results, waived) if r.unmeasured is not None)


def _binding(results: Iterable[CheckResult], waived: frozenset[str]) -> Iterable[CheckResult]:
    enforced = (r for r in results if r.mode is Mode.ENFORCE and r.severity is Severity.BLOCK)
    return (r for r in enforced if r.name not in waived)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Numbers that change when the rows of an output on a date change.

    Args:
        rows: How many there are; None when they could not be counted.
        keys: Checksum of their keys; None without a key, or when it could not be measured.
        asked: A digest of which other numbers were measured; it changes with the checks.
        numbers: A digest of the values of those numbers.
    """

    rows: int | None
    keys: int | None
    asked: str
    numbers: str

    def differs(self, other: "Fingerprint") -> bool:
        """True when the rows have changed; numbers that only one of the two has are not compared."""
        keys = None not in (self.keys, other.keys) and self.keys != other.keys
        return keys or self.rows != other.rows or (self.asked == other.asked and self.numbers != other.numbers)


Fingerprints = Mapping[str, Fingerprint]
"""Of the outputs of a phase, by table."""


def differ(now: Fingerprints, before: Fingerprints) -> bool:
    """True when any output has changed, or was not measured before; outputs that are no longer declared do not count."""
    return any(table not in before or fingerprint.differs(before[table]) for table, fingerprint in now.items())


@dataclass(frozen=True, slots=True)
class PhaseVerdict:
    """The judgement of one phase on one date.

    Args:
        score: From 0 to 100; None when nothing was judged, or the tables could not be measured.
        fingerprint: Of the phase's own tables; empty when nothing was measured.
        reason: Why it is off, not due or unverified as a whole; empty when the results show why.
        cost: What measuring it has cost; None when it was not measured. Of gates measured together the first carries the whole
            cost, and the others carry zero.
    """

    phase: str
    verdict: Verdict
    score: float | None = None
    outputs: tuple[OutputVerdict, ...] = ()
    fingerprint: Fingerprints = field(default_factory=dict)
    reason: str = ""
    cost: Cost | None = None

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """All results, output by output."""
        return tuple(result for output in self.outputs for result in output.results)

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of each output that could be counted."""
        return {output.table: output.rows for output in self.outputs if output.rows is not None}


@dataclass(frozen=True, slots=True)
class DateVerdict:
    """The judgement of one date."""

    run_date: date
    verdict: Verdict
    score: float | None
    phases: tuple[PhaseVerdict, ...]


def judge(results: Iterable[CheckResult]) -> Verdict:
    """The verdict of a set of results; checks in observe mode do not count."""
    verdict = Verdict.PASS
    for result in results:
        if result.mode is Mode.OBSERVE:
            continue
        block = result.severity is Severity.BLOCK
        if result.outcome is Outcome.FAILED:
            single = Verdict.FAIL if block else Verdict.ACCEPTABLE
        elif result.unmeasured is not None:
            single = Verdict.UNVERIFIED if block else Verdict.ACCEPTABLE
        else:
            single = Verdict.ACCEPTABLE if result.outcome is Outcome.ACCEPTABLE else Verdict.PASS
        verdict = worst((verdict, single))
    return verdict


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; off when there are none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.OFF)


def score(results: Iterable[CheckResult]) -> float | None:
    """The weighted share of passed checks, from 0 to 100, one decimal; None when nothing was judged.

    An acceptable check counts half. Checks that were not evaluated or are in observe mode are left out of both sums, so that
    one missing table costs one check.
    """
    earned = weight = 0.0
    for result in results:
        if result.mode is Mode.ENFORCE and result.outcome in _CREDIT:
            earned += result.weight * _CREDIT[result.outcome]
            weight += result.weight
    return round(100 * earned / weight, 1) if weight else None


def points_lost(results: Iterable[CheckResult]) -> Mapping[str, float]:
    """How many points of the score each check cost; they add up to 100 minus the unrounded score."""
    counted = [r for r in results if r.mode is Mode.ENFORCE and r.outcome in _CREDIT]
    total = sum(r.weight for r in counted)
    lost: dict[str, float] = {}
    for r in counted:
        if r.weight and _CREDIT[r.outcome] < 1:  # when two phases fill a table, its checks have the same name in both
            lost[r.name] = lost.get(r.name, 0.0) + 100 * r.weight * (1 - _CREDIT[r.outcome]) / total
    return lost


def queries(pipeline: Pipeline, phases: Iterable[str], *, keys: bool = False) -> tuple[Query, ...]:
    """The queries that judge some phases: one per table, and one per compared pair.

    The rows of every output are counted, whether it has checks or not. The calendar's expected entities are counted in the
    query of their table where there is one, else in a query of their own.

    Args:
        keys: Add the checksum of each output's key.
    """
    chosen = tuple(phases)
    checked = plan(placed for phase in chosen for checks in pipeline.checks(phase).values() for placed in checks)
    counted = [
        Query(
            TableSource(table, pipeline.date_columns[table]),
            (Rows(), Checksum(output.key)) if keys and output.key else (Rows(),),
        )
        for phase in chosen
        for table, output in pipeline.phase(phase).outputs.items()
    ]
    return _with_calendar(pipeline, (*checked, *counted))


def preflight_queries(pipeline: Pipeline, needs: Mapping[str, Iterable[PlacedCheck]]) -> tuple[Query, ...]:
    """The queries before a phase starts: for the checks of its `needs`, and for the calendar's expected entities."""
    return _with_calendar(pipeline, plan(placed for checks in needs.values() for placed in checks))


def _with_calendar(pipeline: Pipeline, queries: Iterable[Query]) -> tuple[Query, ...]:
    """The queries and the calendar's, merged into one per source."""
    expected = pipeline.calendar.expected
    by_source: dict[Source, Query] = {}
    for query in (*queries, *([] if expected is None else [expected.counting_query()])):
        merged = by_source.setdefault(query.source, query)
        metrics = tuple(dict.fromkeys((*merged.metrics, *query.metrics)))
        by_source[query.source] = replace(merged, metrics=metrics)
    return tuple(by_source.values())


def why_off(pipeline: Pipeline, phase: str, day: date, answers: Answers) -> str | None:
    """Why a phase is not expected on a date; None when it is."""
    if not pipeline.calendar.has_run(day):
        return f"the calendar has no run on {day}"
    parts, on = pipeline.calendar.parts_of(day), pipeline.phase(phase).on
    if on is not None and day not in on:
        return f"{phase} runs only on {on}"
    if not pipeline.phase(phase).runs_in(parts):
        return f"{phase} does not run in {', '.join(sorted(parts)) or 'this part of the calendar'}"
    if not any(pipeline.fills(phase, table, day) for table in pipeline.phase(phase).outputs):
        return f"{phase} fills none of its outputs on {day}"
    if answers.expects(day) is False:
        return f"nothing is expected on {day}"
    return None


def judge_phase(pipeline: Pipeline, phase: str, day: date, answers: Answers, *, not_due: bool = False) -> PhaseVerdict:
    """Judge one phase on one date.

    Args:
        not_due: The phase is not due yet and has not reported: a failure then counts as `not_due`.
    """
    if (off := why_off(pipeline, phase, day, answers)) is not None:
        sources = {table: TableSource(table, pipeline.date_columns[table]) for table in pipeline.phase(phase).outputs}
        counted = tuple(OutputVerdict(table, (), answers.rows(source, day)) for table, source in sources.items())
        return PhaseVerdict(phase, Verdict.OFF, outputs=counted, reason=off)
    parts = pipeline.calendar.parts_of(day)
    outputs = tuple(
        _judge_output(pipeline, table, [placed for placed in checks if applies(placed.check, parts)], day, answers)
        for table, checks in pipeline.checks(phase).items()
        if pipeline.fills(phase, table, day)
    )
    results = tuple(result for output in outputs for result in output.results)
    verdict, reason = judge(results), ""
    if isinstance(unknown := answers.expects(day), Unmeasured):
        verdict, reason = Verdict.UNVERIFIED, f"whether a run is expected could not be measured: {unknown.reason}"
    if not_due and verdict in (Verdict.FAIL, Verdict.UNVERIFIED):
        return PhaseVerdict(phase, Verdict.NOT_DUE, None, outputs, reason="not due yet")
    prints = {
        table: _fingerprint(pipeline, phase, table, day, answers)
        for table in pipeline.phase(phase).outputs
        if pipeline.fills(phase, table, day)
    }
    # The checks that could be measured say nothing about those that could not.
    scored = None if verdict is Verdict.UNVERIFIED else score(results)
    return PhaseVerdict(phase, verdict, scored, outputs, prints, reason)


def _judge_output(pipeline: Pipeline, table: str, checks: Sequence[PlacedCheck], day: date, answers: Answers) -> OutputVerdict:
    """The results of one output. One whose rows could not be counted has proved nothing, whatever may be missing in it."""
    source = TableSource(table, pipeline.date_columns[table])
    output = OutputVerdict(table, evaluate(checks, answers, day), answers.rows(source, day))
    if output.rows is not None or output.unmeasured() or output.blocking():
        return output
    context = CheckContext(source, pipeline.date_columns, lambda _: None)
    counted = PlacedCheck(f"{table}.rows", RowCount(at_least=0), context)
    return replace(output, results=(*evaluate([counted], answers, day), *output.results))


def _fingerprint(pipeline: Pipeline, phase: str, table: str, day: date, answers: Answers) -> Fingerprint:
    source, key = TableSource(table, pipeline.date_columns[table]), pipeline.phase(phase).outputs[table].key
    others = answers.others(source, day)
    # A warehouse sums floats in any order, so two measurements of the same rows differ in the last digits.
    stable = sorted(
        (what, number if isinstance(number, int | None) else f"{float(number):.6g}") for what, number in others.items()
    )
    keys = answers.checksum(source, key, day) if key else None
    return Fingerprint(answers.rows(source, day), keys, _digest([what for what, _ in stable]), _digest(stable))


def _digest(of: object) -> str:
    return hashlib.sha256(repr(of).encode()).hexdigest()[:12]


def summarise(day: date, phases: Iterable[PhaseVerdict]) -> DateVerdict:
    """The judgement of a date: the worst verdict of its phases, and the score of all their checks together."""
    verdicts = tuple(phases)
    judged = [result for phase in verdicts if phase.score is not None for result in phase.results]
    verdict = worst(phase.verdict for phase in verdicts)
    return DateVerdict(day, verdict, None if verdict is Verdict.UNVERIFIED else score(judged), verdicts)
