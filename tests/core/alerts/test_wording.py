"""What people read: a subject on one line, and the whole alert in plain text, whatever the data contains."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from phasegate.adapters.channels.mail import MailFolder
from phasegate.core.alerts.causes import NEVER_ALERTED
from phasegate.core.alerts.incident import Acknowledgement, Board, Incident, Member, NotifyReason, fold, read_alert
from phasegate.core.alerts.notice import Link, Listing, Notice, Tone, plain
from phasegate.core.alerts.wording import compose, compose_digest, compose_test
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Alert, AlertState, GateState, Reason
from phasegate.core.pipeline.model import AlertSeverity
from phasegate.messaging.bodies import alert_message, rejected_message
from phasegate.ports import Rejected

SINCE = datetime(2026, 3, 3, 6, tzinfo=UTC)


def alert(**fields: Any) -> dict[str, Any]:
    """An alert message: raw is held, unless fields say otherwise."""
    values: dict[str, Any] = {
        "key": "shop/raw/2026-03-02/v4/checks_failed",
        "run": RunKey("shop", "raw", date(2026, 3, 2)),
        "severity": AlertSeverity.CRITICAL,
        "state": AlertState.FIRING,
        "cause": Reason.CHECKS_FAILED,
        "about": ("raw.orders.row_count",),
        "check_kinds": ("row_count",),
        "gate": GateState.HELD,
        "detail": "table raw.orders has 3 rows, expected at least 10",
        "evidence": ("table raw.orders has 3 rows, expected at least 10", "orders reported 10 rows; raw.orders has 3"),
        "effect": "The gate of raw stays shut: clean cannot start.",
        "since": SINCE,
        "at": SINCE,
        **fields,
    }
    body: dict[str, Any] = json.loads(json.dumps(alert_message(Alert(**values)).body))
    return body


def recovered(after: timedelta) -> dict[str, Any]:
    """The recovery from it, after some time."""
    return alert(state=AlertState.RECOVERED, at=SINCE + after, evidence=(), effect="", detail="all needed checks pass")


def notice_of(body: dict[str, Any]) -> Notice:
    """The first notice about an alert that opens an incident."""
    update = read_alert(body)
    (opened,) = fold(Board(pipeline=update.pipeline, subject=update.subject), update).incidents.values()
    return compose(opened, NotifyReason.FIRST, now=update.member.at, key="k1")


def test_a_notice_holds_problem_effect_evidence_and_next_step_in_this_order():
    notice = notice_of(alert())
    assert notice.tone == "critical"
    assert notice.subject == "[shop] raw of 2026-03-02: held"
    lines = plain(notice).splitlines()
    at = [lines.index(line) for line in (
        "table raw.orders has 3 rows, expected at least 10.",
        "Effect: The gate of raw stays shut: clean cannot start.",
        "  - orders reported 10 rows; raw.orders has 3",
        "  phasegate explain raw 2026-03-02 --pipeline shop",
    )]  # fmt: skip
    assert at == sorted(at)
    assert plain(notice).count("has 3 rows, expected at least 10") == 1, "the lead is not repeated as evidence"
    assert lines[-1] == "Incident shop/raw/checks_failed"


@pytest.mark.parametrize("cause", list(Reason))
@pytest.mark.parametrize("state", list(AlertState))
def test_every_cause_can_be_written(cause, state):
    """Also one that this version does not know."""
    notice = notice_of(alert(cause=cause, state=state))
    assert notice.subject.startswith("[shop] raw of 2026-03-02: ")
    assert notice_of({**alert(), "cause": "of tomorrow"}).subject.endswith("of tomorrow")


def test_every_reason_that_raises_alerts_has_a_title_of_its_own():
    alerting = set(Reason) - NEVER_ALERTED
    subjects = {cause: notice_of(alert(cause=cause)).subject for cause in alerting}
    assert [cause for cause, subject in subjects.items() if subject.endswith(f": {cause}")] == []
    assert len(set(subjects.values())) == len(alerting)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (timedelta(0), "recovered after 0 min"),
        (timedelta(minutes=59, seconds=59), "recovered after 59 min"),
        (timedelta(minutes=60), "recovered after 1 h 0 min"),
        (timedelta(hours=76, minutes=3), "recovered after 3 days 4 h"),
    ],
)
def test_the_subject_of_a_recovery_says_how_long_it_took(after, words):
    notice = notice_of(recovered(after))
    assert words in notice.subject
    assert "held" in notice.subject
    assert "Next:" not in plain(notice)


def incident(*members: Member, **fields: Any) -> Incident:
    """raw of the shop is held on the dates of some members; on one date when none are given."""
    dates = members or (member("2026-03-02"),)
    values = {"pipeline": "shop", "subject": "raw", "cause": "checks_failed", "opened_at": SINCE, **fields}
    return Incident(members={date.name: date for date in dates}, **values)


def member(name: str, **fields: Any) -> Member:
    values = {
        "key": f"shop/raw/{name}/v4/checks_failed",
        "severity": AlertSeverity.CRITICAL,
        "detail": "table raw.orders has 3 rows, expected at least 10",
        "since": SINCE,
        "at": SINCE,
        "gate": "held",
        "about": ("raw.orders.row_count",),
        "check_kinds": ("row_count",),
        "evidence": ("table raw.orders has 3 rows, expected at least 10", "orders reported 10 rows; raw.orders has 3"),
        "effect": "The gate of raw stays shut: clean cannot start.",
        **fields,
    }
    return Member(name=name, **values)


def composed(
    about: Incident, reason: NotifyReason = NotifyReason.FIRST, *, after: timedelta = timedelta(0), **more: Any
) -> Notice:
    return compose(about, reason, now=SINCE + after, key="k1", **more)


def test_a_notice_answers_in_the_order_in_which_people_ask():
    """What and where, effect, cause, since when, evidence, next step, ids."""
    notice = composed(
        incident(speaks_for={"clean": ("2026-03-02",)}), links=[Link("Acknowledge", "https://gates.example.com/ack?t=1")]
    )
    assert notice.subject == "[shop] raw of 2026-03-02: held"
    assert notice.tone is Tone.CRITICAL
    assert plain(notice) == (
        "table raw.orders has 3 rows, expected at least 10.\n"
        "\n"
        "Effect: The gate of raw stays shut: clean cannot start.\n"
        "Also late: clean (2026-03-02); no separate alerts\n"
        "Probable cause: A file or partition was loaded in part, or more than once.\n"
        "Since: 2026-03-03 06:00 UTC (0 min)\n"
        "\n"
        "Evidence:\n"
        "  - orders reported 10 rows; raw.orders has 3\n"
        "\n"
        "Next:\n"
        "  phasegate explain raw 2026-03-02 --pipeline shop\n"
        "\n"
        "Acknowledge: https://gates.example.com/ack?t=1\n"
        "\n"
        "Incident shop/raw/checks_failed\n"
    )


def test_many_dates_are_one_notice():
    names = [f"2026-03-{day:02}" for day in range(2, 12)]
    notice = composed(incident(*(member(name) for name in names)))
    assert notice.subject == "[shop] raw, 10 dates, 2026-03-02 to 2026-03-11: held"
    assert Listing("Affected dates", tuple(reversed(names))) in notice.blocks
    assert "phasegate explain raw 2026-03-11 --pipeline shop" in plain(notice)
    assert "phasegate validate 2026-03-02..2026-03-11 --phase raw --pipeline shop" in plain(notice)
    differing = composed(incident(member(names[0], detail="3 rows"), member(names[1], detail="4 rows")))
    assert Listing("Affected dates", ("2026-03-03: 4 rows", "2026-03-02: 3 rows")) in differing.blocks
    assert differing.lead == "4 rows.", "of the newest date, which can still be helped"
    warned = member(names[1], detail="5 rows", severity=AlertSeverity.WARNING)
    assert composed(incident(member(names[0], detail="3 rows"), warned)).lead == "3 rows.", "the worst comes before the newest"
    alike = composed(incident(member(names[0], evidence=("a is null",)), member(names[1], evidence=("b is null",))))
    assert Listing("Affected dates", ("2026-03-03: b is null", "2026-03-02: a is null")) in alike.blocks


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (NotifyReason.REMINDER, ("held (still open)", "it is still open after 5 h 0 min")),
        (NotifyReason.ESCALATION, ("held (not acknowledged)", "nobody has acknowledged it for 5 h 0 min")),
        (NotifyReason.NEW_MEMBER, ("held", "2026-03-02 is new")),
        (NotifyReason.WORSE, ("held", "it got worse and is now critical")),
    ],
)
def test_a_notice_says_why_it_was_sent(reason, words):
    notice = composed(incident(), reason, after=timedelta(hours=5), new=("2026-03-02",))
    assert notice.subject.endswith(words[0])
    assert f"Why you got this: {words[1]}\n" in plain(notice)


def test_a_recovery_says_how_long_it_took_and_asks_for_nothing():
    ends = [("2026-03-02", {"ended": "all needed checks pass"}), ("2026-03-03", {"became": "producers_missing"})]
    ended = incident(*(member(name, over_at=SINCE + timedelta(minutes=92), **how) for name, how in ends[:1]))
    notice = composed(ended, NotifyReason.RECOVERED, after=timedelta(hours=2))
    assert notice.subject == "[shop] raw of 2026-03-02: recovered after 1 h 32 min (was: held)"
    assert notice.tone is Tone.RECOVERED
    assert plain(notice) == (
        "all needed checks pass.\n\nOpen from: 2026-03-03 06:00 UTC to 2026-03-03 07:32 UTC\n\nIncident shop/raw/checks_failed\n"
    ), "no effect, no evidence, nothing to do"
    both = incident(*(member(name, over_at=SINCE + timedelta(minutes=92), **how) for name, how in ends))
    listing = ("2026-03-03: continues as: overdue", "2026-03-02: all needed checks pass")
    assert Listing("Affected dates", listing) in composed(both, NotifyReason.RECOVERED).blocks


def test_a_notice_says_who_acknowledged_it():
    acknowledged = incident(acknowledged=Acknowledgement("ann", SINCE, "file asked for"))
    assert "Acknowledged by: ann, 2026-03-03 06:00 UTC: file asked for\n" in plain(composed(acknowledged))


def test_an_incident_that_keeps_coming_back_says_so():
    flapping = composed(incident(again=3))
    assert flapping.subject.endswith(": held (again)")
    assert "Why you got this: it reopened 3 times\n" in plain(flapping)


def test_notices_share_a_thread_until_the_incident_opens_again():
    one, other = composed(incident()), composed(incident(), NotifyReason.REMINDER, after=timedelta(hours=4))
    assert one.thread == other.thread
    assert composed(incident(opened_at=SINCE + timedelta(days=1))).thread != one.thread


def test_names_in_commands_are_quoted_for_the_shell():
    """Whatever a name contains, what people paste runs one command."""
    notice = composed(incident(pipeline="shop; rm -rf /", subject="$(id)"))
    assert "phasegate explain '$(id)' 2026-03-02 --pipeline 'shop; rm -rf /'" in plain(notice)


def test_a_notice_carries_the_incident_for_machines():
    data = composed(incident(), NotifyReason.REMINDER).data
    assert json.loads(json.dumps(data)) == {
        "incident": "shop/raw/checks_failed", "pipeline": "shop", "subject": "raw", "cause": "checks_failed",
        "reason": "reminder", "state": "firing", "severity": "critical", "since": SINCE.isoformat(), "recovered_at": None,
        "acknowledged_by": None, "member_count": 1, "followers": {},
        "members": [
            {"name": "2026-03-02", "severity": "critical", "gate": "held", "since": SINCE.isoformat(), "over_at": None}
        ],
    }  # fmt: skip


def test_a_digest_lists_the_worst_first():
    calm = replace(composed(incident()), tone=Tone.INFO, subject="calm")
    digest = compose_digest([calm, composed(incident())], title="[shop] 2 alerts", key="d1", thread="d", now=SINCE)
    assert (digest.tone, digest.subject, digest.lead) == (Tone.CRITICAL, "[shop] 2 alerts", "1 critical, 1 info.")
    (listing,) = (block for block in digest.blocks if isinstance(block, Listing))
    assert [item.split(" ")[0] for item in listing.items] == ["CRITICAL", "INFO"]


def test_a_test_notice_says_that_it_is_a_test():
    notice = compose_test("team_chat", key="t1", now=SINCE)
    assert (notice.tone, notice.subject) == (Tone.INFO, "[phasegate] test of team_chat")
    assert "Nothing is wrong" in notice.lead


HOSTILE = "x\r\nBcc: all@example.com\r\n\r\n<b>\x1b[31m\x00\u2028\u202e"


def test_a_subject_is_one_line_whatever_the_data_contains():
    for field in ("phase", "run_date", "cause", "pipeline"):
        subject = notice_of({**alert(), field: HOSTILE}).subject
        assert len(subject.splitlines()) == 1
        assert subject.isprintable(), "nothing that a terminal or a mail header would obey"


def test_a_text_holds_nothing_that_a_terminal_would_obey():
    hostile = {**alert(), "detail": HOSTILE, "evidence": [HOSTILE, "more"], "effect": HOSTILE}
    text = plain(notice_of(hostile))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "Bcc: all@example.com" in text


def test_hostile_text_breaks_no_mail(tmp_path):
    """One mail with the headers that it should have."""
    hostile = {**alert(), "pipeline": HOSTILE, "detail": HOSTILE, "evidence": [HOSTILE]}
    MailFolder(tmp_path, to=("you@localhost",)).notify(notice_of(hostile))
    (file,) = tmp_path.iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Bcc"] is None
    assert str(mail["To"]) == "you@localhost"
    assert "all@example.com" in mail["Subject"]


def test_long_evidence_is_cut_and_the_rest_is_counted():
    evidence = tuple(f"check {n} failed\nfor a reason of {'x' * 500}" for n in range(300))
    lines = plain(notice_of(alert(evidence=evidence))).splitlines()
    assert sum(line.startswith("  - check") for line in lines) == 9
    assert "  - and 291 more" in lines


def test_a_rejected_message_becomes_an_alert():
    """It has no run date; the message itself is the evidence."""
    rejected = Rejected("m1", SINCE, "no run_date given", '{"phase": "raw"}', {})
    notice = notice_of(json.loads(json.dumps(rejected_message(rejected).body)))
    assert notice.subject == "[phasegate] messages: a message was rejected"
    assert "no run_date given" in plain(notice)
    assert '{"phase": "raw"}' in plain(notice)
    assert notice.tone == "warning"


def test_rejections_that_differ_only_in_numbers_are_one_case():
    board = Board(pipeline="", subject="messages")
    for n in range(1_000):
        rejected = Rejected(f"m{n}", SINCE, f"run_date 2026-03-{n} is no date", "{}", {})
        board = fold(board, read_alert(rejected_message(rejected).body))
    rejected = Rejected("other", SINCE, "no run_date given", "{}", {})
    board = fold(board, read_alert(rejected_message(rejected).body))
    (rejections,) = board.incidents.values()
    assert len(rejections.members) == 2
    assert rejections.repeats == 999
    assert composed(rejections).subject == "[phasegate] messages, 2 cases: a message was rejected"
