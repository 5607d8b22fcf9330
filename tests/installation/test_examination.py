"""What the doctor says of an installation in which one thing is wrong: that thing, and the command that mends it."""

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
from phasegate.installation.examination import (
    EVENT_FUNCTIONS,
    TIMEOUTS,
    Facts,
    datasets,
    examine,
    history_table,
    wanted_columns,
    wanted_grants,
    wanted_secrets,
    wanted_subscriptions,
)
from phasegate.installation.platform import Function, Job, Resource, ResourceKind, Subscription, Table

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
    given_up = {"dead_topic": f"{TOPICS}/acme-{wanted.dead}", "attempts": 20} if wanted.dead else {}
    return Subscription(
        topic=f"{TOPICS}/acme-{wanted.topic}",
        ack_seconds=600,
        never_expires=True,
        kept_seconds=7 * 86_400 if wanted.dead else 31 * 86_400,
        least_wait=10.0,
        longest_wait=600.0,
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
    """An installation in which all is well."""
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
        beat=NOW - timedelta(minutes=1),
        compared=NOW - timedelta(minutes=50),
        down={},
    )


def found(facts: Facts, pipeline: Pipeline = SHOP) -> list[Finding]:
    """What is not as it should be."""
    return [each for each in examine([pipeline], OURS, facts, now=NOW) if each.health is not Health.OK]


def test_where_all_is_well_every_row_says_so_and_none_mends_anything() -> None:
    findings = examine([SHOP], OURS, healthy(), now=NOW)
    assert {(each.health, each.fix) for each in findings} == {(Health.OK, "")}
    assert all(each.message for each in findings)
    kinds = {each.subject.split(" ")[0] for each in findings}
    assert kinds == {"function", "subscription", "scheduler", "grants", "secret", "destinations", "table", "dataset", "calendar",
                     "time", "clock", "heartbeat", "check"}  # fmt: skip


UPDATE = "gcloud pubsub subscriptions update acme-ticks"
DEPLOY = "make deploy PROJECT=some-project PREFIX=acme"


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"ack_seconds": 10}, "it waits 10 s for an answer, not 600 s", f"{UPDATE} --ack-deadline=600"),
        ({"never_expires": False}, "it expires when it is idle", f"{UPDATE} --expiration-period=never"),
        ({"kept_seconds": 600.0}, "keeps messages for 0.00694444 days, not 7", f"{UPDATE} --message-retention-duration=7d"),
        ({"least_wait": None, "longest_wait": None}, "delivers again at once", "--min-retry-delay=10s --max-retry-delay=600s"),
        ({"longest_wait": 60.0}, "again after 10 s to 60 s, not after 10 s to 600 s", "--max-retry-delay=600s"),
        ({"attempts": 5}, "gives a message up after 5 deliveries", "--max-delivery-attempts=20"),
        ({"dead_topic": "", "attempts": 0}, "gives a message up never", f"--dead-letter-topic={TOPICS}/acme-dead"),
        ({"dead_topic": f"{TOPICS}/other"}, "to projects/some-project/topics/other", f"--dead-letter-topic={TOPICS}/acme-dead"),
        ({"topic": "_deleted-topic_"}, "it listens to _deleted-topic_", DEPLOY),
        ({"topic": f"{TOPICS}/other"}, "it listens to projects/some-project/topics/other", DEPLOY),
        ({"filtered": 'attributes.x = "y"'}, "it leaves out what does not match", DEPLOY),
        ({"endpoint": ""}, "it pushes to nobody", f"--push-endpoint={uri('watch')}"),
        (
            {"endpoint": "https://example.com"},
            "it pushes to https://example.com, not to watch",
            f"--push-endpoint={uri('watch')}",
        ),
        ({"audience": ""}, "its token is for nobody", f"--push-auth-token-audience={uri('watch')}"),
        ({"audience": "https://example.com"}, "its token is for https://example.com", "--push-auth-token-audience="),
        ({"account": ""}, "it calls as nobody", f"--push-auth-service-account=acme-push@{ACCOUNTS}"),
    ],
)
def test_each_trap_of_a_subscription_is_told_with_what_mends_it(changes: dict[str, Any], message: str, fix: str) -> None:
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


def test_a_subscription_that_is_gone_is_told_and_more_so_one_of_dead_letters() -> None:
    facts = healthy()
    assert isinstance(facts.subscriptions, dict)
    left = {name: each for name, each in facts.subscriptions.items() if name not in ("acme-shop-raw-dead", "acme-alerts")}
    wrong = {each.subject: (each.message, each.fix) for each in found(replace(facts, subscriptions=left))}
    assert wrong == {
        "subscription acme-shop-raw-dead": ("it is not there: what arrives there is lost", DEPLOY),
        "subscription acme-alerts": ("it is not there: its messages reach nobody", DEPLOY),
    }


def test_completions_may_come_from_a_topic_that_was_there_before() -> None:
    facts = healthy()
    elsewhere = {
        "acme-shop-raw-complete": replace(subscription("shop-raw-complete"), topic="projects/other/topics/done"),
        "acme-builds": replace(subscription("builds"), topic=f"{TOPICS}/cloud-builds"),
    }
    assert found(replace(facts, subscriptions={**facts.subscriptions, **elsewhere})) == []  # type: ignore[dict-item]


def test_alerts_must_keep_their_order_and_dead_letters_are_never_given_up() -> None:
    facts = healthy()
    changed = {
        "acme-alerts": replace(subscription("alerts"), ordered=False),
        "acme-dead": replace(subscription("dead"), dead_topic=f"{TOPICS}/x", attempts=20),
        "acme-history": replace(subscription("history"), table="some-project.other.history"),
    }
    wrong = {each.subject: each.message for each in found(replace(facts, subscriptions={**facts.subscriptions, **changed}))}  # type: ignore[dict-item]
    assert wrong == {
        "subscription acme-alerts": "it does not keep the order: a recovery may overtake its alarm",
        "subscription acme-dead": f"it gives a message up to {TOPICS}/x; nothing stands behind it",
        "subscription acme-history": "it writes into some-project.other.history, not some-project.acme.history",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "FAILED"}, "its state is FAILED"),
        ({"digest": "f" * 16}, "it was made from source ffffffffffffffff, not 0123456789abcdef"),
        ({"digest": ""}, "it was made from source (none named)"),
        ({"environment": {}}, "PHASEGATE_STATE is not set, not firestore:some-project/acme"),
        ({"environment": {**function("watch").environment, "PHASEGATE_DIGEST": "f" * 64}}, "it says that it runs source ffff"),
        ({"environment": {**function("watch").environment, "PHASEGATE_BUS": "local:"}}, "PHASEGATE_BUS is local:"),
        ({"account": "42-compute@developer.gserviceaccount.com"}, "it runs as 42-compute@developer"),
        ({"timeout_seconds": 60}, "it may take 60 s, not 540 s; Pub/Sub waits 600 s"),
        ({"ingress": "ALLOW_ALL"}, "it can be reached from outside"),
        ({"retries": False}, "its own trigger does not retry"),
        ({"serving": "watch-00008-xyz"}, "revision watch-00008-xyz answers, not watch-00007-abc"),
    ],
)
def test_each_trap_of_a_function_is_told(changes: dict[str, Any], message: str) -> None:
    facts = healthy()
    wrong = found(replace(facts, functions={**facts.functions, "acme-watch": replace(function("watch"), **changes)}))  # type: ignore[dict-item]
    assert {(each.subject, each.health, each.fix) for each in wrong} == {("function acme-watch", Health.WRONG, DEPLOY)}
    assert any(message in each.message for each in wrong)


def test_without_a_digest_to_compare_with_functions_must_still_agree_with_themselves() -> None:
    facts = replace(healthy(), digest="")
    assert found(facts) == []
    other = replace(function("watch"), digest="f" * 16)
    (wrong,) = found(replace(facts, functions={**facts.functions, "acme-watch": other}))  # type: ignore[dict-item]
    assert "it says that it runs source 0123456789abcdef, not ffffffffffffffff" in wrong.message


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"enabled": False}, "it is paused", "gcloud scheduler jobs resume acme-tick --location=europe-west1"),
        ({"schedule": "0 * * * *"}, "its schedule is 0 * * * *", "'--schedule=* * * * *' --time-zone=Etc/UTC"),
        ({"zone": "America/New_York"}, "its zone is America/New_York", "--time-zone=Etc/UTC"),
        ({"topic": f"{TOPICS}/x"}, "it publishes to projects/some-project/topics/x", DEPLOY),
        (
            {"failed": "PERMISSION_DENIED"},
            "its last attempt failed: PERMISSION_DENIED",
            "gcloud scheduler jobs describe acme-tick",
        ),
    ],
)
def test_each_trap_of_the_clock_is_told(changes: dict[str, Any], message: str, fix: str) -> None:
    facts = healthy()
    assert isinstance(facts.jobs, dict)
    (wrong,) = found(replace(facts, jobs={**facts.jobs, "acme-tick": replace(facts.jobs["acme-tick"], **changes)}))
    assert (wrong.subject, message in wrong.message, fix in wrong.fix) == ("scheduler job acme-tick", True, True), wrong


def test_the_clock_must_be_there_and_the_check_for_drift_need_not() -> None:
    (wrong,) = found(replace(healthy(), jobs={}))
    assert (wrong.subject, wrong.fix) == ("scheduler job acme-tick", DEPLOY)


@pytest.mark.parametrize(
    ("resource", "message", "fix"),
    [
        (Resource(ResourceKind.SUBSCRIPTION, "acme-ticks"), "the agent gcp-sa-pubsub has no roles/pubsub.subscriber",
         "gcloud pubsub subscriptions add-iam-policy-binding acme-ticks --role=roles/pubsub.subscriber --project=some-project "
         '--member="serviceAccount:service-$(gcloud projects describe some-project --format='
         "'value(projectNumber)')@gcp-sa-pubsub.iam.gserviceaccount.com\""),
        (Resource(ResourceKind.TOPIC, "acme-shop-raw-dead"), "the agent gcp-sa-pubsub has no roles/pubsub.publisher",
         "gcloud pubsub topics add-iam-policy-binding acme-shop-raw-dead --role=roles/pubsub.publisher"),
        (Resource(ResourceKind.TOPIC, "acme-ticks"), "the agent gcp-sa-cloudscheduler has no roles/pubsub.publisher", "acme-ticks"),
        (Resource(ResourceKind.SERVICE, "acme-watch", REGION), f"acme-push@{ACCOUNTS} has no roles/run.invoker",
         "gcloud run services add-iam-policy-binding acme-watch --region=europe-west1 --role=roles/run.invoker"),
        (Resource(ResourceKind.SECRET, "chat"), f"acme-acknowledge@{ACCOUNTS} has no roles/secretmanager.secretAccessor",
         "gcloud secrets add-iam-policy-binding chat"),
    ],
)  # fmt: skip
def test_each_right_that_is_missing_is_told_with_the_command_that_gives_it(resource: Resource, message: str, fix: str) -> None:
    facts = healthy()
    wrong, *others = found(replace(facts, grants={**facts.grants, resource: {}}))
    assert (wrong.health, wrong.message) == (Health.WRONG, message)
    assert fix in wrong.fix
    assert len(others) == 2 * (resource.kind is ResourceKind.SECRET), "alert_dispatch and the clock read it, too"


def test_another_projects_agent_of_another_service_is_not_ours() -> None:
    facts, resource = healthy(), Resource(ResourceKind.SUBSCRIPTION, "acme-ticks")
    for member in (
        SCHEDULER,
        "serviceAccount:service-x@gcp-sa-pubsub.iam.gserviceaccount.com",
        "user:service-42@gcp-sa-pubsub",
    ):
        grants = {"roles/pubsub.subscriber": frozenset({member})}
        assert found(replace(facts, grants={**facts.grants, resource: grants}))


@pytest.mark.parametrize("everybody", ["allUsers", "allAuthenticatedUsers"])
def test_what_everybody_may_do_is_told(everybody: str) -> None:
    facts, resource = healthy(), Resource(ResourceKind.SERVICE, "acme-watch", REGION)
    open_to_all = {"roles/run.invoker": frozenset({everybody, f"serviceAccount:acme-push@{ACCOUNTS}"})}
    (wrong,) = found(replace(facts, grants={**facts.grants, resource: open_to_all}))
    assert wrong.message == f"{everybody} has a right on it"


def test_secrets_are_those_of_destinations_and_of_the_mail_server() -> None:
    mail = Mail(host="smtp.example.com", user="u", password="secret://smtp", from_="a@example.com")  # noqa: S106
    hook = Destination(kind=DestinationKind.WEBHOOK, webhook="secret://hook", signing_key="secret://key")
    alerts = Alerts(destinations={"chat": CHAT, "hook": hook}, routes=(Route(to=("chat",)),), mail=mail)
    assert wanted_secrets([replace(SHOP, alerts=alerts), SHOP]) == ("chat", "hook", "key", "smtp")


def test_a_secret_without_a_version_is_told() -> None:
    (wrong,) = found(replace(healthy(), secrets={"chat": "it has no version that can be read"}))
    assert (wrong.message, wrong.fix) == (
        "it has no version that can be read",
        "gcloud secrets versions add chat --data-file=- --project=some-project",
    )


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        (Alerts(), "its alerts go nowhere"),
        (Alerts(destinations={"chat": CHAT}), "its alerts go nowhere"),
        (
            Alerts(destinations={"screen": Destination(kind=DestinationKind.CONSOLE)}, routes=(Route(to=("screen",)),)),
            "screen: a screen or a folder that nobody looks at in the cloud",
        ),
    ],
)
def test_alerts_must_go_somewhere(alerts: Alerts, message: str) -> None:
    wrong = found(healthy(), replace(SHOP, alerts=alerts))
    assert [(each.subject, each.message) for each in wrong] == [("destinations of shop", message)]


def test_on_one_machine_a_screen_is_somewhere() -> None:
    alerts = Alerts(destinations={"screen": Destination(kind=DestinationKind.CONSOLE)}, routes=(Route(to=("screen",)),))
    here = replace(healthy(), subscriptions=None, functions=None, jobs=None, grants={}, secrets={}, platform_time=None)
    assert found(here, replace(SHOP, alerts=alerts)) == []


def test_a_destination_that_takes_nothing_is_told() -> None:
    (wrong,) = found(replace(healthy(), down={"shop/chat": "404 not found", "other/chat": "not ours"}))
    assert (wrong.message, wrong.fix) == ("chat takes no alerts: 404 not found", "phasegate alerts test")


def test_what_a_file_says_of_a_table_must_be_there() -> None:
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
        ("table raw.orders", "it is partitioned by loaded_at: every look at a date reads, and bills, all of it"),
        ("table clean.orders", "column day is TIMESTAMP, not DATE"),
        ("table clean.orders", "column id is missing"),
        ("table clean.orders", "it is not partitioned: every look at a date reads, and bills, all of it"),
        ("table raw.items", "it is not there, and is read by checks"),
    ]


def test_the_history_must_have_its_table() -> None:
    facts = healthy()
    (wrong,) = found(replace(facts, tables={**facts.tables, history_table(OURS): None}))
    assert (wrong.subject, wrong.fix) == ("table some-project.acme.history", DEPLOY)


def test_a_table_that_nobody_watches_is_told_unless_the_file_says_so() -> None:
    facts = healthy()
    more = [*facts.datasets["raw"], "raw.tmp_1", "raw.new"]  # type: ignore[misc]
    facts = replace(facts, datasets={**facts.datasets, "raw": more})
    (wrong,) = found(facts)
    assert (wrong.subject, wrong.message) == ("dataset raw", "nobody watches raw.tmp_1, raw.new")
    assert found(facts, replace(SHOP, unwatched=("raw.tmp_*", "raw.new"))) == []
    assert datasets([SHOP]) == ("raw", "clean")


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (date(2026, 2, 28), "it ended on 2026-02-28: nothing later is watched"),
        (date(2026, 3, 31), "it ends on 2026-03-31: nothing later is watched"),
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
def test_the_rules_of_time_zones_must_not_be_old(version: str, health: Health) -> None:
    findings = examine([SHOP], OURS, replace(healthy(), zones=("/usr/share/zoneinfo", version)), now=NOW)
    assert [each.health for each in findings if each.subject.startswith("time zones")] == [health]


def test_a_clock_that_is_wrong_is_told() -> None:
    (wrong,) = found(replace(healthy(), platform_time=(NOW + timedelta(seconds=75), NOW)))
    assert wrong.message == "it differs by 75 s from the platform's"
    here = replace(healthy(), platform_time=None, beat=NOW + timedelta(hours=1))
    assert [each.message for each in found(here)] == ["the last tick lies 1:00:00 in the future"]


def test_a_clock_that_does_not_tick_is_told() -> None:
    for beat in (None, NOW - timedelta(minutes=6)):
        (wrong,) = found(replace(healthy(), beat=beat))
        assert (wrong.subject, wrong.fix) == (
            "heartbeat",
            "gcloud scheduler jobs run acme-tick --location=europe-west1 --project=some-project",
        )
        (here,) = found(replace(healthy(), functions=None, beat=beat))
        assert here.fix == "phasegate serve"


def test_drift_that_is_no_longer_looked_for_is_told_and_that_nobody_asked_for_it_is_not() -> None:
    assert found(replace(healthy(), compared=None)) == []
    (wrong,) = found(replace(healthy(), compared=NOW - timedelta(hours=4)))
    assert (wrong.subject, "drift was last looked for at 2026-03-02 04:00" in wrong.message) == ("check for drift", True)


def test_what_could_not_be_looked_at_is_never_fine() -> None:
    """Everything unseen, one by one: each leaves a row that says why, and no row that says ok of it."""
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
        (replace(facts, beat=none), "heartbeat"),
        (replace(facts, compared=none), "check for drift"),
        (replace(facts, down=none), "destinations"),
    ]
    for seen, subject in blind:
        findings = [each for each in examine([SHOP], OURS, seen, now=NOW) if each.subject.startswith(subject)]
        assert findings, subject
        assert {(each.health, each.message) for each in findings} == {(Health.NOT_CHECKED, "403 no right")}, subject


def test_what_is_alike_for_all_is_not_asked_of_an_installation_on_one_machine() -> None:
    here = replace(healthy(), subscriptions=None, functions=None, jobs=None, grants={}, secrets={}, platform_time=None)
    kinds = {each.subject.split(" ")[0] for each in examine([SHOP], OURS, here, now=NOW)}
    assert not kinds & {"function", "subscription", "scheduler", "grants", "secret"}
