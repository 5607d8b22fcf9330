"""The doctor's findings on an installation with one fault: that fault, and the command that fixes it."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from phasegate.core.checks.kinds import Coverage, NotNull, References, SchemaCheck
from phasegate.core.installation.finding import Finding, Health, NotChecked
from phasegate.core.pipeline.model import (
    Alerts,
    Calendar,
    Destination,
    DestinationKind,
    Expected,
    Mail,
    Output,
    Phase,
    Pipeline,
    Retry,
    Route,
)
from phasegate.installation.deployment import Installation
from phasegate.installation.examination import Facts, _table_faults, examine
from phasegate.installation.platform import Function, Job, Resource, ResourceKind, Subscription, Table
from phasegate.installation.requirements import (
    EVENT_FUNCTIONS,
    TIMEOUTS,
    history_table,
    wanted_columns,
    wanted_grants,
    wanted_secrets,
    wanted_subscriptions,
    watched_datasets,
)

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
OURS = Installation("some-project", "acme")
DIGEST = "0123456789abcdef" * 4
REGION = "europe-west1"
CHAT = Destination(kind=DestinationKind.SLACK, webhook="secret://chat")
SHOP = Pipeline(
    pipeline="shop",
    timezone="Europe/Berlin",
    calendar=Calendar(from_=date(2026, 1, 1), expected=Expected(table="raw.stores", date="day", count="store")),
    phases={
        "raw": Phase(
            retry=Retry(),
            outputs={
                "raw.orders": Output(
                    date="day",
                    key=("day", "id"),
                    checks=(SchemaCheck(columns={"amount": "numeric"}), References(columns=("item",), table="raw.items", to=("id",))),
                )
            },
        ),
        "clean": Phase(
            after=("raw",),
            outputs={"clean.orders": Output(date="day", checks=(NotNull(columns=("id",)), Coverage(of="raw.orders", key=("id",))))},
        ),
    },
    alerts=Alerts(destinations={"chat": CHAT}, routes=(Route(to=("chat",)),)),
)  # fmt: skip
PUBSUB = "serviceAccount:service-42@gcp-sa-pubsub.iam.gserviceaccount.com"
SCHEDULER = "serviceAccount:service-42@gcp-sa-cloudscheduler.iam.gserviceaccount.com"
TOPICS = "projects/some-project/topics"


def uri(name: str) -> str:
    return f"https://acme-{name.replace('_', '-')}-xyz.a.run.app"


def subscription(name: str) -> Subscription:
    wanted = wanted_subscriptions([SHOP])[name]
    push = {"endpoint": uri(wanted.function), "audience": uri(wanted.function), "account": f"acme-push@{ACCOUNTS}"}
    given_up = {"dead_letter_topic": f"{TOPICS}/acme-{wanted.dead_letter}", "attempts": 20} if wanted.dead_letter else {}
    return Subscription(
        topic=f"{TOPICS}/acme-{wanted.topic}",
        ack_seconds=600,
        never_expires=True,
        retention_seconds=7 * 86_400 if wanted.dead_letter else 31 * 86_400,
        min_backoff=10.0,
        max_backoff=600.0,
        ordered=wanted.ordered,
        **(push if wanted.function else {"table": history_table(OURS)}),
        **given_up,
    )


ACCOUNTS = "some-project.iam.gserviceaccount.com"
SETTINGS = {"PHASEGATE_BUS": "pubsub:some-project/acme", "PHASEGATE_STATE": "firestore:some-project/acme"}


def function(name: str) -> Function:
    return Function(
        region=REGION,
        state="ACTIVE",
        digest=DIGEST[:16],
        environment={
            **SETTINGS,
            "PHASEGATE_DIGEST": DIGEST,
            "PHASEGATE_PIPELINES": "shared/pipelines",
            "LOG_EXECUTION_ID": "true",
        },
        account=f"acme-{name.replace('_', '-')}@{ACCOUNTS}",
        timeout_seconds=TIMEOUTS[name],
        ingress="ALLOW_INTERNAL_ONLY" if name in EVENT_FUNCTIONS else "ALLOW_ALL",
        uri=uri(name),
        revision=f"{name}-00007-abc",
        serving=f"{name}-00007-abc",
    )


def granted(role: str, member: str) -> dict[str, frozenset[str]]:
    agents = {"gcp-sa-pubsub": PUBSUB, "gcp-sa-cloudscheduler": SCHEDULER}
    return {role: frozenset({agents.get(member, member)})}


def healthy() -> Facts:
    """An installation without faults."""
    grants: dict[Resource, Any] = {}
    for resource, pairs in wanted_grants([SHOP], OURS, dict.fromkeys(TIMEOUTS, REGION)).items():
        grants[resource] = {}
        for role, member in pairs:
            grants[resource][role] = grants[resource].get(role, frozenset()) | granted(role, member)[role]
    types = {column: declared or "STRING" for columns in wanted_columns(SHOP).values() for column, declared in columns.items()}
    return Facts(
        digest=DIGEST,
        settings=SETTINGS,
        subscriptions={f"acme-{name}": subscription(name) for name in wanted_subscriptions([SHOP])},
        functions={f"acme-{name.replace('_', '-')}": function(name) for name in TIMEOUTS},
        jobs={
            "acme-tick": Job(region=REGION, enabled=True, schedule="* * * * *", zone="Etc/UTC", topic=f"{TOPICS}/acme-ticks"),
            "acme-drift": Job(
                region=REGION, enabled=True, schedule="17 * * * *", zone="Etc/UTC", topic=f"{TOPICS}/acme-drift-check"
            ),
        },
        grants=grants,
        secrets={"chat": ""},
        tables={
            **{name: Table(types, SHOP.date_columns.get(name, "")) for name in wanted_columns(SHOP)},
            history_table(OURS): Table({}, "decided_at"),
        },
        datasets={"raw": ["raw.orders", "raw.items", "raw.stores"], "clean": ["clean.orders"]},
        zones=("the package tzdata", "2025.2"),
        platform_time=(NOW, NOW + timedelta(seconds=2)),
        last_tick=NOW - timedelta(minutes=1),
        last_drift_check=NOW - timedelta(minutes=50),
        down_destinations={},
    )


def found(facts: Facts, pipeline: Pipeline = SHOP) -> list[Finding]:
    """The findings that are not ok."""
    return [each for each in examine([pipeline], OURS, facts, now=NOW) if each.health is not Health.OK]


def test_without_faults_every_finding_is_ok_and_has_no_fix() -> None:
    findings = examine([SHOP], OURS, healthy(), now=NOW)
    assert {(each.health, each.fix) for each in findings} == {(Health.OK, "")}
    assert all(each.message for each in findings)
    kinds = {each.subject.split(" ")[0] for each in findings}
    assert kinds == {"function", "subscription", "scheduler", "grants", "secret", "destinations", "table", "dataset", "calendar",
                     "time", "clock", "heartbeat", "drift"}  # fmt: skip


UPDATE = "gcloud pubsub subscriptions update acme-ticks"
DEPLOY = "make deploy PROJECT=some-project PREFIX=acme"


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"ack_seconds": 10}, "its ack deadline is 10 s, not 600 s", f"{UPDATE} --ack-deadline=600"),
        ({"never_expires": False}, "it expires when idle", f"{UPDATE} --expiration-period=never"),
        (
            {"retention_seconds": 600.0},
            "retains messages for 0.00694444 days, not 7",
            f"{UPDATE} --message-retention-duration=7d",
        ),
        ({"min_backoff": None, "max_backoff": None}, "redelivers immediately", "--min-retry-delay=10s --max-retry-delay=600s"),
        ({"max_backoff": 60.0}, "redelivers after 10 s to 60 s, not after 10 s to 600 s", "--max-retry-delay=600s"),
        ({"attempts": 5}, "dead-letters messages after 5 deliveries", "--max-delivery-attempts=20"),
        ({"dead_letter_topic": "", "attempts": 0}, "it dead-letters messages never", f"--dead-letter-topic={TOPICS}/acme-dead"),
        (
            {"dead_letter_topic": f"{TOPICS}/other"},
            "to projects/some-project/topics/other",
            f"--dead-letter-topic={TOPICS}/acme-dead",
        ),
        ({"topic": "_deleted-topic_"}, "it is attached to _deleted-topic_", DEPLOY),
        ({"topic": f"{TOPICS}/other"}, "it is attached to projects/some-project/topics/other", DEPLOY),
        ({"filter": 'attributes.x = "y"'}, "its filter drops what does not match", DEPLOY),
        ({"endpoint": ""}, "it has no push endpoint", f"--push-endpoint={uri('watch')}"),
        (
            {"endpoint": "https://example.com"},
            "it pushes to https://example.com, not to watch",
            f"--push-endpoint={uri('watch')}",
        ),
        ({"audience": ""}, "its token's audience is (none)", f"--push-auth-token-audience={uri('watch')}"),
        ({"audience": "https://example.com"}, "its token's audience is https://example.com", "--push-auth-token-audience="),
        ({"account": ""}, "its push account is (none)", f"--push-auth-service-account=acme-push@{ACCOUNTS}"),
    ],
)
def test_each_fault_of_a_subscription_is_found_with_its_fix(changes: dict[str, Any], message: str, fix: str) -> None:
    facts = healthy()
    facts = replace(
        facts,
        subscriptions={**facts.subscriptions, "acme-ticks": replace(subscription("ticks"), **changes)},  # type: ignore[dict-item]
    )
    (wrong,) = found(facts)
    assert (wrong.subject, wrong.health) == ("subscription acme-ticks", Health.WRONG)
    assert message in wrong.message
    assert fix in wrong.fix
    assert "acme-ticks" in wrong.fix or wrong.fix == DEPLOY
    assert wrong.fix.endswith("--project=some-project") or wrong.fix == DEPLOY


def test_a_missing_subscription_is_found_and_a_dead_letter_one_loses_messages() -> None:
    facts = healthy()
    assert isinstance(facts.subscriptions, dict)
    left = {name: each for name, each in facts.subscriptions.items() if name not in ("acme-shop-raw-dead", "acme-alerts")}
    wrong = {each.subject: (each.message, each.fix) for each in found(replace(facts, subscriptions=left))}
    assert wrong == {
        "subscription acme-shop-raw-dead": ("it does not exist: messages sent there are lost", DEPLOY),
        "subscription acme-alerts": ("it does not exist: its function gets no messages", DEPLOY),
    }


def test_completions_may_come_from_an_existing_topic() -> None:
    facts = healthy()
    elsewhere = {
        "acme-shop-raw-complete": replace(subscription("shop-raw-complete"), topic="projects/other/topics/done"),
        "acme-builds": replace(subscription("builds"), topic=f"{TOPICS}/cloud-builds"),
    }
    assert found(replace(facts, subscriptions={**facts.subscriptions, **elsewhere})) == []  # type: ignore[dict-item]


def test_alerts_must_be_ordered_and_dead_letters_never_given_up() -> None:
    facts = healthy()
    changed = {
        "acme-alerts": replace(subscription("alerts"), ordered=False),
        "acme-dead": replace(subscription("dead"), dead_letter_topic=f"{TOPICS}/x", attempts=20),
        "acme-history": replace(subscription("history"), table="some-project.other.history"),
    }
    wrong = {each.subject: each.message for each in found(replace(facts, subscriptions={**facts.subscriptions, **changed}))}  # type: ignore[dict-item]
    assert wrong == {
        "subscription acme-alerts": "message ordering is off: a recovery may arrive before its alert",
        "subscription acme-dead": f"it dead-letters messages to {TOPICS}/x, where nothing reads them",
        "subscription acme-history": "it writes to some-project.other.history, not some-project.acme.history",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "FAILED"}, "its state is FAILED"),
        ({"digest": "f" * 16}, "it was built from source ffffffffffffffff, not 0123456789abcdef"),
        ({"digest": ""}, "it was built from source (none named)"),
        ({"environment": {}}, "PHASEGATE_STATE is not set, not firestore:some-project/acme"),
        ({"environment": {**function("watch").environment, "PHASEGATE_DIGEST": "f" * 64}}, "PHASEGATE_DIGEST is source ffff"),
        ({"environment": {**function("watch").environment, "PHASEGATE_BUS": "local:"}}, "PHASEGATE_BUS is local:"),
        ({"account": "42-compute@developer.gserviceaccount.com"}, "it runs as 42-compute@developer"),
        ({"timeout_seconds": 60}, "its timeout is 60 s, not 540 s; Pub/Sub waits 600 s"),
        ({"ingress": "ALLOW_ALL"}, "it accepts requests from the internet"),
        ({"retries": False}, "its own trigger does not retry"),
        ({"serving": "watch-00008-xyz"}, "revision watch-00008-xyz serves requests, not watch-00007-abc"),
    ],
)
def test_each_fault_of_a_function_is_found(changes: dict[str, Any], message: str) -> None:
    facts = healthy()
    wrong = found(replace(facts, functions={**facts.functions, "acme-watch": replace(function("watch"), **changes)}))  # type: ignore[dict-item]
    assert {(each.subject, each.health, each.fix) for each in wrong} == {("function acme-watch", Health.WRONG, DEPLOY)}
    assert any(message in each.message for each in wrong)


def test_without_a_known_digest_a_functions_label_and_environment_must_still_agree() -> None:
    facts = replace(healthy(), digest="")
    assert found(facts) == []
    other = replace(function("watch"), digest="f" * 16)
    (wrong,) = found(replace(facts, functions={**facts.functions, "acme-watch": other}))  # type: ignore[dict-item]
    assert "PHASEGATE_DIGEST is source 0123456789abcdef, not ffffffffffffffff" in wrong.message


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"enabled": False}, "it is paused", "gcloud scheduler jobs resume acme-tick --location=europe-west1"),
        ({"schedule": "0 * * * *"}, "its schedule is 0 * * * *", "'--schedule=* * * * *' --time-zone=Etc/UTC"),
        ({"zone": "America/New_York"}, "its time zone is America/New_York", "--time-zone=Etc/UTC"),
        ({"topic": f"{TOPICS}/x"}, "it publishes to projects/some-project/topics/x", DEPLOY),
        (
            {"failed": "PERMISSION_DENIED"},
            "its last attempt failed: PERMISSION_DENIED",
            "gcloud scheduler jobs describe acme-tick",
        ),
    ],
)
def test_each_fault_of_the_tick_job_is_found(changes: dict[str, Any], message: str, fix: str) -> None:
    facts = healthy()
    assert isinstance(facts.jobs, dict)
    (wrong,) = found(replace(facts, jobs={**facts.jobs, "acme-tick": replace(facts.jobs["acme-tick"], **changes)}))
    assert (wrong.subject, message in wrong.message, fix in wrong.fix) == ("scheduler job acme-tick", True, True), wrong


def test_the_tick_job_is_required_and_the_drift_job_is_not() -> None:
    (wrong,) = found(replace(healthy(), jobs={}))
    assert (wrong.subject, wrong.fix) == ("scheduler job acme-tick", DEPLOY)


@pytest.mark.parametrize(
    ("resource", "message", "fix"),
    [
        (Resource(ResourceKind.SUBSCRIPTION, "acme-ticks"), "the agent gcp-sa-pubsub lacks roles/pubsub.subscriber",
         "gcloud pubsub subscriptions add-iam-policy-binding acme-ticks --role=roles/pubsub.subscriber --project=some-project "
         '--member="serviceAccount:service-$(gcloud projects describe some-project --format='
         "'value(projectNumber)')@gcp-sa-pubsub.iam.gserviceaccount.com\""),
        (Resource(ResourceKind.TOPIC, "acme-shop-raw-dead"), "the agent gcp-sa-pubsub lacks roles/pubsub.publisher",
         "gcloud pubsub topics add-iam-policy-binding acme-shop-raw-dead --role=roles/pubsub.publisher"),
        (Resource(ResourceKind.TOPIC, "acme-ticks"), "the agent gcp-sa-cloudscheduler lacks roles/pubsub.publisher", "acme-ticks"),
        (Resource(ResourceKind.SERVICE, "acme-watch", REGION), f"acme-push@{ACCOUNTS} lacks roles/run.invoker",
         "gcloud run services add-iam-policy-binding acme-watch --region=europe-west1 --role=roles/run.invoker"),
        (Resource(ResourceKind.SECRET, "chat"), f"acme-acknowledge@{ACCOUNTS} lacks roles/secretmanager.secretAccessor",
         "gcloud secrets add-iam-policy-binding chat"),
    ],
)  # fmt: skip
def test_each_missing_grant_is_found_with_the_command_that_adds_it(resource: Resource, message: str, fix: str) -> None:
    facts = healthy()
    wrong, *others = found(replace(facts, grants={**facts.grants, resource: {}}))
    assert (wrong.health, wrong.message) == (Health.WRONG, message)
    assert fix in wrong.fix
    assert len(others) == 2 * (resource.kind is ResourceKind.SECRET), "alert_dispatch and watch read it, too"


def test_the_agent_of_another_service_does_not_count() -> None:
    facts, resource = healthy(), Resource(ResourceKind.SUBSCRIPTION, "acme-ticks")
    for member in (
        SCHEDULER,
        "serviceAccount:service-x@gcp-sa-pubsub.iam.gserviceaccount.com",
        "user:service-42@gcp-sa-pubsub",
    ):
        grants = {"roles/pubsub.subscriber": frozenset({member})}
        assert found(replace(facts, grants={**facts.grants, resource: grants}))


@pytest.mark.parametrize("everybody", ["allUsers", "allAuthenticatedUsers"])
def test_public_access_is_found(everybody: str) -> None:
    facts, resource = healthy(), Resource(ResourceKind.SERVICE, "acme-watch", REGION)
    open_to_all = {"roles/run.invoker": frozenset({everybody, f"serviceAccount:acme-push@{ACCOUNTS}"})}
    (wrong,) = found(replace(facts, grants={**facts.grants, resource: open_to_all}))
    assert wrong.message == f"it is public: {everybody} has a role"


def test_wanted_secrets_are_those_of_destinations_and_of_the_mail_server() -> None:
    mail = Mail(host="smtp.example.com", user="u", password="secret://smtp", from_="a@example.com")  # noqa: S106
    hook = Destination(kind=DestinationKind.WEBHOOK, webhook="secret://hook", signing_key="secret://key")
    alerts = Alerts(destinations={"chat": CHAT, "hook": hook}, routes=(Route(to=("chat",)),), mail=mail)
    assert wanted_secrets([replace(SHOP, alerts=alerts), SHOP]) == ("chat", "hook", "key", "smtp")


def test_a_secret_without_a_version_is_found() -> None:
    (wrong,) = found(replace(healthy(), secrets={"chat": "it has no enabled version"}))
    assert (wrong.message, wrong.fix) == (
        "it has no enabled version",
        "gcloud secrets versions add chat --data-file=- --project=some-project",
    )


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        (Alerts(), "no alert is sent: there are no routes"),
        (Alerts(destinations={"chat": CHAT}), "no alert is sent: there are no routes"),
        (
            Alerts(destinations={"screen": Destination(kind=DestinationKind.CONSOLE)}, routes=(Route(to=("screen",)),)),
            "alerts go only to screen: a screen or folder that nobody sees in the cloud",
        ),
    ],
)
def test_alerts_need_a_route_to_somewhere_people_look(alerts: Alerts, message: str) -> None:
    wrong = found(healthy(), replace(SHOP, alerts=alerts))
    assert [(each.subject, each.message) for each in wrong] == [("destinations of shop", message)]


def test_on_one_machine_a_console_destination_is_enough() -> None:
    alerts = Alerts(destinations={"screen": Destination(kind=DestinationKind.CONSOLE)}, routes=(Route(to=("screen",)),))
    here = replace(healthy(), subscriptions=None, functions=None, jobs=None, grants={}, secrets={}, platform_time=None)
    assert found(here, replace(SHOP, alerts=alerts)) == []


def test_a_destination_that_is_down_is_found() -> None:
    (wrong,) = found(replace(healthy(), down_destinations={"shop/chat": "404 not found", "other/chat": "not ours"}))
    assert (wrong.message, wrong.fix) == ("chat is down: 404 not found", "phasegate alerts test")


def test_tables_need_the_columns_types_and_partition_of_the_pipeline_file() -> None:
    assert wanted_columns(SHOP) == {
        "raw.orders": {"day": "DATE", "id": "", "amount": "NUMERIC", "item": ""},
        "raw.items": {"id": ""},
        "raw.stores": {"day": "DATE", "store": ""},
        "clean.orders": {"day": "DATE", "id": ""},
    }
    facts = healthy()
    changed = {
        "raw.orders": Table({"day": "DATE", "id": "STRING", "amount": "FLOAT64", "item": "STRING"}, "loaded_at"),
        "clean.orders": Table({"day": "TIMESTAMP"}, ""),
        "raw.items": None,
    }
    wrong = [(each.subject, each.message) for each in found(replace(facts, tables={**facts.tables, **changed}))]
    assert wrong == [
        ("table raw.orders", "column amount is FLOAT64, not NUMERIC"),
        ("table raw.orders", "it is partitioned by loaded_at: checking one date reads, and bills, the whole table"),
        ("table clean.orders", "column day is TIMESTAMP, not DATE"),
        ("table clean.orders", "column id is missing"),
        ("table clean.orders", "it is not partitioned: checking one date reads, and bills, the whole table"),
        ("table raw.items", "it does not exist, but checks read it"),
    ]


def test_a_missing_history_table_is_found() -> None:
    facts = healthy()
    (wrong,) = found(replace(facts, tables={**facts.tables, history_table(OURS): None}))
    assert (wrong.subject, wrong.fix) == ("table some-project.acme.history", DEPLOY)


def test_an_unnamed_table_is_found_unless_it_is_listed_as_unwatched() -> None:
    facts = healthy()
    more = [*facts.datasets["raw"], "raw.tmp_1", "raw.new"]  # type: ignore[misc]
    facts = replace(facts, datasets={**facts.datasets, "raw": more})
    (wrong,) = found(facts)
    assert (wrong.subject, wrong.message) == ("dataset raw", "no pipeline file names raw.tmp_1, raw.new")
    assert found(facts, replace(SHOP, unwatched=("raw.tmp_*", "raw.new"))) == []
    assert watched_datasets([SHOP]) == ("raw", "clean")


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (date(2026, 2, 28), "it ended on 2026-02-28: later dates are not watched"),
        (date(2026, 3, 31), "it ends on 2026-03-31: later dates are not watched"),
        (date(2026, 4, 1), ""),
        (None, ""),
    ],
)
def test_the_calendar_must_reach_thirty_days_ahead(last: date | None, message: str) -> None:
    wrong = found(healthy(), replace(SHOP, calendar=replace(SHOP.calendar, to=last)))
    assert [each.message for each in wrong] == ([message] if message else [])


@pytest.mark.parametrize(
    ("version", "health"), [("2025b", Health.OK), ("2024.1", Health.OK), ("2023c", Health.WRONG), ("", Health.NOT_CHECKED)]
)
def test_old_time_zone_rules_are_found(version: str, health: Health) -> None:
    findings = examine([SHOP], OURS, replace(healthy(), zones=("/usr/share/zoneinfo", version)), now=NOW)
    assert [each.health for each in findings if each.subject.startswith("time zones")] == [health]


def test_a_wrong_clock_is_found() -> None:
    (wrong,) = found(replace(healthy(), platform_time=(NOW + timedelta(seconds=75), NOW)))
    assert wrong.message == "it is 75 s off the platform's"
    here = replace(healthy(), platform_time=None, last_tick=NOW + timedelta(hours=1))
    assert [each.message for each in found(here)] == ["the last tick is 1:00:00 in the future"]


def test_a_stopped_scheduler_is_found() -> None:
    for last_tick in (None, NOW - timedelta(minutes=6)):
        (wrong,) = found(replace(healthy(), last_tick=last_tick))
        assert (wrong.subject, wrong.fix) == (
            "heartbeat",
            "gcloud scheduler jobs run acme-tick --location=europe-west1 --project=some-project",
        )
        (here,) = found(replace(healthy(), functions=None, last_tick=last_tick))
        assert here.fix == "phasegate serve"


def test_a_history_that_is_not_adopted_is_ok_and_comes_with_the_command() -> None:
    unadopted = replace(healthy(), unadopted={"shop": date(2026, 3, 1)})
    (hint,) = [each for each in examine([SHOP], OURS, unadopted, now=NOW) if each.fix]
    assert hint == Finding(
        "history of shop",
        Health.OK,
        "run dates of shop before 2026-03-01 are not watched: nothing is reported about them until a job reports one",
        "phasegate adopt --pipeline shop",
    )
    adopted = replace(healthy(), unadopted={"shop": None})
    assert not [each for each in examine([SHOP], OURS, adopted, now=NOW) if each.subject.startswith("history")]


def test_an_overdue_drift_check_is_found_and_a_missing_one_is_not() -> None:
    assert found(replace(healthy(), last_drift_check=None)) == []
    (wrong,) = found(replace(healthy(), last_drift_check=NOW - timedelta(hours=4)))
    assert (wrong.subject, "it last ran at 2026-03-02 04:00" in wrong.message) == ("drift check", True)


def test_what_could_not_be_read_is_never_ok() -> None:
    """One thing after the other can't be read: each leaves a finding with the reason, and none that says ok."""
    facts, none = healthy(), NotChecked("403 no right")
    blind = [
        (replace(facts, subscriptions=none), "subscription"),
        (replace(facts, functions=none), "function"),
        (replace(facts, jobs=none), "scheduler"),
        (replace(facts, grants=dict.fromkeys(facts.grants, none)), "grants"),
        (replace(facts, secrets={"chat": none}), "secret"),
        (replace(facts, tables=dict.fromkeys(facts.tables, none)), "table"),
        (replace(facts, datasets=dict.fromkeys(facts.datasets, none)), "dataset"),
        (replace(facts, platform_time=none), "clock"),
        (replace(facts, last_tick=none), "heartbeat"),
        (replace(facts, last_drift_check=none), "drift check"),
        (replace(facts, down_destinations=none), "destinations"),
        (replace(facts, unadopted={"shop": none}), "history"),
    ]
    for seen, subject in blind:
        findings = [each for each in examine([SHOP], OURS, seen, now=NOW) if each.subject.startswith(subject)]
        assert findings, subject
        assert {(each.health, each.message) for each in findings} == {(Health.NOT_CHECKED, "403 no right")}, subject


def test_an_installation_on_one_machine_has_no_findings_about_the_platform() -> None:
    here = replace(healthy(), subscriptions=None, functions=None, jobs=None, grants={}, secrets={}, platform_time=None)
    kinds = {each.subject.split(" ")[0] for each in examine([SHOP], OURS, here, now=NOW)}
    assert not kinds & {"function", "subscription", "scheduler", "grants", "secret"}


def test_a_table_partitioned_by_ingestion_time_is_right_for_its_pseudo_column() -> None:
    by_ingestion = replace(SHOP.phases["raw"].outputs["raw.orders"], date="_PARTITIONDATE", key=(), checks=())
    raw = replace(SHOP.phases["raw"], outputs={"raw.orders": by_ingestion})
    pipeline = replace(SHOP, phases={"raw": raw})
    columns = {"_PARTITIONDATE": "DATE"}
    assert list(_table_faults(pipeline, "raw.orders", columns, Table({"id": "INT64"}, "_PARTITIONTIME"))) == []
    (missing, *_) = _table_faults(pipeline, "raw.orders", columns, Table({"id": "INT64"}, "day"))
    assert missing[0] == "column _PARTITIONDATE is missing"
