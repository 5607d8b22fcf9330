"""The doctor's comparison: what an installation must have, against the facts about it.

Nothing is read here. What was read comes in as `Facts`; what could not be read comes in as `NotChecked`, which never counts
as fine.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar

from phasegate.core.alerts.delivery import LOCAL_KINDS
from phasegate.core.gates.adopt import adopt_command, not_watched
from phasegate.core.gates.schedule import CLOCK_STOPPED_AFTER
from phasegate.core.installation.finding import Finding, Health, NotChecked
from phasegate.core.pipeline.model import Pipeline
from phasegate.installation.deployment import Installation
from phasegate.installation.platform import Function, Grants, Job, Resource, ResourceKind, Subscription, Table
from phasegate.installation.requirements import (
    ACK_SECONDS,
    CALENDAR_AHEAD,
    DEAD_LETTER_RETENTION,
    DRIFT_CHECK_OVERDUE,
    EVENT_FUNCTIONS,
    MAX_BACKOFF,
    MAX_CLOCK_SKEW,
    MAX_ZONE_RULES_AGE,
    MIN_ATTEMPTS,
    MIN_BACKOFF,
    RETENTION,
    TIMEOUTS,
    WantedSubscription,
    account,
    history_table,
    is_agent,
    own_functions,
    resource_name,
    wanted_columns,
    wanted_grants,
    wanted_subscriptions,
)

T = TypeVar("T")
Observed: TypeAlias = T | NotChecked

Fault: TypeAlias = tuple[str, str]
"""What is wrong, and a command or sentence that fixes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The state of an installation. A field that is None does not exist in this kind of installation.

    Args:
        digest: Of the source that should run; empty when that is not known.
        settings: The environment variables that functions should have.
        secrets: Why each can't be read, by name; empty when it can.
        tables: By name; None for one that does not exist.
        datasets: The tables in each.
        zones: Where the time-zone rules come from, and their version, such as 2026b.
        platform_time: The platform's time, and the time here at that moment.
        last_tick: None when the scheduler has never run.
        last_drift_check: None when there never was one.
        down_destinations: Why, by name.
        schedules: What is wrong with the expected entities of each pipeline that has them.
        left_alone: Gates of the last weeks that nobody looks at, and why, by pipeline.
        unadopted: The first watched run date of each pipeline whose history is not adopted; None for the others.
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
    last_tick: Observed[datetime | None] = None
    last_drift_check: Observed[datetime | None] = None
    down_destinations: Observed[Mapping[str, str]] = field(default_factory=dict)
    schedules: Mapping[str, Observed[Sequence[Fault]]] = field(default_factory=dict)
    left_alone: Mapping[str, Observed[Sequence[Fault]]] = field(default_factory=dict)
    unadopted: Mapping[str, Observed[date | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Installed:
    """An installation, its pipelines, and the facts about it."""

    pipelines: Sequence[Pipeline]
    installation: Installation
    facts: Facts
    now: datetime

    @property
    def deploy(self) -> str:
        """The command that deploys it."""
        return f"make deploy PROJECT={self.installation.project} PREFIX={self.installation.prefix}"

    def gcloud(self, *words: str) -> str:
        """A gcloud command in its project."""
        return shlex.join(["gcloud", *words, f"--project={self.installation.project}"])

    @property
    def functions(self) -> Mapping[str, Function]:
        """The functions that exist, by the names of their folders."""
        functions = self.facts.functions
        return own_functions(self.installation, functions) if isinstance(functions, Mapping) else {}

    @property
    def region(self) -> str:
        """The functions' region, or a placeholder for a command."""
        return next((function.region for function in self.functions.values()), "REGION")

    def run_job(self, name: str) -> str:
        """The command that runs a scheduler job now."""
        job = f"{self.installation.prefix}-{name}"
        return self.gcloud("scheduler", "jobs", "run", job, f"--location={self.region}")


def examine(pipelines: Sequence[Pipeline], installation: Installation, facts: Facts, *, now: datetime) -> tuple[Finding, ...]:
    """A finding for everything that was checked, in the order in which a deployment needs it."""
    installed = _Installed(pipelines, installation, facts, now)
    platform = (_functions, _subscriptions, _jobs, _grants, _secrets)
    here = (_destinations, _gates, _tables, _history, _datasets, _calendars, _schedules, _adoption)
    everywhere = (*here, _zones, _clock, _heartbeat, _drift_check)
    return tuple(finding for part in (*platform, *everywhere) for finding in part(installed))


def _verdict(subject: str, ok: str, faults: Iterable[Fault]) -> Iterator[Finding]:
    """A finding for each fault, or one that says *ok*."""
    findings = [Finding(subject, Health.WRONG, message, fix) for message, fix in faults]
    yield from findings or [Finding(subject, Health.OK, ok)]


def _of_each(what: str, ok: str, observed: Mapping[str, Observed[Sequence[Fault]]]) -> Iterator[Finding]:
    """The findings about something that each pipeline has."""
    for name, faults in observed.items():
        subject = f"{what} of {name}"
        if isinstance(faults, NotChecked):
            yield _not_checked(subject, faults)
        else:
            yield from _verdict(subject, ok, faults)


def _not_checked(subject: str, failure: NotChecked) -> Finding:
    return Finding(subject, Health.NOT_CHECKED, failure.reason)


def _functions(installed: _Installed) -> Iterator[Finding]:
    functions = installed.facts.functions
    if functions is None:
        return
    if isinstance(functions, NotChecked):
        yield _not_checked("functions", functions)
        return
    for name, timeout in TIMEOUTS.items():
        full = resource_name(installed.installation, name)
        subject = f"function {full}"
        if (function := functions.get(full)) is None:
            yield Finding(subject, Health.WRONG, "it does not exist", installed.deploy)
            continue
        faults = [(message, installed.deploy) for message in _function_faults(installed, name, function, timeout)]
        ok = f"revision {function.revision or '?'} of source {function.digest or '?'} in {function.region}"
        yield from _verdict(subject, ok, faults)


def _function_faults(installed: _Installed, name: str, function: Function, timeout: int) -> Iterator[str]:
    digest, env = installed.facts.digest, function.environment
    if function.state != "ACTIVE":
        yield f"its state is {function.state}, not ACTIVE"
    # The label holds only the start of the digest.
    if digest and not (function.digest and digest.startswith(function.digest)):
        yield f"it was built from source {function.digest or '(none named)'}, not {digest[:16]}"
    own_digest = env.get("PHASEGATE_DIGEST", "")
    if not own_digest or (digest and own_digest != digest) or not own_digest.startswith(function.digest):
        yield f"PHASEGATE_DIGEST is source {own_digest[:16] or '(none)'}, not {digest[:16] or function.digest}"
    for variable, value in installed.facts.settings.items():
        if env.get(variable) != value:
            yield f"{variable} is {env.get(variable) or 'not set'}, not {value}"
    if not env.get("PHASEGATE_PIPELINES"):
        yield "PHASEGATE_PIPELINES is not set"
    wanted_account = account(installed.installation, name).partition(":")[2]
    if function.account != wanted_account:
        yield f"it runs as {function.account or 'the default account'}, not {wanted_account}"
    if function.timeout_seconds != timeout:
        yield f"its timeout is {function.timeout_seconds} s, not {timeout} s; Pub/Sub waits {ACK_SECONDS} s"
    if name in EVENT_FUNCTIONS and function.ingress != "ALLOW_INTERNAL_ONLY":
        yield "it accepts requests from the internet; only Pub/Sub needs to call it"
    if function.retries is False:
        yield "its own trigger does not retry: a failed event is lost"
    if function.serving and function.serving != function.revision:
        yield f"revision {function.serving} serves requests, not {function.revision or 'the deployed one'}"


def _subscriptions(installed: _Installed) -> Iterator[Finding]:
    subscriptions = installed.facts.subscriptions
    if subscriptions is None:
        return
    if isinstance(subscriptions, NotChecked):
        yield _not_checked("subscriptions", subscriptions)
        return
    for name, wanted in wanted_subscriptions(installed.pipelines).items():
        full = f"{installed.installation.prefix}-{name}"
        subject = f"subscription {full}"
        if (subscription := subscriptions.get(full)) is None:
            # Pub/Sub drops what is published to a topic without a subscription.
            lost = "its function gets no messages" if wanted.dead_letter else "messages sent there are lost"
            yield Finding(subject, Health.WRONG, f"it does not exist: {lost}", installed.deploy)
            continue
        gives_up = f"gives up after {subscription.attempts} deliveries" if wanted.dead_letter else "never gives up"
        ok = f"ack deadline {subscription.ack_seconds} s, never expires, {gives_up}"
        yield from _verdict(subject, ok, _subscription_faults(installed, full, wanted, subscription))


def _subscription_faults(installed: _Installed, full: str, wanted: WantedSubscription, actual: Subscription) -> Iterator[Fault]:
    def update(*options: str) -> str:
        return installed.gcloud("pubsub", "subscriptions", "update", full, *options)

    topic = f"projects/{installed.installation.project}/topics/{installed.installation.prefix}-{wanted.topic}"
    if actual.topic == "_deleted-topic_" or (actual.topic != topic and not wanted.any_topic):
        yield f"it is attached to {actual.topic}, not to {topic}", installed.deploy
    if actual.ack_seconds != ACK_SECONDS:
        yield (
            f"its ack deadline is {actual.ack_seconds} s, not {ACK_SECONDS} s: messages that take longer are delivered twice",
            update(f"--ack-deadline={ACK_SECONDS}"),
        )
    if not actual.never_expires:
        yield "it expires when idle, such as in an off-season", update("--expiration-period=never")
    retention = RETENTION if wanted.dead_letter else DEAD_LETTER_RETENTION
    if actual.retention_seconds < retention:
        yield (
            f"it retains messages for {actual.retention_seconds / 86_400:g} days, not {retention // 86_400}",
            update(f"--message-retention-duration={retention // 86_400}d"),
        )
    if (actual.min_backoff, actual.max_backoff) != (MIN_BACKOFF, MAX_BACKOFF):
        backoff = (
            "immediately" if actual.min_backoff is None else f"after {actual.min_backoff:g} s to {actual.max_backoff or 0:g} s"
        )
        yield (
            f"it redelivers {backoff}, not after {MIN_BACKOFF:g} s to {MAX_BACKOFF:g} s",
            update(f"--min-retry-delay={MIN_BACKOFF:g}s", f"--max-retry-delay={MAX_BACKOFF:g}s"),
        )
    yield from _dead_letter_faults(installed, wanted, actual, update)
    if wanted.ordered and not actual.ordered:
        yield "message ordering is off: a recovery may arrive before its alert", installed.deploy
    if actual.filter:
        yield f"its filter drops what does not match {actual.filter}; a filter can't be changed", installed.deploy
    if wanted.function:
        yield from _push_faults(installed, wanted.function, actual, update)
    elif not actual.table:
        yield "it writes to no table", installed.deploy
    elif actual.table != (table := history_table(installed.installation)):
        yield f"it writes to {actual.table}, not {table}", update(f"--bigquery-table={table.replace('.', ':', 1)}")


def _dead_letter_faults(
    installed: _Installed, wanted: WantedSubscription, actual: Subscription, update: Callable[..., str]
) -> Iterator[Fault]:
    if wanted.dead_letter:
        topic = f"projects/{installed.installation.project}/topics/{installed.installation.prefix}-{wanted.dead_letter}"
        if actual.dead_letter_topic == topic and actual.attempts >= MIN_ATTEMPTS:
            return
        gives_up = f"after {actual.attempts} deliveries to {actual.dead_letter_topic}" if actual.dead_letter_topic else "never"
        yield (
            f"it dead-letters messages {gives_up}, not after {MIN_ATTEMPTS} to {topic}",
            update(f"--dead-letter-topic={topic}", f"--max-delivery-attempts={MIN_ATTEMPTS}"),
        )
    elif actual.dead_letter_topic:
        # A dead-letter subscription is the last stop: nothing reads what it gives up.
        yield (
            f"it dead-letters messages to {actual.dead_letter_topic}, where nothing reads them",
            update("--clear-dead-letter-policy"),
        )


def _push_faults(installed: _Installed, function: str, actual: Subscription, update: Callable[..., str]) -> Iterator[Fault]:
    existing = installed.functions.get(function)
    endpoint = existing.uri if existing else actual.endpoint
    push = account(installed.installation, "push").partition(":")[2]
    # All three in one command: an update replaces the whole push configuration.
    token = (f"--push-auth-service-account={push}", f"--push-auth-token-audience={endpoint}")
    fix = update(f"--push-endpoint={endpoint}", *token)
    if not actual.endpoint:
        yield "it has no push endpoint", fix
        return
    if actual.endpoint.rstrip("/") != endpoint.rstrip("/"):
        yield f"it pushes to {actual.endpoint}, not to {function} at {endpoint}", fix
    if actual.account != push:
        yield f"its push account is {actual.account or '(none)'}, not {push}", fix
    if actual.audience != endpoint:
        yield f"its token's audience is {actual.audience or '(none)'}, not {endpoint}: {function} refuses it", fix


def _jobs(installed: _Installed) -> Iterator[Finding]:
    jobs = installed.facts.jobs
    if jobs is None:
        return
    if isinstance(jobs, NotChecked):
        yield _not_checked("scheduler", jobs)
        return
    # The job of the drift check exists only where Cloud Build knows a repository.
    for name, topic, schedule in (("tick", "ticks", "* * * * *"), ("drift", "drift-check", "17 * * * *")):
        full = f"{installed.installation.prefix}-{name}"
        subject = f"scheduler job {full}"
        if (job := jobs.get(full)) is not None:
            yield from _verdict(subject, f"{job.schedule} {job.zone}", _job_faults(installed, full, topic, schedule, job))
        elif name == "tick":
            yield Finding(subject, Health.WRONG, "it does not exist: overdue phases go unnoticed", installed.deploy)


def _job_faults(installed: _Installed, full: str, topic: str, schedule: str, job: Job) -> Iterator[Fault]:
    def gcloud(verb: str, *options: str) -> str:
        return installed.gcloud("scheduler", "jobs", *verb.split(), full, f"--location={job.region}", *options)

    update = gcloud("update pubsub", f"--schedule={schedule}", "--time-zone=Etc/UTC")
    topic_name = f"{installed.installation.prefix}-{topic}"
    if not job.enabled:
        yield "it is paused", gcloud("resume")
    if job.schedule != schedule:
        yield f"its schedule is {job.schedule}, not {schedule}", update
    if job.zone not in ("Etc/UTC", "UTC"):
        yield f"its time zone is {job.zone or '(none)'}, not Etc/UTC", update
    if job.topic != f"projects/{installed.installation.project}/topics/{topic_name}":
        yield f"it publishes to {job.topic or 'no topic'}, not to {topic_name}", installed.deploy
    if job.failed:
        yield f"its last attempt failed: {job.failed}", gcloud("describe")


def _grants(installed: _Installed) -> Iterator[Finding]:
    regions = {name: function.region for name, function in installed.functions.items()}
    for resource, wanted in wanted_grants(installed.pipelines, installed.installation, regions).items():
        if (grants := installed.facts.grants.get(resource)) is None:
            continue
        subject = f"grants on {resource.kind.removesuffix('s')} {resource.name}"
        if isinstance(grants, NotChecked):
            yield _not_checked(subject, grants)
            continue
        faults = [
            (f"{_shown(member)} lacks {role}", _grant_command(installed, resource, role, member))
            for role, member in wanted
            if not _is_granted(grants.get(role, frozenset()), member)
        ]
        public = sorted({member for members in grants.values() for member in members} & {"allUsers", "allAuthenticatedUsers"})
        faults += [(f"it is public: {member} has a role", _policy_command(installed, resource)) for member in public]
        yield from _verdict(subject, f"all {len(wanted)} exist" if len(wanted) > 1 else "it exists", faults)


def _is_granted(members: frozenset[str], wanted: str) -> bool:
    if not is_agent(wanted):
        return wanted in members
    # The project's number, which is a part of the agent's name, is not known here.
    return any(re.fullmatch(rf"serviceAccount:service-\d+@{wanted}\.iam\.gserviceaccount\.com", member) for member in members)


def _shown(member: str) -> str:
    return f"the agent {member}" if is_agent(member) else member.partition(":")[2]


_GCLOUD_GROUPS = {
    ResourceKind.SUBSCRIPTION: ("pubsub", "subscriptions"),
    ResourceKind.TOPIC: ("pubsub", "topics"),
    ResourceKind.SERVICE: ("run", "services"),
    ResourceKind.SECRET: ("secrets",),
}


def _policy_command(installed: _Installed, resource: Resource, verb: str = "get-iam-policy", *options: str) -> str:
    region = (f"--region={resource.region}",) if resource.region else ()
    return installed.gcloud(*_GCLOUD_GROUPS[resource.kind], verb, resource.name, *region, *options)


def _grant_command(installed: _Installed, resource: Resource, role: str, member: str) -> str:
    command = _policy_command(installed, resource, "add-iam-policy-binding", f"--role={role}")
    if not is_agent(member):
        return f"{command} {shlex.quote(f'--member={member}')}"
    number = f"$(gcloud projects describe {installed.installation.project} --format='value(projectNumber)')"
    return f'{command} --member="serviceAccount:service-{number}@{member}.iam.gserviceaccount.com"'


def _secrets(installed: _Installed) -> Iterator[Finding]:
    for name, problem in installed.facts.secrets.items():
        subject = f"secret {name}"
        if isinstance(problem, NotChecked):
            yield _not_checked(subject, problem)
            continue
        in_cloud = installed.facts.functions is not None
        fix = installed.gcloud("secrets", "versions", "add", name, "--data-file=-") if in_cloud else ""
        yield from _verdict(subject, "it can be read", [(problem, fix)] if problem else ())


def _destinations(installed: _Installed) -> Iterator[Finding]:
    down = installed.facts.down_destinations
    for pipeline in installed.pipelines:
        subject = f"destinations of {pipeline.name}"
        routed = {name for route in pipeline.alerts.routes for name in route.to}
        faults = list(_route_faults(installed, pipeline, routed))
        if isinstance(down, Mapping):
            faults += [
                (f"{name.partition('/')[2]} is down: {why}", "phasegate alerts test")
                for name, why in down.items()
                if name.partition("/")[0] == pipeline.name
            ]
        elif not faults:
            yield _not_checked(subject, down)
            continue
        yield from _verdict(subject, ", ".join(sorted(routed)), faults)


def _gates(installed: _Installed) -> Iterator[Finding]:
    yield from _of_each("gates", "all belong to phases of the file, and can be read", installed.facts.left_alone)


def _route_faults(installed: _Installed, pipeline: Pipeline, routed: set[str]) -> Iterator[Fault]:
    edit = "add one to routes: and destinations: under alerts: in the pipeline file"
    if not routed:
        yield "no alert is sent: there are no routes", edit
    local = sorted(name for name in routed if pipeline.alerts.destinations[name].kind in LOCAL_KINDS)
    in_cloud = installed.facts.functions is not None
    if in_cloud and local and len(local) == len(routed):
        yield f"alerts go only to {', '.join(local)}: a screen or folder that nobody sees in the cloud", edit


def _tables(installed: _Installed) -> Iterator[Finding]:
    for pipeline in installed.pipelines:
        for name, columns in wanted_columns(pipeline).items():
            if name not in installed.facts.tables:
                continue
            subject, table = f"table {name}", installed.facts.tables[name]
            if isinstance(table, NotChecked):
                yield _not_checked(subject, table)
            elif table is None:
                message = "it does not exist" + (", but checks read it" if name not in pipeline.date_columns else "")
                fix = f"create it, or correct its name in the pipeline file of {pipeline.name}"
                yield Finding(subject, Health.WRONG, message, fix)
            else:
                partitioned = f", partitioned by {table.partition}" if table.partition else ""
                exist = "its column exists" if len(columns) == 1 else f"all {len(columns)} columns exist"
                yield from _verdict(subject, exist + partitioned, _table_faults(pipeline, name, columns, table))


_PSEUDO_COLUMNS = {"_partitiondate": "DATE", "_partitiontime": "TIMESTAMP"}
"""What a table partitioned by ingestion time has besides its columns. Source: BigQuery "Query partitioned tables"."""


def _table_faults(pipeline: Pipeline, name: str, columns: Mapping[str, str], table: Table) -> Iterator[Fault]:
    fix = f"correct the table, or its columns in the pipeline file of {pipeline.name}"
    by_ingestion = (table.partition or "").upper() == "_PARTITIONTIME"
    types = {**table.types, **(_PSEUDO_COLUMNS if by_ingestion else {})}
    for column, declared in columns.items():
        kind = types.get(column.lower())
        if kind is None:
            yield f"column {column} is missing", fix
        elif declared and kind != declared:
            yield f"column {column} is {kind}, not {declared}", fix
    day = pipeline.date_columns.get(name)
    if by_ingestion and day is not None and day.lower() in _PSEUDO_COLUMNS:
        return
    if day is not None and table.partition is not None and table.partition.lower() != day.lower():
        partitioned = f"partitioned by {table.partition}" if table.partition else "not partitioned"
        copy = f"CREATE TABLE `{name}_new` PARTITION BY {day} AS SELECT * FROM `{name}`"  # noqa: S608 - for a person to paste; names are of the pipeline file
        yield (
            f"it is {partitioned}: checking one date reads, and bills, the whole table",
            shlex.join(["bq", "query", "--use_legacy_sql=false", copy]),
        )


def _history(installed: _Installed) -> Iterator[Finding]:
    name = history_table(installed.installation)
    if name in installed.facts.tables:
        table = installed.facts.tables[name]
        if isinstance(table, NotChecked):
            yield _not_checked(f"table {name}", table)
            return
        faults = [] if table else [("it does not exist: no decisions are stored for analysis", installed.deploy)]
        yield from _verdict(f"table {name}", "decisions are stored for analysis", faults)


def _datasets(installed: _Installed) -> Iterator[Finding]:
    named = {table for pipeline in installed.pipelines for table in wanted_columns(pipeline)}
    patterns = [pattern for pipeline in installed.pipelines for pattern in pipeline.unwatched]
    fix = "list each under outputs: of a phase, or under unwatched:, in a pipeline file"
    for dataset, tables in installed.facts.datasets.items():
        subject = f"dataset {dataset}"
        if isinstance(tables, NotChecked):
            yield _not_checked(subject, tables)
            continue
        others = [name for name in tables if name not in named and not any(fnmatchcase(name, pattern) for pattern in patterns)]
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        faults = [(f"no pipeline file names {listed}", fix)] if others else ()
        yield from _verdict(subject, "every table in it is named in a pipeline file", faults)


def _calendars(installed: _Installed) -> Iterator[Finding]:
    for pipeline in installed.pipelines:
        last: date | None = pipeline.calendar.to
        today = pipeline.today(installed.now)
        until = today + CALENDAR_AHEAD
        faults = []
        if last is not None and last < until:
            verb = "ended" if last < today else "ends"
            fix = f"set calendar.to in the pipeline file of {pipeline.name}"
            faults = [(f"it {verb} on {last}: later dates are not watched", fix)]
        yield from _verdict(f"calendar of {pipeline.name}", f"it reaches beyond {until}", faults)


def _schedules(installed: _Installed) -> Iterator[Finding]:
    yield from _of_each("schedule", "its dates are known", installed.facts.schedules)


def _adoption(installed: _Installed) -> Iterator[Finding]:
    """A history that nobody has adopted is no fault: it is only not watched."""
    for pipeline, since in installed.facts.unadopted.items():
        if isinstance(since, NotChecked):
            yield _not_checked(f"history of {pipeline}", since)
        elif since is not None:
            yield Finding(f"history of {pipeline}", Health.OK, not_watched(pipeline, since), adopt_command(pipeline))


def _zones(installed: _Installed) -> Iterator[Finding]:
    source, version = installed.facts.zones
    names = ", ".join(dict.fromkeys(pipeline.timezone for pipeline in installed.pipelines))
    subject = f"time zones ({names})"
    year = re.match(r"(\d{4})", version)
    if year is None:
        yield Finding(subject, Health.NOT_CHECKED, f"the rules from {source or 'an unknown source'} have no known version")
        return
    is_old = date(int(year[1]), 12, 31) < installed.now.date() - MAX_ZONE_RULES_AGE
    faults = [(f"the rules, {version} from {source}, are too old", "pip install --upgrade tzdata")] if is_old else []
    yield from _verdict(subject, f"rules of {version}, from {source}", faults)


def _clock(installed: _Installed) -> Iterator[Finding]:
    times, last_tick = installed.facts.platform_time, installed.facts.last_tick
    fix = "timedatectl set-ntp true"
    if isinstance(times, NotChecked):
        yield _not_checked("clock", times)
    elif times is not None:
        there, here = times
        skew = abs(there - here)
        faults = [(f"it is {skew.total_seconds():.0f} s off the platform's", fix)] if skew > MAX_CLOCK_SKEW else []
        yield from _verdict("clock", f"within {MAX_CLOCK_SKEW.total_seconds():.0f} s of the platform's", faults)
    elif isinstance(last_tick, datetime):
        # Without a platform only the state store knows another clock: that of the machine that ticked.
        ahead = last_tick - installed.now
        faults = [(f"the last tick is {ahead} in the future", fix)] if ahead > MAX_CLOCK_SKEW else []
        yield from _verdict("clock", "it is not behind the last tick", faults)


def _heartbeat(installed: _Installed) -> Iterator[Finding]:
    last_tick = installed.facts.last_tick
    if isinstance(last_tick, NotChecked):
        yield _not_checked("heartbeat", last_tick)
        return
    fix = installed.run_job("tick") if installed.facts.functions is not None else "phasegate serve"
    if last_tick is None:
        faults = [("the scheduler has never run here, so overdue phases go unnoticed", fix)]
    elif installed.now - last_tick > CLOCK_STOPPED_AFTER:
        faults = [(f"the scheduler last ran at {last_tick:%Y-%m-%d %H:%M} UTC, so overdue phases go unnoticed", fix)]
    else:
        faults = []
    yield from _verdict("heartbeat", f"the scheduler ran at {last_tick:%H:%M:%S} UTC" if last_tick else "", faults)


def _drift_check(installed: _Installed) -> Iterator[Finding]:
    """Whether the drift check runs; where it never ran, it is not installed."""
    last = installed.facts.last_drift_check
    if isinstance(last, NotChecked):
        yield _not_checked("drift check", last)
    elif last is not None:
        overdue = installed.now - last > DRIFT_CHECK_OVERDUE
        faults = [(f"it last ran at {last:%Y-%m-%d %H:%M} UTC", installed.run_job("drift"))] if overdue else []
        yield from _verdict("drift check", f"it ran at {last:%H:%M} UTC", faults)
