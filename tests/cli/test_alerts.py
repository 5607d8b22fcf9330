"""Alerts on the command line: open incidents, acknowledging, muting, and whether alerts arrive."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.logs import silent

from tests.cli.test_actions import Done, run

FILE = """\
pipeline: shop
timezone: Europe/Berlin
calendar: {from: 2026-01-01}
phases:
  raw: {due: 06:00, outputs: {raw.orders: {date: day}}}
  clean: {after: [raw], due: 1h after raw, outputs: {clean.orders: {date: day}}}
alerts:
  destinations:
    team: {kind: eml, to: [team@example.com]}
    hook: {kind: webhook, webhook: secret://hook}
  routes:
    - {severity: critical, to: [team]}
    - {severity: warning, to: [team], digest: daily 08:00}
"""
KEY = "shop/raw/checks_failed"


@pytest.fixture
def wiring(tmp_path: Path) -> Wiring:
    """A shop in which raw of two dates is held, and clean is late because of it."""
    (tmp_path / "shop.yaml").write_text(FILE)
    options = {"pipelines": "shop.yaml", "state": "sqlite:state.sqlite", "bus": "local:"}
    wiring = Wiring(Settings.resolve(options, {}, tmp_path), log=silent)
    for day in (1, 2):
        wiring.alerts.handle(alert(day))
    wiring.alerts.handle(alert(2, phase="clean", cause="upstream_shut", about=["raw"], gate="overdue"))
    return wiring


@pytest.fixture
def shop(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command where the shop's files are."""
    folder = wiring.settings.folder
    monkeypatch.setenv("PHASEGATE_PIPELINES", "shop.yaml")
    monkeypatch.setenv("PHASEGATE_STATE", "sqlite:state.sqlite")
    monkeypatch.setenv("PHASEGATE_BUS", "local:")
    return lambda *args: run(folder, *args)


def alert(day: int, **fields: object) -> dict[str, object]:
    at = datetime.now(UTC).isoformat()
    values = {"phase": "raw", "cause": "checks_failed", "about": ["raw.orders.row_count"], "gate": "held", "state": "firing"}
    values |= {"detail": "3 rows, expected 10", "severity": "critical", **fields}
    key = f"shop/{values['phase']}/2026-03-{day:02}/{at}"
    where = {"key": key, "pipeline": "shop", "run_date": f"2026-03-{day:02}", "evidence": [], "effect": "shut"}
    return {**where, **values, "since": at, "at": at}


def incidents(shop: Callable[..., Done]) -> dict[str, dict[str, object]]:
    return {incident["incident"]: incident for incident in json.loads(shop("alerts", "--format", "json").stdout)["incidents"]}


def test_open_incidents_are_shown_with_the_command_that_acknowledges_them(shop) -> None:
    done = shop("alerts", "--deliveries")
    assert done.returncode == 0, done.stderr
    assert f"critical {KEY}  2 dates, 2026-03-01 to 2026-03-02" in done.stdout
    assert f"phasegate ack {KEY}" in done.stdout
    assert "shop/team" in done.stdout
    assert "first" in done.stdout
    shown = json.loads(shop("alerts", "--deliveries", "--format", "json").stdout)
    (row,) = (row for row in shown["deliveries"] if row["incident"] == KEY)
    assert (row["destination"], [sent["reason"] for sent in row["told"]]) == ("shop/team", ["first"])
    assert {line["destination"]: line["accepted_at"] is not None for line in shown["destinations"]} == {
        "shop/team": True,
        "shop/hook": False,
    }
    assert incidents(shop)[KEY]["followers"] == {"clean": ["2026-03-02"]}


def test_without_incidents_it_says_so(shop, wiring: Wiring) -> None:
    for day in (1, 2):
        wiring.alerts.handle(alert(day, state="recovered", gate="open"))
    wiring.alerts.handle(alert(2, phase="clean", cause="upstream_shut", state="recovered", gate="open"))
    assert shop("alerts").stdout == "no incidents\n"


def test_an_incident_is_acknowledged_by_name(shop) -> None:
    done = shop("ack", KEY, "--by", "ann", "--note", "asked\x1b[2J for again")
    assert (done.returncode, done.stdout) == (0, f"{KEY} is acknowledged by ann\n")
    assert incidents(shop)[KEY]["acknowledged_by"] == "ann"
    assert incidents(shop)[KEY]["state"] == "acknowledged"
    assert "acknowledged by ann" in shop("alerts").stdout
    assert "\x1b" not in shop("alerts").stdout


@pytest.mark.parametrize("name", ["shop/raw/checks_faild", "raw", "", "///", "\x00"])
def test_an_unknown_incident_is_refused_with_the_names_of_open_ones(shop, name: str) -> None:
    done = shop("ack", name)
    assert done.returncode == 2
    assert KEY in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_silence_mutes_until_it_is_ended(shop, wiring: Wiring, tmp_path: Path) -> None:
    done = shop("silence", "--match", "phase=clean,cause=late_failure", "--reason", "moving", "--until", "24h", "--by", "ann")
    assert done.returncode == 0, done.stderr
    silence_id = done.stdout.split()[1]
    assert "phase=clean,cause=late_failure" in shop("silence").stdout
    (listed,) = json.loads(shop("silence", "--format", "json").stdout)
    assert (listed["id"], listed["by"], listed["reason"]) == (silence_id, "ann", "moving")
    assert datetime.fromisoformat(listed["until"]) - datetime.fromisoformat(listed["at"]) == timedelta(hours=24)
    mails = tmp_path / "mails/team"
    wiring.alerts.handle(alert(2, phase="clean", cause="late_failure", gate="open"))
    wiring.alerts.tick()
    assert not list(mails.glob("*late_failure*"))
    assert shop("silence", "end", silence_id).stdout.startswith(f"silence {silence_id} ended")
    wiring.alerts.tick()
    assert len(list(mails.glob("*late_failure*"))) == 1
    assert shop("silence").stdout == "no silences\n"


@pytest.mark.parametrize(
    ("option", "error"),
    [
        (["--match", "phase=rwa"], 'unknown phase "rwa"; known: raw'),
        (["--match", "cause=check_failed"], 'unknown cause "check_failed"; known: checks_failed'),
        (["--match", "pipeline=shop,phase"], 'got "phase"'),
        (["--match", ""], "expected pipeline=NAME"),
        (["--match", "owner=ann"], 'got "owner"'),
        (["--until", "tomorrow"], "--until: expected a span"),
        (["--until", "2020-01-01"], "expected a time in the future"),
        (["--reason", ""], "needs --reason and --until"),
    ],
)
def test_a_silence_that_would_mute_nothing_is_refused(shop, option: list[str], error: str) -> None:
    options = {"--match": "phase=raw", "--reason": "moving", "--until": "24h", option[0]: option[1]}
    done = shop("silence", *(word for pair in options.items() for word in pair))
    assert done.returncode == 2
    assert error in done.stderr


def test_an_unknown_silence_cannot_be_ended(shop) -> None:
    assert shop("silence", "end", "nope").returncode == 2


def test_a_test_shows_which_destinations_accept_messages(shop, tmp_path: Path) -> None:
    done = shop("alerts", "test")
    assert done.returncode == 1
    assert "● shop/team: accepted" in done.stdout
    assert "✗ shop/hook: " in done.stdout
    assert "PHASEGATE_SECRET_HOOK" in done.stdout, "what to set"
    assert any("test" in mail.name for mail in (tmp_path / "mails/team").iterdir())


def test_missing_secrets_are_found_before_an_alert_needs_them(shop) -> None:
    done = shop("config", "check", "--secrets")
    assert done.returncode == 2
    assert "alerts.destinations.hook.webhook: secret://hook is missing: set PHASEGATE_SECRET_HOOK" in done.stderr
    assert shop("config", "check").returncode == 0
