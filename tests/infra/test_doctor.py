"""The doctor requires what Terraform declares: neither changes without the other, and manual changes are found."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load_all
from phasegate.core.installation.finding import Finding, Health
from phasegate.core.pipeline.model import Pipeline
from phasegate.installation.deployment import Installation
from phasegate.installation.examination import Facts, examine
from phasegate.installation.platform import Function, Job, Resource, ResourceKind, Subscription, Table
from phasegate.installation.requirements import (
    TIMEOUTS,
    history_table,
    own_functions,
    wanted_grants,
    wanted_secrets,
    wanted_subscriptions,
)

from tests.cli.test_doctor import FILE
from tests.infra.test_simulated_drift import DRIFTS, Drift
from tests.terraform import DIGEST, REPO, Module

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
Values = Mapping[str, Any]
State = Mapping[str, Mapping[str, Values]]
"""What was applied: by type and address."""

KINDS = (
    "google_pubsub_subscription",
    "google_cloudfunctions2_function",
    "google_cloud_scheduler_job",
    "google_pubsub_topic_iam_binding",
    "google_pubsub_subscription_iam_binding",
    "google_cloud_run_v2_service_iam_binding",
    "google_secret_manager_secret",
    "google_secret_manager_secret_iam_binding",
    "google_bigquery_table",
)
"""Resources that the doctor checks."""


def seconds(text: str) -> float:
    return float(text.removesuffix("s") or 0)


def one(block: list[Values] | None) -> Values:
    return block[0] if block else {}


def last(name: str) -> str:
    return name.rpartition("/")[2]


def subscription(values: Values) -> Subscription:
    push, retry, dead = one(values["push_config"]), values["retry_policy"], one(values["dead_letter_policy"])
    token = one(push.get("oidc_token"))
    return Subscription(
        topic=values["topic"],
        ack_seconds=values["ack_deadline_seconds"],
        never_expires=values["expiration_policy"] == [{"ttl": ""}],
        retention_seconds=seconds(values["message_retention_duration"]),
        endpoint=push.get("push_endpoint") or "",
        audience=token.get("audience") or "",
        account=token.get("service_account_email") or "",
        table=one(values["bigquery_config"]).get("table") or "",
        min_backoff=seconds(one(retry)["minimum_backoff"]) if retry else None,
        max_backoff=seconds(one(retry)["maximum_backoff"]) if retry else None,
        dead_letter_topic=dead.get("dead_letter_topic") or "",
        attempts=dead.get("max_delivery_attempts") or 0,
        ordered=bool(values["enable_message_ordering"]),
        filter=values["filter"] or "",
    )


def function(values: Values) -> Function:
    service = one(values["service_config"])
    return Function(
        region=values["location"],
        state="ACTIVE",
        digest=(values["labels"] or {}).get("digest", ""),
        environment={name: value for name, value in service["environment_variables"].items() if value is not None},
        account=service["service_account_email"],
        timeout_seconds=service["timeout_seconds"],
        ingress=service["ingress_settings"],
        uri=service["uri"],
        retries=None if not values["event_trigger"] else one(values["event_trigger"])["retry_policy"] == "RETRY_POLICY_RETRY",
    )


def job(values: Values) -> Job:
    topic = one(values["pubsub_target"])["topic_name"]
    return Job(
        region=values["region"],
        enabled=not values["paused"],
        schedule=values["schedule"],
        zone=values["time_zone"],
        topic=topic,
    )


def grants(state: State) -> dict[Resource, dict[str, frozenset[str]]]:
    found: dict[Resource, dict[str, frozenset[str]]] = {}
    for kind, resource in (
        ("google_pubsub_topic_iam_binding", lambda v: Resource(ResourceKind.TOPIC, last(v["topic"]))),
        ("google_pubsub_subscription_iam_binding", lambda v: Resource(ResourceKind.SUBSCRIPTION, last(v["subscription"]))),
        ("google_cloud_run_v2_service_iam_binding", lambda v: Resource(ResourceKind.SERVICE, v["name"], v["location"])),
        ("google_secret_manager_secret_iam_binding", lambda v: Resource(ResourceKind.SECRET, last(v["secret_id"]))),
    ):
        for values in state[kind].values():
            found.setdefault(resource(values), {})[values["role"]] = frozenset(values["members"])
    return found


class Installed:
    """An installation as Terraform made it, with the facts that the doctor would read."""

    def __init__(self, module: Module) -> None:
        self.pipelines: tuple[Pipeline, ...] = load_all(Path(module.variables["pipelines"]))
        self.installation = Installation(module.variables["project"], module.variables.get("prefix", "phasegate"))
        self.state: State = {kind: module.resources(kind) for kind in KINDS}

    def facts(self, state: State) -> Facts:
        functions = {values["name"]: function(values) for values in state["google_cloudfunctions2_function"].values()}
        regions = {name: each.region for name, each in own_functions(self.installation, functions).items()}
        granted, wanted = grants(state), wanted_grants(self.pipelines, self.installation, regions)
        secrets = {values["secret_id"] for values in state["google_secret_manager_secret"].values()}
        project, prefix = self.installation.project, self.installation.prefix
        tables = {
            f"{values['project']}.{values['dataset_id']}.{values['table_id']}"
            for values in state["google_bigquery_table"].values()
        }
        history = history_table(self.installation)
        return Facts(
            digest=DIGEST,
            settings={
                "PHASEGATE_BUS": f"pubsub:{project}/{prefix}",
                "PHASEGATE_SECRETS": f"secretmanager:{project}",
                "PHASEGATE_STATE": f"firestore:{project}/{prefix}",
                "PHASEGATE_WAREHOUSE": f"bigquery:{project}",
            },
            subscriptions={v["name"]: subscription(v) for v in state["google_pubsub_subscription"].values()},
            functions=functions,
            jobs={values["name"]: job(values) for values in state["google_cloud_scheduler_job"].values()},
            grants={resource: granted.get(resource, {}) for resource in wanted},
            secrets={name: "" if name in secrets else "it is not there" for name in wanted_secrets(self.pipelines)},
            tables={history: Table({}) if history in tables else None},
        )

    def wrong(self, state: State | None = None) -> list[Finding]:
        """Findings about the platform that are not ok; what only happens at run time, such as a heartbeat, is left out."""
        findings = examine(self.pipelines, self.installation, self.facts(state or self.state), now=NOW)
        others = ("heartbeat", "calendar", "time zones", "destinations")
        return [each for each in findings if each.health is not Health.OK and not each.subject.startswith(others)]


@pytest.fixture(scope="module", params=["demo", "large"])
def installed(request: pytest.FixtureRequest) -> Installed:
    return Installed(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def demo_installed(demo: Module) -> Installed:
    return Installed(demo)


def test_the_doctor_finds_nothing_wrong_with_what_terraform_declares(installed: Installed) -> None:
    assert installed.wrong() == []


def test_the_doctor_checks_every_subscription_function_and_job_that_terraform_declares(installed: Installed) -> None:
    prefix = installed.installation.prefix
    declared = {values["name"] for values in installed.state["google_pubsub_subscription"].values()}
    assert {f"{prefix}-{name}" for name in wanted_subscriptions(installed.pipelines)} == declared
    functions = installed.facts(installed.state).functions
    assert isinstance(functions, dict)
    assert {f"{prefix}-{name.replace('_', '-')}" for name in TIMEOUTS} == functions.keys()
    assert {values["name"] for values in installed.state["google_cloud_scheduler_job"].values()} == {
        f"{prefix}-tick",
        f"{prefix}-drift",
    }


def test_the_doctor_requires_every_grant_that_phasegates_own_accounts_get(installed: Installed) -> None:
    """Grants from `access` belong to others; the drift check's account publishes to its topic, which the doctor does not check."""
    regions = dict.fromkeys(TIMEOUTS, "us-central1")
    wanted = wanted_grants(installed.pipelines, installed.installation, regions)
    own = f"serviceAccount:{installed.installation.prefix}-"
    for resource, roles in grants(installed.state).items():
        given = {(role, member) for role, members in roles.items() for member in members}
        for role, member in given:
            if resource.name.endswith(("-drift", "-drift-check")) or not member.startswith((own, "serviceAccount:service-")):
                continue
            agent = member.partition("@")[2].partition(".")[0]
            assert {(role, member), (role, agent)} & set(wanted[resource]), (resource, role, member)


def merged(values: Any, change: Any) -> Any:
    """Values with a change laid over them; a block is a list of one."""
    if isinstance(values, list) and isinstance(change, dict):
        return [merged(values[0] if values else {}, change)]
    if isinstance(values, dict) and isinstance(change, dict):
        return {**values, **{name: merged(values.get(name), each) for name, each in change.items()}}
    return [] if change is None and isinstance(values, list) else change


def drifted(state: State, drift: Drift) -> State:
    def changed() -> Iterator[tuple[str, Values]]:
        for address, values in state[drift.kind].items():
            if last(values["id"]) != last(drift.id) or not values["id"].endswith(drift.id.removeprefix("demo-project/")):
                yield address, values
            elif drift.set is not None:
                yield address, merged(values, drift.set)

    found = dict(changed())
    assert found != state[drift.kind], "nothing was changed"
    return {**state, drift.kind: found}


FOUND: Mapping[str, str] = {
    "ack deadline back at 10 s": "its ack deadline is 10 s",
    "subscription that expires": "it expires when idle",
    "back-off taken away": "it redelivers",
    "dead letters off": "it dead-letters messages never",
    "five attempts": "after 5 deliveries",
    "another audience": "its token's audience is https://example.com",
    "another endpoint": "it pushes to https://example.com",
    "dead-letter subscription deleted": "it does not exist: messages sent there are lost",
    "environment wiped": "PHASEGATE_BUS is not set",
    "kept warm, with less memory and time": "its timeout is 60 s",
    "open to the world": "it accepts requests from the internet",
    "runs as somebody else": "it runs as x@demo-project",
    "another digest deployed": "it was built from source f00",
    "anybody may call": "it is public: allUsers has a role",
    "publisher removed": "lacks roles/pubsub.publisher",
    "clock paused": "it is paused",
    "clock slower": "its schedule is 0 * * * *",
    "history written elsewhere": "it writes to demo-project.other.history",
}
"""The doctor's message for each drift that it can find; the drift check finds all."""

NOT_CHECKED = {
    "a label lost": "does no harm",
    "go topic keeps nothing": "harms no subscriber",
    "role taken away": "shows as tables that can't be read, once the function needs them",
    "lifetime off": "costs money, loses nothing",
    "index deleted": "shows as failed ticks: no heartbeat",
    "protection off": "is left to the drift check",
    "alert policy disabled": "is left to the drift check",
    "trigger disabled": "shows as an overdue drift check",
    "heartbeats not counted": "is left to the drift check",
}


def test_every_simulated_drift_is_listed_as_found_or_not_by_the_doctor() -> None:
    assert set(FOUND) | set(NOT_CHECKED) == set(DRIFTS)
    assert not set(FOUND) & set(NOT_CHECKED)


@pytest.mark.parametrize("name", FOUND)
def test_the_doctor_finds_a_manual_change_and_its_fix(name: str, demo_installed: Installed) -> None:
    wrong = demo_installed.wrong(drifted(demo_installed.state, DRIFTS[name]))
    assert wrong
    assert any(FOUND[name] in each.message for each in wrong), wrong
    assert all(each.fix for each in wrong)
    assert len({each.subject for each in wrong}) == 1, "one change gives findings on one subject"


def test_a_subscription_that_is_attached_to_another_topic_is_found(demo_installed: Installed) -> None:
    facts = demo_installed.facts(demo_installed.state)
    assert isinstance(facts.subscriptions, dict)
    ticks = replace(facts.subscriptions["phasegate-ticks"], topic="projects/demo-project/topics/other")
    moved = replace(facts, subscriptions={**facts.subscriptions, "phasegate-ticks": ticks})
    findings = examine(demo_installed.pipelines, demo_installed.installation, moved, now=NOW)
    assert [each.subject for each in findings if each.health is Health.WRONG and each.subject.startswith("subscription")] == [
        "subscription phasegate-ticks"
    ]


def test_the_last_step_of_a_deployment_runs_the_doctor_with_the_deployed_settings(tmp_path: Path) -> None:
    """As `make deploy` and Cloud Build run it, here against an installation on this machine."""
    (tmp_path / "infra").mkdir()
    shutil.copy(REPO / "infra/deploy.sh", tmp_path / "infra")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/phasegate").symlink_to(Path(sys.executable).parent / "phasegate")
    (tmp_path / "shared/pipelines").mkdir(parents=True)
    (tmp_path / "shared/pipelines/shop.yaml").write_text(FILE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    (tmp_path / "tables/raw/orders.csv").write_text("day,id\n2026-01-01,1\n")
    settings = {
        "PHASEGATE_PIPELINES": "shared/pipelines",
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    SQLiteStore(str(tmp_path / "state.sqlite"))  # the doctor only reads, and never creates a state
    (tmp_path / ".phasegate/deploy").mkdir(parents=True)
    (tmp_path / ".phasegate/deploy/settings.json").write_text(json.dumps(settings))
    environ = {**os.environ, "PROJECT": "some-project", "WAIT": "1s"}
    command = ["sh", str(tmp_path / "infra/deploy.sh"), "doctor"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "wrong          heartbeat" in done.stdout
    assert "● ok             table raw.orders" in done.stdout
