"""Messages of builds and drift checks: which are ours, which are newer, which raise an alert."""

import itertools
import json
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.incident import Trouble, read_alert
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import AlertState
from phasegate.errors import MessageError
from phasegate.installation.deployment import (
    COMPARISON,
    INFRASTRUCTURE,
    MAX_DEPLOYMENT_TIME,
    Deployment,
    DeploymentMessage,
    Installation,
    SubjectState,
    apply_report,
    newer_run,
    overlaps,
    read_message,
)
from phasegate.messaging.bodies import trouble_message

REPO = Path(__file__).parents[2]
DRIFT = runpy.run_path(str(REPO / "infra/drift.py"))
PLAN = REPO / "tests/infra/data/drift.plan.json"
OURS = Installation("some-project", "acme")
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def build(status: str = "FAILURE", at: datetime = NOW, **more: Any) -> dict[str, Any]:
    """A build as Cloud Build publishes it; fields that are not read are left out."""
    return {
        "name": "projects/123/locations/europe-west1/builds/8f5c1a52-aaaa",
        "id": "8f5c1a52-aaaa",
        "projectId": "some-project",
        "status": status,
        "createTime": f"{at - 11 * MINUTE:%Y-%m-%dT%H:%M:%S}.123456789Z",
        "startTime": f"{at - 10 * MINUTE:%Y-%m-%dT%H:%M:%S}.123456789Z",
        "finishTime": f"{at:%Y-%m-%dT%H:%M:%S}.000000001Z",
        "steps": [
            {"id": "plan", "status": "SUCCESS"},
            {"id": "apply", "status": "FAILURE"},
            {"id": "settle", "status": "QUEUED"},
        ],
        "substitutions": {"TRIGGER_NAME": "acme-deploy", "_PREFIX": "acme", "COMMIT_SHA": "4f2a"},
        "failureInfo": {"type": "USER_BUILD_STEP", "detail": "Build step failure: step exited with non-zero status: 1"},
        **more,
    }


def drift(outcome: str = "drifted", at: datetime = NOW, **more: Any) -> dict[str, Any]:
    changes = [{"address": 'google_pubsub_subscription.push["ticks"]', "action": "update",
                "arguments": ["ack_deadline_seconds"], "omitted": 0}]  # fmt: skip
    return {"outcome": outcome, "at": at.isoformat(), "commit": "4f2a", "build": "b-1",
            "changes": changes if outcome == "drifted" else [], "omitted": 0, "errors": [], **more}  # fmt: skip


def read(body: object, now: datetime = NOW) -> DeploymentMessage:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_message(Envelope("m1", data, {}), OURS, now=now)


def alert(body: object, known: SubjectState | None = None) -> Trouble | None:
    """The alert that the first report of a message raises."""
    applied = apply_report(read(body).reports[0], known)
    assert applied is not None
    return applied[1]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("FAILURE", "build 8f5c1a52 failed in step apply"),
        ("INTERNAL_ERROR", "build 8f5c1a52 was stopped by an error of Cloud Build in step apply"),
        ("TIMEOUT", "build 8f5c1a52 timed out in step apply"),
        ("CANCELLED", "build 8f5c1a52 was cancelled in step apply"),
        ("EXPIRED", "build 8f5c1a52 expired in the queue in step apply"),
    ],
)
def test_a_failed_build_raises_an_alert_with_its_step_reason_and_log(status: str, says: str) -> None:
    trouble = alert(build(status))
    assert trouble is not None
    assert (trouble.subject, trouble.cause, trouble.detail) == ("acme-deploy", TroubleCause.BUILD_FAILED, says)
    assert trouble.evidence == (
        "step: apply",
        "commit: 4f2a",
        "build: 8f5c1a52-aaaa",
        "says: Build step failure: step exited with non-zero status: 1",
    )
    assert trouble.next == ("gcloud builds log 8f5c1a52-aaaa --region=europe-west1 --project=some-project",)
    assert read_alert(trouble_message(trouble).body).subject == "acme-deploy"


@pytest.mark.parametrize("status", ["STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING"])
def test_a_build_that_has_not_ended_raises_no_alert(status: str) -> None:
    assert read(build(status, finishTime=None)).reports == ()


@pytest.mark.parametrize(
    ("more", "subject"),
    [
        ({}, "acme-deploy"),
        ({"substitutions": {"TRIGGER_NAME": "acme-drift"}}, "acme-drift"),
        ({"substitutions": {"_PREFIX": "acme"}, "tags": ["phasegate-deploy"]}, "acme-deploy"),
        ({"substitutions": {"TRIGGER_NAME": "other-deploy", "_PREFIX": "acme"}, "tags": ["phasegate-deploy"]}, None),
        ({"substitutions": {"_PREFIX": "other"}, "tags": ["phasegate-deploy"]}, None),
        ({"substitutions": {"_PREFIX": "acme"}, "tags": ["gcp-cloud-build-adhoc"]}, None),
        ({"substitutions": {"TRIGGER_NAME": "acme-deploy-docs"}}, None),
        ({"substitutions": {}}, None),
    ],
)
def test_builds_of_others_in_the_project_are_ignored(more: dict[str, Any], subject: str | None) -> None:
    message = read(build(**more))
    assert [report.subject for report in message.reports] == ([subject] if subject else [])
    assert bool(message.ignored) is (subject is None)


def test_the_rest_of_a_foreign_build_is_not_read() -> None:
    assert read({"id": "b", "status": "FAILURE"}).ignored


def test_a_build_that_expired_in_the_queue_has_neither_start_nor_end() -> None:
    message = read(build("EXPIRED", startTime=None, finishTime=None, steps=[]))
    assert message.run is None and message.reports[0].at == datetime(2026, 3, 2, 7, 49, 0, 123456, tzinfo=UTC)


def test_drift_names_resources_and_arguments_and_the_next_commands() -> None:
    changes = [
        {"address": 'google_pubsub_subscription.dead["dead"]', "action": "create", "arguments": [], "omitted": 0},
        {"address": "google_cloud_scheduler_job.this", "action": "update", "arguments": ["paused", "schedule"], "omitted": 2},
        {"address": "google_pubsub_topic.this", "action": "delete", "arguments": [], "omitted": 0},
        {"address": "google_pubsub_topic.that", "action": "replace", "arguments": ["name"], "omitted": 0},
    ]
    trouble = alert(drift(changes=changes, omitted=3))
    assert trouble is not None
    assert trouble.about == (
        'google_pubsub_subscription.dead["dead"] is missing',
        "google_cloud_scheduler_job.this differs (paused, schedule and 2 more)",
        "google_pubsub_topic.this is left over",
        "google_pubsub_topic.that differs and must be replaced (name)",
    )
    assert trouble.detail == (
        'resources are not as deployed: google_pubsub_subscription.dead["dead"] is missing, google_cloud_scheduler_job.this '
        "differs (paused, schedule and 2 more), google_pubsub_topic.this is left over, and 4 more"
    ).join(("7 ", ""))
    assert trouble.evidence[-2:] == ("compared with commit 4f2a", "build: b-1")
    assert trouble.next == ("make plan PROJECT=some-project PREFIX=acme", "make deploy PROJECT=some-project PREFIX=acme")


def test_the_message_that_the_script_makes_of_a_real_plan_is_read() -> None:
    message = DRIFT["message"](json.loads(PLAN.read_text()), code=2, now=NOW, commit="4f2a", build="b-1")
    report = read(message, now=datetime(2027, 1, 1, tzinfo=UTC)).reports[0]
    assert (report.subject, len(report.about)) == (INFRASTRUCTURE, 6)
    assert report.problem.startswith("6 resources are not as deployed: google_cloudfunctions2_function.monitor differs (")


def test_a_failed_plan_is_an_incident_of_its_own_and_says_nothing_about_drift() -> None:
    message = DRIFT["message"](None, code=1, now=NOW, log="Error: Error acquiring the state lock\n\nLock Info")
    message = read(message)
    assert [report.subject for report in message.reports] == [COMPARISON]
    assert message.reports[0].problem == "the plan failed: Error: Error acquiring the state lock"


def test_an_empty_plan_ends_both_incidents() -> None:
    since = NOW - 60 * MINUTE
    for report in read(drift("clean")).reports:
        applied = apply_report(report, SubjectState("b-0", since, since))
        assert applied is not None and applied[1] is not None
        assert (applied[0].since, applied[1].state, applied[1].since) == (None, AlertState.RECOVERED, since)


def test_an_open_incident_keeps_its_start_and_a_second_success_raises_no_alert() -> None:
    since = NOW - 60 * MINUTE
    lasting = alert(drift(), SubjectState("b-0", since, since))
    assert lasting is not None and lasting.since == since
    assert alert(drift("clean"), SubjectState("b-0", since)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"{}",
        {"status": "FAILURE"},
        build("SPLENDID"),
        build(id=7),
        build(startTime="yesterday"),
        build(finishTime="2999-01-01T00:00:00Z"),
        build(finishTime=None, createTime=None),
        build(steps=["plan"]),
        build(substitutions=["TRIGGER_NAME"]),
        build(failureInfo="why"),
        drift("splendid"),
        drift(at=NOW + timedelta(days=1)),
        drift(changes="all"),
        drift(changes=[{"address": "", "action": "update", "arguments": [], "omitted": 0}]),
        drift(changes=[{"address": "a.b", "action": "explode", "arguments": [], "omitted": 0}]),
        drift(changes=[{"address": "a.b", "action": "update", "arguments": [7], "omitted": 0}]),
        drift(changes=[]),
        drift(omitted=-1),
        drift(omitted=True),
        {name: value for name, value in drift().items() if name != "commit"},
        drift(build=None),
    ],
)  # fmt: skip
def test_a_malformed_message_is_rejected_with_a_reason(body: object) -> None:
    with pytest.raises(MessageError, match=r"neither a build nor a drift report|malformed build or drift report"):
        read(body)


def test_texts_of_any_length_and_kind_fit_into_an_alert() -> None:
    hostile = "$(rm -rf /)\n<!channel>" * 1_000
    for body in (
        build(id=hostile, name=hostile, failureInfo={"detail": hostile}, steps=[{"id": hostile, "status": "FAILURE"}]),
        drift(changes=[{"address": hostile, "action": "update", "arguments": [hostile] * 20, "omitted": 0}] * 400),
        drift("failed", errors=[hostile] * 5, build=hostile, commit=hostile),
    ):
        trouble = alert(body)
        assert trouble is not None
        message = trouble_message(trouble)
        assert len(json.dumps(message.body)) < 200_000
        assert len(read_alert(message.body).member.about) <= 50
        assert all("rm -rf" not in line or "'$(rm" in line for line in trouble.next), "quoted for a shell"


def test_the_newest_report_wins_in_any_order_of_arrival() -> None:
    bodies = [
        build("FAILURE", NOW - 30 * MINUTE, id="b1"),
        build("FAILURE", NOW - 20 * MINUTE, id="b2"),
        build("SUCCESS", NOW - 10 * MINUTE, id="b3"),
    ]
    reports = [read(body).reports[0] for body in bodies]
    for order in itertools.permutations(reports + reports, 4):
        known: SubjectState | None = None
        for report in (*order, reports[2]):
            applied = apply_report(report, known)
            known = applied[0] if applied else known
        assert known == SubjectState("b3", reports[2].at), order


def test_a_word_that_is_known_or_old_changes_nothing() -> None:
    report = read(build()).reports[0]
    assert apply_report(report, SubjectState(report.id, report.at, report.at)) is None
    assert apply_report(report, SubjectState("a newer one", report.at + MINUTE)) is None


def test_a_drift_check_during_a_deployment_is_ignored() -> None:
    run = read(build("WORKING", finishTime=None)).run
    assert run == Deployment("8f5c1a52-aaaa", datetime(2026, 3, 2, 7, 50, 0, 123456, tzinfo=UTC))
    assert not overlaps(read(drift(at=NOW - 11 * MINUTE)), run)
    assert overlaps(read(drift()), run)
    assert not overlaps(read(drift(at=run.began + MAX_DEPLOYMENT_TIME + MINUTE), now=NOW + 2 * MAX_DEPLOYMENT_TIME), run), (
        "its end was never reported"
    )
    ended = read(build("SUCCESS", NOW - MINUTE)).run
    assert overlaps(read(drift(at=NOW - 2 * MINUTE)), ended)
    assert not overlaps(read(drift()), ended)
    assert not overlaps(read(drift("failed", at=NOW - 2 * MINUTE)), ended), "a failed check is a failure at any time"
    assert read(build(substitutions={"TRIGGER_NAME": "acme-drift"})).run is None, "this build changes nothing"


def test_the_deployment_that_started_last_is_stored_with_its_end() -> None:
    first, second = Deployment("a", NOW), Deployment("b", NOW + MINUTE)
    over = Deployment("a", NOW, NOW + MINUTE)
    assert newer_run(None, first) == first
    assert newer_run(first, over) == over
    assert newer_run(over, first) is None, "its start is reported after its end"
    assert newer_run(first, second) == second
    assert newer_run(second, over) is None
