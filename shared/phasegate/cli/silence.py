"""`phasegate silence`: let nobody be told of something for a while."""

import json
import uuid
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import click

from phasegate.cli.options import by_option, end, located, wired
from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.routing import Silence
from phasegate.core.gates.gate import Reason
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError

_FIELDS = ("pipeline", "phase", "cause")


@click.group(
    invoke_without_command=True,
    epilog='Example: phasegate silence --match phase=raw,cause=nothing_heard --reason "the source moves house" --until 24h',
)
@click.option("--match", metavar="FIELD=NAME,…", help="What is silenced: pipeline=, phase= and cause= of the incident.")
@click.option("--reason", "why", metavar="TEXT", help="Why; stands in the list.")
@click.option("--until", metavar="WHEN", help="24h, the last day like 2013-02-09, or a time like 2013-02-09T12:00.")
@by_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@located("pipelines", "state")
@click.pass_context
def command(
    context: click.Context,
    /,
    match: str | None,
    why: str | None,
    until: str | None,
    by: str | None,
    form: str,
    **where: str | None,
) -> int:
    """Tell nobody of the incidents that match, until a time; without --match, list the silences that last.

    What was told before is told when it recovers. What still lasts at the end is told then. Undone by `silence end`.
    """
    if context.invoked_subcommand is not None:
        return 0
    wiring = wired(**where)
    if match is None:
        if why or until or by:
            raise ConfigError("--match: say what is silenced, like phase=raw")
        _list(wiring.alerts.silences.active(), form)
        return 0
    if not why or not until:
        raise ConfigError("a silence needs --reason and --until")
    found, now = _matcher(match, wiring.pipelines), wiring.clock.now()
    zones = [pipeline for pipeline in wiring.pipelines if found.get("pipeline") in (None, pipeline.name)]
    ends = end(until, zones[0], now)
    if ends <= now:
        raise ConfigError(f"--until: expected a time to come, got {until}")
    silence = Silence(
        id=uuid.uuid4().hex[:8],
        by=wiring.actor(by),
        why=why,
        at=now,
        until=ends,
        pipeline=found.get("pipeline"),
        subject=found.get("phase"),
        cause=found.get("cause"),
    )
    wiring.alerts.silences.add(silence)
    click.echo(f"silence {silence.id} until {ends:%Y-%m-%d %H:%M} UTC: {_shown(silence)}")
    return 0


@command.command("end", epilog="Example: phasegate silence end 1f0c9a3e")
@click.argument("silence_id", metavar="ID")
@located("pipelines", "state")
def end_silence(silence_id: str, **where: str | None) -> int:
    """End a silence now; what it kept back and still lasts is told within a minute."""
    ended = wired(**where).alerts.silences.end(silence_id)
    click.echo(f"silence {ended.id} is over: {_shown(ended)}")
    return 0


def _matcher(text: str, pipelines: Sequence[Pipeline]) -> Mapping[str, str]:
    """What a silence matches. A name that nothing has would silence nothing, and is refused.

    Raises:
        ConfigError: It is not written like `phase=raw,cause=checks_failed`, or a name in it is unknown.
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if bad := [name for name, sign, value in pairs if name not in _FIELDS or not sign or not value]:
        raise ConfigError(f'--match: expected {", ".join(f"{field}=NAME" for field in _FIELDS)}, got "{bad[0]}" in "{text}"')
    found = {name: value for name, _, value in pairs}
    meant = [pipeline for pipeline in pipelines if found.get("pipeline") in (None, pipeline.name)]
    known = {
        "pipeline": [pipeline.name for pipeline in pipelines],
        "phase": [phase for pipeline in meant for phase in pipeline.phases],
        "cause": [str(cause) for cause in (*Reason, *TroubleCause)],
    }
    for name, value in found.items():
        if value not in known[name]:
            near = get_close_matches(value, known[name], n=1) or [", ".join(known[name])]
            raise ConfigError(f'--match: unknown {name} "{value}"; known: {near[0]}')
    return found


def _list(silences: Sequence[Silence], form: str) -> None:
    if form == "json":
        rows = [
            {
                "id": silence.id,
                "pipeline": silence.pipeline,
                "phase": silence.subject,
                "cause": silence.cause,
                "by": silence.by,
                "reason": silence.why,
                "at": silence.at.isoformat(),
                "until": silence.until.isoformat(),
            }
            for silence in silences
        ]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for silence in silences:
        click.echo(f"{silence.id}  until {silence.until:%Y-%m-%d %H:%M} UTC  {_shown(silence)}  by {silence.by}: {silence.why}")
    click.echo(f"{len(silences)} silences" if silences else "no silences")


def _shown(silence: Silence) -> str:
    pairs = zip(_FIELDS, (silence.pipeline, silence.subject, silence.cause), strict=True)
    return ",".join(f"{name}={value}" for name, value in pairs if value)
