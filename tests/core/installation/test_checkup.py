"""The daily checkup: one alert for a fault, another when there are more, a recovery when all are fixed."""

from datetime import UTC, datetime

from phasegate.core.alerts.causes import TroubleCause
from phasegate.core.gates.gate import AlertState
from phasegate.core.installation.checkup import BLIND_LIMIT, DAILY, SOON, Checked, advice, check_up
from phasegate.core.installation.finding import Finding, Health

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
WELL = Finding("clock", Health.OK, "right")
ACK = Finding("subscription acme-ticks", Health.WRONG, "it waits 10 s", "gcloud … --ack-deadline=600")
GONE = Finding("secret chat", Health.WRONG, "it has no version", "gcloud secrets versions add chat")
BLINDED = Finding("functions", Health.NOT_CHECKED, "403 no right")
DUE = Checked(NOW)


def test_without_faults_it_runs_once_a_day_and_raises_no_alert() -> None:
    assert check_up(DUE, [WELL], NOW) == (Checked(NOW + DAILY), None)


def test_a_fault_raises_an_alert_with_its_fix_and_is_checked_again_soon() -> None:
    after, trouble = check_up(DUE, [WELL, ACK], NOW)
    assert after == Checked(NOW + SOON, NOW, ("subscription acme-ticks: it waits 10 s",))
    assert trouble is not None
    assert (trouble.cause, trouble.state, trouble.since) == (TroubleCause.MISCONFIGURED, AlertState.FIRING, NOW)
    assert trouble.about == ("subscription acme-ticks: it waits 10 s",)
    assert trouble.next == ("phasegate doctor", "gcloud … --ack-deadline=600")


def test_only_a_new_fault_raises_another_alert_and_the_start_stays() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    again, trouble = check_up(once, [ACK], NOW + SOON)
    assert trouble is None
    later = Finding(ACK.subject, Health.WRONG, "it waits 20 s", ACK.fix)
    assert check_up(again, [later], NOW + 2 * SOON)[1] is None, "another figure is nothing new"
    more, trouble = check_up(again, [ACK, GONE], NOW + 2 * SOON)
    assert trouble is not None
    assert (trouble.since, len(trouble.about), more.since) == (NOW, 2, NOW)


def test_a_fix_raises_one_recovery() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    after, trouble = check_up(once, [WELL], NOW + SOON)
    assert trouble is not None
    assert (trouble.state, trouble.since, after) == (AlertState.RECOVERED, NOW, Checked(NOW + SOON + DAILY))
    assert check_up(after, [WELL], NOW + 2 * DAILY)[1] is None


def test_a_fault_that_can_no_longer_be_checked_has_not_recovered() -> None:
    once, _ = check_up(DUE, [ACK], NOW)
    blind, trouble = check_up(once, [WELL, BLINDED], NOW + SOON)
    assert (trouble, blind.since, blind.blind) == (None, NOW, NOW + SOON)
    _, trouble = check_up(blind, [WELL], NOW + 2 * SOON)
    assert trouble is not None and trouble.state is AlertState.RECOVERED


def test_what_cannot_be_checked_for_a_day_raises_an_alert() -> None:
    last, alerts, at = DUE, [], NOW
    while at <= NOW + BLIND_LIMIT:
        last, trouble = check_up(last, [WELL, BLINDED], at)
        alerts += [(at, trouble.about)] if trouble else []
        at += SOON
    assert alerts == [(NOW + BLIND_LIMIT, ("functions: 403 no right",))]


def test_the_heartbeat_is_left_out_because_the_checkup_runs_in_a_tick() -> None:
    stood = Finding("heartbeat", Health.WRONG, "the scheduler has not run", "x")
    assert check_up(DUE, [WELL, stood], NOW)[1] is None


def test_advice_about_what_is_ok_is_given_once_and_is_no_fault() -> None:
    hint = Finding("history of shop", Health.OK, "run dates are not watched", "phasegate adopt --pipeline shop")
    after, trouble = check_up(DUE, [WELL, hint], NOW)
    assert (after, trouble) == (Checked(NOW + DAILY), None)
    (given,) = advice(DUE, [WELL, ACK, hint], NOW)
    assert (given.cause, given.severity, given.next) == (TroubleCause.NOT_ADOPTED, "info", (hint.fix,))
    assert advice(Checked(NOW, advised=(hint.subject,)), [hint], NOW) == ()
