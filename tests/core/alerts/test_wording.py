"""What people read: one line of subject, the whole story in plain text, whatever the data says."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from phasegate.adapters.channels.mail import MailFolder
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


def told(body: dict[str, Any]) -> Notice:
    """What people read of an alert that nothing is known beside."""
    said = read_alert(body)
    (found,) = fold(Board(pipeline=said.pipeline, subject=said.subject), said).incidents.values()
    return compose(found, NotifyReason.FIRST, now=said.member.at, key="k1")


def test_a_notice_tells_what_effect_evidence_and_next_action():
    notice = told(alert())
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
    assert plain(notice).count("has 3 rows, expected at least 10") == 1, "what was said is not said again as evidence"
    assert lines[-1] == "Incident shop/raw/checks_failed"


@pytest.mark.parametrize("cause", list(Reason))
@pytest.mark.parametrize("state", list(AlertState))
def test_every_reason_is_told(cause, state):
    """In words, when people ever hear of it; and an unknown one is no crash."""
    notice = told(alert(cause=cause, state=state))
    assert notice.subject.startswith("[shop] raw of 2026-03-02: ")
    assert told({**alert(), "cause": "of tomorrow"}).subject.endswith("of tomorrow")


def test_every_reason_that_alerts_has_a_title_of_its_own():
    alerting = set(Reason) - {
        Reason.NOT_EXPECTED, Reason.PAUSED, Reason.HELD_BY_HAND, Reason.GAP_ACCEPTED, Reason.DATA_CHANGED, Reason.NOTHING_NEW,
    }  # fmt: skip
    subjects = {cause: told(alert(cause=cause)).subject for cause in alerting}
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
def test_a_recovery_tells_how_long_it_lasted(after, words):
    notice = told(recovered(after))
    assert words in notice.subject
    assert "held" in notice.subject
    assert "Next:" not in plain(notice)


def incident(*members: Member, **fields: Any) -> Incident:
    """raw of the shop is held on the dates of some members, one unless told."""
    found = members or (member("2026-03-02"),)
    values = {"pipeline": "shop", "subject": "raw", "cause": "checks_failed", "opened_at": SINCE, **fields}
    return Incident(members={each.name: each for each in found}, **values)


def member(name: str, **fields: Any) -> Member:
    values = {
        "key": f"shop/raw/{name}/v4/checks_failed",
        "severity": AlertSeverity.CRITICAL,
        "detail": "table raw.orders has 3 rows, expected at least 10",
        "since": SINCE,
        "at": SINCE,
        "gate": "held",
        "about": ("raw.orders.row_count",),
        "evidence": ("table raw.orders has 3 rows, expected at least 10", "orders reported 10 rows; raw.orders has 3"),
        "effect": "The gate of raw stays shut: clean cannot start.",
        **fields,
    }
    return Member(name=name, **values)


def composed(
    found: Incident, reason: NotifyReason = NotifyReason.FIRST, *, after: timedelta = timedelta(0), **more: Any
) -> Notice:
    return compose(found, reason, now=SINCE + after, key="k1", **more)


def test_an_incident_is_told_in_the_order_in_which_people_ask():
    """What and where, effect, cause, since when, evidence, what to do, ids."""
    notice = composed(
        incident(speaks_for={"clean": ("2026-03-02",)}), links=[Link("Acknowledge", "https://gates.example.com/ack?t=1")]
    )
    assert notice.subject == "[shop] raw of 2026-03-02: held"
    assert notice.tone is Tone.CRITICAL
    assert plain(notice) == (
        "table raw.orders has 3 rows, expected at least 10.\n"
        "\n"
        "Effect: The gate of raw stays shut: clean cannot start.\n"
        "Also late: clean (2026-03-02); told here, and not on their own\n"
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


def test_many_dates_are_one_message():
    names = [f"2026-03-{day:02}" for day in range(2, 12)]
    notice = composed(incident(*(member(name) for name in names)))
    assert notice.subject == "[shop] raw, 10 dates, 2026-03-02 to 2026-03-11: held"
    assert Listing("The same for each of", tuple(names)) in notice.blocks
    assert "phasegate validate 2026-03-02..2026-03-11 --phase raw --pipeline shop" in plain(notice)
    differing = composed(incident(member(names[0], detail="3 rows"), member(names[1], detail="4 rows")))
    assert Listing("One by one", ("2026-03-02: 3 rows", "2026-03-03: 4 rows")) in differing.blocks
    alike = composed(incident(member(names[0], evidence=("a is null",)), member(names[1], evidence=("b is null",))))
    assert Listing("One by one", ("2026-03-02: a is null", "2026-03-03: b is null")) in alike.blocks


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (NotifyReason.REMINDER, ("still held", "it has lasted for 5 h 0 min")),
        (NotifyReason.ESCALATION, ("nobody has acknowledged: held", "nobody has acknowledged it for 5 h 0 min")),
        (NotifyReason.NEW_MEMBER, ("held", "new: 2026-03-02")),
        (NotifyReason.WORSE, ("held", "it has become worse, and is critical now")),
    ],
)
def test_a_message_says_why_it_comes(reason, words):
    notice = composed(incident(), reason, after=timedelta(hours=5), new=("2026-03-02",))
    assert notice.subject.endswith(words[0])
    assert f"Told because: {words[1]}\n" in plain(notice)


def test_a_recovery_tells_how_long_it_lasted_and_asks_for_nothing():
    ends = [("2026-03-02", {"ended": "all needed checks pass"}), ("2026-03-03", {"became": "producers_missing"})]
    found = incident(*(member(name, over_at=SINCE + timedelta(minutes=92), **how) for name, how in ends[:1]))
    notice = composed(found, NotifyReason.RECOVERED, after=timedelta(hours=2))
    assert notice.subject == "[shop] raw of 2026-03-02: recovered after 1 h 32 min (was held)"
    assert notice.tone is Tone.RECOVERED
    assert plain(notice) == (
        "all needed checks pass.\n\nLasted: 2026-03-03 06:00 UTC to 2026-03-03 07:32 UTC\n\nIncident shop/raw/checks_failed\n"
    ), "no effect, no evidence, nothing to do"
    both = incident(*(member(name, over_at=SINCE + timedelta(minutes=92), **how) for name, how in ends))
    listing = ("2026-03-02: all needed checks pass", "2026-03-03: it goes on as: overdue")
    assert Listing("One by one", listing) in composed(both, NotifyReason.RECOVERED).blocks


def test_who_looks_after_it_is_told():
    found = incident(acknowledged=Acknowledgement("ann", SINCE, "file asked for"))
    assert "Taken on by: ann, 2026-03-03 06:00 UTC: file asked for\n" in plain(composed(found))


def test_notices_of_one_opening_share_a_thread_and_those_of_the_next_do_not():
    one, other = composed(incident()), composed(incident(), NotifyReason.REMINDER, after=timedelta(hours=4))
    assert one.thread == other.thread
    assert composed(incident(opened_at=SINCE + timedelta(days=1))).thread != one.thread


def test_a_command_is_quoted_for_the_shell():
    """A trouble's subject, or a name that got past everything: what is pasted runs one command."""
    notice = composed(incident(pipeline="shop; rm -rf /", subject="$(id)"))
    assert "phasegate explain '$(id)' 2026-03-02 --pipeline 'shop; rm -rf /'" in plain(notice)


def test_machines_get_the_facts():
    data = composed(incident(), NotifyReason.REMINDER).data
    assert json.loads(json.dumps(data)) == {
        "incident": "shop/raw/checks_failed", "pipeline": "shop", "subject": "raw", "cause": "checks_failed",
        "reason": "reminder", "state": "firing", "severity": "critical", "since": SINCE.isoformat(), "recovered_at": None,
        "acknowledged_by": None, "member_count": 1, "followers": {},
        "members": [
            {"name": "2026-03-02", "severity": "critical", "gate": "held", "since": SINCE.isoformat(), "over_at": None}
        ],
    }  # fmt: skip


def test_a_digest_tells_the_worst_first():
    calm = replace(composed(incident()), tone=Tone.INFO, subject="calm")
    digest = compose_digest([calm, composed(incident())], title="[shop] 2 alerts", key="d1", thread="d", now=SINCE)
    assert (digest.tone, digest.subject, digest.lead) == (Tone.CRITICAL, "[shop] 2 alerts", "1 critical, 1 info.")
    (listing,) = (block for block in digest.blocks if isinstance(block, Listing))
    assert [item.split(" ")[0] for item in listing.items] == ["CRITICAL", "INFO"]


def test_a_destination_is_tried_with_a_message_that_says_so():
    notice = compose_test("team_chat", key="t1", now=SINCE)
    assert (notice.tone, notice.subject) == (Tone.INFO, "[phasegate] test of team_chat")
    assert "Nothing is wrong" in notice.lead


HOSTILE = "x\r\nBcc: all@example.com\r\n\r\n<b>\x1b[31m\x00\u2028\u202e"


def test_a_subject_is_one_line_whatever_the_data_says():
    for field in ("phase", "run_date", "cause", "pipeline"):
        subject = told({**alert(), field: HOSTILE}).subject
        assert len(subject.splitlines()) == 1
        assert subject.isprintable(), "nothing that a terminal or a mail header acts on"


def test_a_text_holds_nothing_that_a_terminal_acts_on():
    hostile = {**alert(), "detail": HOSTILE, "evidence": [HOSTILE, "more"], "effect": HOSTILE}
    text = plain(told(hostile))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "Bcc: all@example.com" in text


def test_hostile_text_breaks_no_mail(tmp_path):
    """One mail with the headers that it should have."""
    hostile = {**alert(), "pipeline": HOSTILE, "detail": HOSTILE, "evidence": [HOSTILE]}
    MailFolder(tmp_path, to=("you@localhost",)).notify(told(hostile))
    (file,) = tmp_path.iterdir()
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert mail["Bcc"] is None
    assert str(mail["To"]) == "you@localhost"
    assert "all@example.com" in mail["Subject"]


def test_of_long_evidence_the_beginning_is_told_and_the_rest_is_counted():
    evidence = tuple(f"check {n} failed\nfor a reason of {'x' * 500}" for n in range(300))
    lines = plain(told(alert(evidence=evidence))).splitlines()
    assert sum(line.startswith("  - check") for line in lines) == 9
    assert "  - and 291 more" in lines


def test_a_rejected_message_is_told():
    """It has no run; what came in is evidence."""
    rejected = Rejected("m1", SINCE, "no run_date given", '{"phase": "raw"}', {})
    notice = told(json.loads(json.dumps(rejected_message(rejected).body)))
    assert notice.subject == "[phasegate] messages: a message was rejected"
    assert "no run_date given" in plain(notice)
    assert '{"phase": "raw"}' in plain(notice)
    assert notice.tone == "warning"


def test_messages_that_are_rejected_for_one_reason_are_one_case_whatever_numbers_stand_in_it():
    board = Board(pipeline="", subject="messages")
    for n in range(1_000):
        rejected = Rejected(f"m{n}", SINCE, f"run_date 2026-03-{n} is no date", "{}", {})
        board = fold(board, read_alert(rejected_message(rejected).body))
    rejected = Rejected("other", SINCE, "no run_date given", "{}", {})
    board = fold(board, read_alert(rejected_message(rejected).body))
    (found,) = board.incidents.values()
    assert len(found.members) == 2
    assert found.repeats == 999
    assert composed(found).subject == "[phasegate] messages, 2 cases: a message was rejected"
