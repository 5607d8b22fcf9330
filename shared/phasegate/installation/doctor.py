"""Look at an installation, at everything of it that can be looked at, and say of each thing how it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from phasegate.alerts.records import DESTINATION
from phasegate.core.alerts.delivery import DestinationHealth
from phasegate.core.installation.finding import Finding, NotChecked
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import AdapterError, ConfigError
from phasegate.gates.heartbeat import WATCH, last_heartbeats
from phasegate.installation.deploy_watch import KIND as DEPLOYMENT
from phasegate.installation.deployment import COMPARISON, Installation, SubjectState
from phasegate.installation.examination import (
    Facts,
    Observed,
    datasets,
    examine,
    history_table,
    ours,
    wanted_columns,
    wanted_grants,
    wanted_secrets,
)
from phasegate.installation.platform import Function, Platform, Tables
from phasegate.ports import Clock, Records, Secrets
from phasegate.serialization import from_object

EXAMINATION_TIMEOUT = timedelta(minutes=2)
"""After this time nothing more is asked."""

K = TypeVar("K")
T = TypeVar("T")


class Doctor:
    """Compares what is there with what the pipeline files and the platform's traps demand.

    Args:
        platform: The live platform; None for an installation on one machine.
        zones: What the rules of the time zones are from, and their version.
        digest: Of the source that the functions should run; empty when it is not known.
        settings: The environment that the functions should see.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        installation: Installation,
        *,
        platform: Platform | None,
        tables: Callable[[], Tables],
        records: Callable[[], Records],
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
        """Look at everything; what can't be looked at is among the findings."""
        return examine(self._pipelines, self._installation, self._look(), now=self._clock.now())

    def _look(self) -> Facts:
        eyes = _Observer(self._clock)
        names = dict.fromkeys(table for pipeline in self._pipelines for table in wanted_columns(pipeline))
        on_platform = self._of_platform(self._platform, eyes) if self._platform is not None else Facts()
        history = (history_table(self._installation),) if self._platform is not None else ()
        return replace(
            on_platform,
            digest=self._digest,
            settings=self._settings,
            secrets=eyes.see_each(wanted_secrets(self._pipelines), self._unreadable),
            tables=eyes.see_each((*names, *history), lambda name: self._tables().describe_table(name)),
            datasets=eyes.see_each(datasets(self._pipelines), lambda name: self._tables().tables_in(name)),
            zones=self._zones,
            beat=eyes.see(self._beat),
            compared=eyes.see(self._compared),
            down=eyes.see(self._down),
        )

    def _of_platform(self, platform: Platform, eyes: "_Observer") -> Facts:
        functions: Observed[Mapping[str, Function]] = eyes.see(platform.functions)
        known = functions if isinstance(functions, Mapping) else {}
        regions = {name: function.region for name, function in ours(self._installation, known).items()}
        region = next(iter(regions.values()), None)
        nowhere = NotChecked("it is not known in which region the functions are")
        wanted = wanted_grants(self._pipelines, self._installation, regions)
        return Facts(
            functions=functions,
            subscriptions=eyes.see(platform.subscriptions),
            jobs=nowhere if region is None else eyes.see(lambda: platform.jobs(region)),
            grants=eyes.see_each(wanted, platform.grants),
            platform_time=eyes.see(lambda: (platform.now(), self._clock.now())),
        )

    def _unreadable(self, name: str) -> str:
        """Why a secret can't be read; of one on the platform only its functions may read what is in it."""
        if self._platform is not None:
            return "" if self._platform.has_secret(name) else "it has no version that can be read"
        try:
            self._secrets().get(f"secret://{name}", fresh=True)
        except ConfigError as error:
            return str(error)
        return ""

    def _beat(self) -> datetime | None:
        return last_heartbeats(self._records()).get(WATCH)

    def _down(self) -> Mapping[str, str]:
        names = [f"{pipeline.name}/{name}" for pipeline in self._pipelines for name in pipeline.alerts.destinations]
        lines = {
            name: from_object(DestinationHealth, record.body)
            for name, record in self._records().find(DESTINATION, names).items()
        }
        return {name: line.why for name, line in lines.items() if line.is_down}

    def _compared(self) -> datetime | None:
        found = self._records().find(DEPLOYMENT, [COMPARISON]).get(COMPARISON)
        return None if found is None else from_object(SubjectState, found.body).at


class _Observer:
    """Looks, until there is no time left: a platform that does not answer must not hold up the clock that waits for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = clock.now() + EXAMINATION_TIMEOUT

    def see(self, look: Callable[[], T]) -> Observed[T]:
        """What is seen, or why nothing is."""
        if self._clock.now() > self._until:
            return NotChecked(f"there was no time left: looking had taken {EXAMINATION_TIMEOUT.total_seconds():.0f} s already")
        try:
            return look()
        except AdapterError as error:
            return NotChecked(str(error))

    def see_each(self, names: Iterable[K], look: Callable[[K], T]) -> Mapping[K, Observed[T]]:
        """The same of several."""
        return {name: self.see(partial(look, name)) for name in names}
