"""`phasegate silence`: mute alerts for a while."""

import json
import uuid
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import click

from phasegate.cli.options import UNTIL, by_option, example, format_option, location_options, parse_until, wired, wired_to_read
from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.alerts.routing import Silence
from phasegate.core.gates.gate import Reason, end_text
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError

_FIELDS = ("pipeline", "phase", "cause")


@click.group(
    invoke_without_command=True,
    epilog=example('phasegate silence --match phase=raw,cause=nothing_heard --reason "the source is migrating" --until 24h'),
)
@click.option("--match", metavar="FIELD=NAME,…", help="What to mute: pipeline=, phase= and cause= of the incident.")
@click.option("--reason", "why", metavar="TEXT", help="Why; shown in the list.")
@click.option("--until", metavar="WHEN", help=f"When it ends: {UNTIL}")
@by_option
@format_option
@location_options("pipelines", "state")
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
    """Mute matching alerts until a given time, or list silences.

    Without --match, active silences are listed. If an incident was reported before the silence, its recovery is still reported.
    Incidents that are open when the silence ends are reported then. Undo with: phasegate silence end.
    """
    # click calls a group's function before its subcommand, too.
    if context.invoked_subcommand is not None:
        return 0
    wiring = (wired_to_read if match is None else wired)(**where)
    if match is None:
        if why or until or by:
            raise ConfigError("--match is missing: name what to mute, like phase=raw")
        _list(wiring.alerts.silences.active(), form)
        return 0
    if not why or not until:
        raise ConfigError("a silence needs --reason and --until")
    matcher, now = _parse_match(match, wiring.pipelines), wiring.clock.now()
    # A silence of all pipelines takes the time zone of the first.
    zones = [pipeline for pipeline in wiring.pipelines if matcher.get("pipeline") in (None, pipeline.name)]
    ends = parse_until(until, zones[0], now)
    if ends <= now:
        raise ConfigError(f"--until: expected a time in the future, got {until}")
    silence = Silence(
        id=uuid.uuid4().hex[:8],
        by=wiring.actor(by),
        why=why,
        at=now,
        until=ends,
        pipeline=matcher.get("pipeline"),
        subject=matcher.get("phase"),
        cause=matcher.get("cause"),
    )
    wiring.alerts.silences.add(silence)
    click.echo(f"silence {silence.id} until {end_text(ends)}: {_match_text(silence)}")
    return 0


@command.command("end", epilog=example("phasegate silence end 1f0c9a3e"))
@click.argument("silence_id", metavar="ID")
@location_options("pipelines", "state")
def end_silence(silence_id: str, **where: str | None) -> int:
    """End a silence now.

    Incidents that it muted and that are still open are reported within a minute.
    """
    ended = wired(**where).alerts.silences.end(silence_id)
    click.echo(f"silence {ended.id} ended: {_match_text(ended)}")
    return 0


def _parse_match(text: str, pipelines: Sequence[Pipeline]) -> Mapping[str, str]:
    """What a silence matches, by field. A name that nothing has would mute nothing, and is refused.

    Raises:
        ConfigError: It is not written like `phase=raw,cause=checks_failed`, or a name in it is unknown.
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if bad := [name for name, sign, value in pairs if name not in _FIELDS or not sign or not value]:
        raise ConfigError(f'--match: expected {", ".join(f"{field}=NAME" for field in _FIELDS)}, got "{bad[0]}" in "{text}"')
    matcher = {name: value for name, _, value in pairs}
    matching = [pipeline for pipeline in pipelines if matcher.get("pipeline") in (None, pipeline.name)]
    names = {
        "pipeline": [pipeline.name for pipeline in pipelines],
        "phase": [phase for pipeline in matching for phase in pipeline.phases],
        "cause": [str(cause) for cause in (*Reason, *TroubleCause)],
    }
    for field, value in matcher.items():
        if value not in names[field]:
            near = get_close_matches(value, names[field], n=1) or [", ".join(names[field])]
            raise ConfigError(f'--match: unknown {field} "{value}"; known: {near[0]}')
    return matcher


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
        click.echo(f"{silence.id}  until {end_text(silence.until)}  {_match_text(silence)}  by {silence.by}: {silence.why}")
    click.echo(f"{len(silences)} {'silence' if len(silences) == 1 else 'silences'}" if silences else "no silences")


def _match_text(silence: Silence) -> str:
    pairs = zip(_FIELDS, (silence.pipeline, silence.subject, silence.cause), strict=True)
    return ",".join(f"{name}={value}" for name, value in pairs if value)
