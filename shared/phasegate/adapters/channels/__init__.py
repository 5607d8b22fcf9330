"""Ways to people: a notifier for each destination of the pipeline file."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

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
    patience: Timeouts = DEFAULT_TIMEOUTS,
) -> Notifier:
    """The notifier of a destination; its libraries are imported now, its secrets are asked for when it first sends.

    Args:
        name: The destination's name; mail files go into a folder of that name.
        alerts: The part of the pipeline file that the destination stands in.
        folder: Where mail files go.
        screen: Where a console writes; standard error, when left out.
        patience: How long an exchange with a server may take.
    """
    match destination.kind:
        case DestinationKind.CONSOLE:
            from phasegate.adapters.local import Console

            return Console(screen)
        case DestinationKind.EML:
            from phasegate.adapters.channels.mail import MailFolder

            return MailFolder(folder / name, to=destination.to or ("you@localhost",))
        case DestinationKind.EMAIL:
            from phasegate.adapters.channels.smtp import Mailer

            assert alerts.mail is not None, "the pipeline file says so"
            return Mailer(alerts.mail, to=destination.to, secrets=secrets, patience=patience)
    from phasegate.adapters.channels.chat import ChatNotifier

    assert destination.webhook is not None, "the destination says so"
    match destination.kind:
        case DestinationKind.GOOGLE_CHAT:
            from phasegate.adapters.channels.google_chat import GOOGLE_CHAT as CHANNEL
        case DestinationKind.SLACK:
            from phasegate.adapters.channels.slack import SLACK as CHANNEL
        case DestinationKind.TEAMS:
            from phasegate.adapters.channels.teams import TEAMS as CHANNEL
        case _:
            from phasegate.adapters.channels.webhook import Webhook

            return Webhook(destination.webhook, key=destination.signing_key, secrets=secrets, clock=clock, patience=patience)
    return ChatNotifier(CHANNEL, webhook=destination.webhook, secrets=secrets, patience=patience)


def secret_problems(pipelines: Iterable[Pipeline], secrets: Secrets) -> Iterator[Problem]:
    """What is wrong with the secrets that destinations need; each is asked for once.

    Raises:
        SecretError: Whether there is one could not be found out.
    """
    from phasegate.adapters.channels.http import is_address

    for pipeline in pipelines:
        for path, reference, address in _references(pipeline.alerts):
            try:
                found = secrets.get(reference)
            except ConfigError as error:
                yield Problem(f"{pipeline.name}: {path}", str(error))
                continue
            if address and not is_address(found):
                yield Problem(f"{pipeline.name}: {path}", f"expected {reference} to hold an address that begins with https://")


def _references(alerts: Alerts) -> Iterator[tuple[str, str, bool]]:
    for name, destination in alerts.destinations.items():
        at = ("alerts", "destinations", name)
        if destination.webhook is not None:
            yield place(*at, "webhook"), destination.webhook, True
        if destination.signing_key is not None:
            yield place(*at, "signing_key"), destination.signing_key, False
    if alerts.mail is not None:
        yield place("alerts", "mail", "password"), alerts.mail.password, False
