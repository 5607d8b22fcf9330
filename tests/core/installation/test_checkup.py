"""The daily round: told once, told again when there is more, over when it is seen to be over."""

from datetime import UTC, datetime

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.gates.gate import AlertState
from phasegate.core.installation.checkup import BLIND, DAILY, SOON, Checked, check_up
from phasegate.core.installation.finding import Finding, Health

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
WELL = Finding("clock", Health.OK, "right")
ACK = Finding("subscription acme-ticks", Health.WRONG, "it waits 10 s", "gcloud … --ack-deadline=600")
GONE = Finding("secret chat", Health.WRONG, "it has no version", "gcloud secrets versions add chat")
BLINDED = Finding("functions", Health.NOT_CHECKED, "403 no right")
DUE = Checked(NOW)


def test_while_all_is_well_it_looks_once_a_day_and_says_nothing() -> None:
    assert check_up(DUE, [WELL], NOW) == (Checked(NOW + DAILY), None)


def test_what_is_wrong_is_told_with_what_mends_it_and_looked_at_soon() -> None:
    after, trouble = check_up(DUE, [WELL, ACK], NOW)
    assert after == Checked(NOW + SOON, NOW, ("subscription acme-ticks: it waits 10 s",))
    assert trouble is not None
    assert (trouble.cause, trouble.state, trouble.since) == (TroubleCause.MISCONFIGURED, AlertState.FIRING, NOW)
    assert trouble.about == ("subscription acme-ticks: it waits 10 s",)
    assert trouble.next == ("phasegate doctor", "gcloud … --ack-deadline=600")


def test_the_same_again_is_not_told_more_is_and_keeps_its_beginning() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    again, trouble = check_up(once, [ACK], NOW + SOON)
    assert trouble is None
    later = Finding(ACK.subject, Health.WRONG, "it waits 20 s", ACK.fix)
    assert check_up(again, [later], NOW + 2 * SOON)[1] is None, "another figure is nothing new"
    more, trouble = check_up(again, [ACK, GONE], NOW + 2 * SOON)
    assert trouble is not None
    assert (trouble.since, len(trouble.about), more.since) == (NOW, 2, NOW)


def test_once_it_is_mended_that_is_told_once() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    after, trouble = check_up(once, [WELL], NOW + SOON)
    assert trouble is not None
    assert (trouble.state, trouble.since, after) == (AlertState.RECOVERED, NOW, Checked(NOW + SOON + DAILY))
    assert check_up(after, [WELL], NOW + 2 * DAILY)[1] is None


def test_what_can_no_longer_be_looked_at_has_not_recovered() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    blind, trouble = check_up(once, [WELL, BLINDED], NOW + SOON)
    assert (trouble, blind.since, blind.blind) == (None, NOW, NOW + SOON)
    _, trouble = check_up(blind, [WELL], NOW + 2 * SOON)
    assert trouble is not None and trouble.state is AlertState.RECOVERED


def test_what_cannot_be_looked_at_for_a_day_is_told() -> None:
    known, told, at = DUE, [], NOW
    while at <= NOW + BLIND:
        known, trouble = check_up(known, [WELL, BLINDED], at)
        told += [(at, trouble.about)] if trouble else []
        at += SOON
    assert told == [(NOW + BLIND, ("functions: 403 no right",))]


def test_the_heartbeat_is_not_asked_of_a_clock_that_ticks() -> None:
    stood = Finding("heartbeat", Health.WRONG, "the clock has not ticked", "x")
    assert check_up(DUE, [WELL, stood], NOW)[1] is None
