"""What commands print of more, fewer and worse things than a small shop has: golden files, as in test_output."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from phasegate.cli.output.alerts import print_deliveries, print_incidents
from phasegate.cli.output.checks import print_checks
from phasegate.cli.output.gate import Explanation, print_gate
from phasegate.cli.output.installation import print_findings
from phasegate.cli.output.status import Status, print_status
from phasegate.cli.output.terminal import console
from phasegate.cli.output.validation import print_validation
from phasegate.core.alerts.delivery import Delivery, DestinationHealth, Sent
from phasegate.core.alerts.incident import Acknowledgement, Incident, Member
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.metrics import Cost, Fault, Unmeasured
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Report, RunKey
from phasegate.core.gates.completion import Status as Reported
from phasegate.core.gates.gate import DERIVED, Alert, AlertState, Gate, GateState, Reason
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.reruns import Rerun
from phasegate.core.gates.verdict import DateVerdict, OutputVerdict, PhaseVerdict, Verdict
from phasegate.core.installation.finding import Finding, Health
from phasegate.core.pipeline.model import AlertSeverity, Calendar, Output, Phase, Pipeline, Producer
from phasegate.gates.backfill import Validation
from phasegate.ports import Event

from tests.cli.test_output import check, to_pipe, to_terminal

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 10, 4, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=date(2026, 1, 1)),
    phases={
        "raw": Phase(producers={"loader": Producer(fills="raw.orders")}, outputs={"raw.orders": Output(date="day")}),
        "clean": Phase(after=("raw",), outputs={"clean.orders": Output(date="day")}),
    },
)


def result(name: str, outcome: Outcome = Outcome.FAILED, severity: Severity = Severity.BLOCK, **fields: object) -> CheckResult:
    values = {
        "kind": "row_count",
        "table": "raw.orders",
        "mode": Mode.ENFORCE,
        "weight": 1.0,
        "measured": 5,
        "expected": "9 to 11",
    }
    values |= {"message": f"the [table] of {name} has 5 rows", **fields}
    return CheckResult(name=name, outcome=outcome, severity=severity, **values)  # type: ignore[arg-type]


def judged(day: date, verdict: Verdict, score: float | None, *results: CheckResult, reason: str = "") -> DateVerdict:
    outputs = (OutputVerdict("raw.orders", results),) if results else ()
    return DateVerdict(day, verdict, score, (PhaseVerdict("raw", verdict, score, outputs, reason=reason),))


def validation(*dates: DateVerdict, cost: Cost | None = None) -> Validation:
    return Validation("shop", Span(dates[0].run_date, dates[-1].run_date), dates, cost or Cost(1))


def days(number: int) -> list[date]:
    """Every other day, so that each is a span of its own."""
    return [DAY + timedelta(days=2 * n) for n in range(number)]


def causes(number: int) -> Validation:
    """Two dates on which so many checks fail."""
    failed = [result(f"raw.orders.check_{n}") for n in range(number)]
    return validation(*(judged(DAY + timedelta(days=n), Verdict.FAIL, 12.34, *failed) for n in range(2)))


def spans(number: int) -> Validation:
    return validation(*(judged(day, Verdict.FAIL, None, result("raw.orders.row_count")) for day in days(number)))


def ranks() -> Validation:
    """One cause of each rank, in another order than they are shown in."""
    unmeasured = Unmeasured(Fault.UNAVAILABLE, "the warehouse is down")
    results = (
        result("acceptable", Outcome.ACCEPTABLE),
        result("warn", Outcome.FAILED, Severity.WARN),
        result("unmeasured", Outcome.NOT_EVALUATED, unmeasured=unmeasured),
        result("fail"),
    )
    return validation(*(judged(DAY + timedelta(days=n), Verdict.FAIL, 33.35, *results) for n in range(2)))


def verdicts() -> Validation:
    """A date of each verdict, at the turn of two months."""
    first = date(2026, 1, 30)
    scores = {Verdict.PASS: 100.0, Verdict.ACCEPTABLE: 91.25, Verdict.FAIL: 66.66}
    dates = [judged(first + timedelta(days=n), verdict, scores.get(verdict)) for n, verdict in enumerate(Verdict)]
    return validation(*dates, cost=Cost(12, 2**30))


def one_date() -> Validation:
    unmeasured = result("unmeasured", Outcome.NOT_EVALUATED, unmeasured=Unmeasured(Fault.UNAVAILABLE, "no column"))
    results = (
        result("passed", Outcome.PASSED),
        unmeasured,
        result("not judged", Outcome.NOT_EVALUATED),
        result("acceptable", Outcome.ACCEPTABLE, weight=0.5),
        result("warned", severity=Severity.WARN, weight=2.0),
        result("observed", mode=Mode.OBSERVE),
        result("warned, observed", severity=Severity.WARN, mode=Mode.OBSERVE),
        result("acceptable warning", Outcome.ACCEPTABLE, Severity.WARN),
        result("failed", weight=3.0),
    )
    return validation(judged(DAY, Verdict.FAIL, 45.678, *results, reason="the [schedule] is late"))


def gate(state: GateState, phase: str = "raw", day: date = DAY, **fields: object) -> Gate:
    values = {"detail": f"why it is {state}", "reason": Reason.NOTHING_NEW, **fields}
    return Gate(RunKey("shop", phase, day), state=state, **values)  # type: ignore[arg-type]


def status(**fields: object) -> Status:
    values = {
        "gates": {},
        "pauses": (),
        "reruns": (),
        "unsent": 0,
        "parked": 0,
        "unprocessed": 0,
        "scheduler": "",
        "unadopted": "",
        "left_alone": (),
        "watched_since": None,
        "now": NOW,
    }
    return Status(**{"pipeline": SHOP, "span": Span(DAY, DAY + timedelta(days=1)), **values, **fields})  # type: ignore[arg-type]


def reruns(number: int) -> Status:
    return status(reruns=[Rerun(RunKey("shop", "clean", day), "raw was [released] again") for day in days(number)])


def states() -> Status:
    """A gate in each state that is stored, generations that are shown from the second on, and an alert of a gate that is open."""
    stored = [state for state in GateState if state not in DERIVED]
    dates = [DAY + timedelta(days=n) for n in range(len(stored) + 1)]
    gates = {
        day: {"raw": gate(state, day=day, generation=n)} for n, (day, state) in enumerate(zip(dates, stored, strict=False))
    }
    about = {"about": (), "detail": "", "evidence": (), "effect": "", "since": NOW, "at": NOW}
    late = Alert(
        "k",
        RunKey("shop", "clean", DAY),
        AlertSeverity.WARNING,
        AlertState.FIRING,
        Reason.LATE_FAILURE,
        gate=GateState.OPEN,
        **about,
    )  # type: ignore[arg-type]
    gates[DAY]["clean"] = gate(GateState.OPEN, "clean", generation=1, alert=late)
    return status(span=Span(dates[0], dates[-1]), gates=gates)


def incident(members: dict[str, Member], **fields: object) -> Incident:
    values = {"pipeline": "shop", "subject": "raw", "cause": "checks_failed", **fields}
    return Incident(opened_at=NOW, members=members, **values)  # type: ignore[arg-type]


def member(name: str, severity: AlertSeverity, **fields: object) -> Member:
    values = {"detail": f"{severity}: 3 [rows]\x1b[2J", **fields}
    return Member(name=name, key=name, severity=severity, since=NOW - HOUR, at=NOW, **values)  # type: ignore[arg-type]


def incidents() -> None:
    critical, warning, info = AlertSeverity.CRITICAL, AlertSeverity.WARNING, AlertSeverity.INFO
    three = {f"2026-03-0{n}": member(f"2026-03-0{n}", severity) for n, severity in ((2, warning), (3, critical), (4, info))}
    ended = {"2026-03-01": member("2026-03-01", critical, over_at=NOW)}
    late = {"clean": ("2026-03-02",), "report": ("2026-03-02",)}
    ann = Acknowledgement("ann", NOW, "asked for [again]\x1b[2J")
    print_incidents(
        [
            incident({**ended, **three}, speaks_for=late),
            incident({"2026-03-02": three["2026-03-02"]}, acknowledged=ann),
            incident({"": member("", info)}, pipeline="", subject="a [message]; rm -rf /", cause="message_rejected"),
        ]
    )


def deliveries() -> None:
    sent = [
        Sent(reason=reason, at=NOW - hours * HOUR, by="shop/team", attempts=1) for reason, hours in (("first", 2), ("worse", 1))
    ]
    row = Delivery(board="shop/raw", cause="checks_failed", destination="shop/team")
    print_deliveries(
        [
            Delivery(board=row.board, cause=row.cause, destination="shop/team", log=tuple(sent)),
            Delivery(
                board=row.board,
                cause=row.cause,
                destination="shop/hook",
                log=tuple(sent),
                attempts=1,
                error="HTTP [503]\x1b[2J",
            ),
            Delivery(board=row.board, cause=row.cause, destination="shop/chat", parked=True, attempts=5, error="HTTP 404"),
        ],
        [
            DestinationHealth(destination="shop/team", accepted_at=NOW),
            DestinationHealth(destination="shop/hook", accepted_at=NOW, why="HTTP [503]\x1b[2J"),
            DestinationHealth(destination="shop/chat", down_since=NOW, why="HTTP 404"),
        ],
    )


def findings() -> None:
    print_findings(
        [
            Finding("table raw.orders", Health.OK, "all 4 columns exist"),
            Finding(
                "subscription phasegate-ticks",
                Health.NOT_CHECKED,
                "no permission [pubsub.get]",
                "gcloud projects add-iam-policy-binding",
            ),
            Finding(
                "topic " + "phasegate-" * 6 + "raw", Health.WRONG, "it is missing", "make deploy " + "PROJECT=my-project " * 8
            ),
            Finding("clock", Health.OK, "it is not behind"),
        ]
    )


def explained() -> None:
    """A gate that was released twice, whose run was paused twice, the first time before it had a history."""
    report = Report("loader", Reported.DONE, NOW - HOUR, None, None, None, NOW - 2 * HOUR, 1_234, None, "late [again]")
    of = gate(
        GateState.OPEN,
        "clean",
        generation=2,
        consumed={"raw": 1},
        reports={"clean": report},
        degraded=True,
        missing=("clean.orders", "x"),
    )
    day = {"raw": gate(GateState.OPEN, generation=2), "clean": of}
    pauses = [
        Pause("shop", "ann", "before", NOW - 9 * HOUR, NOW - 7 * HOUR, "bob", NOW - 8 * HOUR),
        Pause("shop", "ann", "the [warehouse]", NOW - 6 * HOUR, NOW + HOUR, "bob", NOW - 3 * HOUR, "it has moved"),
        Pause("shop/clean", "ann", "a reload", NOW - 2 * HOUR, NOW + HOUR),
    ]
    events = [
        Event(of.run, NOW - 5 * HOUR, "r", GateState.HELD, Reason.CHECKS_FAILED, "3 rows", 0, 50.0, "m-1"),
        Event(
            of.run, NOW - HOUR, "r", GateState.OPEN, Reason.DATA_CHANGED, "4 rows", 2, 100.0, "by hand: ann", "override: known"
        ),
    ]
    print_gate(Explanation(SHOP, of, day, events, pauses, None, NOW))


DRAWN: dict[str, Callable[[], object]] = {
    "limits.no_findings": lambda: print_validation(
        validation(judged(DAY, Verdict.PASS, 99.96), judged(DAY, Verdict.PASS, 99.94)), 1.005
    ),
    "limits.20_causes": lambda: print_validation(causes(20), 0.5),
    "limits.21_causes": lambda: print_validation(causes(21), 12.5),
    "limits.3_spans": lambda: print_validation(spans(3), 0.5),
    "limits.5_spans": lambda: print_validation(spans(5), 0.5),
    "limits.ranks": lambda: print_validation(ranks(), 0.5),
    "limits.verdicts": lambda: print_validation(verdicts(), 0.5),
    "limits.one_date": lambda: print_validation(one_date(), 0.5),
    "limits.no_checks": lambda: print_checks(console(), []),
    "limits.50_reruns": lambda: print_status(reruns(50)),
    "limits.52_reruns": lambda: print_status(reruns(52)),
    "limits.states": lambda: print_status(states()),
    "limits.unsent": lambda: print_status(status(unsent=1)),
    "limits.parked": lambda: print_status(status(parked=2, scheduler="the [scheduler] has not ticked")),
    "limits.incidents": incidents,
    "limits.no_incidents": lambda: print_incidents([]),
    "limits.deliveries": deliveries,
    "limits.no_deliveries": lambda: print_deliveries([], []),
    "limits.findings": findings,
    "limits.explained": explained,
}


@pytest.mark.parametrize("name", DRAWN)
def test_as_drawn(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for form, to, columns in (("80", to_terminal, 80), ("120", to_terminal, 120), ("pipe", to_pipe, 80)):
        to(monkeypatch, columns)
        DRAWN[name]()
        check(f"{name}.{form}", capsys.readouterr().out)


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("phase", ["raw", "raw_orders_of_the_northern_shops_with_returns_and_refunds"])
def test_a_month_is_shown_in_weeks_and_no_name_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, phase: str
) -> None:
    phases = {phase: SHOP.phases["raw"], f"{phase}_2": SHOP.phases["raw"]}
    to_terminal(monkeypatch, columns)
    shown = status(pipeline=replace(SHOP, phases=phases), span=Span(date(2026, 2, 1), date(2026, 2, 28)))
    print_status(shown)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in text.replace("… ", "")  # the sign of a gate that waits
    assert [f"{day:%m-%d}" for day in shown.days] == re.findall(r"\d\d-\d\d", text)
    assert all(len(line) <= columns for line in text.splitlines())
    assert text.count("_2") == text.count("shop ")
