"""The page behind the link in an alert, as functions-framework serves it: opening changes nothing, the button does."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from urllib.parse import urlencode

import pytest
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.alerts.ack_link import Grant, seal
from phasegate.core.alerts.incident import Incident
from phasegate.gates.heartbeat import last_heartbeats
from phasegate.logs import silent

from tests.serving import REPO, serving

FILE = """
pipeline: tiny
calendar: {from: 2026-01-01}
phases:
  raw: {due: 06:00, outputs: {raw.rows: {date: d}}}
alerts:
  destinations:
    team: {kind: eml, to: [team@example.com]}
  routes:
    - {to: [team]}
"""
SECRET = "a key of thirty-two letters or so"  # noqa: S105
ENVIRON = {
    "PHASEGATE_PIPELINES": "tiny.yaml",
    "PHASEGATE_WAREHOUSE": "duckdb:none.duckdb",
    "PHASEGATE_STATE": "sqlite:state.sqlite",
    "PHASEGATE_BUS": "local:",
    "PHASEGATE_ACKNOWLEDGE_URL": "https://gates.example.com/ack",
    "PHASEGATE_LINK_KEY": "secret://link-key",
    "PHASEGATE_SECRET_LINK_KEY": SECRET,
}


@pytest.fixture
def wiring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wiring:
    """Raw of a date is held, and the team has been mailed."""
    monkeypatch.setenv("PHASEGATE_SECRET_LINK_KEY", SECRET)
    (tmp_path / "tiny.yaml").write_text(FILE)
    found = Wiring(Settings.resolve({}, ENVIRON, tmp_path), log=silent)
    found.alerts.handle(alert())
    return found


def alert(state: str = "firing") -> dict[str, object]:
    at = datetime.now(UTC).isoformat()
    return {
        "key": f"tiny/raw/2026-03-02/{at}", "pipeline": "tiny", "phase": "raw", "run_date": "2026-03-02",
        "severity": "critical", "state": state, "cause": "checks_failed", "about": [], "gate": "held",
        "detail": "<script>alert(1)</script>", "evidence": [], "effect": "", "since": at, "at": at,
    }  # fmt: skip


@pytest.fixture
def address(wiring: Wiring, tmp_path: Path) -> Iterator[str]:
    source = REPO / "functions/acknowledge/main.py"
    assert wiring.settings.folder == tmp_path
    with serving(tmp_path, ENVIRON, source, target="acknowledge", cwd=tmp_path) as found:
        yield found


def link(folder: Path) -> str:
    """The part of the link in the newest mail that follows the address of the page."""
    mails = sorted((folder / "mails/team").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    mail = message_from_bytes(mails[-1].read_bytes(), policy=policy.default)
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    (found,) = set(re.findall(r"Acknowledge: https://gates\.example\.com/ack(\S+)", text))
    return str(found)


def ask(url: str, method: str = "GET", **form: str) -> tuple[int, str, dict[str, str]]:
    body = urlencode(form).encode() if method == "POST" else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def open_incident(wiring: Wiring) -> Incident:
    (incident,) = wiring.alerts.incidents.still_open()
    return incident


def test_opening_the_link_changes_nothing_and_the_button_acknowledges(address: str, wiring: Wiring, tmp_path: Path) -> None:
    url = address + link(tmp_path)
    for method in ("GET", "HEAD", "GET"):  # what a mail scanner, a link preview and a person do
        status, page, headers = ask(url, method)
        assert status == 200
        assert open_incident(wiring).acknowledged is None
    assert "tiny/raw/checks_failed" in page
    assert '<form method="post">' in page
    assert "<script" not in page, "text from data is shown as text"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert ask(url, "POST")[0] == 400, "without a name"
    status, page, _ = ask(url, "POST", by="ann <b>")
    assert (status, open_incident(wiring).acknowledged is not None) == (200, True)
    assert "acknowledged by ann &lt;b&gt;" in page
    ack = open_incident(wiring).acknowledged
    assert ack is not None
    assert "acknowledge" in last_heartbeats(wiring.store, ["acknowledge"]), "the function records its heartbeat"
    assert ack.by == "ann <b> (by link)"
    assert SECRET not in (tmp_path / "log").read_text()


def test_a_forged_or_expired_link_is_refused_and_one_for_a_recovered_incident_does_nothing(
    address: str, wiring: Wiring, tmp_path: Path
) -> None:
    opened = open_incident(wiring).opened_at
    now = datetime.now(UTC)
    old = seal(Grant("tiny/raw/checks_failed", opened, now - timedelta(seconds=1)), SECRET.encode())
    forged = seal(Grant("tiny/raw/checks_failed", opened, now + timedelta(days=1)), b"a guess")
    for token, why in ((old, "expired"), (forged, "not made by phasegate"), ("", "not made by phasegate"), ("a.b", "not made")):
        for method in ("GET", "POST"):
            status, page, _ = ask(f"{address}?{urlencode({'token': token})}", method, by="eve")
            assert status == 403
            assert why in page
    assert open_incident(wiring).acknowledged is None
    url = address + link(tmp_path)
    wiring.alerts.handle(alert("recovered"))
    assert ask(url)[0] == 410
    wiring.alerts.handle(alert())
    assert ask(url, "POST", by="ann")[0] == 410, "it is for an earlier opening"
    assert open_incident(wiring).acknowledged is None


def test_an_acknowledged_incident_has_no_link(wiring: Wiring) -> None:
    assert wiring.ack_page is not None
    assert len(wiring.ack_page.links(open_incident(wiring), datetime.now(UTC))) == 1
    taken = wiring.alerts.incidents.acknowledge("tiny/raw/checks_failed", by="ann")
    assert wiring.ack_page.links(taken, datetime.now(UTC)) == ()
