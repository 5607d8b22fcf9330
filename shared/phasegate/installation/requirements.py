"""What an installation must have, according to its pipeline files and the platform's rules: resources, grants, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from phasegate.core.checks.metrics import CustomSource, PairMetric, PairSource
from phasegate.core.gates.verdict import queries
from phasegate.core.pipeline.model import Pipeline
from phasegate.installation.deployment import Installation
from phasegate.installation.platform import Function, Resource, ResourceKind

ACK_SECONDS = 600
"""The longest ack deadline of Pub/Sub, which is also the timeout of a push request. The default is 10 s."""

MIN_BACKOFF, MAX_BACKOFF = 10.0, 600.0
"""Seconds between two deliveries of a message that was refused."""

MIN_ATTEMPTS = 20
"""Deliveries before a message is dead-lettered. With the back-off above they take about two hours and twenty minutes."""

RETENTION = 7 * 86_400
"""Seconds for which a subscription retains messages."""

DEAD_LETTER_RETENTION = 31 * 86_400
"""Seconds for which a dead-letter subscription retains them; Pub/Sub's maximum."""

CALENDAR_AHEAD = timedelta(days=30)
"""How far ahead a calendar must reach."""

MAX_CLOCK_SKEW = timedelta(seconds=10)
"""How far the clock here may differ from the platform's."""

DRIFT_CHECK_OVERDUE = timedelta(hours=3)
"""The drift check runs every hour; after this time it is overdue."""

MAX_ZONE_RULES_AGE = timedelta(days=2 * 365)
"""Governments change time zones at short notice; older rules have missed some changes."""

EVENT_FUNCTIONS = ("alert_dispatch", "dead_letter", "deploy_watch", "phase_monitor", "watch")
"""The functions that Pub/Sub calls."""

TIMEOUTS = {**dict.fromkeys(EVENT_FUNCTIONS, 540), "acknowledge": 60, "preflight": 60}
"""Timeout of each function in seconds; below `ACK_SECONDS`, so that no message is redelivered while it is being handled."""

SECRET_READERS = ("acknowledge", "alert_dispatch", "watch")
"""The functions that send alerts or take acknowledgements, and so read secrets."""

PUBSUB_AGENT, SCHEDULER_AGENT = "gcp-sa-pubsub", "gcp-sa-cloudscheduler"
"""Service agents of the platform; the project's number is a part of their full names."""

_DECIDING = ("phase_monitor", "watch")


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A subscription as it must be; names are logical, without the prefix.

    Args:
        function: What it pushes to; empty for the one that writes the history.
        dead_letter: The dead-letter topic; empty for a subscription that must never give up.
        any_topic: Its topic may be one that existed before.
    """

    topic: str
    function: str
    dead_letter: str = "dead"
    ordered: bool = False
    any_topic: bool = False


_GLOBAL = {
    "alerts": WantedSubscription("alerts", "alert_dispatch", ordered=True),
    "builds": WantedSubscription("builds", "deploy_watch", any_topic=True),
    "drift": WantedSubscription("drift", "deploy_watch"),
    "ticks": WantedSubscription("ticks", "watch"),
    "history": WantedSubscription("events", ""),
    "dead": WantedSubscription("dead", "dead_letter", dead_letter=""),
}


def _stems(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    return tuple(f"{pipeline.name}-{phase}" for pipeline in pipelines for phase in pipeline.phases)


def wanted_subscriptions(pipelines: Sequence[Pipeline]) -> Mapping[str, WantedSubscription]:
    """Every subscription that must exist, by its name without the prefix."""
    wanted: dict[str, WantedSubscription] = {}
    for stem in _stems(pipelines):
        wanted[f"{stem}-complete"] = WantedSubscription(f"{stem}-complete", "phase_monitor", f"{stem}-dead", any_topic=True)
        wanted[f"{stem}-dead"] = WantedSubscription(f"{stem}-dead", "dead_letter", dead_letter="")
    return {**wanted, **_GLOBAL}


def wanted_publishers(pipelines: Sequence[Pipeline]) -> Mapping[str, tuple[str, ...]]:
    """The functions and service agents that publish to each topic, by its name without the prefix."""
    wanted: dict[str, tuple[str, ...]] = {
        "alerts": EVENT_FUNCTIONS,
        "events": _DECIDING,
        "ticks": (SCHEDULER_AGENT,),
        "dead": (PUBSUB_AGENT,),
    }
    for pipeline in pipelines:
        for name, phase in pipeline.phases.items():
            stem = f"{pipeline.name}-{name}"
            wanted |= {f"{stem}-go": _DECIDING, f"{stem}-dead": (PUBSUB_AGENT,)}
            wanted |= {f"{stem}-retry": _DECIDING} if phase.retry else {}
    return wanted


def wanted_secrets(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    """The secrets that the pipeline files name."""
    references = []
    for pipeline in pipelines:
        for destination in pipeline.alerts.destinations.values():
            references += [destination.webhook, destination.signing_key]
        references += [pipeline.alerts.mail.password] if pipeline.alerts.mail else []
    return tuple(dict.fromkeys(secret.removeprefix("secret://") for secret in references if secret is not None))


def wanted_columns(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    """Every table that a file names, with the columns that it must have: their types, or empty where any type will do."""
    wanted: dict[str, dict[str, str]] = {table: {day: "DATE"} for table, day in pipeline.date_columns.items()}

    def want(table: str, *columns: str) -> None:
        for column in columns:
            wanted.setdefault(table, {}).setdefault(column, "")

    for phase in pipeline.phases.values():
        for table, output in phase.outputs.items():
            want(table, *output.key, *output.sample)
            for check in output.checks:
                wanted[table] |= {name: "" if kind == "ANY" else kind for name, kind in check.declared_types.items()}
    measured = queries(pipeline, pipeline.phases)
    expected = pipeline.calendar.expected
    for query in measured if expected is None else (*measured, expected.counting_query()):
        if isinstance(query.source, CustomSource):
            continue  # only the warehouse knows which columns a query reads
        for metric in query.metrics:
            want(query.source.table, *metric.own_columns)
            if isinstance(query.source, PairSource) and isinstance(metric, PairMetric):
                want(query.source.other, *metric.other_columns)
    return wanted


def watched_datasets(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    """The datasets of the outputs."""
    tables = (table for pipeline in pipelines for phase in pipeline.phases.values() for table in phase.outputs)
    return tuple(dict.fromkeys(table.rpartition(".")[0] for table in tables))


def wanted_grants(
    pipelines: Sequence[Pipeline], installation: Installation, regions: Mapping[str, str]
) -> Mapping[Resource, tuple[tuple[str, str], ...]]:
    """The grants that the installation needs to work: pairs of a role and a member, or a service agent.

    Args:
        regions: The region of each function, by name. A function without one is left out: its service can't be addressed.
    """
    prefix = installation.prefix
    wanted: dict[Resource, tuple[tuple[str, str], ...]] = {}
    for name, subscription in wanted_subscriptions(pipelines).items():
        if subscription.dead_letter:
            # Pub/Sub itself moves a dead letter: it publishes to the one topic and acknowledges on the other subscription.
            wanted[Resource(ResourceKind.SUBSCRIPTION, f"{prefix}-{name}")] = (("roles/pubsub.subscriber", PUBSUB_AGENT),)
    for topic, publishers in wanted_publishers(pipelines).items():
        members = (name if is_agent(name) else account(installation, name) for name in publishers)
        wanted[Resource(ResourceKind.TOPIC, f"{prefix}-{topic}")] = tuple(
            ("roles/pubsub.publisher", member) for member in members
        )
    for function in EVENT_FUNCTIONS:
        if function in regions:
            service = Resource(ResourceKind.SERVICE, resource_name(installation, function), regions[function])
            wanted[service] = (("roles/run.invoker", account(installation, "push")),)
    for secret in wanted_secrets(pipelines):
        readers = (account(installation, name) for name in SECRET_READERS)
        wanted[Resource(ResourceKind.SECRET, secret)] = tuple(
            ("roles/secretmanager.secretAccessor", reader) for reader in readers
        )
    return wanted


def is_agent(member: str) -> bool:
    """True for a service agent of the platform."""
    return member.startswith("gcp-sa-")


def resource_name(installation: Installation, function: str) -> str:
    """A function's name on the platform."""
    return f"{installation.prefix}-{function.replace('_', '-')}"


def account(installation: Installation, name: str) -> str:
    """The service account of a function, or another of the installation's, as a member of grants."""
    return f"serviceAccount:{resource_name(installation, name)}@{installation.project}.iam.gserviceaccount.com"


def own_functions(installation: Installation, functions: Mapping[str, Function]) -> Mapping[str, Function]:
    """The functions of an installation, by the names of their folders."""
    folders = {resource_name(installation, name): name for name in TIMEOUTS}
    return {folders[name]: function for name, function in functions.items() if name in folders}


def history_table(installation: Installation) -> str:
    """The table of all decisions."""
    return f"{installation.project}.{installation.prefix.replace('-', '_')}.history"
