"""Problems that involve several parts of a pipeline file."""

from collections.abc import Iterator, Mapping

from phasegate.core.checks.base import BaseCheck
from phasegate.core.checks.kinds import Coverage
from phasegate.core.field_syntax import place
from phasegate.core.pipeline.model import (
    SIGNAL_FIELDS,
    AlertSeverity,
    DestinationKind,
    EmptyIn,
    GateMode,
    Need,
    Output,
    Phase,
    Pipeline,
    Producer,
    Quorum,
    check_name,
)
from phasegate.errors import Problem


def problems(pipeline: Pipeline) -> Iterator[Problem]:
    """Every problem that involves several parts of a pipeline file."""
    names: set[str] = set()
    for name, phase in pipeline.phases.items():
        yield from _phase_problems(pipeline, name, phase)
        yield from _table_problems(pipeline, phase, phase.needs, set(), "phases", name, "needs")
        yield from _table_problems(pipeline, phase, phase.outputs, names, "phases", name, "outputs")
    yield from _order_problems(pipeline)
    yield from _alert_problems(pipeline)


def _unknown(what: str, names: tuple[str, ...], declared: Mapping[str, object], *keys: str | int) -> Iterator[Problem]:
    for n, name in enumerate(names):
        if name not in declared:
            expected = f"expected one of the {what} ({', '.join(declared) or 'there are none'})"
            yield Problem(place(*keys, n), expected, f'"{name}"')


def _phase_problems(pipeline: Pipeline, name: str, phase: Phase) -> Iterator[Problem]:
    at = ("phases", name)
    parts = pipeline.calendar.parts
    yield from _unknown("phases", phase.after, pipeline.phases, *at, "after")
    limited: list[tuple[tuple[str, ...], Phase | Producer | Output | EmptyIn]] = [((), phase)]
    limited += [(("producers", key), producer) for key, producer in phase.producers.items()]
    limited += [(("outputs", table), output) for table, output in phase.outputs.items()]
    for table, output in phase.outputs.items():
        if isinstance(output.may_be_empty, EmptyIn):
            limited.append((("outputs", table, "may_be_empty"), output.may_be_empty))
    for keys, declared in limited:
        yield from _unknown("parts of the calendar", declared.only_in, parts, *at, *keys, "only_in")
        yield from _unknown("parts of the calendar", declared.skip_in, parts, *at, *keys, "skip_in")
        if isinstance(declared, Producer | Output) and declared.from_ and declared.to and declared.to < declared.from_:
            yield Problem(place(*at, *keys, "to"), "expected a last date on or after from", str(declared.to))
    if phase.due is not None and phase.due.after is not None and phase.due.after not in phase.after:
        yield Problem(place(*at, "due"), "expected a phase that is listed in after", f'"{phase.due.after}"')
    if phase.mode is GateMode.PAUSE and phase.until is None:
        yield Problem(place(*at), "expected until with mode: pause, so that the pause ends")
    if not phase.outputs:
        yield Problem(place(*at, "outputs"), "expected at least one output")
    for producer, declared in phase.producers.items():
        if declared.fills is not None and declared.fills not in phase.outputs:
            yield Problem(place(*at, "producers", producer, "fills"), "expected an output of the phase", declared.fills)
        for n, alias in enumerate(declared.aliases):
            if others := {owner for at_phase, owner in pipeline.reporters(alias) if at_phase == name} - {producer}:
                path = place(*at, "producers", producer, "aliases", n)
                yield Problem(
                    path, "expected an alias of one producer", f'"{alias}", which also means {", ".join(sorted(others))}'
                )
    yield from _signal_problems(phase, *at, "signal")
    if phase.quorum is not None:
        yield from _quorum_problems(phase, phase.quorum, *at, "quorum")


def _table_problems(
    pipeline: Pipeline, phase: Phase, tables: Mapping[str, Output | Need], names: set[str], *at: str | int
) -> Iterator[Problem]:
    """The problems of some tables and their checks; *names* has the names of checks so far."""
    for table, declared in tables.items():
        if (column := pipeline.date_columns.get(table, declared.date)) != declared.date:
            yield Problem(place(*at, table, "date"), f"expected {column}, as elsewhere for this table", declared.date)
        for n, check in enumerate(declared.checks):
            where = (*at, table, "checks", n, check.kind)
            full = check_name(table, check)
            if full in names:
                yield Problem(place(*where), "expected a unique name", f'"{full}" twice', "give one of the two a name")
            names.add(full)
            yield from _check_problems(pipeline, phase, check, *where)
            # A preflight needs no due time: it counts back from now.
            if check.needs_due and isinstance(declared, Output) and phase.due is None:
                yield Problem(place(*where), f"expected the phase to have a due time, from which {check.kind} counts back")


def _quorum_problems(phase: Phase, quorum: Quorum, *at: str | int) -> Iterator[Problem]:
    if quorum.of != len(phase.outputs):
        yield Problem(place(*at, "of"), f"expected {len(phase.outputs)}, the number of outputs", str(quorum.of))
    outputs = dict.fromkeys(phase.outputs) | {table.rpartition(".")[2]: None for table in phase.outputs}
    yield from _unknown("outputs", quorum.always, outputs, *at, "always")


def _check_problems(pipeline: Pipeline, phase: Phase, check: BaseCheck, *at: str | int) -> Iterator[Problem]:
    parts = pipeline.calendar.parts
    dated = {*pipeline.date_columns, *(phase.needs if "needs" in at else ())}
    yield from _unknown("parts of the calendar", check.only_in, parts, *at, "only_in")
    yield from _unknown("parts of the calendar", check.skip_in, parts, *at, "skip_in")
    schedule = pipeline.calendar.expected
    if check.counts_expected and schedule is None:
        yield Problem(place(*at), f"expected calendar.expected to be declared, with which {check.kind} compares")
    if isinstance(check, Coverage) and check.counts_expected and schedule is not None and schedule.table is None:
        yield Problem(place(*at), "expected calendar.expected to have a table, whose keys can be compared, not a query")
    for other in check.other_tables():
        if other.needs_date and other.table not in dated:
            expected = f"expected {other.alternative}a table whose run date column the file declares"
            yield Problem(place(*at, *other.key), expected, f'"{other.table}"')


def _signal_problems(phase: Phase, *at: str) -> Iterator[Problem]:
    for name, text in phase.signal.items():
        if name in SIGNAL_FIELDS:
            yield Problem(place(*at, name), "expected a name that is not a field of the go-signal", f'"{name}"')
        if text.startswith("$") and text[1:] not in SIGNAL_FIELDS:
            yield Problem(place(*at, name), f"expected one of ${', $'.join(SIGNAL_FIELDS)}", f'"{text}"')


def _order_problems(pipeline: Pipeline) -> Iterator[Problem]:
    ordered: set[str] = set()
    names = set(pipeline.phases)
    while ready := {n for n, phase in pipeline.phases.items() if ordered.issuperset(names.intersection(phase.after))} - ordered:
        ordered |= ready
    for name in pipeline.phases:
        if name not in ordered:
            yield Problem(place("phases", name, "after"), "expected phases in an order, got a cycle")


def _unrouted(pipeline: Pipeline) -> Iterator[Problem]:
    """Alerts that no route sends: any phase can cause alerts of both severities, and so can events outside the phases."""
    for severity in (AlertSeverity.CRITICAL, AlertSeverity.WARNING):
        routes = [each for each in pipeline.alerts.routes if each.severity in (None, severity) and each.cause is None]
        routed = {each.phase for each in routes if each.to}
        if None in routed:
            continue
        unrouted = ", ".join(phase for phase in pipeline.phases if phase not in routed)
        of = f"of {unrouted}, and of no phase" if unrouted else "of no phase, like a rejected message"
        yield Problem(
            place("alerts", "routes"),
            f"expected a route for {severity} alerts {of}",
            hint="add a route without phase and cause",
        )


def _alert_problems(pipeline: Pipeline) -> Iterator[Problem]:
    destinations = pipeline.alerts.destinations
    for name, destination in destinations.items():
        chain, fallback = {name}, destination.fallback
        while fallback is not None and fallback in destinations and fallback not in chain:
            chain.add(fallback)
            fallback = destinations[fallback].fallback
        if fallback is not None:
            expected = f"expected another destination ({', '.join(destinations)})"
            yield Problem(place("alerts", "destinations", name, "fallback"), expected, f'"{fallback}"')
        if destination.kind is DestinationKind.EMAIL and pipeline.alerts.mail is None:
            path = place("alerts", "destinations", name)
            yield Problem(path, "expected alerts.mail to be declared for kind email", hint="host, user, password, from")
    for n, route in enumerate(pipeline.alerts.routes):
        at = ("alerts", "routes", n)
        yield from _unknown("destinations", route.to, destinations, *at, "to")
        if route.escalate is not None and route.escalate.to not in destinations:
            expected = f"expected one of the destinations ({', '.join(destinations)})"
            yield Problem(place(*at, "escalate", "to"), expected, f'"{route.escalate.to}"')
        if route.phase is not None and route.phase not in pipeline.phases:
            yield Problem(place(*at, "phase"), f"expected one of the phases ({', '.join(pipeline.phases)})", f'"{route.phase}"')
    if destinations or pipeline.alerts.routes:
        yield from _unrouted(pipeline)
