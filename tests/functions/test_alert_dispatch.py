"""The function `alert_dispatch` as functions-framework serves it: pushes of the alert topic, mails in a folder."""

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import trustme
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.gates.heartbeat import last_heartbeats

from tests.canaries import canary, holds
from tests.receivers import Receiver, Reply
from tests.serving import REPO, serving

PIPELINE = """
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
NOW = datetime.now(UTC).isoformat()
ALERT = {
    "key": "tiny/raw/2026-03-02/v1/checks_failed", "pipeline": "tiny", "phase": "raw", "run_date": "2026-03-02",
    "severity": "critical", "state": "firing", "cause": "checks_failed", "about": ["raw.rows.row_count"], "gate": "held",
    "detail": "3 rows, expected 10", "evidence": [], "effect": "", "since": NOW, "at": NOW,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dispatch")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    (folder / "tiny.yaml").write_text(PIPELINE)
    environ = {
        "PHASEGATE_PIPELINES": str(folder / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{folder / 'none.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{folder / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }
    source = REPO / "functions/alert_dispatch/main.py"
    with serving(folder, environ, source, target="alert_dispatch") as found:
        yield found


def push(address: str, data: bytes, message_id: str) -> int:
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id, "attributes": {}}
    body = json.dumps({"message": message, "subscription": "s"}).encode()
    with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=30) as answer:
        return int(answer.status)


def subjects(folder: Path) -> list[str]:
    mails = sorted((folder / "mails/team").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    return [str(message_from_bytes(mail.read_bytes(), policy=policy.default)["Subject"]) for mail in mails]


def test_an_alert_is_sent_once_however_often_it_is_delivered(address: str, folder: Path) -> None:
    for n in range(3):
        assert push(address, json.dumps(ALERT).encode(), f"m{n}") == 204
    assert subjects(folder) == ["CRITICAL: [tiny] raw of 2026-03-02: held"]
    assert datetime.now(UTC) - last_heartbeats(SQLiteStore(str(folder / "state.sqlite")), ["alert_dispatch"])["alert_dispatch"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff garbage", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 5_000, "not JSON"),
        (b"{}", "not an alert"),
        (json.dumps({**ALERT, "severity": "splendid"}).encode(), "not an alert"),
        (json.dumps({**ALERT, "at": "yesterday"}).encode(), "not an alert"),
        (json.dumps({**ALERT, "evidence": 7}).encode(), "not an alert"),
        (json.dumps({**ALERT, "about": {"x": [1]}, "key": None, "since": "2026-03-02T00:00:00"}).encode(), "not an alert"),
    ],
)
def test_a_message_that_is_not_an_alert_is_stored_alerted_once_and_acknowledged(
    address: str, folder: Path, data: bytes, why: str
) -> None:
    message_id = f"bad-{abs(hash(data))}"
    for _ in range(2):
        assert push(address, data, message_id) == 204
    rejected = SQLiteStore(str(folder / "state.sqlite")).rejected(100)
    (reason,) = (each.reason for each in rejected if each.message_id == message_id)
    assert why in reason
    alerts = [subject for subject in subjects(folder) if "tiny" not in subject]
    assert alerts == ["WARNING: [phasegate] messages: a message was rejected"], "one, however many were delivered"


def test_it_does_not_start_while_a_destination_lacks_its_secret(tmp_path: Path) -> None:
    """The error names the destination and how to set the secret, without any secret. `watch` still starts: gates do not need chats."""
    chat = "team: {kind: slack, webhook: secret://team-chat}"
    (tmp_path / "tiny.yaml").write_text(PIPELINE.replace("team: {kind: eml, to: [team@example.com]}", chat))
    environ = {
        "PATH": "/usr/bin:/bin",
        "PHASEGATE_PIPELINES": str(tmp_path / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'none.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }

    def start(function: str = "alert_dispatch", **more: str) -> subprocess.CompletedProcess[str]:
        source = REPO / "functions" / function / "main.py"
        return subprocess.run([sys.executable, str(source)], env={**environ, **more}, capture_output=True, text=True)

    without = start()
    problem = "tiny: alerts.destinations.team.webhook: secret://team-chat is missing: set PHASEGATE_SECRET_TEAM_CHAT"
    assert (without.returncode, problem in without.stderr) == (1, True)
    wrong = start(PHASEGATE_SECRET_TEAM_CHAT=f"http://hooks.example.com/{canary('hook')}")
    assert (wrong.returncode, "begins with https://" in wrong.stderr) == (1, True)
    good = start(PHASEGATE_SECRET_TEAM_CHAT=f"https://hooks.example.com/{canary('hook')}")
    assert good.returncode == 0, good.stderr
    clock = start("watch")
    assert clock.returncode == 0, clock.stderr
    for run in (without, wrong, good):
        assert not holds(run.stdout + run.stderr)


def test_the_function_posts_to_a_chat(tmp_path: Path, trusted: trustme.CA) -> None:
    """The address comes from a folder of secrets; nothing that the function logs or stores contains it."""
    chat = Receiver(trusted, usual=Reply(200, b"ok"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/team-chat").write_text(chat.address)
    slack = "team: {kind: slack, webhook: secret://team-chat}"
    (tmp_path / "tiny.yaml").write_text(PIPELINE.replace("team: {kind: eml, to: [team@example.com]}", slack))
    environ = {
        "PHASEGATE_PIPELINES": str(tmp_path / "tiny.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'none.duckdb'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
        "PHASEGATE_SECRETS": f"folder:{tmp_path / 'secrets'}",
    }
    chat.answers = [Reply(400, b"invalid_blocks"), Reply(200, b"ok"), Reply(403, f"no {chat.address}".encode())]
    with serving(tmp_path, environ, REPO / "functions/alert_dispatch/main.py", target="alert_dispatch") as address:
        assert push(address, json.dumps(ALERT).encode(), "m1") == 204
        recovered = {**ALERT, "state": "recovered", "gate": "open", "key": "tiny/raw/2026-03-02/v2/passed"}
        assert push(address, json.dumps(recovered).encode(), "m2") == 204
    chat.close()
    first, plain, refused = (posted.object for posted in chat.posted[:3])
    assert ("blocks" in first, "blocks" in plain, "blocks" in refused) == (True, False, True)
    assert "held" in plain["text"]
    assert "recovered" in refused["text"]
    assert "answered 403 (the address or key is wrong)" in (tmp_path / "log").read_text()
    assert "no <secret>" in (tmp_path / "log").read_text()
    assert chat.problems == []
