"""What people read: one line of subject, the whole story in plain text, whatever the data says."""

import json
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from phasegate.adapters.local import MailFolder
from phasegate.core.alerts import compose
from phasegate.core.gate import Alert, AlertState, GateState, Reason
from phasegate.core.messages import RunKey
from phasegate.core.notice import plain
from phasegate.core.pipeline import AlertSeverity
from phasegate.outgoing import alert_message, rejected_message
from phasegate.ports import Rejected

SINCE = datetime(2026, 3, 3, 6, tzinfo=UTC)


def alert(**fields: Any) -> dict[str, Any]:
    """An alert as it travels: raw is held, unless told otherwise."""
    values: dict[str, Any] = {
        "key": "shop/raw/2026-03-02/v4/checks_failed",
        "run": RunKey("shop", "raw", date(2026, 3, 2)),
        "severity": AlertSeverity.CRITICAL,
        "state": AlertState.FIRING,
        "cause": Reason.CHECKS_FAILED,
        "about": ("raw.orders.row_count",),
        "gate": GateState.HELD,
        "detail": "table raw.orders has 3 rows, expected at least 10",
        "evidence": ("table raw.orders has 3 rows, expected at least 10", "orders reported 10 rows; raw.orders has 3"),
        "effect": "The gate of raw stays shut: clean cannot start.",
        "since": SINCE,
        "at": SINCE,
        **fields,
    }
    found: dict[str, Any] = json.loads(json.dumps(alert_message(Alert(**values)).body))
    return found


def recovered(after: timedelta) -> dict[str, Any]:
    """The same, over after some time."""
    return alert(state=AlertState.RECOVERED, at=SINCE + after, evidence=(), effect="", detail="all needed checks pass")


def test_a_notice_tells_what_effect_evidence_and_next_action():
    notice = compose(alert())
    assert (notice.key, notice.tone) == ("shop/raw/2026-03-02/v4/checks_failed", "critical")
    assert notice.subject == "[shop] raw of 2026-03-02: held"
    lines = plain(notice).splitlines()
    at = [lines.index(line) for line in (
        "table raw.orders has 3 rows, expected at least 10.",
        "The gate of raw stays shut: clean cannot start.",
        "  - orders reported 10 rows; raw.orders has 3",
        "  phasegate explain raw 2026-03-02 --pipeline shop",
    )]  # fmt: skip
    assert at == sorted(at)
    assert plain(notice).count("has 3 rows, expected at least 10") == 1, "what was said is not said again as evidence"
    assert notice.key in lines[-1]


@pytest.mark.parametrize("cause", list(Reason))
@pytest.mark.parametrize("state", list(AlertState))
def test_every_reason_is_told(cause, state):
    """In words, when people ever hear of it; and an unknown one is no crash."""
    notice = compose(alert(cause=cause, state=state))
    assert notice.subject.startswith("[shop] raw of 2026-03-02: ")
    assert compose({**alert(), "cause": "of tomorrow"}).subject.endswith("of tomorrow")


def test_every_reason_that_alerts_has_a_title_of_its_own():
    told = set(Reason) - {
        Reason.NOT_EXPECTED, Reason.PAUSED, Reason.GAP_ACCEPTED, Reason.DATA_CHANGED, Reason.NOTHING_NEW,
    }  # fmt: skip
    subjects = {cause: compose(alert(cause=cause)).subject for cause in told}
    assert [cause for cause, subject in subjects.items() if subject.endswith(f": {cause}")] == []
    assert len(set(subjects.values())) == len(told)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (timedelta(0), "recovered after 0 min"),
        (timedelta(minutes=59, seconds=59), "recovered after 59 min"),
        (timedelta(minutes=60), "recovered after 1 h 0 min"),
        (timedelta(hours=76, minutes=3), "recovered after 76 h 3 min"),
    ],
)
def test_a_recovery_tells_how_long_it_lasted(after, words):
    notice = compose(recovered(after))
    assert words in notice.subject
    assert "held" in notice.subject
    assert "Next:" not in plain(notice)


HOSTILE = "x\r\nBcc: all@example.com\r\n\r\n<b>\x1b[31m\x00\u2028\u202e"


def test_a_subject_is_one_line_whatever_the_data_says():
    for field in ("phase", "run_date", "cause", "pipeline"):
        subject = compose({**alert(), field: HOSTILE}).subject
        assert len(subject.splitlines()) == 1
        assert subject.isprintable(), "nothing that a terminal or a mail header acts on"


def test_a_text_holds_nothing_that_a_terminal_acts_on():
    hostile = {**alert(), "detail": HOSTILE, "evidence": [HOSTILE, "more"], "effect": HOSTILE}
    text = plain(compose(hostile))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "Bcc: all@example.com" in text


def test_hostile_text_breaks_no_mail(tmp_path):
    """One mail with the headers that it should have."""
    hostile = {**alert(), "pipeline": HOSTILE, "detail": HOSTILE, "evidence": [HOSTILE]}
    MailFolder(tmp_path).notify(compose(hostile))
    (file,) = tmp_path.iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Bcc"] is None
    assert str(mail["To"]) == "you@localhost"
    assert "all@example.com" in mail["Subject"]


def test_long_evidence_is_told_line_by_line():
    evidence = tuple(f"check {n} failed\nfor a reason of {'x' * 500}" for n in range(300))
    text = plain(compose(alert(evidence=evidence)))
    assert sum(line.startswith("  - check") for line in text.splitlines()) == 300


def test_a_rejected_message_is_told():
    """It has no run; what came in is evidence."""
    rejected = Rejected("m1", SINCE, "no run_date given", '{"phase": "raw"}', {})
    notice = compose(json.loads(json.dumps(rejected_message(rejected).body)))
    assert notice.subject == "[phasegate] a message was rejected"
    assert "no run_date given" in plain(notice)
    assert '{"phase": "raw"}' in plain(notice)
    assert (notice.key, notice.tone) == ("rejected/m1", "warning")
