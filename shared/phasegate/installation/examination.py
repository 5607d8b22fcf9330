"""The doctor: what an installation must be like, by the pipeline files and the platform's traps, against what it is like.

Nothing is asked here. What was seen comes in as `Facts`; what could not be looked at comes in as `NotChecked` and never
counts as fine.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar

from phasegate.core.checks.metrics import CustomSource, PairMetric, PairSource
from phasegate.core.gates.schedule import CLOCK_STOPPED_AFTER
from phasegate.core.gates.verdict import queries
from phasegate.core.installation.finding import Finding, Health, NotChecked
from phasegate.core.pipeline.model import DestinationKind, Pipeline
from phasegate.installation.deployment import Installation
from phasegate.installation.platform import Function, Grants, Job, Resource, ResourceKind, Subscription, Table

ACK_SECONDS = 600
"""The longest that Pub/Sub waits for an answer, and so the longest that a function may take. Left out it is 10 s."""

LEAST_WAIT, LONGEST_WAIT = 10.0, 600.0
"""Seconds between two deliveries of a message that was refused."""

ATTEMPTS = 20
"""Deliveries until a message is given up, at least: with these waits two hours and twenty minutes."""

WEEK, MONTH = 7 * 86_400, 31 * 86_400
"""Seconds for which a message is kept; the second is the most that there is."""

AHEAD = timedelta(days=30)
"""How far ahead a calendar must reach."""

SKEW = timedelta(seconds=10)
"""How far two clocks may differ."""

COMPARED = timedelta(hours=3)
"""The check for drift runs every hour; after so long it does not."""

ZONES_KEPT = timedelta(days=2 * 365)
"""Governments move their clocks at short notice; data older than this has missed some of it."""


T = TypeVar("T")
Observed: TypeAlias = T | NotChecked


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen. What is None does not belong to this kind of installation.

    Args:
        digest: Of the source that should run; empty when that is not known.
        settings: The environment that functions should see.
        secrets: By name: why it can't be read, and what helps; empty when it can.
        tables: By name; None for one that does not exist.
        datasets: The tables in each.
        zones: What the rules of the time zones are from, and their version, such as 2026b.
        platform_time: What time it is elsewhere, and here at that moment.
        beat: When the clock last ticked; None when it never did.
        compared: When drift was last looked for; None when it never was.
        down: Destinations that take nothing, and why.
    """

    digest: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    subscriptions: Observed[Mapping[str, Subscription]] | None = None
    functions: Observed[Mapping[str, Function]] | None = None
    jobs: Observed[Mapping[str, Job]] | None = None
    grants: Mapping[Resource, Observed[Grants]] = field(default_factory=dict)
    secrets: Mapping[str, Observed[str]] = field(default_factory=dict)
    tables: Mapping[str, Observed[Table | None]] = field(default_factory=dict)
    datasets: Mapping[str, Observed[Sequence[str]]] = field(default_factory=dict)
    zones: tuple[str, str] = ("", "")
    platform_time: Observed[tuple[datetime, datetime]] | None = None
    beat: Observed[datetime | None] = None
    compared: Observed[datetime | None] = None
    down: Observed[Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WantedSubscription:
    """A subscription as it must be; names are logical, without the prefix.

    Args:
        function: What it pushes to; empty for the one that writes the history.
        dead: Where goes what is given up; empty where nothing stands behind it.
        elsewhere: Its topic may be one that was there before.
    """

    topic: str
    function: str
    dead: str = "dead"
    ordered: bool = False
    elsewhere: bool = False


EVENT_FUNCTIONS = ("alert_dispatch", "dead_letter", "deploy_watch", "phase_monitor", "watch")
"""What Pub/Sub calls."""

TIMEOUTS = {**dict.fromkeys(EVENT_FUNCTIONS, 540), "acknowledge": 60, "preflight": 60}
"""Seconds that each function may take: less than Pub/Sub waits."""

TELLING = ("acknowledge", "alert_dispatch", "watch")
"""The functions that bring alerts to people, or take their answer, and so read the secrets."""

_DECIDING = ("phase_monitor", "watch")
_PUBSUB, _SCHEDULER = "gcp-sa-pubsub", "gcp-sa-cloudscheduler"
_GLOBAL = {
    "alerts": WantedSubscription("alerts", "alert_dispatch", ordered=True),
    "builds": WantedSubscription("builds", "deploy_watch", elsewhere=True),
    "drift": WantedSubscription("drift", "deploy_watch"),
    "ticks": WantedSubscription("ticks", "watch"),
    "history": WantedSubscription("events", ""),
    "dead": WantedSubscription("dead", "dead_letter", dead=""),
}


def _stems(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    return tuple(f"{pipeline.name}-{phase}" for pipeline in pipelines for phase in pipeline.phases)


def wanted_subscriptions(pipelines: Sequence[Pipeline]) -> Mapping[str, WantedSubscription]:
    """Every subscription that must be there, by its name without the prefix."""
    found: dict[str, WantedSubscription] = {}
    for stem in _stems(pipelines):
        found[f"{stem}-complete"] = WantedSubscription(f"{stem}-complete", "phase_monitor", f"{stem}-dead", elsewhere=True)
        found[f"{stem}-dead"] = WantedSubscription(f"{stem}-dead", "dead_letter", dead="")
    return {**found, **_GLOBAL}


def wanted_publishers(pipelines: Sequence[Pipeline]) -> Mapping[str, tuple[str, ...]]:
    """By topic without the prefix: the functions and agents of the platform that publish there."""
    found: dict[str, tuple[str, ...]] = {
        "alerts": EVENT_FUNCTIONS,
        "events": _DECIDING,
        "ticks": (_SCHEDULER,),
        "dead": (_PUBSUB,),
    }
    for pipeline in pipelines:
        for name, phase in pipeline.phases.items():
            stem = f"{pipeline.name}-{name}"
            found |= {f"{stem}-go": _DECIDING, f"{stem}-dead": (_PUBSUB,)}
            found |= {f"{stem}-retry": _DECIDING} if phase.retry else {}
    return found


def wanted_secrets(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    """The secrets that the pipeline files name."""
    named = []
    for pipeline in pipelines:
        for destination in pipeline.alerts.destinations.values():
            named += [destination.webhook, destination.signing_key]
        named += [pipeline.alerts.mail.password] if pipeline.alerts.mail else []
    return tuple(dict.fromkeys(secret.removeprefix("secret://") for secret in named if secret is not None))


def wanted_columns(pipeline: Pipeline) -> Mapping[str, Mapping[str, str]]:
    """Every table that a file names, and of each the columns that must be there: their types, or empty where any will do."""
    found: dict[str, dict[str, str]] = {table: {day: "DATE"} for table, day in pipeline.date_columns.items()}

    def want(table: str, *columns: str) -> None:
        for column in columns:
            found.setdefault(table, {}).setdefault(column, "")

    for phase in pipeline.phases.values():
        for table, output in phase.outputs.items():
            want(table, *output.key, *output.sample)
            for check in output.checks:
                found[table] |= check.declared_types
    asked = queries(pipeline, pipeline.phases)
    expected = pipeline.calendar.expected
    for query in asked if expected is None else (*asked, expected.counting_query()):
        if isinstance(query.source, CustomSource):
            continue  # only the warehouse knows which columns a query reads
        for metric in query.metrics:
            want(query.source.table, *metric.own_columns)
            if isinstance(query.source, PairSource) and isinstance(metric, PairMetric):
                want(query.source.other, *metric.other_columns)
    return found


def datasets(pipelines: Sequence[Pipeline]) -> tuple[str, ...]:
    """The datasets in which outputs are: what is watched."""
    tables = (table for pipeline in pipelines for phase in pipeline.phases.values() for table in phase.outputs)
    return tuple(dict.fromkeys(table.rpartition(".")[0] for table in tables))


def wanted_grants(
    pipelines: Sequence[Pipeline], installation: Installation, regions: Mapping[str, str]
) -> Mapping[Resource, tuple[tuple[str, str], ...]]:
    """Rights without which something stands still: pairs of a role and a member, or the agent of a service of the platform.

    Args:
        regions: Where functions are, by name; of the others nobody can say who may call them.
    """
    prefix = installation.prefix
    found: dict[Resource, tuple[tuple[str, str], ...]] = {}
    for name, wanted in wanted_subscriptions(pipelines).items():
        if wanted.dead:
            found[Resource(ResourceKind.SUBSCRIPTION, f"{prefix}-{name}")] = (("roles/pubsub.subscriber", _PUBSUB),)
    for topic, publishers in wanted_publishers(pipelines).items():
        members = (each if each.startswith("gcp-sa-") else account(installation, each) for each in publishers)
        found[Resource(ResourceKind.TOPIC, f"{prefix}-{topic}")] = tuple(
            ("roles/pubsub.publisher", member) for member in members
        )
    for function in EVENT_FUNCTIONS:
        if function in regions:
            service = Resource(ResourceKind.SERVICE, _dashed(installation, function), regions[function])
            found[service] = (("roles/run.invoker", account(installation, "push")),)
    for secret in wanted_secrets(pipelines):
        readers = (account(installation, name) for name in TELLING)
        found[Resource(ResourceKind.SECRET, secret)] = tuple(
            ("roles/secretmanager.secretAccessor", reader) for reader in readers
        )
    return found


def _dashed(installation: Installation, name: str) -> str:
    return f"{installation.prefix}-{name.replace('_', '-')}"


def account(installation: Installation, name: str) -> str:
    """The account that something runs as, as a member."""
    return f"serviceAccount:{_dashed(installation, name)}@{installation.project}.iam.gserviceaccount.com"


def ours(installation: Installation, found: Mapping[str, Function]) -> Mapping[str, Function]:
    """The functions of an installation, by the names of their folders."""
    known = {_dashed(installation, name): name for name in TIMEOUTS}
    return {known[name]: function for name, function in found.items() if name in known}


@dataclass(frozen=True, slots=True)
class _Installed:
    """What is looked at: the installation and its pipelines, as the facts tell of them."""

    pipelines: Sequence[Pipeline]
    installation: Installation
    facts: Facts
    now: datetime

    @property
    def deploy(self) -> str:
        return f"make deploy PROJECT={self.installation.project} PREFIX={self.installation.prefix}"

    def gcloud(self, *words: str) -> str:
        return shlex.join(["gcloud", *words, f"--project={self.installation.project}"])

    @property
    def functions(self) -> Mapping[str, Function]:
        """Those that were seen, by the names of their folders."""
        found = self.facts.functions
        return ours(self.installation, found) if isinstance(found, Mapping) else {}


def examine(pipelines: Sequence[Pipeline], installation: Installation, facts: Facts, *, now: datetime) -> tuple[Finding, ...]:
    """Everything that was looked at, in the order in which a deployment needs it."""
    patient = _Installed(pipelines, installation, facts, now)
    of_platform = (_functions, _subscriptions, _jobs, _grants, _secrets)
    of_all = (_destinations, _tables, _history, _datasets, _calendars, _zones, _clock, _heartbeat, _comparison)
    found = [finding for part in (*of_platform, *of_all) for finding in part(patient)]
    return tuple(found)


def _verdict(subject: str, fine: str, wrong: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    """A finding for each thing that is wrong, or one that all is well."""
    if not wrong:
        yield Finding(subject, Health.OK, fine)
    for message, fix in wrong:
        yield Finding(subject, Health.WRONG, message, fix)


def _unseen(subject: str, unseen: NotChecked, fix: str = "") -> Finding:
    return Finding(subject, Health.NOT_CHECKED, unseen.reason, fix)


def _functions(patient: _Installed) -> Iterator[Finding]:
    found = patient.facts.functions
    if found is None:
        return
    if isinstance(found, NotChecked):
        yield _unseen("functions", found)
        return
    for name, timeout in TIMEOUTS.items():
        full = _dashed(patient.installation, name)
        subject = f"function {full}"
        if (function := found.get(full)) is None:
            yield Finding(subject, Health.WRONG, "it is not there", patient.deploy)
            continue
        wrong = [(message, patient.deploy) for message in _function_faults(patient, name, function, timeout)]
        fine = f"revision {function.revision or '?'} of source {function.digest or '?'} in {function.region}"
        yield from _verdict(subject, fine, wrong)


def _function_faults(patient: _Installed, name: str, function: Function, timeout: int) -> Iterator[str]:
    digest, env = patient.facts.digest, function.environment
    if function.state != "ACTIVE":
        yield f"its state is {function.state}, not ACTIVE"
    if digest and not (function.digest and digest.startswith(function.digest)):
        yield f"it was made from source {function.digest or '(none named)'}, not {digest[:16]}"
    told = env.get("PHASEGATE_DIGEST", "")
    if not told or (digest and told != digest) or not told.startswith(function.digest):
        yield f"it says that it runs source {told[:16] or '(none)'}, not {digest[:16] or function.digest}"
    for variable, value in patient.facts.settings.items():
        if env.get(variable) != value:
            yield f"{variable} is {env.get(variable) or 'not set'}, not {value}"
    if not env.get("PHASEGATE_PIPELINES"):
        yield "PHASEGATE_PIPELINES is not set"
    if f"serviceAccount:{function.account}" != account(patient.installation, name):
        yield f"it runs as {function.account or '(the default account)'}"
    if function.timeout_seconds != timeout:
        yield f"it may take {function.timeout_seconds} s, not {timeout} s; Pub/Sub waits {ACK_SECONDS} s"
    if name in EVENT_FUNCTIONS and function.ingress != "ALLOW_INTERNAL_ONLY":
        yield "it can be reached from outside; only Pub/Sub calls it"
    if function.retries is False:
        yield "its own trigger does not retry: an event that fails is dropped"
    if function.serving and function.serving != function.revision:
        yield f"revision {function.serving} answers, not {function.revision or 'the deployed one'}"


def _subscriptions(patient: _Installed) -> Iterator[Finding]:
    found = patient.facts.subscriptions
    if found is None:
        return
    if isinstance(found, NotChecked):
        yield _unseen("subscriptions", found)
        return
    for name, wanted in wanted_subscriptions(patient.pipelines).items():
        full = f"{patient.installation.prefix}-{name}"
        subject = f"subscription {full}"
        if (subscription := found.get(full)) is None:
            lost = "what arrives there is lost" if not wanted.dead else "its messages reach nobody"
            yield Finding(subject, Health.WRONG, f"it is not there: {lost}", patient.deploy)
            continue
        wrong = list(_subscription_faults(patient, full, wanted, subscription))
        given_up = f", gives up after {subscription.attempts}" if wanted.dead else ", never gives up"
        yield from _verdict(subject, f"waits {subscription.ack_seconds} s, never expires{given_up}", wrong)


def _subscription_faults(
    patient: _Installed, full: str, wanted: WantedSubscription, found: Subscription
) -> Iterator[tuple[str, str]]:
    def update(*options: str) -> str:
        return patient.gcloud("pubsub", "subscriptions", "update", full, *options)

    topics = f"projects/{patient.installation.project}/topics"
    topic, dead = (f"{topics}/{patient.installation.prefix}-{each}" for each in (wanted.topic, wanted.dead))
    if found.topic == "_deleted-topic_" or (found.topic != topic and not wanted.elsewhere):
        yield f"it listens to {found.topic}, not to {topic}", patient.deploy
    if found.ack_seconds != ACK_SECONDS:
        message = f"it waits {found.ack_seconds} s for an answer, not {ACK_SECONDS} s: what takes longer is delivered twice"
        yield message, update(f"--ack-deadline={ACK_SECONDS}")
    if not found.never_expires:
        yield "it expires when it is idle, as in an off-season", update("--expiration-period=never")
    kept = WEEK if wanted.dead else MONTH
    if found.kept_seconds < kept:
        yield (
            f"it keeps messages for {found.kept_seconds / 86_400:g} days, not {kept // 86_400}",
            update(f"--message-retention-duration={kept // 86_400}d"),
        )
    if (found.least_wait, found.longest_wait) != (LEAST_WAIT, LONGEST_WAIT):
        had = "at once" if found.least_wait is None else f"after {found.least_wait:g} s to {found.longest_wait or 0:g} s"
        message = f"it delivers again {had}, not after {LEAST_WAIT:g} s to {LONGEST_WAIT:g} s"
        yield message, update(f"--min-retry-delay={LEAST_WAIT:g}s", f"--max-retry-delay={LONGEST_WAIT:g}s")
    if wanted.dead and (found.dead_topic != dead or found.attempts < ATTEMPTS):
        had = f"after {found.attempts} deliveries to {found.dead_topic}" if found.dead_topic else "never"
        message = f"it gives a message up {had}, not after {ATTEMPTS} to {dead}"
        yield message, update(f"--dead-letter-topic={dead}", f"--max-delivery-attempts={ATTEMPTS}")
    if not wanted.dead and found.dead_topic:
        yield f"it gives a message up to {found.dead_topic}; nothing stands behind it", update("--clear-dead-letter-policy")
    if wanted.ordered and not found.ordered:
        yield "it does not keep the order: a recovery may overtake its alarm", patient.deploy
    if found.filtered:
        yield f"it leaves out what does not match {found.filtered}; a filter can't be changed", patient.deploy
    if wanted.function:
        yield from _push_faults(patient, wanted.function, found, update)
    elif not found.table:
        yield "it writes into no table", patient.deploy
    elif found.table != (table := history_table(patient.installation)):
        yield f"it writes into {found.table}, not {table}", update(f"--bigquery-table={table.replace('.', ':', 1)}")


def history_table(installation: Installation) -> str:
    """The table of all decisions."""
    return f"{installation.project}.{installation.prefix.replace('-', '_')}.history"


def _push_faults(
    patient: _Installed, function: str, found: Subscription, update: Callable[..., str]
) -> Iterator[tuple[str, str]]:
    known = patient.functions.get(function)
    endpoint = known.uri if known else found.endpoint
    push = account(patient.installation, "push").partition(":")[2]
    token = (f"--push-auth-service-account={push}", f"--push-auth-token-audience={endpoint}")
    again = update(f"--push-endpoint={endpoint}", *token)
    if not found.endpoint:
        yield "it pushes to nobody", again
        return
    if found.endpoint.rstrip("/") != endpoint.rstrip("/"):
        yield f"it pushes to {found.endpoint}, not to {function} at {endpoint}", again
    if found.account != push:
        yield f"it calls as {found.account or 'nobody'}, not as {push}", again
    if found.audience != endpoint:
        yield f"its token is for {found.audience or 'nobody'}, not for {endpoint}: {function} refuses it", again


def _jobs(patient: _Installed) -> Iterator[Finding]:
    found = patient.facts.jobs
    if found is None:
        return
    if isinstance(found, NotChecked):
        yield _unseen("scheduler", found)
        return
    prefix, topics = patient.installation.prefix, f"projects/{patient.installation.project}/topics"
    # The job that looks for drift is there only where Cloud Build knows a repository.
    for name, topic, schedule in (("tick", "ticks", "* * * * *"), ("drift", "drift-check", "17 * * * *")):
        full = f"{prefix}-{name}"
        subject, job = f"scheduler job {full}", found.get(full)
        if job is None:
            if name == "tick":
                yield Finding(subject, Health.WRONG, "it is not there: silence is noticed by nobody", patient.deploy)
            continue
        where = f"--location={job.region}"
        update = patient.gcloud(
            "scheduler", "jobs", "update", "pubsub", full, where, f"--schedule={schedule}", "--time-zone=Etc/UTC"
        )
        wrong = []
        if not job.enabled:
            wrong.append(("it is paused", patient.gcloud("scheduler", "jobs", "resume", full, where)))
        if job.schedule != schedule:
            wrong.append((f"its schedule is {job.schedule}, not {schedule}", update))
        if job.zone not in ("Etc/UTC", "UTC"):
            wrong.append((f"its zone is {job.zone or '(none)'}, not Etc/UTC", update))
        if job.topic != f"{topics}/{prefix}-{topic}":
            wrong.append((f"it publishes to {job.topic or 'no topic'}, not to {prefix}-{topic}", patient.deploy))
        if job.failed:
            wrong.append(
                (f"its last attempt failed: {job.failed}", patient.gcloud("scheduler", "jobs", "describe", full, where))
            )
        yield from _verdict(subject, f"{job.schedule} {job.zone}", wrong)


def _grants(patient: _Installed) -> Iterator[Finding]:
    regions = {name: function.region for name, function in patient.functions.items()}
    for resource, wanted in wanted_grants(patient.pipelines, patient.installation, regions).items():
        if (found := patient.facts.grants.get(resource)) is None:
            continue
        subject = f"grants on {resource.kind.removesuffix('s')} {resource.name}"
        if isinstance(found, NotChecked):
            yield _unseen(subject, found)
            continue
        wrong = [
            (f"{_shown(member)} has no {role}", _grant(patient, resource, role, member))
            for role, member in wanted
            if not _has(found.get(role, frozenset()), member)
        ]
        public = sorted({member for members in found.values() for member in members} & {"allUsers", "allAuthenticatedUsers"})
        wrong += [(f"{member} has a right on it", _grant(patient, resource, "", member)) for member in public]
        yield from _verdict(subject, f"{len(wanted)} of {len(wanted)} are there", wrong)


def _has(members: frozenset[str], wanted: str) -> bool:
    if not wanted.startswith("gcp-sa-"):
        return wanted in members
    return any(re.fullmatch(rf"serviceAccount:service-\d+@{wanted}\.iam\.gserviceaccount\.com", member) for member in members)


def _shown(member: str) -> str:
    return f"the agent {member}" if member.startswith("gcp-sa-") else member.partition(":")[2]


def _grant(patient: _Installed, resource: Resource, role: str, member: str) -> str:
    group = {
        ResourceKind.SUBSCRIPTION: ("pubsub", "subscriptions"),
        ResourceKind.TOPIC: ("pubsub", "topics"),
        ResourceKind.SERVICE: ("run", "services"),
        ResourceKind.SECRET: ("secrets",),
    }[resource.kind]
    where = (f"--region={resource.region}",) if resource.region else ()
    if not role:
        return patient.gcloud(*group, "get-iam-policy", resource.name, *where)
    command = patient.gcloud(*group, "add-iam-policy-binding", resource.name, *where, f"--role={role}")
    if not member.startswith("gcp-sa-"):
        return f"{command} {shlex.quote(f'--member={member}')}"
    number = f"$(gcloud projects describe {patient.installation.project} --format='value(projectNumber)')"
    return f'{command} --member="serviceAccount:service-{number}@{member}.iam.gserviceaccount.com"'


def _secrets(patient: _Installed) -> Iterator[Finding]:
    for name, found in patient.facts.secrets.items():
        subject = f"secret {name}"
        if isinstance(found, NotChecked):
            yield _unseen(subject, found)
            continue
        add = patient.gcloud("secrets", "versions", "add", name, "--data-file=-") if patient.facts.functions is not None else ""
        yield from _verdict(subject, "it can be read", [(found, add)] if found else ())


_HERE_ONLY = (DestinationKind.CONSOLE, DestinationKind.EML)


def _destinations(patient: _Installed) -> Iterator[Finding]:
    in_cloud = patient.facts.functions is not None
    for pipeline in patient.pipelines:
        subject = f"destinations of {pipeline.name}"
        edit = "name them under alerts: in the pipeline file"
        known = pipeline.alerts.destinations
        routed = {name for route in pipeline.alerts.routes for name in route.to}
        wrong = []
        if not routed:
            wrong.append(("its alerts go nowhere", edit))
        here = sorted(name for name in routed if known[name].kind in _HERE_ONLY)
        if in_cloud and here and len(here) == len(routed):
            wrong.append((f"{', '.join(here)}: a screen or a folder that nobody looks at in the cloud", edit))
        if isinstance(patient.facts.down, Mapping):
            for name, why in patient.facts.down.items():
                if name.partition("/")[0] == pipeline.name:
                    wrong.append((f"{name.partition('/')[2]} takes no alerts: {why}", "phasegate alerts test"))
        elif not wrong:
            yield _unseen(subject, patient.facts.down)
            continue
        yield from _verdict(subject, f"{', '.join(sorted(routed))}", wrong)


def _tables(patient: _Installed) -> Iterator[Finding]:
    for pipeline in patient.pipelines:
        wanted = wanted_columns(pipeline)
        for name, columns in wanted.items():
            if name not in patient.facts.tables:
                continue
            subject, found = f"table {name}", patient.facts.tables[name]
            if isinstance(found, NotChecked):
                yield _unseen(subject, found)
            elif found is None:
                message = "it is not there" + (", and is read by checks" if name not in pipeline.date_columns else "")
                yield Finding(subject, Health.WRONG, message, f"make it, or correct its name in the file of {pipeline.name}")
            else:
                by = f", partitioned by {found.partition}" if found.partition else ""
                fine = f"{len(columns)} {'column is' if len(columns) == 1 else 'columns are'} there{by}"
                yield from _verdict(subject, fine, list(_table_faults(pipeline, name, columns, found)))


def _history(patient: _Installed) -> Iterator[Finding]:
    name = history_table(patient.installation)
    if name in patient.facts.tables:
        found = patient.facts.tables[name]
        if isinstance(found, NotChecked):
            yield _unseen(f"table {name}", found)
            return
        wrong = [] if found else [("it is not there: no decision is kept for analysis", patient.deploy)]
        yield from _verdict(f"table {name}", "decisions are kept for analysis", wrong)


def _table_faults(pipeline: Pipeline, name: str, columns: Mapping[str, str], found: Table) -> Iterator[tuple[str, str]]:
    correct = f"correct the table, or its columns in the file of {pipeline.name}"
    for column, declared in columns.items():
        kind = found.types.get(column.lower())
        if kind is None:
            yield f"column {column} is missing", correct
        elif declared and kind != declared:
            yield f"column {column} is {kind}, not {declared}", correct
    day = pipeline.date_columns.get(name)
    if day is not None and found.partition is not None and found.partition.lower() != day.lower():
        by = f"partitioned by {found.partition}" if found.partition else "not partitioned"
        copy = f"CREATE TABLE `{name}_new` PARTITION BY {day} AS SELECT * FROM `{name}`"  # noqa: S608 - for a person to paste; names are of the pipeline file
        yield (
            f"it is {by}: every look at a date reads, and bills, all of it",
            shlex.join(["bq", "query", "--use_legacy_sql=false", copy]),
        )


def _datasets(patient: _Installed) -> Iterator[Finding]:
    named = {table for pipeline in patient.pipelines for table in wanted_columns(pipeline)}
    patterns = [pattern for pipeline in patient.pipelines for pattern in pipeline.unwatched]
    for dataset, found in patient.facts.datasets.items():
        subject = f"dataset {dataset}"
        if isinstance(found, NotChecked):
            yield _unseen(subject, found)
            continue
        others = [name for name in found if name not in named and not any(fnmatchcase(name, each) for each in patterns)]
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        message = f"nobody watches {listed}"
        fix = "name each under outputs: of a phase, or under unwatched:, in a pipeline file"
        yield from _verdict(subject, "every table in it is named in a pipeline file", [(message, fix)] if others else ())


def _calendars(patient: _Installed) -> Iterator[Finding]:
    for pipeline in patient.pipelines:
        last: date | None = pipeline.calendar.to
        until = pipeline.today(patient.now) + AHEAD
        wrong = []
        if last is not None and last < until:
            verb = "ended" if last < pipeline.today(patient.now) else "ends"
            wrong = [(f"it {verb} on {last}: nothing later is watched", f"set calendar.to in the file of {pipeline.name}")]
        yield from _verdict(f"calendar of {pipeline.name}", f"it reaches beyond {until}", wrong)


def _zones(patient: _Installed) -> Iterator[Finding]:
    source, version = patient.facts.zones
    names = ", ".join(dict.fromkeys(pipeline.timezone for pipeline in patient.pipelines))
    subject = f"time zones ({names})"
    year = re.match(r"(\d{4})", version)
    if year is None:
        yield Finding(subject, Health.NOT_CHECKED, f"the rules of {source or 'no known source'} do not tell their version")
        return
    is_old = date(int(year[1]), 12, 31) < patient.now.date() - ZONES_KEPT
    wrong = [(f"their rules are of {version}, from {source}", "pip install --upgrade tzdata")] if is_old else []
    yield from _verdict(subject, f"rules of {version}, from {source}", wrong)


def _clock(patient: _Installed) -> Iterator[Finding]:
    found, beat = patient.facts.platform_time, patient.facts.beat
    fix = "timedatectl set-ntp true"
    if isinstance(found, NotChecked):
        yield _unseen("clock", found)
    elif found is not None:
        there, here = found
        apart = abs(there - here)
        wrong = [(f"it differs by {apart.total_seconds():.0f} s from the platform's", fix)] if apart > SKEW else []
        yield from _verdict("clock", f"within {SKEW.total_seconds():.0f} s of the platform's", wrong)
    elif isinstance(beat, datetime):
        ahead = beat - patient.now
        wrong = [(f"the last tick lies {ahead} in the future", fix)] if ahead > SKEW else []
        yield from _verdict("clock", "it is not behind the last tick", wrong)


def _heartbeat(patient: _Installed) -> Iterator[Finding]:
    beat = patient.facts.beat
    if isinstance(beat, NotChecked):
        yield _unseen("heartbeat", beat)
        return
    job = f"{patient.installation.prefix}-tick"
    region = next((function.region for function in patient.functions.values()), "REGION")
    run = patient.gcloud("scheduler", "jobs", "run", job, f"--location={region}")
    fix = run if patient.facts.functions is not None else "phasegate serve"
    if beat is None:
        wrong = [("the clock has never ticked here: silence is noticed by nobody", fix)]
    elif patient.now - beat > CLOCK_STOPPED_AFTER:
        wrong = [(f"the clock has not ticked since {beat:%Y-%m-%d %H:%M} UTC: silence is noticed by nobody", fix)]
    else:
        wrong = []
    yield from _verdict("heartbeat", f"the clock ticked at {beat:%H:%M:%S} UTC" if beat else "", wrong)


def _comparison(patient: _Installed) -> Iterator[Finding]:
    """Whether drift is looked for; where it never was, nobody has asked for it."""
    compared = patient.facts.compared
    if isinstance(compared, NotChecked):
        yield _unseen("check for drift", compared)
    elif compared is not None:
        region = next((function.region for function in patient.functions.values()), "REGION")
        run = patient.gcloud("scheduler", "jobs", "run", f"{patient.installation.prefix}-drift", f"--location={region}")
        late = patient.now - compared > COMPARED
        wrong = [(f"drift was last looked for at {compared:%Y-%m-%d %H:%M} UTC", run)] if late else []
        yield from _verdict("check for drift", f"it was looked for at {compared:%H:%M} UTC", wrong)
