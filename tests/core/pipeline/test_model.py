"""The meaning of a pipeline: calendar, due times, order, names of checks, and rules that span several parts."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load
from phasegate.core.checks.base import Severity
from phasegate.core.checks.kinds import Coverage, Fresh, NotNull, RowCount
from phasegate.core.field_syntax import (
    Due,
    Span,
    parse_daily,
    parse_day,
    parse_due,
    parse_duration,
    parse_hours,
    parse_recurring,
    parse_span,
    parse_weekdays,
    parse_yearly,
    parse_zone,
    place,
)
from phasegate.core.pipeline.model import (
    Alerts,
    AlertSeverity,
    Calendar,
    Destination,
    DestinationKind,
    Escalation,
    Expected,
    GateMode,
    Mail,
    Output,
    Part,
    Phase,
    Pipeline,
    Producer,
    Quorum,
    Retry,
    Route,
)
from phasegate.core.pipeline.validate import problems as problems_of
from phasegate.errors import ConfigError, UnknownPhase

JAN_1 = date(2013, 1, 1)
FLIGHTS = {"raw.flights": Output(date="flight_date")}


def routed(*routes: Route) -> Pipeline:
    """A pipeline whose alerts take these routes to one console."""
    return replace(pipeline(), alerts=Alerts(destinations={"a": CONSOLE}, routes=routes))


def pipeline(**phases: Phase) -> Pipeline:
    """A pipeline in New York, by default with one phase."""
    calendar = Calendar(from_=JAN_1, parts={"warm_up": (Part(from_=JAN_1, days=14),)})
    phases = phases or {"raw": Phase(outputs=FLIGHTS)}
    return Pipeline(pipeline="flights", timezone="America/New_York", calendar=calendar, phases=phases)


def checked(*checks: object, **phase: object) -> Pipeline:
    """A pipeline whose one output has these checks."""
    return pipeline(raw=Phase(outputs={"raw.flights": Output(date="flight_date", checks=checks)}, **phase))


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_day, "2012-02-29", date(2012, 2, 29)),
        (parse_duration, "90s", timedelta(seconds=90)),
        (parse_duration, "30m", timedelta(minutes=30)),
        (parse_duration, "26h", timedelta(hours=26)),
        (parse_duration, "7d", timedelta(days=7)),
        (parse_span, "2013-12-25", Span(date(2013, 12, 25), date(2013, 12, 25))),
        (parse_span, "2013-12-24..2014-01-02", Span(date(2013, 12, 24), date(2014, 1, 2))),
        (parse_due, "06:00", Due(at=time(6))),
        (parse_due, "06:00 +1d", Due(at=time(6), days=1)),
        (parse_due, "2h after raw", Due(after="raw", after_release=timedelta(hours=2))),
        (parse_weekdays, "mon-fri", frozenset({0, 1, 2, 3, 4})),
        (parse_weekdays, "sat,sun", frozenset({5, 6})),
        (parse_weekdays, "fri-mon, wed", frozenset({4, 5, 6, 0, 2})),
        (parse_daily, "daily 08:00", time(8)),
        (parse_hours, "22:00-07:00", (time(22), time(7))),
        (parse_zone, "America/New_York", "America/New_York"),
    ],
)
def test_a_text_is_parsed_to_its_value(parse, text, value):
    """Each syntax of the file is read as documented."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_day, "TODAY", "a date like 2013-02-08"),
        (parse_day, "20130208", "a date like 2013-02-08"),
        (parse_day, "2013-02-08T00:00", "a date like 2013-02-08"),
        (parse_day, "٢٠١٣-٠٢-٠٨", "a date like 2013-02-08"),
        (parse_day, "2013-02-29", "a date that exists, like 2013-02-08"),
        (parse_duration, "7", "a duration like 90s, 30m, 4h or 7d"),
        (parse_duration, "-7d", "a duration like 90s, 30m, 4h or 7d"),
        (parse_duration, "1w", "a duration like 90s, 30m, 4h or 7d"),
        (parse_duration, "99999999999d", "a duration like 90s, 30m, 4h or 7d"),
        (parse_span, "2013-12-25..", "a date like 2013-12-25 or a range like 2013-12-24..2014-01-02"),
        (parse_span, "2013-12-25..2013-12-24", "a range with the earlier date first"),
        (parse_due, "24:00", "a due time like 06:00 +1d or 2h after raw"),
        (parse_due, "6:00 +1d", "a due time like 06:00 +1d or 2h after raw"),
        (parse_due, "06:00 +9999999999d", "a due time like 06:00 +1d or 2h after raw"),
        (parse_due, "2h after", "a due time like 06:00 +1d or 2h after raw"),
        (parse_weekdays, "monday", "week days like mon-fri or sat,sun"),
        (parse_daily, "08:00", "a time of each day like daily 08:00"),
        (parse_hours, "22-7", "hours like 22:00-07:00"),
        (parse_zone, "Mars/Base", "a time zone like America/New_York"),
        (parse_zone, "America", "a time zone like America/New_York"),
        (parse_zone, "../etc/passwd", "a time zone like America/New_York"),
    ],
)
def test_any_other_text_is_refused_with_what_was_expected(parse, text, expected):
    """A near miss is refused, too."""
    with pytest.raises(ValueError, match=r"^(a|week|hours) ?") as caught:
        parse(text)
    assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["06:00 +1d", "120m after raw"])
def test_a_due_time_is_shown_as_it_is_written(text):
    """What reports show can be pasted into the file."""
    assert str(parse_due(text)) == text


@pytest.mark.parametrize("text", ["2013-12-25", "2013-12-24..2014-01-02"])
def test_a_span_is_shown_as_it_is_written(text):
    """A single date has no `..`."""
    assert str(parse_span(text)) == text


def test_a_span_includes_both_ends():
    """Ranges of dates include their first and last date."""
    span = parse_span("2013-12-31..2014-01-02")
    assert span.days() == (date(2013, 12, 31), date(2014, 1, 1), date(2014, 1, 2))
    assert all(day in span for day in span.days())
    assert date(2014, 1, 3) not in span


@pytest.mark.parametrize(
    ("day", "runs"),
    [
        ("2012-12-31", False),  # before the first
        ("2013-01-01", True),
        ("2013-01-05", False),  # a Saturday
        ("2013-01-07", True),
        ("2013-11-27", True),
        ("2013-11-28", False),  # closed, both ends
        ("2013-11-29", False),
        ("2013-12-25", False),
        ("2013-12-31", True),
        ("2014-01-01", False),  # after the last
    ],
)
def test_the_calendar_knows_its_run_dates(day, runs):
    """A run date is within the calendar, on one of its week days, and not closed."""
    calendar = Calendar(
        from_=JAN_1,
        to=date(2013, 12, 31),
        weekdays=parse_weekdays("mon-fri"),
        closed=(parse_span("2013-11-28..2013-11-29"), parse_span("2013-12-25")),
    )
    assert calendar.has_run(parse_day(day)) is runs


def test_a_calendar_may_have_no_end():
    """By default, every date from the first one on is a run date."""
    assert Calendar(from_=JAN_1).has_run(date(2099, 2, 1))


def test_parts_include_both_ends_and_may_overlap():
    """14 days from the 1st end on the 14th."""
    parts = {"warm_up": (Part(from_=JAN_1, days=14),), "cold": (Part(from_=date(2013, 1, 14), to=date(2013, 2, 1)),)}
    calendar = Calendar(from_=JAN_1, parts=parts)
    parts_of_days = [calendar.parts_of(date(2013, 1, day)) for day in (1, 13, 14, 15)]
    assert parts_of_days == [{"warm_up"}, {"warm_up"}, {"warm_up", "cold"}, {"cold"}]


@pytest.mark.parametrize(
    ("phase", "parts", "runs"),
    [
        (Phase(outputs=FLIGHTS), {"warm_up"}, True),
        (Phase(outputs=FLIGHTS, skip_in=("warm_up",)), {"warm_up"}, False),
        (Phase(outputs=FLIGHTS, skip_in=("warm_up",)), set(), True),
        (Phase(outputs=FLIGHTS, only_in=("warm_up",)), {"warm_up"}, True),
        (Phase(outputs=FLIGHTS, only_in=("warm_up",)), set(), False),
        (Phase(outputs=FLIGHTS, only_in=("cold",), skip_in=("warm_up",)), {"cold", "warm_up"}, False),
    ],
)
def test_a_phase_runs_in_its_parts(phase, parts, runs):
    """`skip_in` wins over `only_in`."""
    assert phase.runs_in(frozenset(parts)) is runs


@pytest.mark.parametrize(
    ("due", "day", "utc"),
    [
        ("06:00 +1d", "2013-02-08", "2013-02-09T11:00"),
        ("06:00 +1d", "2013-07-08", "2013-07-09T10:00"),
        ("06:00 +1d", "2013-03-09", "2013-03-10T10:00"),  # the clocks went forward in between
        ("06:00 +1d", "2013-11-02", "2013-11-03T11:00"),  # … and back
        ("23:30", "2013-02-28", "2013-03-01T04:30"),
        ("02:30", "2013-03-10", "2013-03-10T07:30"),  # skipped: 2 h 30 min from midnight by the old offset
        ("01:30", "2013-11-03", "2013-11-03T05:30"),  # comes twice: the first counts
    ],
)
def test_a_local_due_time_follows_the_clocks(due, day, utc):
    """A due time is local, also on the days when the clocks change."""
    phase = Phase(outputs=FLIGHTS, due=parse_due(due))
    assert pipeline(raw=phase).due("raw", parse_day(day)) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_a_due_time_may_count_from_another_phase():
    """It counts from when that phase is due, through any number of phases."""
    chain = pipeline(
        raw=Phase(outputs=FLIGHTS, due=parse_due("06:00 +1d")),
        features=Phase(after=("raw",), outputs=FLIGHTS, due=parse_due("2h after raw")),
        publish=Phase(after=("features",), outputs=FLIGHTS, due=parse_due("15m after features")),
    )
    assert chain.due("publish", date(2013, 2, 8)) == datetime(2013, 2, 9, 13, 15, tzinfo=UTC)


def test_without_a_due_time_nothing_is_due():
    """Neither the phase nor one that counts from it."""
    chain = pipeline(raw=Phase(outputs=FLIGHTS), features=Phase(after=("raw",), outputs=FLIGHTS, due=parse_due("2h after raw")))
    assert chain.due("raw", JAN_1) is None
    assert chain.due("features", JAN_1) is None


def test_today_is_a_local_date():
    """At 03:00 UTC it is still yesterday in New York."""
    assert pipeline().today(datetime(2013, 2, 9, 3, tzinfo=UTC)) == date(2013, 2, 8)


def test_followers_are_the_phases_directly_after():
    """In the order of the file."""
    names = pipeline(
        raw=Phase(outputs=FLIGHTS),
        features=Phase(after=("raw",), outputs=FLIGHTS),
        report=Phase(after=("raw",), outputs=FLIGHTS),
        publish=Phase(after=("features",), outputs=FLIGHTS),
    )
    assert names.followers("raw", date(2013, 2, 8)) == ("features", "report")
    assert names.followers("publish", date(2013, 2, 8)) == ()


def test_an_unknown_phase_names_the_known_ones():
    """As every "unknown" message does."""
    with pytest.raises(UnknownPhase, match=r'^unknown phase "rwa" in pipeline "flights"; known phases: raw$'):
        pipeline().phase("rwa")


def test_a_phase_without_producers_reports_under_its_own_name():
    """A declared producer is also found by its aliases."""
    both = pipeline(
        raw=Phase(outputs=FLIGHTS), features=Phase(outputs=FLIGHTS, producers={"loader": Producer(aliases=("Loader", "raw"))})
    )
    assert both.reporters("Loader") == (("features", "loader"),)
    assert both.reporters("raw") == (("raw", "raw"), ("features", "loader"))
    assert both.reporters("features") == ()


def test_checks_are_named_by_table_kind_and_subject():
    """A given name replaces all of it; the key is a check like any other."""
    output = Output(
        date="d",
        key=("d", "id"),
        checks=(
            NotNull(columns=("a", "b")),
            RowCount(at_least=10),
            RowCount(per="raw.other", at_most=1),
            NotNull(columns=("a",), name="mine"),
        ),
    )
    placed = pipeline(raw=Phase(outputs={"raw.flights": output})).checks("raw")["raw.flights"]
    assert [check.name for check in placed] == [
        "raw.flights.row_count",  # proves presence, therefore first
        "raw.flights.not_null.a_b",
        "raw.flights.row_count.per_raw_other",
        "mine",
        "raw.flights.key",
    ]


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (Output(date="d"), ["t.a.not_empty"]),
        (Output(date="d", may_be_empty=True), []),
        (Output(date="d", checks=(RowCount(at_least=5),)), ["t.a.row_count"]),
        (Output(date="d", checks=(RowCount(at_most=5),)), ["t.a.not_empty", "t.a.row_count"]),
        (Output(date="d", checks=(RowCount(between=(0, 5)),)), ["t.a.row_count"]),
        (Output(date="d", checks=(RowCount(at_least=0),)), ["t.a.row_count"]),
        (Output(date="d", checks=(RowCount(at_least=5, acceptable=(0, 9)),)), ["t.a.row_count"]),
        (Output(date="d", checks=(RowCount(per="expected", between=(0, 1)),)), ["t.a.row_count"]),
        (Output(date="d", checks=(RowCount(between=(0, 5), severity=Severity.WARN),)), ["t.a.not_empty", "t.a.row_count"]),
        (Output(date="d", checks=(RowCount(at_least=5, where="x"),)), ["t.a.not_empty", "t.a.row_count"]),
    ],
)
def test_an_output_must_not_be_empty_unless_it_may(output, names):
    """The implied check is added when no declared check covers it."""
    assert [check.name for check in pipeline(raw=Phase(outputs={"t.a": output})).checks("raw")["t.a"]] == names


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ((), ""),
        (("phases", "raw"), "phases.raw"),
        (
            ("phases", "raw", "outputs", "raw.flights", "checks", 0, "row_count"),
            'phases.raw.outputs["raw.flights"].checks[0].row_count',
        ),
        ((0, "a"), "[0].a"),
    ],
)
def test_a_path_reads_like_the_file(keys, path):
    """Names with dots are quoted."""
    assert place(*keys) == path


SERVERS_ONLY = "port 465 or 587; 25 is for mail between servers, and Google Cloud blocks it"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Part(), "from or yearly"),
        (lambda: Part(to=JAN_1), "from or yearly"),
        (lambda: Part(from_=JAN_1, to=JAN_1, days=1), "days with from alone, in place of to"),
        (lambda: Part(yearly=parse_yearly("04-01..09-30"), days=1), "days with from alone, in place of to"),
        (lambda: Part(from_=JAN_1, to=date(2012, 12, 31)), "a last date on or after from"),
        (lambda: Calendar(from_=JAN_1, to=date(2012, 12, 31)), "a last date on or after from"),
        (lambda: Expected(date="d", count="n"), "either table or query"),
        (lambda: Expected(date="d", count="n", query="SELECT 1"), "a query that filters on @from and @to"),
        (lambda: Quorum(at_least=3, of=2), "at_least ≤ of"),
        (lambda: Retry(first=timedelta(hours=1)), "first ≤ at_most"),
        (lambda: Destination(kind=DestinationKind.SLACK), "a webhook like secret://chat-webhook for kind slack"),
        (lambda: Destination(kind=DestinationKind.EMAIL), "at least one address in to for kind email"),
        (lambda: Destination(kind=DestinationKind.EMAIL, to=("a@b",), webhook="secret://x"), "no webhook for kind email"),
        (lambda: Mail(host="h", port=25, user="u", password="secret://p", from_="a@b"), SERVERS_ONLY),  # noqa: S106
        (lambda: replace(pipeline(), timezone="America"), "a time zone like America/New_York"),
        (lambda: replace(pipeline(), phases={}), "at least one phase"),
    ],
)
def test_a_value_validates_itself(make, expected):
    """Problems within one value are errors when it is made."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        make()
    assert str(caught.value) == expected


GOOD = Phase(outputs=FLIGHTS)
CONSOLE = Destination(kind=DestinationKind.CONSOLE)


@pytest.mark.parametrize(
    ("made", "problems"),
    [
        (pipeline(), []),
        (pipeline(raw=replace(GOOD, after=("load",))), ['phases.raw.after[0]: expected one of the phases (raw), got "load"']),
        (
            pipeline(raw=replace(GOOD, skip_in=("summer",))),
            ['phases.raw.skip_in[0]: expected one of the parts of the calendar (warm_up), got "summer"'],
        ),
        (
            pipeline(raw=GOOD, features=replace(GOOD, due=parse_due("2h after raw"))),
            ['phases.features.due: expected a phase that is listed in after, got "raw"'],
        ),
        (
            pipeline(raw=replace(GOOD, mode=GateMode.PAUSE)),
            ["phases.raw: expected until with mode: pause, so that the pause ends"],
        ),
        (pipeline(raw=Phase(outputs={})), ["phases.raw.outputs: expected at least one output"]),
        (
            pipeline(a=replace(GOOD, after=("b",)), b=replace(GOOD, after=("a",)), c=replace(GOOD, after=("a",)), d=GOOD),
            [f"phases.{name}.after: expected phases in an order, got a cycle" for name in "abc"],
        ),
        (
            pipeline(raw=replace(GOOD, producers={"loader": Producer(fills="raw.weather")})),
            ["phases.raw.producers.loader.fills: expected an output of the phase, got raw.weather"],
        ),
        (
            pipeline(raw=replace(GOOD, producers={"a": Producer(), "b": Producer(aliases=("a",))})),
            ['phases.raw.producers.b.aliases[0]: expected an alias of one producer, got "a", which also means a'],
        ),
        (
            pipeline(raw=replace(GOOD, quorum=Quorum(at_least=1, of=2, always=("flight",)))),
            [
                "phases.raw.quorum.of: expected 1, the number of outputs, got 2",
                'phases.raw.quorum.always[0]: expected one of the outputs (raw.flights, flights), got "flight"',
            ],
        ),
        (
            pipeline(raw=GOOD, late=Phase(outputs={"raw.flights": Output(date="day")})),
            ['phases.raw.outputs["raw.flights"].date: expected day, as elsewhere for this table, got flight_date'],
        ),
        (
            checked(RowCount(at_least=1), RowCount(at_most=9)),
            [
                'phases.raw.outputs["raw.flights"].checks[1].row_count: '
                'expected a unique name, got "raw.flights.row_count" twice (give one of the two a name)'
            ],
        ),
        (
            checked(RowCount(per="expected", at_least=1)),
            [
                'phases.raw.outputs["raw.flights"].checks[0].row_count: '
                "expected calendar.expected to be declared, with which row_count compares"
            ],
        ),
        (
            checked(RowCount(per="raw.other", at_least=1, name="x")),
            [
                'phases.raw.outputs["raw.flights"].checks[0].row_count.per: '
                'expected `expected` or a table whose run date column the file declares, got "raw.other"'
            ],
        ),
        (
            checked(Coverage(of="raw.other", key=("id",))),
            [
                'phases.raw.outputs["raw.flights"].checks[0].coverage.of: '
                'expected `expected` or a table whose run date column the file declares, got "raw.other"'
            ],
        ),
        (
            checked(Fresh(column="loaded_at", within=timedelta(hours=1), only_in=("june",))),
            [
                'phases.raw.outputs["raw.flights"].checks[0].fresh.only_in[0]: '
                'expected one of the parts of the calendar (warm_up), got "june"',
                'phases.raw.outputs["raw.flights"].checks[0].fresh: '
                "expected the phase to have a due time, from which fresh counts back",
            ],
        ),
        (checked(Fresh(column="loaded_at", within=timedelta(hours=1)), due=parse_due("06:00")), []),
        (
            replace(
                pipeline(),
                alerts=Alerts(
                    destinations={
                        "a": replace(CONSOLE, fallback="b"),
                        "b": replace(CONSOLE, fallback="a"),
                        "c": replace(CONSOLE, fallback="x"),
                    },
                    routes=(
                        Route(to=("y",), phase="rwa", escalate=Escalation(after=timedelta(hours=1), to="z")),
                        Route(to=("a",)),
                    ),
                ),
            ),
            [
                'alerts.destinations.a.fallback: expected another destination (a, b, c), got "a"',
                'alerts.destinations.b.fallback: expected another destination (a, b, c), got "b"',
                'alerts.destinations.c.fallback: expected another destination (a, b, c), got "x"',
                'alerts.routes[0].to[0]: expected one of the destinations (a, b, c), got "y"',
                'alerts.routes[0].escalate.to: expected one of the destinations (a, b, c), got "z"',
                'alerts.routes[0].phase: expected one of the phases (raw), got "rwa"',
            ],
        ),
        (
            routed(Route(to=("a",), severity=AlertSeverity.CRITICAL), Route(to=("a",), cause="passed")),
            [
                "alerts.routes: expected a route for warning alerts of raw, and of no phase "
                "(add a route without phase and cause)"
            ],
        ),
        (
            routed(Route(to=("a",), phase="raw")),
            [
                f"alerts.routes: expected a route for {severity} alerts of no phase, like a rejected message "
                "(add a route without phase and cause)"
                for severity in ("critical", "warning")
            ],
        ),
        (routed(Route(to=("a",), severity=AlertSeverity.WARNING), Route(to=("a",), severity=AlertSeverity.CRITICAL)), []),
        (replace(pipeline(), alerts=Alerts()), []),
    ],
)
def test_the_parts_of_a_file_must_agree(made, problems):
    """Every problem that spans several parts is found, with its path."""
    assert [str(problem) for problem in problems_of(made)] == problems


@pytest.mark.parametrize(
    ("on", "days"),
    [
        ("mon", ["2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23"]),
        ("mon, thu", [f"2026-02-{day:02}" for day in (2, 5, 9, 12, 16, 19, 23, 26)]),
        ("fri-sat", [f"2026-02-{day:02}" for day in (6, 7, 13, 14, 20, 21, 27, 28)]),
        ("last_day_of_month", ["2026-02-28"]),
        ("day 1, 15", ["2026-02-01", "2026-02-15"]),
        ("day 31", []),
        ("first mon", ["2026-02-02"]),
        ("fourth sat", ["2026-02-28"]),
        ("last fri", ["2026-02-27"]),
    ],
)
def test_days_that_recur(on: str, days: list[str]) -> None:
    february = [date(2026, 2, day) for day in range(1, 29)]
    assert [str(day) for day in february if day in parse_recurring(on)] == days


@pytest.mark.parametrize(
    ("day", "is_last"), [(date(2024, 2, 29), True), (date(2024, 2, 28), False), (date(2025, 12, 31), True)]
)
def test_the_last_day_of_a_month_knows_leap_years_and_the_end_of_the_year(day: date, is_last: bool) -> None:
    assert (day in parse_recurring("last_day_of_month")) is is_last


@pytest.mark.parametrize(
    "text", ["", "monday", "day", "day 0", "day 32", "fifth mon", "first", "last mon fri", "mon-", "last day"]
)
def test_other_days_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="days like mon, mon-fri, last_day_of_month, day 1, 15, first mon or last fri"):
        parse_recurring(text)


PARTS = """\
pipeline: p
calendar:
  from: 2024-01-01
  parts:
    playoffs: [{from: 2024-04-20, to: 2024-06-17}, {from: 2025-04-19, days: 60}]
    new_source: {from: 2025-07-01}
    winter: {yearly: 11-15..02-15}
    leap: {yearly: 02-29}
    summer: {from: 2025-01-01, yearly: 06-01..08-31}
phases: {raw: {outputs: {a.b: {date: d}}}}
"""


@pytest.mark.parametrize(
    ("day", "parts"),
    [
        ("2024-04-19", set()),
        ("2024-04-20", {"playoffs"}),
        ("2024-06-18", set()),
        ("2025-06-17", {"playoffs", "summer"}),
        ("2025-06-18", {"summer"}),
        ("2025-07-01", {"new_source", "summer"}),
        ("2024-07-01", set()),
        ("2030-10-01", {"new_source"}),
        ("2024-12-31", {"winter"}),
        ("2024-01-01", {"winter"}),
        ("2024-02-15", {"winter"}),
        ("2024-02-16", set()),
        ("2024-02-29", {"leap"}),
        ("2024-11-14", set()),
    ],
)
def test_a_part_may_be_several_stretches_open_or_yearly(tmp_path: Path, day: str, parts: set[str]) -> None:
    (tmp_path / "p.yaml").write_text(PARTS)
    assert load(tmp_path / "p.yaml").calendar.parts_of(date.fromisoformat(day)) == parts


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("winter: {yearly: 11-15..02-30}", "calendar.parts.winter.yearly: expected days of a year like 04-01..09-30"),
        ("playoffs: [{from: 2024-04-20}, {days: 3}]", "calendar.parts.playoffs[1]: expected from or yearly"),
        ("playoffs: {to: 2024-04-20}", "calendar.parts.playoffs: expected from or yearly"),
        ("playoffs: {from: 2024-04-20, until: 2024-05-01}", 'calendar.parts.playoffs: unknown key "until"'),
        ("playoffs: soon", "calendar.parts.playoffs: expected a list or a mapping"),
    ],
)
def test_a_wrong_part_is_told_with_its_place(tmp_path: Path, wrong: str, problem: str) -> None:
    (tmp_path / "p.yaml").write_text(
        f"pipeline: p\ncalendar:\n  from: 2024-01-01\n  parts:\n    {wrong}\nphases: {{raw: {{outputs: {{a.b: {{date: d}}}}}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "p.yaml")
    assert problem in str(caught.value)
