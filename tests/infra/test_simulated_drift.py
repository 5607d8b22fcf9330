"""Manual changes: the plan exits with 2, and the drift message names exactly the changed resource and argument."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import REPO, Module

IDS = "projects/demo-project"
RAW = "phasegate-flights-raw"
SUBSCRIPTION = "google_pubsub_subscription"
FUNCTION = f"{IDS}/locations/us-central1/functions/phasegate-phase-monitor"
MONITOR = 'google_cloudfunctions2_function.this["phase_monitor"]'
PUSH = f'{SUBSCRIPTION}.push["flights-raw-complete"]'


@dataclass(frozen=True)
class Drift:
    """One change behind Terraform's back.

    Args:
        kind: The type of the resource.
        id: Its id; `*` for the only one.
        set: What became of its arguments; None when it was deleted.
        address: What the message must name.
        arguments: And which of its arguments.
        action: What mends it.
    """

    kind: str
    id: str
    set: dict[str, Any] | None
    address: str
    arguments: tuple[str, ...] = ()
    action: str = "update"


def push(arguments: dict[str, Any], *named: str) -> Drift:
    return Drift(SUBSCRIPTION, f"{IDS}/subscriptions/{RAW}-complete", arguments, PUSH, named)


def monitor(arguments: dict[str, Any], *named: str) -> Drift:
    return Drift("google_cloudfunctions2_function", FUNCTION, arguments, MONITOR, named)


SERVICE = "service_config[0]"
DRIFTS = {
    "ack deadline back at 10 s": push({"ack_deadline_seconds": 10}, "ack_deadline_seconds"),
    "subscription that expires": push({"expiration_policy": {"ttl": "2678400s"}}, "expiration_policy[0].ttl"),
    "back-off taken away": push({"retry_policy": None}, "retry_policy"),
    "dead letters off": push({"dead_letter_policy": None}, "dead_letter_policy"),
    "five attempts": push({"dead_letter_policy": {"max_delivery_attempts": 5}}, "dead_letter_policy[0].max_delivery_attempts"),
    "another audience": push(
        {"push_config": {"oidc_token": {"audience": "https://example.com"}}}, "push_config[0].oidc_token[0].audience"
    ),
    "another endpoint": push({"push_config": {"push_endpoint": "https://example.com"}}, "push_config[0].push_endpoint"),
    "a label lost": push({"labels": {"phase": None}, "effective_labels": {"phase": None}}, "labels.phase"),
    "dead-letter subscription deleted": Drift(
        SUBSCRIPTION, f"{IDS}/subscriptions/{RAW}-dead", None, f'{SUBSCRIPTION}.dead["flights-raw-dead"]'
    ),
    "go topic keeps nothing": Drift(
        "google_pubsub_topic",
        f"{IDS}/topics/{RAW}-go",
        {"message_retention_duration": None},
        'google_pubsub_topic.this["flights-raw-go"]',
        ("message_retention_duration",),
    ),
    "environment wiped": monitor(
        {"service_config": {"environment_variables": {"PHASEGATE_STATE": None, "PHASEGATE_BUS": None}}},
        f"{SERVICE}.environment_variables.PHASEGATE_BUS",
        f"{SERVICE}.environment_variables.PHASEGATE_STATE",
    ),
    "kept warm, with less memory and time": monitor(
        {"service_config": {"min_instance_count": 1, "available_memory": "256Mi", "timeout_seconds": 60}},
        f"{SERVICE}.available_memory",
        f"{SERVICE}.min_instance_count",
        f"{SERVICE}.timeout_seconds",
    ),
    "open to the world": monitor({"service_config": {"ingress_settings": "ALLOW_ALL"}}, f"{SERVICE}.ingress_settings"),
    "runs as somebody else": monitor(
        {"service_config": {"service_account_email": "x@demo-project.iam.gserviceaccount.com"}},
        f"{SERVICE}.service_account_email",
    ),
    "another digest deployed": monitor({"labels": {"digest": "f00"}, "effective_labels": {"digest": "f00"}}, "labels.digest"),
    "anybody may call": Drift(
        "google_cloud_run_v2_service_iam_binding",
        "us-central1/phasegate-watch/demo-project/roles/run.invoker",
        {"members": ["allUsers", "serviceAccount:phasegate-push@demo-project.iam.gserviceaccount.com"]},
        'google_cloud_run_v2_service_iam_binding.push["watch"]',
        ("members",),
    ),
    "publisher removed": Drift(
        "google_pubsub_topic_iam_binding",
        f"demo-project/{IDS}/topics/phasegate-alerts/roles/pubsub.publisher",
        {"members": ["serviceAccount:phasegate-watch@demo-project.iam.gserviceaccount.com"]},
        'google_pubsub_topic_iam_binding.publisher["alerts"]',
        ("members",),
    ),
    "role taken away": Drift(
        "google_project_iam_member",
        "demo-project/roles/bigquery.jobUser/serviceAccount:phasegate-watch@demo-project.iam.gserviceaccount.com",
        None,
        'google_project_iam_member.query["watch"]',
    ),
    "clock paused": Drift(
        "google_cloud_scheduler_job",
        f"{IDS}/locations/us-central1/jobs/phasegate-tick",
        {"paused": True},
        'google_cloud_scheduler_job.this["tick"]',
        ("paused",),
    ),
    "clock slower": Drift(
        "google_cloud_scheduler_job",
        f"{IDS}/locations/us-central1/jobs/phasegate-tick",
        {"schedule": "0 * * * *"},
        'google_cloud_scheduler_job.this["tick"]',
        ("schedule",),
    ),
    "lifetime off": Drift(
        "google_firestore_field",
        f"{IDS}/databases/phasegate/collectionGroups/handled/fields/expires_at",
        {"ttl_config": None},
        'google_firestore_field.expiry["handled"]',
        ("ttl_config",),
        "replace",
    ),
    "index deleted": Drift("google_firestore_index", "*", None, 'google_firestore_index.state["gates: pipeline, -run_date"]'),
    "protection off": Drift(
        "google_firestore_database",
        f"{IDS}/databases/phasegate",
        {"delete_protection_state": "DELETE_PROTECTION_DISABLED"},
        "google_firestore_database.state",
        ("delete_protection_state",),
    ),
    "alert policy disabled": Drift(
        "google_monitoring_alert_policy", "*", {"enabled": False}, 'google_monitoring_alert_policy.pulse["tick"]', ("enabled",)
    ),
    "heartbeats not counted": Drift(
        "google_logging_metric",
        "phasegate-heartbeat",
        {"filter": 'jsonPayload.event="other"'},
        "google_logging_metric.heartbeat",
        ("filter",),
    ),
    "trigger disabled": Drift(
        "google_cloudbuild_trigger", "*", {"disabled": True}, 'google_cloudbuild_trigger.drift["this"]', ("disabled",)
    ),
    "history written elsewhere": Drift(
        SUBSCRIPTION,
        f"{IDS}/subscriptions/phasegate-history",
        {"bigquery_config": {"table": "demo-project.other.history"}},
        f"{SUBSCRIPTION}.history",
        ("bigquery_config[0].table",),
    ),
}


def rounds() -> list[list[str]]:
    """The changes in groups, so that no resource is changed twice in one plan; a plan takes seconds. A change of `*` is alone."""
    made: list[list[str]] = []
    for name, drift in DRIFTS.items():
        for names in made:
            if drift.id != "*" and all(DRIFTS[other].id not in (drift.id, "*") for other in names):
                names.append(name)
                break
        else:
            made.append([name])
    return made


@pytest.mark.parametrize("names", rounds(), ids=", ".join)
def test_a_manual_change_is_named(names: list[str], demo: Module, tmp_path: Path) -> None:
    changed: dict[str, dict[str, Any]] = {}
    for name in names:
        changed.setdefault(DRIFTS[name].kind, {})[DRIFTS[name].id] = DRIFTS[name].set
    changes = demo.plan(changed)
    assert changes.code == 2

    (tmp_path / "plan.json").write_text(json.dumps(changes.shown))
    command = [sys.executable, REPO / "infra/drift.py", tmp_path / "plan.json", "--exit-code", str(changes.code)]
    message = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert message["outcome"] == "drifted"
    told = {each["address"]: (each["action"], tuple(each["arguments"])) for each in message["changes"]}
    for drift in map(DRIFTS.__getitem__, names):
        assert told[drift.address] == ("create" if drift.set is None else drift.action, drift.arguments)
        if drift.id != "*":
            assert set(told) == {DRIFTS[name].address for name in names}, "one change is told as one"


def test_a_label_from_others_is_not_drift(demo: Module) -> None:
    """Terraform manages only its own labels; a cost tool may add others."""
    name = f"{IDS}/topics/{RAW}-go"
    assert demo.plan({"google_pubsub_topic": {name: {"effective_labels": {"cost-centre": "42"}}}}).code == 0
