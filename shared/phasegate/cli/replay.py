"""`phasegate replay`: messages that had no effect, once more."""

import json
from collections.abc import Sequence
from typing import Any

import click

from phasegate.cli.options import located, moment, wired
from phasegate.errors import ConfigError
from phasegate.gates.replay import MAX_MESSAGES, retained_messages
from phasegate.ports import Rejected

_SHOWN = 300


@click.command(epilog="Example: phasegate replay --all --dry-run")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="All that are kept.")
@click.option("--since", metavar="TIME", help="Those that came since then, like 2013-02-09 or 2013-02-09T05:20:00Z.")
@click.option("--dry-run", is_flag=True, help="Say what each would do, and do nothing.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@located("pipelines", "warehouse", "state", "bus")
def command(ids: tuple[str, ...], every: bool, since: str | None, dry_run: bool, form: str, **where: str | None) -> int:
    """Put rejected and undelivered messages through the monitor again; without an ID, --all or --since, list them.

    Nothing is counted twice. A message that still makes no sense stays, and the command exits with 1.
    """
    wiring = wired(**where)
    if every and (ids or since):
        raise ConfigError("expected either --all, or IDs or --since")
    begin = None if since is None else moment(since, "--since", wiring.clock.now())
    kept = retained_messages(wiring.store, MAX_MESSAGES, begin)
    if not (ids or every or since):
        _print_list(kept, form)
        return 0
    found = [wiring.replay.replay(message, dry_run=dry_run) for message in reversed(_chosen(ids, kept))]
    if form == "json":
        rows = [{"id": each.message.message_id, "settled": each.settled, "said": each.result} for each in found]
        click.echo(json.dumps(rows, indent=2))
    else:
        for each in found:
            click.echo(f"{'●' if each.settled else '✗'} {escaped(each.message.message_id)}: {escaped(each.result)}")
        click.echo(f"{len(found)} looked at")
    return 0 if all(each.settled for each in found) else 1


def _chosen(ids: Sequence[str], kept: Sequence[Rejected]) -> list[Rejected]:
    """The messages that are meant, by id as it is or as it is shown.

    Raises:
        ConfigError: An id is not among those that are kept.
    """
    if not ids:
        return list(kept)
    named = {name: message for message in kept for name in (escaped(message.message_id), message.message_id)}
    if unknown := [escaped(name) for name in ids if name not in named]:
        raise ConfigError(f"not kept, or replayed already: {', '.join(unknown)}; phasegate replay lists what is kept")
    return [message for message in kept if any(named[name] is message for name in ids)]


def _print_list(kept: Sequence[Rejected], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([_told(message) for message in kept], indent=2))
        return
    for message in kept:
        click.echo(f"{escaped(message.message_id)}  {message.at:%Y-%m-%d %H:%M} UTC  {escaped(message.reason)}")
        attributes = " ".join(f"{name}={value}" for name, value in message.attributes.items())
        for text in (message.data, attributes):
            if text:
                click.echo(f"    {escaped(text)}")
    click.echo(f"{len(kept)} kept" + ("; phasegate replay --all --dry-run says what each would do" if kept else ""))


def _told(message: Rejected) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "at": message.at.isoformat(),
        "reason": message.reason,
        "source": message.source or None,
        "data": message.data,
        "attributes": dict(message.attributes),
    }


def escaped(text: str) -> str:
    r"""Text from outside on one line, not too long; what a terminal would take for an order is shown by its number.

    >>> print(escaped("a\x1b[2Jb\u202e\nc"))
    a\x1b[2Jb\u202e\nc
    """
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)
