"""What one upstream caused is reported in the upstream's own alert: followers that wait for it, and those that ran all the same."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from phasegate.core.alerts.incident import Board, Incident, Member
from phasegate.core.alerts.routing import UPSTREAM_GRACE, Topology
from phasegate.core.gates.gate import Reason
from phasegate.core.pipeline.model import AlertSeverity, Calendar, Output, Phase, Pipeline

SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=date(2026, 3, 1)),
    phases={
        "raw": Phase(outputs={"a.raw": Output(date="d")}),
        "clean": Phase(after=("raw",), outputs={"a.clean": Output(date="d")}),
        "report": Phase(after=("clean",), late_by=timedelta(minutes=30), outputs={"a.report": Output(date="d")}),
    },
)
NOW = datetime(2026, 3, 3, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def incident(phase: str, cause: Reason, *about: str) -> Incident:
    member = Member(name="2026-03-02", key="k", severity=AlertSeverity.CRITICAL, detail="", since=NOW, at=NOW, about=about)
    return Incident(pipeline="shop", subject=phase, cause=cause, opened_at=NOW, members={member.name: member})


def topology(*incidents: Incident) -> Topology:
    boards = (Board(pipeline="shop", subject=i.subject, incidents={i.cause: i}) for i in incidents)
    return Topology({"shop": SHOP}, {board.key: board for board in boards})


def over(found: Incident, at: datetime) -> Incident:
    return replace(found, members={name: replace(m, over_at=at) for name, m in found.members.items()})


RAW = incident("raw", Reason.CHECKS_FAILED, "a.raw.row_count")
CLEAN = incident("clean", Reason.RAN_BEFORE_UPSTREAM, "raw")
REPORT = incident("report", Reason.RAN_BEFORE_UPSTREAM, "clean")


@pytest.mark.parametrize("cause", [Reason.RAN_BEFORE_UPSTREAM, Reason.UPSTREAM_SHUT])
def test_followers_of_a_held_phase_are_reported_in_its_alert(cause: Reason) -> None:
    clean, report = incident("clean", cause, "raw"), incident("report", cause, "clean")
    known = topology(RAW, clean, report)
    assert known.muted_until(clean, NOW + 9 * MINUTE) is not None
    assert known.muted_until(report, NOW + 9 * MINUTE) is not None
    assert known.with_followers(RAW).speaks_for == {"clean": ("2026-03-02",), "report": ("2026-03-02",)}


def test_who_ran_early_without_an_alert_of_its_upstream_is_reported() -> None:
    assert topology(CLEAN).muted_until(CLEAN, NOW + UPSTREAM_GRACE) is None


def test_after_the_upstreams_recovery_it_has_the_time_of_a_late_run_to_rerun() -> None:
    known = topology(over(CLEAN, NOW + 10 * MINUTE), REPORT)
    assert known.muted_until(REPORT, NOW + 39 * MINUTE) == NOW + 40 * MINUTE
    assert known.muted_until(REPORT, NOW + 40 * MINUTE) is None
