"""What builds and comparisons say: which concern us, which are newer, what of them people are told."""

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
    LONGEST_BUILD,
    Deployment,
    DeploymentMessage,
    Installation,
    SubjectState,
    newer_run,
    overlapping,
    read_message,
    take,
)
from phasegate.messaging.bodies import trouble_message

REPO = Path(__file__).parents[2]
DRIFT = runpy.run_path(str(REPO / "infra/drift.py"))
PLAN = REPO / "tests/infra/data/drift.plan.json"
OURS = Installation("some-project", "acme")
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def build(status: str = "FAILURE", at: datetime = NOW, **more: Any) -> dict[str, Any]:
    """A build as Cloud Build publishes it; fields that mean nothing here are left out."""
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


def told(body: object, known: SubjectState | None = None) -> Trouble | None:
    """What the first word of a message makes people told."""
    taken = take(read(body).words[0], known)
    assert taken is not None
    return taken[1]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("FAILURE", "build 8f5c1a52 failed in step apply"),
        ("INTERNAL_ERROR", "build 8f5c1a52 was broken off by an error of Cloud Build in step apply"),
        ("TIMEOUT", "build 8f5c1a52 took too long and was stopped in step apply"),
        ("CANCELLED", "build 8f5c1a52 was cancelled in step apply"),
        ("EXPIRED", "build 8f5c1a52 was never begun: it waited too long in step apply"),
    ],
)
def test_a_build_that_ended_without_success_is_told_with_its_step_its_reason_and_its_log(status: str, says: str) -> None:
    trouble = told(build(status))
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
def test_a_build_that_has_not_ended_is_no_trouble(status: str) -> None:
    assert read(build(status, finishTime=None)).words == ()


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
def test_of_all_builds_of_the_project_only_ours_count(more: dict[str, Any], subject: str | None) -> None:
    said = read(build(**more))
    assert [word.subject for word in said.words] == ([subject] if subject else [])
    assert bool(said.passed_over) is (subject is None)


def test_a_build_of_somebody_else_is_not_read_further_than_it_takes_to_know_that() -> None:
    assert read({"id": "b", "status": "FAILURE"}).passed_over


def test_a_build_that_expired_in_the_queue_has_neither_start_nor_end() -> None:
    said = read(build("EXPIRED", startTime=None, finishTime=None, steps=[]))
    assert said.run is None and said.words[0].at == datetime(2026, 3, 2, 7, 49, 0, 123456, tzinfo=UTC)


def test_drift_names_resources_and_arguments_and_says_how_to_go_on() -> None:
    changes = [
        {"address": 'google_pubsub_subscription.dead["dead"]', "action": "create", "arguments": [], "omitted": 0},
        {"address": "google_cloud_scheduler_job.this", "action": "update", "arguments": ["paused", "schedule"], "omitted": 2},
        {"address": "google_pubsub_topic.this", "action": "delete", "arguments": [], "omitted": 0},
        {"address": "google_pubsub_topic.that", "action": "replace", "arguments": ["name"], "omitted": 0},
    ]
    trouble = told(drift(changes=changes, omitted=3))
    assert trouble is not None
    assert trouble.about == (
        'google_pubsub_subscription.dead["dead"] is gone',
        "google_cloud_scheduler_job.this differs (paused, schedule and 2 more)",
        "google_pubsub_topic.this is left over",
        "google_pubsub_topic.that differs, and would be made anew (name)",
    )
    assert trouble.detail == (
        'resources are not as deployed: google_pubsub_subscription.dead["dead"] is gone, google_cloud_scheduler_job.this '
        "differs (paused, schedule and 2 more), google_pubsub_topic.this is left over, and 4 more"
    ).join(("7 ", ""))
    assert trouble.evidence[-2:] == ("compared with commit 4f2a", "build: b-1")
    assert trouble.next == ("make plan PROJECT=some-project PREFIX=acme", "make deploy PROJECT=some-project PREFIX=acme")


def test_what_the_script_makes_of_a_real_plan_is_understood() -> None:
    message = DRIFT["message"](json.loads(PLAN.read_text()), code=2, now=NOW, commit="4f2a", build="b-1")
    word = read(message, now=datetime(2027, 1, 1, tzinfo=UTC)).words[0]
    assert (word.subject, len(word.about)) == (INFRASTRUCTURE, 6)
    assert word.wrong.startswith("6 resources are not as deployed: google_cloudfunctions2_function.monitor differs (")


def test_a_plan_that_failed_says_nothing_of_the_infrastructure_and_is_a_trouble_of_its_own() -> None:
    message = DRIFT["message"](None, code=1, now=NOW, log="Error: Error acquiring the state lock\n\nLock Info")
    said = read(message)
    assert [word.subject for word in said.words] == [COMPARISON]
    assert said.words[0].wrong == "the plan failed: Error: Error acquiring the state lock"


def test_an_empty_plan_ends_both() -> None:
    since = NOW - 60 * MINUTE
    for word in read(drift("clean")).words:
        taken = take(word, SubjectState("b-0", since, since))
        assert taken is not None and taken[1] is not None
        assert (taken[0].since, taken[1].state, taken[1].since) == (None, AlertState.RECOVERED, since)


def test_a_drift_that_lasts_keeps_its_beginning_and_a_success_after_a_success_says_nothing() -> None:
    since = NOW - 60 * MINUTE
    lasting = told(drift(), SubjectState("b-0", since, since))
    assert lasting is not None and lasting.since == since
    assert told(drift("clean"), SubjectState("b-0", since)) is None


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
def test_what_makes_no_sense_is_rejected_with_a_reason(body: object) -> None:
    with pytest.raises(MessageError, match=r"neither a build nor a drift report|that makes no sense"):
        read(body)


def test_texts_of_any_length_and_kind_fit_into_an_alert() -> None:
    hostile = "$(rm -rf /)\n<!channel>" * 1_000
    for body in (
        build(id=hostile, name=hostile, failureInfo={"detail": hostile}, steps=[{"id": hostile, "status": "FAILURE"}]),
        drift(changes=[{"address": hostile, "action": "update", "arguments": [hostile] * 20, "omitted": 0}] * 400),
        drift("failed", errors=[hostile] * 5, build=hostile, commit=hostile),
    ):
        trouble = told(body)
        assert trouble is not None
        message = trouble_message(trouble)
        assert len(json.dumps(message.body)) < 200_000
        assert len(read_alert(message.body).member.about) <= 50
        assert all("rm -rf" not in line or "'$(rm" in line for line in trouble.next), "quoted for a shell"


def test_whatever_the_order_and_however_often_words_come_the_newest_stands() -> None:
    bodies = [
        build("FAILURE", NOW - 30 * MINUTE, id="b1"),
        build("FAILURE", NOW - 20 * MINUTE, id="b2"),
        build("SUCCESS", NOW - 10 * MINUTE, id="b3"),
    ]
    words = [read(body).words[0] for body in bodies]
    for order in itertools.permutations(words + words, 4):
        known: SubjectState | None = None
        for word in (*order, words[2]):
            taken = take(word, known)
            known = taken[0] if taken else known
        assert known == SubjectState("b3", words[2].at), order


def test_a_word_that_is_known_or_old_changes_nothing() -> None:
    word = read(build()).words[0]
    assert take(word, SubjectState(word.id, word.at, word.at)) is None
    assert take(word, SubjectState("a newer one", word.at + MINUTE)) is None


def test_a_comparison_during_a_deployment_says_nothing() -> None:
    run = read(build("WORKING", finishTime=None)).run
    assert run == Deployment("8f5c1a52-aaaa", datetime(2026, 3, 2, 7, 50, 0, 123456, tzinfo=UTC))
    assert not overlapping(read(drift(at=NOW - 11 * MINUTE)), run)
    assert overlapping(read(drift()), run)
    assert not overlapping(read(drift(at=run.began + LONGEST_BUILD + MINUTE), now=NOW + 2 * LONGEST_BUILD), run), (
        "its end is lost"
    )
    ended = read(build("SUCCESS", NOW - MINUTE)).run
    assert overlapping(read(drift(at=NOW - 2 * MINUTE)), ended)
    assert not overlapping(read(drift()), ended)
    assert not overlapping(read(drift("failed", at=NOW - 2 * MINUTE)), ended), "that nothing could be compared is true"
    assert read(build(substitutions={"TRIGGER_NAME": "acme-drift"})).run is None, "this build changes nothing"


def test_of_deployments_the_last_that_began_is_remembered_with_its_end() -> None:
    first, second = Deployment("a", NOW), Deployment("b", NOW + MINUTE)
    over = Deployment("a", NOW, NOW + MINUTE)
    assert newer_run(None, first) == first
    assert newer_run(first, over) == over
    assert newer_run(over, first) is None, "its beginning comes after its end"
    assert newer_run(first, second) == second
    assert newer_run(second, over) is None
