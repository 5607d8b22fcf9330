"""`phasegate replay`: reprocess messages that were rejected or not delivered."""

import json
from collections.abc import Sequence
from typing import Any

import click

from phasegate.cli.options import example, location_options, parse_time, text_format_option, wired, wired_to_read
from phasegate.cli.output.text import visible
from phasegate.errors import ConfigError
from phasegate.gates.replay import MAX_MESSAGES, retained_messages
from phasegate.ports import Rejected

_MAX_SHOWN = 300


@click.command(epilog=example("phasegate replay --all --dry-run"))
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "replay_all", is_flag=True, help="Reprocess all stored messages.")
@click.option(
    "--since", metavar="TIME", help="Reprocess messages stored since this time, like 2013-02-09 or 2013-02-09T05:20:00Z."
)
@click.option("--dry-run", is_flag=True, help="Show what each would do, and change nothing.")
@text_format_option
@location_options("pipelines", "warehouse", "state", "bus")
def command(ids: tuple[str, ...], replay_all: bool, since: str | None, dry_run: bool, form: str, **where: str | None) -> int:
    """Reprocess rejected and undelivered messages, or list them.

    Without an ID, --all or --since, the stored messages are listed. A message that was already processed changes nothing. One
    that is still invalid stays in the list, and the command exits with 1.
    """
    lists = not (ids or replay_all or since)
    wiring = (wired_to_read if lists or dry_run else wired)(**where)
    if replay_all and (ids or since):
        raise ConfigError("expected either --all, or IDs or --since")
    begin = None if since is None else parse_time(since, "--since", wiring.clock.now())
    stored = retained_messages(wiring.store, MAX_MESSAGES, begin)
    if lists:
        _print_list(stored, form)
        return 0
    # The list is newest first. The oldest is replayed first, so that reports come in the order in which they were made.
    replayed = [wiring.replay.replay(message, dry_run=dry_run) for message in reversed(_select(ids, stored))]
    if form == "json":
        rows = [{"id": result.message.message_id, "settled": result.settled, "said": result.result} for result in replayed]
        click.echo(json.dumps(rows, indent=2))
    else:
        for result in replayed:
            sign, text = "●" if result.settled else "✗", escaped(result.result)
            click.echo(f"{sign} {escaped(result.message.message_id)}: {text}")
        click.echo(f"{_count(len(replayed))} {'would be reprocessed' if dry_run else 'reprocessed'}")
    return 0 if all(result.settled for result in replayed) else 1


def _count(number: int) -> str:
    return f"{number} {'message' if number == 1 else 'messages'}"


def _select(ids: Sequence[str], stored: Sequence[Rejected]) -> list[Rejected]:
    """The messages with these ids, as they are or as the list shows them; all without ids.

    Raises:
        ConfigError: There is no message with one of the ids.
    """
    if not ids:
        return list(stored)
    named = {name: message for message in stored for name in (escaped(message.message_id), message.message_id)}
    if unknown := [escaped(name) for name in ids if name not in named]:
        raise ConfigError(f"not stored, or already replayed: {', '.join(unknown)}; phasegate replay lists stored messages")
    return [message for message in stored if any(named[name] is message for name in ids)]


def _print_list(stored: Sequence[Rejected], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([_as_object(message) for message in stored], indent=2))
        return
    for message in stored:
        click.echo(f"{escaped(message.message_id)}  {message.at:%Y-%m-%d %H:%M} UTC  {escaped(message.reason)}")
        attributes = " ".join(f"{name}={value}" for name, value in message.attributes.items())
        for text in (message.data, attributes):
            if text:
                click.echo(f"    {escaped(text)}")
    click.echo(f"{_count(len(stored))}" + ("; phasegate replay --all --dry-run shows what each would do" if stored else ""))


def _as_object(message: Rejected) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "at": message.at.isoformat(),
        "reason": message.reason,
        "source": message.source or None,
        "data": message.data,
        "attributes": dict(message.attributes),
    }


def escaped(text: str) -> str:
    """Text from outside on one line, cut when it is long."""
    return visible(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")
