"""Channels to people: a notifier for each destination of the pipeline file."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, assert_never

from phasegate.adapters.channels.timeouts import DEFAULT_TIMEOUTS, Timeouts
from phasegate.core.field_syntax import place
from phasegate.core.pipeline.model import Alerts, Destination, DestinationKind, Pipeline
from phasegate.errors import ConfigError, Problem
from phasegate.ports import Clock, Notifier, Secrets


def notifier(
    name: str,
    destination: Destination,
    *,
    alerts: Alerts,
    secrets: Secrets,
    clock: Clock,
    folder: Path,
    screen: TextIO | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Notifier:
    """The notifier of a destination; its libraries are imported now, its secrets are read when it first sends.

    Args:
        name: The destination's name; mail files go into a folder of that name.
        alerts: The part of the pipeline file that declares the destination.
        folder: Where mail files go.
        screen: Where a console writes; standard error, when left out.
        timeouts: How long an exchange with a server may take.
    """
    kind = destination.kind
    match kind:
        case DestinationKind.CONSOLE:
            from phasegate.adapters.local import Console

            return Console(screen)
        case DestinationKind.EML:
            from phasegate.adapters.channels.mail import MailFolder

            return MailFolder(folder / name, to=destination.to or ("you@localhost",))
        case DestinationKind.EMAIL:
            from phasegate.adapters.channels.smtp import Mailer

            assert alerts.mail is not None, "checked when the pipeline file is read"
            return Mailer(alerts.mail, to=destination.to, secrets=secrets, timeouts=timeouts)
        case DestinationKind.WEBHOOK:
            from phasegate.adapters.channels.webhook import Webhook

            key = destination.signing_key
            return Webhook(_webhook(destination), key=key, secrets=secrets, clock=clock, timeouts=timeouts)
        case DestinationKind.GOOGLE_CHAT:
            from phasegate.adapters.channels.google_chat import GOOGLE_CHAT as CHANNEL
        case DestinationKind.SLACK:
            from phasegate.adapters.channels.slack import SLACK as CHANNEL
        case DestinationKind.TEAMS:
            from phasegate.adapters.channels.teams import TEAMS as CHANNEL
        case _:
            assert_never(kind)
    from phasegate.adapters.channels.chat import ChatNotifier

    return ChatNotifier(CHANNEL, webhook=_webhook(destination), secrets=secrets, timeouts=timeouts)


def _webhook(destination: Destination) -> str:
    assert destination.webhook is not None, "checked when the pipeline file is read"
    return destination.webhook


def secret_problems(pipelines: Iterable[Pipeline], secrets: Secrets) -> Iterator[Problem]:
    """What is wrong with the secrets that destinations need; each is read once.

    Raises:
        SecretError: The place where secrets are stored did not answer.
    """
    from phasegate.adapters.channels.http import AN_ADDRESS, is_address

    for pipeline in pipelines:
        for path, reference, is_webhook in _references(pipeline.alerts):
            try:
                secret = secrets.get(reference)
            except ConfigError as error:
                yield Problem(f"{pipeline.name}: {path}", str(error))
                continue
            if is_webhook and not is_address(secret):
                yield Problem(f"{pipeline.name}: {path}", f"expected {reference} to hold {AN_ADDRESS}")


def _references(alerts: Alerts) -> Iterator[tuple[str, str, bool]]:
    """Path and reference of each secret, and whether it holds an address."""
    for name, destination in alerts.destinations.items():
        path = ("alerts", "destinations", name)
        if destination.webhook is not None:
            yield place(*path, "webhook"), destination.webhook, True
        if destination.signing_key is not None:
            yield place(*path, "signing_key"), destination.signing_key, False
    if alerts.mail is not None and alerts.mail.password is not None:
        yield place("alerts", "mail", "password"), alerts.mail.password, False
