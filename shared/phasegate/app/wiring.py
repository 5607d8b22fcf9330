"""The only place that chooses adapters: from settings to objects that work together, each made when it is first used."""

import os
from collections.abc import Callable, Mapping
from datetime import date
from functools import cached_property
from getpass import getuser
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TextIO

from phasegate.app.pipeline_file import load_all
from phasegate.app.settings import Settings
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GatesByPhase
from phasegate.core.pipeline.model import AlertSeverity, Pipeline
from phasegate.errors import ConfigError, Problem, SecretError
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import Pauses
from phasegate.installation.platform import DescribedWarehouse, Platform
from phasegate.logs import Log, log
from phasegate.messaging.bodies import ALERTS, EVENTS, PREFIX
from phasegate.messaging.outbox import Relay
from phasegate.ports import Clock, Notifier, Publisher, Secrets, Store

# A cold start pays for every module: a process imports what it does not always need where it is first used.
if TYPE_CHECKING:
    from phasegate.adapters.local import LocalBus
    from phasegate.adapters.preflight_client import PreflightClient
    from phasegate.adapters.state.sqlite import SQLiteHistory
    from phasegate.alerts.ack_page import AckPage
    from phasegate.alerts.dispatch import AlertDispatch
    from phasegate.app.pipeline_sql import PatternCheck, SqlCheck
    from phasegate.gates.preflight import PreflightChecks
    from phasegate.gates.replay import Replay
    from phasegate.gates.tick import Hook, Tick
    from phasegate.installation.deploy_watch import DeployWatch
    from phasegate.installation.deployment import Installation
    from phasegate.installation.doctor import Doctor
    from phasegate.messaging.dead_letters import DeadLetters

DIGEST = "PHASEGATE_DIGEST"
"""The variable that tells a function the digest of the source it runs."""


class Wiring:
    """Settings, the pipelines they name, and the adapters.

    Args:
        clock: The system's, when left out.
        screen: Where a `console` destination writes alerts; standard error, when left out.
        account: Gives the owner of the credentials; asks Google, when left out.
        log: Takes what the alert desk logs; the functions' log, when left out.
        digest: Of the source that the functions should run; empty when that is not known.
        reads_only: Never create a state store that is missing; raise instead.
        one_shot: The process ends soon: alerts that it has no secret for are left to the process that ticks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        screen: TextIO | None = None,
        account: Callable[[], str] | None = None,
        log: Log = log,
        digest: str = "",
        reads_only: bool = False,
        one_shot: bool = False,
    ) -> None:
        self.settings = settings
        self.reads_only = reads_only
        self._one_shot = one_shot
        self._digest = digest
        self._clock = clock
        self._screen = screen
        self._account = account
        self._log = log
        # A server's threads share the wiring, and cached_property does not lock: without this, two first requests would
        # make two stores. It is re-entrant, because making one part makes those that it needs.
        self._making = RLock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Wiring":
        """The wiring of a function. Wrong settings or a wrong pipeline file stop the new revision, not the first event.

        Raises:
            ConfigError: With every problem found.
        """
        wiring = cls(Settings.resolve({}, environ, Path()), digest=environ.get(DIGEST, ""))
        wiring.settings.require("pipelines", "warehouse", "state", "bus")
        for pipeline in wiring.pipelines:
            if not pipeline.alerts.routes:
                log("nobody_is_told", severity="WARNING", pipeline=pipeline.name)
        log("started", pipelines=", ".join(pipeline.name for pipeline in wiring.pipelines))
        return wiring

    @classmethod
    def for_alerts(cls, environ: Mapping[str, str] = os.environ) -> "Wiring":
        """The wiring of a function that sends alerts. A destination without its secret stops the new revision, too.

        Raises:
            ConfigError: With every problem found.
        """
        wiring = cls.from_env(environ)
        try:
            wiring.check_secrets()
        except SecretError as error:
            # Only a missing secret stops the start. Secrets are read on use, and by then the outage may be over.
            log("secrets_not_checked", severity="WARNING", error=str(error))
        return wiring

    @cached_property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """Every pipeline in the files that the settings name."""
        return load_all(self.settings.pipelines)

    @cached_property
    def clock(self) -> Clock:
        """What time it is."""
        from phasegate.adapters.local import SystemClock

        return self._clock or SystemClock()

    @cached_property
    def warehouse(self) -> DescribedWarehouse:
        """Where the tables are."""
        made: DescribedWarehouse = self._make("warehouse")
        return made

    @cached_property
    def store(self) -> Store:
        """Where gates, records and the outbox are stored."""
        made: Store = self._make("state")
        return made

    def _make(self, setting: str) -> Any:
        """The adapter that a setting names by its scheme."""
        location = getattr(self.settings, setting)
        return FACTORIES[setting][location.scheme](self)

    def actor(self, by: str | None) -> str:
        """Who acts manually: the owner of the credentials with a shared state store; else *by*, or the login name.

        Raises:
            ConfigError: *by* is given for a shared store, or the credentials have no owner.
        """
        if not self.settings.has_shared_state or os.environ.get("FIRESTORE_EMULATOR_HOST"):
            return by or getuser()
        if by is not None:
            raise ConfigError("--by: not allowed when the state is in the cloud; your credentials identify you")
        if self._account is not None:
            return self._account()
        from phasegate.adapters.google_account import account

        return account()

    def stored_gates(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """The stored gates of a span; none where no state store is set, or its file does not exist yet."""
        if not self.settings.has("state"):
            return {}
        # Opening a SQLite file creates it, and a command that only reads must leave nothing behind.
        return {} if self.missing_state else self.store.load(pipeline, span)

    @property
    def missing_state(self) -> Path | None:
        """The file that the state setting names, when there is none; a command that can do without says so."""
        path = self.settings.state_path if self.settings.has("state") else None
        return None if path is None or path.exists() else path

    @cached_property
    def local_bus(self) -> "LocalBus":
        """The bus inside this process: it hands alerts to the alert desk and decisions to the history."""
        from phasegate.adapters.local import LocalBus

        bus = LocalBus()
        bus.subscribe(ALERTS, lambda message: self.alerts.take(message))
        bus.subscribe(EVENTS, lambda event: self.history.add(event))
        return bus

    @cached_property
    def history(self) -> "SQLiteHistory":
        """Where decisions are stored for analysis on one machine: in the SQLite file of the state, or next to the state."""
        from phasegate.adapters.state.sqlite import SQLiteHistory

        state = self.settings.state
        return SQLiteHistory(state.address if state.scheme == "sqlite" else str(self._state_folder / "history.sqlite"))

    @cached_property
    def publisher(self) -> Publisher:
        """Where messages are published."""
        made: Publisher = self._make("bus")
        return made

    @cached_property
    def relay(self) -> Relay:
        """Sends the messages that were committed to the outbox."""
        return Relay(self.store, self.publisher, self.clock)

    @cached_property
    def monitor(self) -> Monitor:
        """The monitor over these adapters."""
        with self._making:
            return Monitor(
                self.pipelines,
                warehouse=self.warehouse,
                store=self.store,
                outbox=self.store,
                publisher=self.publisher,
                clock=self.clock,
            )

    @cached_property
    def installation(self) -> "Installation":
        """The project and prefix of this installation."""
        from phasegate.installation.deployment import Installation

        project, _, prefix = self.settings.bus.address.partition("/")
        return Installation(project, prefix or PREFIX)

    @cached_property
    def deploy_watch(self) -> "DeployWatch":
        """Turns failed deployments and drift into incidents."""
        from phasegate.installation.deploy_watch import DeployWatch

        with self._making:
            return DeployWatch(self.installation, store=self.store, records=self.store, relay=self.relay, clock=self.clock)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        """Takes in messages that could not be delivered."""
        from phasegate.messaging.dead_letters import DeadLetters

        return DeadLetters(self.store, self.relay, self.clock)

    @cached_property
    def replay(self) -> "Replay":
        """Puts stored messages through the monitor again."""
        from phasegate.gates.replay import Replay

        return Replay(self.monitor, store=self.store, clock=self.clock)

    @cached_property
    def preflight_checks(self) -> "PreflightChecks":
        """Decides whether a phase may start."""
        from phasegate.gates.preflight import PreflightChecks

        with self._making:
            return PreflightChecks(self.pipelines, warehouse=self.warehouse, store=self.store, clock=self.clock)

    def preflight_service(self, address: str) -> "PreflightClient":
        """A client of the function that decides whether a phase may start."""
        from phasegate.adapters.preflight_client import PreflightClient

        return PreflightClient(address)

    @cached_property
    def platform(self) -> Platform | None:
        """The live platform; None for an installation on one machine."""
        if self.settings.bus.scheme != "pubsub":
            return None
        from phasegate.adapters.google_platform import GooglePlatform

        return GooglePlatform(self.installation.project, self.installation.prefix)

    @cached_property
    def doctor(self) -> "Doctor":
        """Checks the installation."""
        from phasegate.adapters.local import zone_rules
        from phasegate.installation.doctor import Doctor

        # Defaults fit one machine; only settings that somebody chose can be compared with those of the functions.
        chosen = [
            setting
            for setting in self.settings.entries
            if setting.name in FACTORIES and setting.source not in ("default", "not set")
        ]
        return Doctor(
            self.pipelines,
            self.installation,
            platform=self.platform,
            tables=lambda: self.warehouse,
            records=lambda: self.store,
            secrets=lambda: self.secrets,
            clock=self.clock,
            zones=zone_rules(),
            digest=self._digest,
            settings={f"PHASEGATE_{setting.name.upper()}": setting.value for setting in chosen if setting.value},
        )

    @cached_property
    def heartbeats(self) -> Heartbeats:
        """Records when each function last did its work."""
        return Heartbeats(self.store, self.store)

    @cached_property
    def pauses(self) -> Pauses:
        """Starts and ends pauses."""
        return Pauses(self.store, self.clock)

    @cached_property
    def tick(self) -> "Tick":
        """What happens once a minute."""
        from phasegate.gates.tick import Tick
        from phasegate.installation.checkup import Checkup
        from phasegate.messaging.stuck import StuckMessages

        stuck = StuckMessages(self.store, self.store, self.relay, self.clock)
        takes_info = any(r.severity in (None, AlertSeverity.INFO) for p in self.pipelines for r in p.alerts.routes)
        checkup = Checkup(lambda: self.doctor.examine(), self.store, self.relay, self.clock, advise=takes_info)
        # The checkup comes last: it may take two minutes.
        hooks: tuple[Hook, ...] = (stuck.check, self.alerts.tick, checkup.check)
        return Tick(
            self.monitor, store=self.store, records=self.store, clock=self.clock, heartbeats=self.heartbeats, hooks=hooks
        )

    @cached_property
    def alerts(self) -> "AlertDispatch":
        """Sends alerts to people."""
        from phasegate.alerts.dispatch import AlertDispatch

        with self._making:
            return AlertDispatch(
                self.pipelines,
                notifiers=self.notifiers,
                store=self.store,
                relay=self.relay,
                clock=self.clock,
                links=self.ack_page.links if self.ack_page else None,
                log=self._log,
                leaves=self._one_shot,
            )

    @cached_property
    def ack_page(self) -> "AckPage | None":
        """The acknowledge links in alerts and the page behind them; None when no address or key is set."""
        if self.settings.ack_link is None:
            return None
        from phasegate.alerts.ack_page import AckPage

        address, key = self.settings.ack_link
        return AckPage(address, lambda: self.secrets.get(key), self.clock)

    def check_secrets(self) -> None:
        """Read every secret that alerts need.

        Raises:
            ConfigError: Some are missing or malformed; carries a problem for each.
            SecretError: The place of the secrets did not answer.
        """
        from phasegate.adapters.channels import secret_problems

        wrong = list(secret_problems(self.pipelines, self.secrets))
        if self.settings.ack_link is not None:
            try:
                self.secrets.get(self.settings.ack_link[1])
            except ConfigError as error:
                wrong.append(Problem("link_key", str(error)))
        if wrong:
            raise ConfigError(problems=wrong)

    @cached_property
    def notifiers(self) -> Mapping[str, Notifier]:
        """What delivers alerts, by pipeline and destination: `flights/team`."""
        from phasegate.adapters.channels import notifier

        return {
            f"{pipeline.name}/{name}": notifier(
                name,
                destination,
                alerts=pipeline.alerts,
                secrets=self.secrets,
                clock=self.clock,
                folder=self._state_folder / "mails",
                screen=self._screen,
            )
            for pipeline in self.pipelines
            for name, destination in pipeline.alerts.destinations.items()
        }

    @property
    def _state_folder(self) -> Path:
        """The folder for files that belong to the state."""
        path = self.settings.state_path
        return path.parent if path is not None else Path(".phasegate")

    @cached_property
    def secrets(self) -> Secrets:
        """Where passwords, keys and webhook addresses are."""
        made: Secrets = self._make("secrets")
        return made

    @cached_property
    def check_sql(self) -> "SqlCheck":
        """Checks a piece of SQL from a pipeline file."""
        from phasegate.adapters.warehouse.googlesql import check_sql

        return check_sql

    @cached_property
    def check_pattern(self) -> "PatternCheck":
        """Checks a pattern of a pipeline file where DuckDB is installed; elsewhere any pattern is taken."""
        try:
            from phasegate.adapters.warehouse.re2 import pattern_problem
        except ModuleNotFoundError:
            return lambda _pattern: None
        return pattern_problem


def _duckdb(wiring: Wiring) -> DescribedWarehouse:
    from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse

    return DuckDBWarehouse(wiring.settings.warehouse.address)


def _bigquery(wiring: Wiring) -> DescribedWarehouse:
    from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse

    project, _, location = wiring.settings.warehouse.address.partition("/")
    return BigQueryWarehouse(project, location=location or None, maximum_bytes_billed=wiring.settings.maximum_bytes_billed)


def _sqlite(wiring: Wiring) -> Store:
    from phasegate.adapters.state.sqlite import SQLiteStore

    return SQLiteStore(wiring.settings.state.address, must_exist=wiring.reads_only)


def _firestore(wiring: Wiring) -> Store:
    from phasegate.adapters.state.firestore import FirestoreStore

    project, _, database = wiring.settings.state.address.partition("/")
    return FirestoreStore(project, database)


def _local(wiring: Wiring) -> Publisher:
    return wiring.local_bus


def _pubsub(wiring: Wiring) -> Publisher:
    from phasegate.adapters.pubsub import PubSubPublisher

    return PubSubPublisher(wiring.installation.project, prefix=wiring.installation.prefix)


def _env(_: Wiring) -> Secrets:
    from phasegate.adapters.secrets import RememberedSecrets, environment

    return RememberedSecrets(environment(os.environ))


def _folder(wiring: Wiring) -> Secrets:
    from phasegate.adapters.secrets import RememberedSecrets, folder

    return RememberedSecrets(folder(Path(wiring.settings.secrets.address)))


def _secretmanager(wiring: Wiring) -> Secrets:
    from phasegate.adapters.secrets import RememberedSecrets, SecretManager

    return RememberedSecrets(SecretManager(wiring.settings.secrets.address))


WAREHOUSES: Mapping[str, Callable[[Wiring], DescribedWarehouse]] = {"duckdb": _duckdb, "bigquery": _bigquery}
STATE_STORES: Mapping[str, Callable[[Wiring], Store]] = {"sqlite": _sqlite, "firestore": _firestore}
BUSES: Mapping[str, Callable[[Wiring], Publisher]] = {"local": _local, "pubsub": _pubsub}
SECRET_PLACES: Mapping[str, Callable[[Wiring], Secrets]] = {
    "env": _env,
    "folder": _folder,
    "secretmanager": _secretmanager,
}
FACTORIES: Mapping[str, Mapping[str, Callable[[Wiring], Any]]] = {
    "warehouse": WAREHOUSES,
    "state": STATE_STORES,
    "bus": BUSES,
    "secrets": SECRET_PLACES,
}
"""What makes the adapter of each scheme in `SCHEMES` of `settings.py`; a test compares the two."""
