"""The only place that chooses adapters: from settings to a monitor that works."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import cached_property
from getpass import getuser
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Protocol, TextIO

from phasegate.app.pipeline_file import load_all
from phasegate.app.settings import Settings
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GatesByPhase
from phasegate.core.pipeline.model import Pipeline
from phasegate.core.pipeline.sql import sql_texts
from phasegate.errors import AdapterError, ConfigError, PhasegateError, Problem, SecretError
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import Pauses
from phasegate.installation.platform import Platform
from phasegate.logs import Log, log
from phasegate.messaging.bodies import ALERTS, EVENTS, PREFIX
from phasegate.messaging.inbox import Handled, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.ports import Clock, Notifier, Publisher, Secrets

# A process needs one desk or another; what it does not need it does not read.
if TYPE_CHECKING:
    from phasegate.adapters.local import LocalBus
    from phasegate.adapters.preflight_client import PreflightClient
    from phasegate.adapters.state.firestore import FirestoreStore
    from phasegate.adapters.state.sqlite import SQLiteHistory, SQLiteStore
    from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse
    from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
    from phasegate.alerts.ack_page import AckPage, Page
    from phasegate.alerts.dispatch import AlertDispatch
    from phasegate.gates.preflight import PreflightChecks
    from phasegate.gates.preflight_http import Response
    from phasegate.gates.replay import Replay
    from phasegate.gates.tick import Hook, Tick
    from phasegate.installation.deploy_watch import DeployWatch
    from phasegate.installation.deployment import Installation
    from phasegate.installation.doctor import Doctor
    from phasegate.messaging.dead_letters import DeadLetters


DIGEST = "PHASEGATE_DIGEST"
"""The variable in which functions find the digest of the source that they run."""


Receive = Callable[[Mapping[str, str], bytes], InboxResult]
"""Takes in one message, from the headers and the body of a request."""


class Headers(Protocol):
    """What is needed of a request's headers."""

    def items(self) -> Iterable[tuple[str, str]]: ...  # noqa: D102


class Request(Protocol):
    """What is needed of a Flask request."""

    @property
    def method(self) -> str: ...  # noqa: D102

    @property
    def headers(self) -> Headers: ...  # noqa: D102

    def get_data(self) -> bytes: ...  # noqa: D102


class Question(Request, Protocol):
    """What is needed of a Flask request that asks something."""

    @property
    def query_string(self) -> bytes: ...  # noqa: D102


class Visit(Request, Protocol):
    """What is needed of a Flask request that follows a link."""

    @property
    def args(self) -> Mapping[str, str]: ...  # noqa: D102


class Wiring:
    """Settings, the pipelines they name, and the adapters, each made when it is first used.

    Args:
        clock: The system's, when left out.
        screen: Where alerts for a `console` destination are written; standard error, when left out.
        account: Says whom the credentials are for; Google is asked, when left out.
        log: Takes what the desk does; a function's log, when left out.
        digest: Of the source that the functions should run, where that is known.
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
    ) -> None:
        self.settings = settings
        self._digest = digest
        self._clock = clock
        self._screen = screen
        self._account = account
        self._log = log
        self._making = RLock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "Wiring":
        """The wiring of a function: wrong settings or a wrong pipeline file stop the new revision, not the first event.

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
        """The wiring of a function that brings alerts to people: a destination without its secret stops the revision, too.

        Raises:
            ConfigError: With every problem found.
        """
        wiring = cls.from_env(environ)
        try:
            wiring.check_secrets()
        except SecretError as error:  # they are asked for again when they are needed
            log("secrets_not_checked", severity="WARNING", error=str(error))
        return wiring

    @cached_property
    def pipelines(self) -> tuple[Pipeline, ...]:
        """Every pipeline that the settings name."""
        return load_all(self.settings.pipelines)

    @cached_property
    def clock(self) -> Clock:
        """What time it is."""
        from phasegate.adapters.local import SystemClock

        return self._clock or SystemClock()

    @cached_property
    def warehouse(self) -> "DuckDBWarehouse | BigQueryWarehouse":
        """Where the tables are."""
        location = self.settings.warehouse
        if location.scheme == "duckdb":
            from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse

            return DuckDBWarehouse(location.rest)
        if location.scheme == "bigquery":
            from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse

            project, _, where = location.rest.partition("/")
            return BigQueryWarehouse(project, location=where or None, maximum_bytes_billed=self.settings.maximum_bytes_billed)
        raise _unknown("warehouse", str(location))

    @cached_property
    def store(self) -> "SQLiteStore | FirestoreStore":
        """Where gates and the outbox are kept."""
        location = self.settings.state
        if location.scheme == "sqlite":
            from phasegate.adapters.state.sqlite import SQLiteStore

            return SQLiteStore(location.rest)
        if location.scheme == "firestore":
            from phasegate.adapters.state.firestore import FirestoreStore

            project, _, database = location.rest.partition("/")
            return FirestoreStore(project, database)
        raise _unknown("state", str(location))

    def actor(self, by: str | None) -> str:
        """Who acts by hand: in the cloud whom the credentials are for; on one machine *by*, or else the login name.

        Raises:
            ConfigError: *by* is given in the cloud, or the credentials don't say whose they are.
        """
        if self.settings.state.scheme != "firestore" or os.environ.get("FIRESTORE_EMULATOR_HOST"):
            return by or getuser()
        if by is not None:
            raise ConfigError("--by: with the state in the cloud, the credentials say who acts")
        if self._account is not None:
            return self._account()
        from phasegate.adapters.google_account import account

        return account()

    def stored_gates(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        """The gates of a span, where a state store is set and exists already; none otherwise."""
        setting = next(setting for setting in self.settings.entries if setting.name == "state")
        if setting.value is None or (self.settings.state.scheme == "sqlite" and not Path(self.settings.state.rest).exists()):
            return {}
        return self.store.load(pipeline, span)

    @cached_property
    def local_bus(self) -> "LocalBus":
        """The bus inside this process; alerts go from it to the desk, decisions into the history."""
        from phasegate.adapters.local import LocalBus

        bus = LocalBus()
        bus.subscribe(ALERTS, lambda message: self.alerts.take(message))
        bus.subscribe(EVENTS, lambda event: self.history.keep(event))
        return bus

    @cached_property
    def history(self) -> "SQLiteHistory":
        """Where decisions are kept for analysis on one machine: beside the state."""
        from phasegate.adapters.state.sqlite import SQLiteHistory

        state = self.settings.state
        return SQLiteHistory(state.rest if state.scheme == "sqlite" else ".phasegate/history.sqlite")

    @cached_property
    def publisher(self) -> Publisher:
        """The way out."""
        if self.settings.bus.scheme == "local":
            return self.local_bus
        if self.settings.bus.scheme == "pubsub":
            from phasegate.adapters.pubsub import PubSubPublisher

            return PubSubPublisher(self.installation.project, prefix=self.installation.prefix)
        raise _unknown("bus", str(self.settings.bus))

    @cached_property
    def relay(self) -> Relay:
        """What sends that which was committed."""
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
        """Which installation this is."""
        from phasegate.installation.deployment import Installation

        project, _, prefix = self.settings.bus.rest.partition("/")
        return Installation(project, prefix or PREFIX)

    @cached_property
    def deploy_watch(self) -> "DeployWatch":
        """What watches deployments and drift."""
        from phasegate.installation.deploy_watch import DeployWatch

        with self._making:
            return DeployWatch(self.installation, store=self.store, records=self.store, relay=self.relay, clock=self.clock)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        """What becomes of a message that could not be delivered."""
        from phasegate.messaging.dead_letters import DeadLetters

        return DeadLetters(self.store, self.relay, self.clock)

    @cached_property
    def replay(self) -> "Replay":
        """Kept messages, once more through the monitor."""
        from phasegate.gates.replay import Replay

        return Replay(self.monitor, store=self.store, clock=self.clock)

    @cached_property
    def preflight_checks(self) -> "PreflightChecks":
        """What says whether a phase may start."""
        from phasegate.gates.preflight import PreflightChecks

        with self._making:
            return PreflightChecks(self.pipelines, warehouse=self.warehouse, store=self.store, clock=self.clock)

    def preflight_service(self, address: str) -> "PreflightClient":
        """The function that says whether a phase may start."""
        from phasegate.adapters.preflight_client import PreflightClient

        return PreflightClient(address)

    @cached_property
    def platform(self) -> Platform | None:
        """The live platform; None for an installation on one machine."""
        if self.settings.bus.scheme == "local":
            return None
        from phasegate.adapters.google_platform import GooglePlatform

        return GooglePlatform(self.installation.project, self.installation.prefix)

    @cached_property
    def doctor(self) -> "Doctor":
        """Who looks whether everything is as it must be."""
        from phasegate.adapters.local import zone_rules
        from phasegate.installation.doctor import Doctor

        # What was not given is a default for one machine, and says nothing of the functions.
        shared = ("bus", "secrets", "state", "warehouse")
        compared = [each for each in self.settings.entries if each.name in shared and each.source not in ("default", "not set")]
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
            settings={f"PHASEGATE_{each.name.upper()}": each.value for each in compared if each.value},
        )

    @cached_property
    def heartbeats(self) -> Heartbeats:
        """Where the functions note that they work."""
        return Heartbeats(self.store, self.store)

    @cached_property
    def pauses(self) -> Pauses:
        """Puts and ends pauses."""
        return Pauses(self.store, self.clock)

    @cached_property
    def tick(self) -> "Tick":
        """What happens once a minute."""
        from phasegate.gates.tick import Tick
        from phasegate.installation.checkup import Checkup
        from phasegate.messaging.stuck import StuckMessages

        # Whoever else wants a turn every minute is a hook here.
        unsent = StuckMessages(self.store, self.store, self.relay, self.clock)
        checkup = Checkup(lambda: self.doctor.examine(), self.store, self.relay, self.clock)
        # The doctor last: it may take two minutes.
        hooks: tuple[Hook, ...] = (unsent.check, self.alerts.tick, checkup.check)
        return Tick(
            self.monitor, store=self.store, records=self.store, clock=self.clock, heartbeats=self.heartbeats, hooks=hooks
        )

    @cached_property
    def alerts(self) -> "AlertDispatch":
        """What brings alerts to people."""
        from phasegate.alerts.dispatch import AlertDispatch

        with self._making:
            return AlertDispatch(
                self.pipelines,
                notifiers=self.notifiers,
                store=self.store,
                relay=self.relay,
                clock=self.clock,
                links=self.acknowledging.links if self.acknowledging else None,
                log=self._log,
            )

    @cached_property
    def acknowledging(self) -> "AckPage | None":
        """The links in messages, and the page behind them; None when no address or key is set."""
        if self.settings.acknowledging is None:
            return None
        from phasegate.alerts.ack_page import AckPage

        address, key = self.settings.acknowledging
        return AckPage(address, lambda: self.secrets.get(key), self.clock)

    def check_secrets(self) -> None:
        """Ask for every secret that a destination needs.

        Raises:
            ConfigError: Some are not there, or can't be what they should be; carries a problem for each.
            SecretError: Whether they are could not be found out.
        """
        from phasegate.adapters.channels import secret_problems

        found = list(secret_problems(self.pipelines, self.secrets))
        if self.settings.acknowledging is not None:
            try:
                self.secrets.get(self.settings.acknowledging[1])
            except ConfigError as error:
                found.append(Problem("link_key", str(error)))
        if found:
            raise ConfigError(problems=found)

    @cached_property
    def notifiers(self) -> Mapping[str, Notifier]:
        """The ways to people, by pipeline and destination: `flights/team`."""
        from phasegate.adapters.channels import notifier

        return {
            f"{pipeline.name}/{name}": notifier(
                name,
                destination,
                alerts=pipeline.alerts,
                secrets=self.secrets,
                clock=self.clock,
                folder=self._beside_state / "mails",
                screen=self._screen,
            )
            for pipeline in self.pipelines
            for name, destination in pipeline.alerts.destinations.items()
        }

    @property
    def _beside_state(self) -> Path:
        state = self.settings.state
        return Path(state.rest).parent if state.scheme == "sqlite" else Path(".phasegate")

    @cached_property
    def secrets(self) -> Secrets:
        """Where passwords, keys and webhooks' addresses are."""
        from phasegate.adapters.secrets import RememberedSecrets, SecretManager, environment, folder

        location = self.settings.secrets
        match location.scheme:
            case "env":
                return RememberedSecrets(environment(os.environ))
            case "folder":
                return RememberedSecrets(folder(Path(location.rest)))
            case "secretmanager":
                return RememberedSecrets(SecretManager(location.rest))
        raise _unknown("secrets", str(location))

    def handle_pubsub(self, request: Request) -> tuple[str, int]:
        """Answer one delivered completion message; see `_take_in`."""
        return self._take_in("phase_monitor", request, lambda headers, body: self.monitor.receive(headers, body))

    def handle_deployment(self, request: Request) -> tuple[str, int]:
        """Answer one message of Cloud Build, or of the check for drift; see `_take_in`."""
        return self._take_in("deploy_watch", request, lambda headers, body: self.deploy_watch.receive(headers, body))

    def handle_dead_letter(self, request: Request) -> tuple[str, int]:
        """Answer one message that could not be delivered; see `_take_in`."""
        return self._take_in("dead_letter", request, lambda headers, body: self.dead_letters.receive(headers, body))

    def handle_alert(self, request: Request) -> tuple[str, int]:
        """Answer one delivered alert; see `_take_in`."""
        return self._take_in("alert_dispatch", request, lambda headers, body: self.alerts.receive(headers, body))

    def handle_preflight(self, request: Question) -> "Response":
        """Answer whether a phase may start; see `respond`."""
        from phasegate.gates.preflight_http import respond, unanswered

        try:
            answer = respond(self.preflight_checks, self.clock, request.method, request.query_string, request.get_data())
        except AdapterError as error:
            return unanswered(error)
        self._note_work("preflight", answer[1])
        return answer

    def handle_acknowledgement(self, request: Visit) -> "Page":
        """Answer whoever follows the link in a message.

        Raises:
            ConfigError: The key is not there.
            AdapterError: The effect is not stored.
        """
        if self.acknowledging is None:
            return "There are no links here: PHASEGATE_ACKNOWLEDGE_URL and PHASEGATE_LINK_KEY are not set.", 404, {}
        answer = self.acknowledging.answer(
            self.alerts.incidents, request.method, request.args.get("token", ""), request.get_data()
        )
        self._note_work("acknowledge", answer[1])
        return answer

    def handle_tick(self, request: Request) -> tuple[str, int]:
        """Answer one tick of the scheduler; what stands in it is of no interest, and one that comes twice does no harm.

        Raises:
            PhasegateError: Something was not done; the tick may come again, and the next one does it anyhow.
        """
        if request.method != "POST":
            return "Ticks are posted here.", 405
        try:
            ticked = self.tick.run()
        except PhasegateError as error:
            log("tick_failed", severity="ERROR", error=str(error))
            raise
        cost = ticked.cost
        log(
            "ticked",
            looked_at=len(ticked.decisions),
            sent=ticked.sent,
            queries=cost.queries,
            bytes_billed=cost.bytes_billed,
            cost_usd=cost.usd,
        )
        return "", 204

    def _take_in(self, name: str, request: Request, receive: Receive) -> tuple[str, int]:
        """Answer one delivered message, and note that the function of that name works; see `_answer`."""
        answer = self._answer(request, receive)
        self._note_work(name, answer[1])
        return answer

    def _note_work(self, name: str, status: int) -> None:
        """Let the function's heart beat, but not for what it refused: that is no work, and anybody may cause it."""
        if status < 400:
            self.heartbeats.record(name, self.clock.now())

    def _answer(self, request: Request, receive: Receive) -> tuple[str, int]:
        """Answer one delivered message: 204 once its effect is stored, an error otherwise, so that it comes again.

        Raises:
            AdapterError: The effect is not stored.
        """
        if request.method != "POST":
            return "Messages are posted here.", 405
        try:
            outcome = receive(dict(request.headers.items()), request.get_data())
        except AdapterError as error:
            log("not_handled", severity="ERROR", error=str(error), retryable=error.retryable)
            raise
        decision = outcome.decision
        cost = decision.verdict.cost if decision and decision.verdict else None
        log(
            str(outcome.handled),
            severity="WARNING" if outcome.handled in (Handled.REJECTED, Handled.STORED) else "INFO",
            run_key=str(decision.gate.run) if decision else None,
            gate=decision.gate.state if decision else None,
            reason=decision.reason if decision else None,
            decision=decision.signal.decision_id if decision and decision.signal else None,
            detail=outcome.detail or None,
            queries=cost.queries if cost else None,
            bytes_billed=cost.bytes_billed if cost else None,
            cost_usd=cost.usd if cost else None,
            message_id=outcome.message_id,
            problem=outcome.problem or None,
        )
        return "", 204


def wrong_sql(pipeline: Pipeline) -> Iterator[Problem]:
    """The pieces of SQL in a pipeline file that do not parse."""
    from phasegate.adapters.warehouse.googlesql import check_sql

    for place, text, kind in sql_texts(pipeline):
        try:
            check_sql(text, kind)
        except ConfigError as error:
            yield Problem(place, str(error))


def refused_sql(pipeline: Pipeline) -> Iterator[Problem]:
    """The pieces of SQL that DuckDB is not known to answer as BigQuery does, with the reason."""
    from phasegate.adapters.warehouse.googlesql import check_sql

    for place, text, kind in sql_texts(pipeline):
        if reason := check_sql(text, kind):
            yield Problem(place, reason)


def _unknown(setting: str, got: str) -> PhasegateError:
    return ConfigError(f"{setting}: {got} is not available in this installation")
