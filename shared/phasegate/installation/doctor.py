"""Checks an installation: reads everything about it that can be read, and compares it with what it must have."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import TypeVar

from phasegate.alerts.records import DESTINATION
from phasegate.core.alerts.delivery import DestinationHealth
from phasegate.core.field_syntax import Span
from phasegate.core.gates.orphan import removed_phases, unreadable_states
from phasegate.core.installation.finding import Finding, NotChecked
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import AdapterError, ConfigError
from phasegate.gates.heartbeat import WATCH, last_heartbeats
from phasegate.gates.schedule_check import schedule_faults
from phasegate.gates.watching import unadopted_history
from phasegate.installation.deploy_watch import KIND as DEPLOYMENT
from phasegate.installation.deployment import COMPARISON, Installation, SubjectState
from phasegate.installation.examination import Facts, Fault, Observed, examine
from phasegate.installation.platform import DescribedWarehouse, Function, Platform
from phasegate.installation.requirements import (
    history_table,
    own_functions,
    wanted_columns,
    wanted_grants,
    wanted_secrets,
    watched_datasets,
)
from phasegate.ports import Clock, Secrets, State
from phasegate.serialization import from_object

EXAMINATION_TIMEOUT = timedelta(minutes=2)
"""After this time no further request is made."""

_LOOKED_BACK = timedelta(days=60)
"""Gates of run dates in this time are looked through."""

K = TypeVar("K")
T = TypeVar("T")


class Doctor:
    """Compares an installation with what its pipeline files and the platform's rules require.

    Args:
        platform: The live platform; None for an installation on one machine.
        tables, records, secrets: Called when first needed, so that one that can't be opened is a finding, not an error.
        zones: Where the time-zone rules come from, and their version.
        digest: Of the source that the functions should run; empty when that is not known.
        settings: The environment variables that the functions should have.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        installation: Installation,
        *,
        platform: Platform | None,
        tables: Callable[[], DescribedWarehouse],
        records: Callable[[], State],
        secrets: Callable[[], Secrets],
        clock: Clock,
        zones: tuple[str, str],
        digest: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._pipelines = pipelines
        self._installation = installation
        self._platform = platform
        self._tables = tables
        self._records = records
        self._secrets = secrets
        self._clock = clock
        self._zones = zones
        self._digest = digest
        self._settings = settings or {}

    def examine(self) -> tuple[Finding, ...]:
        """A finding for everything that was checked; what could not be read is among them."""
        return examine(self._pipelines, self._installation, self._facts(), now=self._clock.now())

    def _facts(self) -> Facts:
        observer = _Observer(self._clock)
        names = dict.fromkeys(table for pipeline in self._pipelines for table in wanted_columns(pipeline))
        of_platform = self._platform_facts(self._platform, observer) if self._platform is not None else Facts()
        history = (history_table(self._installation),) if self._platform is not None else ()
        return replace(
            of_platform,
            digest=self._digest,
            settings=self._settings,
            secrets=observer.read_each(wanted_secrets(self._pipelines), self._secret_problem),
            tables=observer.read_each((*names, *history), lambda name: self._tables().describe_table(name)),
            datasets=observer.read_each(watched_datasets(self._pipelines), lambda name: self._tables().tables_in(name)),
            zones=self._zones,
            last_tick=observer.read(self._last_tick),
            last_drift_check=observer.read(self._last_drift_check),
            down_destinations=observer.read(self._down_destinations),
            schedules={
                p.name: observer.read(partial(self._schedule_faults, p)) for p in self._pipelines if p.calendar.expected
            },
            left_alone={p.name: observer.read(partial(self._left_alone, p)) for p in self._pipelines},
            unadopted={p.name: observer.read(partial(self._unadopted, p)) for p in self._pipelines},
        )

    def _platform_facts(self, platform: Platform, observer: "_Observer") -> Facts:
        functions: Observed[Mapping[str, Function]] = observer.read(platform.functions)
        existing = functions if isinstance(functions, Mapping) else {}
        regions = {name: function.region for name, function in own_functions(self._installation, existing).items()}
        # The scheduler lists jobs by region, and only the functions tell which one that is.
        region = next(iter(regions.values()), None)
        no_region = NotChecked("the region of the functions is not known")
        wanted = wanted_grants(self._pipelines, self._installation, regions)
        return Facts(
            functions=functions,
            subscriptions=observer.read(platform.subscriptions),
            jobs=no_region if region is None else observer.read(lambda: platform.jobs(region)),
            grants=observer.read_each(wanted, platform.grants),
            platform_time=observer.read(lambda: (platform.now(), self._clock.now())),
        )

    def _secret_problem(self, name: str) -> str:
        """Why a secret can't be read; empty when it can.

        On the platform only the functions that need a secret may read it, so there it is enough that it has a version.
        """
        if self._platform is not None:
            return "" if self._platform.has_secret(name) else "it has no enabled version"
        try:
            self._secrets().get(f"secret://{name}", fresh=True)
        except ConfigError as error:
            return str(error)
        return ""

    def _last_tick(self) -> datetime | None:
        return last_heartbeats(self._records()).get(WATCH)

    def _down_destinations(self) -> Mapping[str, str]:
        names = [f"{pipeline.name}/{name}" for pipeline in self._pipelines for name in pipeline.alerts.destinations]
        records = self._records().find(DESTINATION, names)
        health = {name: from_object(DestinationHealth, record.body) for name, record in records.items()}
        return {name: line.why for name, line in health.items() if line.is_down}

    def _schedule_faults(self, pipeline: Pipeline) -> Sequence[Fault]:
        fix = "load the schedule; until then its dates are taken for off"
        return [(line, fix) for line in schedule_faults(pipeline, self._tables(), self._clock.now())]

    def _left_alone(self, pipeline: Pipeline) -> Sequence[Fault]:
        today = pipeline.today(self._clock.now())
        days = self._records().load(pipeline.name, Span(today - _LOOKED_BACK, today))
        gates = [gate for day in days.values() for gate in day.values()]
        back, upgrade = "put the phase back, or leave it: its alerts have ended", "upgrade phasegate here"
        removed = [(line, back) for line in removed_phases(pipeline, gates)]
        return [*removed, *((line, upgrade) for line in unreadable_states(gates))]

    def _unadopted(self, pipeline: Pipeline) -> date | None:
        return unadopted_history(self._records(), pipeline)

    def _last_drift_check(self) -> datetime | None:
        record = self._records().find(DEPLOYMENT, [COMPARISON]).get(COMPARISON)
        return None if record is None else from_object(SubjectState, record.body).at


class _Observer:
    """Reads until the time is up: a platform that does not answer must not hold up the tick that waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.now() + EXAMINATION_TIMEOUT

    def read(self, read: Callable[[], T]) -> Observed[T]:
        """What *read* gives, or why it could not."""
        if self._clock.now() > self._until:
            return NotChecked(f"skipped: the examination had already taken {EXAMINATION_TIMEOUT.total_seconds():.0f} s")
        try:
            return read()
        except AdapterError as error:
            return NotChecked(str(error))

    def read_each(self, names: Iterable[K], read: Callable[[K], T]) -> Mapping[K, Observed[T]]:
        """The same for each name."""
        return {name: self.read(partial(read, name)) for name in names}
