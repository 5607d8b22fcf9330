"""Measuring: what the tables hold for some gates, as a value that decisions are made from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from phasegate.core.checks.base import Answers
from phasegate.core.checks.metrics import Cost, Query
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.verdict import PhaseVerdict, Verdict, judge_phase, queries
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError, WarehouseError
from phasegate.ports import Warehouse

Progress = Callable[[str, int, int], None]
"""Called after each query: the table that was measured, how many queries are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the tables hold for some gates, measured together, or why they could not be measured.

    Args:
        verdicts: By gate. The first one carries the cost of all, see `PhaseVerdict.cost`.
        failure: Why the warehouse could not be queried at all; empty when it could.
    """

    verdicts: Mapping[RunKey, PhaseVerdict] = field(default_factory=dict)
    failure: str = ""

    def verdict(self, run: RunKey) -> PhaseVerdict | None:
        """The verdict on a gate; None when it was not measured.

        "Could not be measured" is a verdict too, and never a pass. It holds for every gate of the batch, so that a warehouse
        that is down is not queried again for each of them.
        """
        if self.failure:
            return PhaseVerdict(run.phase, Verdict.UNVERIFIED, reason=self.failure)
        return self.verdicts.get(run)


NOT_MEASURED = Measurement()


def measure_gates(
    warehouse: Warehouse, pipeline: Pipeline, runs: Sequence[RunKey], *, now: datetime | None = None
) -> Measurement:
    """Measure some gates of a pipeline with one query per table, whatever their number of dates."""
    if not runs:
        return NOT_MEASURED
    dates = [run.run_date for run in runs]
    phases = [phase for phase in pipeline.phases if any(run.phase == phase for run in runs)]
    try:
        answers = measure(warehouse, pipeline, phases, Span(min(dates), max(dates)), keys=True, now=now)
    except (WarehouseError, ConfigError) as error:
        return Measurement(failure=str(error))
    costs = [answers.cost, *[Cost()] * (len(runs) - 1)]
    return Measurement(
        {
            run: replace(judge_phase(pipeline, run.phase, run.run_date, answers), cost=cost)
            for run, cost in zip(runs, costs, strict=True)
        }
    )


def measure(
    warehouse: Warehouse,
    pipeline: Pipeline,
    phases: Iterable[str],
    span: Span,
    progress: Progress | None = None,
    *,
    keys: bool = False,
    now: datetime | None = None,
) -> Answers:
    """Every number that is needed to judge some phases on every date of a span: one query per table.

    Args:
        keys: Measure checksums of the keys too, which tell replaced rows from the same ones.
        now: A newest row later than this is in the future, and so not fresh; without it, nothing is.

    Raises:
        WarehouseError: The warehouse could not be queried at all.
        ConfigError: SQL of the pipeline file does not parse.
    """
    return run_queries(warehouse, pipeline, queries(pipeline, phases, keys=keys), span, progress, now=now)


def run_queries(
    warehouse: Warehouse,
    pipeline: Pipeline,
    planned: Sequence[Query],
    span: Span,
    progress: Progress | None = None,
    *,
    now: datetime | None = None,
) -> Answers:
    """The warehouse's answers to planned queries, for every date of a span; see `measure`."""
    answers = []
    for answer in warehouse.measure(planned, span):
        answers.append(answer)
        if progress:
            progress(answer.query.source.table, len(answers), len(planned))
    expected = pipeline.calendar.expected
    return Answers(answers, None if expected is None else expected.counting_query(), measured_at=now)
