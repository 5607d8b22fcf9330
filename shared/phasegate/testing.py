"""Parts for tests of phasegate and of pipelines that use it: a manual clock, a scripted warehouse, ports that crash."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from phasegate.core.checks.metrics import Answer, AnyMetric, Cost, Fault, Number, Query, Unmeasured
from phasegate.core.field_syntax import Span
from phasegate.errors import WarehouseError


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 3, 2, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self._now

    def advance(self, span: timedelta) -> datetime:
        """Move it forward, and give the new time."""
        self._now += span
        return self._now

    def set(self, now: datetime) -> None:
        """Move it to any time."""
        self._now = now


@dataclass
class ScriptedWarehouse:
    """Answers every metric of a table on a date with one scripted number.

    Args:
        numbers: By (table, date). A number answers every metric of the table; a mapping answers by metric, with 0 for the
            others. A missing entry is an empty partition.
        down: When set, every call fails for this reason.
        broken: Tables that can't be measured.
        before_answer: Called between reading the numbers and giving the answers, to let something happen meanwhile.
        queries: Every query so far.
    """

    numbers: dict[tuple[str, date], Number | Mapping[AnyMetric, Number]] = field(default_factory=dict)
    down: str = ""
    broken: set[str] = field(default_factory=set)
    before_answer: Callable[[], None] | None = None
    queries: list[Query] = field(default_factory=list)

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """See `Warehouse.measure`."""
        if self.down:
            raise WarehouseError(self.down, retryable=True)
        self.queries.extend(queries)
        # The numbers are read before `before_answer` may change them, as in a real query.
        answers = [self._answer(query, span) for query in queries]
        if self.before_answer:
            self.before_answer()
        yield from answers

    def _answer(self, query: Query, span: Span) -> Answer:
        if query.source.table in self.broken:
            fault = Unmeasured(Fault.UNAVAILABLE, f"table {query.source.table} does not answer")
            return Answer(query, {}, dict.fromkeys(query.metrics, fault), cost=Cost(1))
        days = {day: self.numbers[query.source.table, day] for day in span.days() if (query.source.table, day) in self.numbers}
        rows = {day: tuple(_number(scripted, metric) for metric in query.metrics) for day, scripted in days.items()}
        return Answer(query, rows, {}, cost=Cost(1))


def _number(scripted: Number | Mapping[AnyMetric, Number], metric: AnyMetric) -> Number:
    return scripted.get(metric, 0) if isinstance(scripted, Mapping) else scripted


class Crash(BaseException):
    """The process dies here. Not an Exception, so that no handler catches it by mistake."""


class Crashing:
    """A port whose process dies at a chosen step: before a call, or after it but before its result is seen.

    Args:
        port: The real port.
        calls: Counts down over all ports that share it; the process dies when it passes zero.
    """

    def __init__(self, port: Any, calls: "Countdown") -> None:
        self._port = port
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.step()
            result = method(*args, **kwargs)
            self._calls.step()
            return result

        return call


@dataclass
class Countdown:
    """Steps left until the crash; None never crashes."""

    left: int | None = None

    def step(self) -> None:
        """Take one step."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash
