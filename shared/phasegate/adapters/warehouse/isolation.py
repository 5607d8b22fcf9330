"""Many numbers in one statement, of which a bad one sinks alone; what every warehouse has in common."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from phasegate.core.checks.metrics import Aggregate, AnyMetric, CustomSource, Fault, Number, Query, Source, Unmeasured

NUMERIC = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """Some metrics of a query, and what came back for them.

    Args:
        types: GoogleSQL type of the date, then of each metric's column.
        rows: The date, then a value for each metric.
    """

    metrics: tuple[AnyMetric, ...]
    types: tuple[str, ...]
    rows: Sequence[Sequence[object]]


class StatementFailed(Exception):
    """A statement was not answered.

    Args:
        why: What it makes of a metric that was asked for alone.
        of_all: The metrics have no part in it: asking for fewer of them would not help.
    """

    def __init__(self, why: Unmeasured, *, of_all: bool) -> None:
        super().__init__(why.reason)
        self.why = why
        self.of_all = of_all


RunStatement: TypeAlias = Callable[[tuple[AnyMetric, ...]], PartialAnswer]
"""Asks for some metrics in one statement; raises `StatementFailed`."""

DryRun: TypeAlias = Callable[[tuple[AnyMetric, ...]], object]
"""Raises `StatementFailed` for a statement that would be refused for what it says; costs nothing."""


class IsolatedQuery:
    """One query, being asked.

    Args:
        run: Asks the warehouse.
        rehearse: Where the warehouse has that, those at fault are found by it, and all others stay in one statement.
    """

    def __init__(self, run: RunStatement, rehearse: DryRun | None = None) -> None:
        self._run = run
        self._rehearse = rehearse
        self.parts: list[PartialAnswer] = []
        self.unmeasured: dict[AnyMetric, Unmeasured] = {}

    def ask(self, metrics: tuple[AnyMetric, ...]) -> None:
        """Ask for all in one statement; when that is refused, without those at fault."""
        if not metrics:
            return
        try:
            self.parts.append(self._run(metrics))
        except StatementFailed as none:
            if self._sunk(metrics, none):
                return
            sound = metrics if self._rehearse is None else tuple(self._sound_halves(metrics))
            if len(sound) < len(metrics):
                self.ask(sound)
                return
            # It is not what they say but what they meet in the data; only asking finds out.
            for half in _halves(metrics):
                self.ask(half)

    def sound(self, metrics: tuple[AnyMetric, ...]) -> tuple[AnyMetric, ...]:
        """Those that would not be refused for what they say, found without asking."""
        return tuple(self._sound(metrics)) if metrics else ()

    def _sound(self, metrics: tuple[AnyMetric, ...]) -> Iterator[AnyMetric]:
        assert self._rehearse is not None
        try:
            self._rehearse(metrics)
        except StatementFailed as none:
            if not self._sunk(metrics, none):
                yield from self._sound_halves(metrics)
        else:
            yield from metrics

    def _sound_halves(self, metrics: tuple[AnyMetric, ...]) -> Iterator[AnyMetric]:
        for half in _halves(metrics):
            yield from self._sound(half)

    def _sunk(self, metrics: tuple[AnyMetric, ...], none: StatementFailed) -> bool:
        """Give up on *metrics*, unless one of them may have sunk the others."""
        if len(metrics) > 1 and not none.of_all:
            return False
        self.unmeasured |= dict.fromkeys(metrics, none.why)
        return True


def _halves(metrics: tuple[AnyMetric, ...]) -> tuple[tuple[AnyMetric, ...], tuple[AnyMetric, ...]]:
    half = len(metrics) // 2
    return metrics[:half], metrics[half:]


def unusable(source: Source, part: PartialAnswer) -> dict[AnyMetric, Unmeasured]:
    """Answers that came and are none: the user's SQL gave something else than dates and numbers."""
    day, *kinds = part.types
    found = {metric: _unusable(source, metric, day, kind, part) for metric, kind in zip(part.metrics, kinds, strict=True)}
    return {metric: fault for metric, fault in found.items() if fault is not None}


def _unusable(source: Source, metric: AnyMetric, day: str, kind: str, part: PartialAnswer) -> Unmeasured | None:
    if isinstance(metric, Aggregate) and kind not in NUMERIC:
        return Unmeasured(Fault.SQL, f"{metric.expression} is {kind}, expected a number")
    if not isinstance(source, CustomSource):
        return None
    if day != "DATE":
        return Unmeasured(Fault.COLUMN, f"column {source.date} of the query is {day}, expected DATE")
    if kind not in NUMERIC:
        return Unmeasured(Fault.SQL, f"column {source.value} of the query is {kind}, expected a number")
    if len({row[0] for row in part.rows}) < len(part.rows):
        return Unmeasured(
            Fault.SQL, f"the query gives several rows for one {source.date}, expected one with its {source.value}"
        )
    return None


def numbers(
    query: Query, parts: Sequence[PartialAnswer], unmeasured: Mapping[AnyMetric, Unmeasured]
) -> Mapping[date, tuple[Number | None, ...]]:
    """Every part's columns in the order of the query."""
    places = {metric: n for n, metric in enumerate(query.metrics) if metric not in unmeasured}
    found: dict[date, list[Number | None]] = {}
    for part in parts:
        moves = [(n, places[metric]) for n, metric in enumerate(part.metrics, 1) if metric in places]
        for row in part.rows if moves else ():
            day = row[0]
            assert isinstance(day, date)
            values = found.setdefault(day, [None] * len(query.metrics))
            for n, place in moves:
                values[place] = number(row[n])
    return {day: tuple(values) for day, values in found.items()}


def number(value: object) -> Number | None:
    """Whole numbers stay whole; what is not finite is no number."""
    if value is None or isinstance(value, int):
        return value
    assert isinstance(value, float | Decimal), value
    finite = float(value)
    return finite if math.isfinite(finite) else None
