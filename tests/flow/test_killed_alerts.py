"""The process that sends alerts is killed at every step, before and after real servers accepted a notice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.canaries import canary
from tests.receivers import USER, Mailbox, Receiver, Reply, mail_server

PROGRAM = Path(__file__).with_name("killed_alerts.py")
HELD = "[shop] raw of 2026-03-01: held"
AT = "2026-03-02T06:00:00+00:00"
ALERT = {
    "key": "shop/raw/2026-03-01/v1/checks_failed", "pipeline": "shop", "phase": "raw", "run_date": "2026-03-01",
    "severity": "critical", "state": "firing", "cause": "checks_failed", "about": ["raw.orders.row_count"], "gate": "held",
    "detail": "3 rows, expected 10", "evidence": [], "effect": "", "since": AT, "at": AT,
}  # fmt: skip
FILE = """\
pipeline: shop
calendar: {{from: 2026-01-01}}
phases:
  raw: {{outputs: {{raw.orders: {{date: day}}}}}}
alerts:
  destinations:
    chat: {{kind: slack, webhook: secret://chat, fallback: mail}}
    mail: {{kind: email, to: [a@example.com]}}
  mail: {{host: localhost, port: {port}, user: {user}, password: secret://smtp, from: gates@example.com}}
  routes:
    - {{to: [chat]}}
"""


@dataclass
class Machine:
    """Where the process runs, and the servers that it sends to."""

    folder: Path
    chat: Receiver
    mailbox: Mailbox
    process: subprocess.Popen[str]

    def run(self, minutes: int, at: int) -> int:
        """The exit code of a process that took in the alert; negative for the signal that killed it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([ALERT, minutes, at]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def forget(self) -> None:
        """Start again with an empty state."""
        for path in self.folder.glob("state.sqlite*"):
            path.unlink()
        self.chat.posted.clear()
        self.mailbox.mails.clear()

    def received(self) -> list[tuple[str, bool]]:
        """The notices about the incident: where each arrived, and whether it says that it may be a repeat."""
        chatted = [posted.object["text"] + json.dumps(posted.object) for posted in self.chat.posted if posted.accepted]
        mailed = [str(mail["Subject"]) + mail.get_body(("plain",)).get_content() for mail in self.mailbox.mails]
        texts = [*(("chat", text) for text in chatted), *(("mail", text) for text in mailed)]
        return [(where, "This may be a repeat" in text) for where, text in texts if HELD in text]


@pytest.fixture
def machine(tmp_path: Path, trusted: trustme.CA) -> Iterator[Machine]:
    chat, mailbox = Receiver(trusted, usual=Reply(200, b"ok")), Mailbox()
    with mail_server(trusted, mailbox, implicit_tls=False) as port:
        (tmp_path / "shop.yaml").write_text(FILE.format(port=port, user=USER))
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets/chat").write_text(chat.address)
        (tmp_path / "secrets/smtp").write_text(canary("smtp"))
        environ = {
            "PHASEGATE_PIPELINES": str(tmp_path / "shop.yaml"),
            "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'none.duckdb'}",
            "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
            "PHASEGATE_BUS": "local:",
            "PHASEGATE_SECRETS": f"folder:{tmp_path / 'secrets'}",
        }
        command = [sys.executable, str(PROGRAM), str(tmp_path / "log")]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env={**os.environ, **environ}, stdin=pipe, stdout=pipe, text=True) as process:
            yield Machine(tmp_path, chat, mailbox, process)
    chat.close()
    assert chat.problems == mailbox.problems == []


@pytest.mark.parametrize(
    ("usual", "where"),
    [(Reply(200, b"ok"), "chat"), (Reply(404, b"no_service"), "mail")],
    ids=["the chat accepts it", "the fallback accepts it"],
)
def test_a_kill_at_any_step_loses_nothing_and_repeats_at_most_once(machine: Machine, usual: Reply, where: str) -> None:
    machine.chat.usual = usual
    died, repeats = 0, 0
    for at in range(1, 100):
        machine.forget()
        ended = machine.run(0, at)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, f"step {at}"
        died += 1
        assert machine.run(1, 0) == 0, "the message is delivered again, to another process"
        received = machine.received()
        assert {place for place, _ in received} == {where}, f"step {at}"
        assert len(received) <= 2, f"step {at}"
        assert all(says_so for _, says_so in received[1:]), f"step {at}: a repeat says that it may be one"
        repeats += len(received) - 1
    else:
        pytest.fail("it never ran to the end")
    assert died >= 8
    assert repeats >= 1, "one of the steps was between sending and recording"
