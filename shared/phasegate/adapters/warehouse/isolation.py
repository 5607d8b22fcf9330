"""Many metrics in one statement, where a bad one fails alone; shared by all warehouses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from phasegate.core.checks.metrics import Aggregate, AnyMetric, CustomSource, Fault, Number, Query, Source, Unmeasured

NUMERIC = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """Some metrics of a query and their numbers.

    Args:
        types: The GoogleSQL type of the date, then of each metric's column.
        rows: The date, then a value for each metric.
    """

    metrics: tuple[AnyMetric, ...]
    types: tuple[str, ...]
    rows: Sequence[Sequence[object]]


class StatementFailed(Exception):
    """A statement was not answered.

    Args:
        unmeasured: The result for a metric that was measured alone.
        of_all: The metrics are not the cause: measuring fewer of them would not help.
    """

    def __init__(self, unmeasured: Unmeasured, *, of_all: bool) -> None:
        super().__init__(unmeasured.reason)
        self.unmeasured = unmeasured
        self.of_all = of_all


RunStatement: TypeAlias = Callable[[tuple[AnyMetric, ...]], PartialAnswer]
"""Measures some metrics in one statement; raises `StatementFailed`."""

DryRun: TypeAlias = Callable[[tuple[AnyMetric, ...]], object]
"""Raises `StatementFailed` for a statement that the warehouse would reject; free of charge."""


class IsolatedQuery:
    """Runs one query so that a bad metric fails alone.

    Args:
        run: Measures metrics in the warehouse.
        dry_run: With it, dry runs find the metrics at fault, and one statement measures all others. Without it, the halves
            of a failed statement are run.
    """

    def __init__(self, run: RunStatement, dry_run: DryRun | None = None) -> None:
        self._run = run
        self._dry_run = dry_run
        self.parts: list[PartialAnswer] = []
        self.unmeasured: dict[AnyMetric, Unmeasured] = {}

    def run(self, metrics: tuple[AnyMetric, ...]) -> None:
        """Measure all metrics in one statement; when that fails, again without those at fault."""
        if not metrics:
            return
        try:
            self.parts.append(self._run(metrics))
        except StatementFailed as failure:
            if self._mark_failed(metrics, failure):
                return
            valid = metrics if self._dry_run is None else tuple(self._valid_in_halves(metrics))
            if len(valid) < len(metrics):
                self.run(valid)
                return
            # Every metric is valid by itself, so one fails on the data. A dry run does not read data; only running finds it.
            for half in _halves(metrics):
                self.run(half)

    def _valid_metrics(self, metrics: tuple[AnyMetric, ...]) -> Iterator[AnyMetric]:
        """The metrics that the warehouse would not reject; the others are marked as failed."""
        assert self._dry_run is not None
        try:
            self._dry_run(metrics)
        except StatementFailed as failure:
            if not self._mark_failed(metrics, failure):
                yield from self._valid_in_halves(metrics)
        else:
            yield from metrics

    def _valid_in_halves(self, metrics: tuple[AnyMetric, ...]) -> Iterator[AnyMetric]:
        for half in _halves(metrics):
            yield from self._valid_metrics(half)

    def _mark_failed(self, metrics: tuple[AnyMetric, ...], failure: StatementFailed) -> bool:
        """Mark *metrics* as unmeasured; False, and nothing marked, when one of them may have failed the others."""
        if len(metrics) > 1 and not failure.of_all:
            return False
        self.unmeasured |= dict.fromkeys(metrics, failure.unmeasured)
        return True


def _halves(metrics: tuple[AnyMetric, ...]) -> tuple[tuple[AnyMetric, ...], tuple[AnyMetric, ...]]:
    half = len(metrics) // 2
    return metrics[:half], metrics[half:]


def unusable(source: Source, part: PartialAnswer) -> dict[AnyMetric, Unmeasured]:
    """The metrics whose answers can't be used: the user's SQL returned something other than dates and numbers."""
    day, *kinds = part.types
    faults = {metric: _unusable(source, metric, day, kind, part) for metric, kind in zip(part.metrics, kinds, strict=True)}
    return {metric: fault for metric, fault in faults.items() if fault is not None}


def _unusable(source: Source, metric: AnyMetric, day: str, kind: str, part: PartialAnswer) -> Unmeasured | None:
    if isinstance(metric, Aggregate) and kind not in NUMERIC:
        return Unmeasured(Fault.SQL, f"{metric.expression} is {kind}, expected a number")
    if not isinstance(source, CustomSource):
        return None
    if any(row[0] is None for row in part.rows):
        return Unmeasured(Fault.SQL, f"the query returns rows whose {source.date} is null, which belong to no date")
    if day != "DATE":
        return Unmeasured(Fault.COLUMN, f"column {source.date} of the query is {day}, expected DATE")
    if kind not in NUMERIC:
        return Unmeasured(Fault.SQL, f"column {source.value} of the query is {kind}, expected a number")
    if len({row[0] for row in part.rows}) < len(part.rows):
        return Unmeasured(
            Fault.SQL, f"the query returns several rows for one {source.date}, expected one with its {source.value}"
        )
    return None


def numbers(
    query: Query, parts: Sequence[PartialAnswer], unmeasured: Mapping[AnyMetric, Unmeasured]
) -> Mapping[date, tuple[Number | None, ...]]:
    """The numbers of all parts by date, in the order of the query."""
    positions = {metric: n for n, metric in enumerate(query.metrics) if metric not in unmeasured}
    by_date: dict[date, list[Number | None]] = {}
    for part in parts:
        columns = [(n, positions[metric]) for n, metric in enumerate(part.metrics, 1) if metric in positions]
        for row in part.rows if columns else ():
            day = row[0]
            assert isinstance(day, date)
            values = by_date.setdefault(day, [None] * len(query.metrics))
            for n, position in columns:
                values[position] = number(row[n])
    return {day: tuple(values) for day, values in by_date.items()}


def number(value: object) -> Number | None:
    """A value as a number, as the warehouse gave it."""
    assert value is None or isinstance(value, int | float | Decimal), value
    return value
