"""Every cause of an alert has its texts, and every check, whatever it is called, has a probable cause."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from phasegate.app.pipeline_file import load
from phasegate.core.alerts.causes import CAUSES, CHECK_CAUSES, NEVER_ALERTED, TroubleCause, cause_text
from phasegate.core.alerts.incident import Board, NotifyReason, fold, read_alert
from phasegate.core.alerts.notice import Facts
from phasegate.core.alerts.wording import compose
from phasegate.core.checks.base import CheckResult, Mode, Outcome, PlacedCheck
from phasegate.core.checks.kinds import KINDS
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.decide import Case, decide
from phasegate.core.gates.gate import Gate, GateState, Reason
from phasegate.core.gates.verdict import OutputVerdict, PhaseVerdict, judge
from phasegate.messaging.bodies import alert_message
from phasegate.schemas import schema

REPO = Path(__file__).parents[3]
FLIGHTS = load(REPO / "shared/pipelines/flights.yaml")
CHECKS = [(phase, placed) for phase in FLIGHTS.phases for checks in FLIGHTS.checks(phase).values() for placed in checks]
DAY = date(2013, 2, 5)
NOW = datetime(2013, 2, 6, 10, 31, tzinfo=UTC)


def test_every_cause_has_its_texts() -> None:
    missing = {*Reason, *TroubleCause} - set(CAUSES) - NEVER_ALERTED
    names = ", ".join(f"{type(cause).__name__}.{cause.name}" for cause in missing)
    assert not missing, f"add {names} to CAUSES in core/alerts/causes.py (or to NEVER_ALERTED if it raises no alert)"
    assert not NEVER_ALERTED & set(CAUSES), "a cause raises an alert, or never does"


def test_every_kind_of_check_has_a_probable_cause() -> None:
    missing = set(KINDS) - set(CHECK_CAUSES)
    assert not missing, f"add {', '.join(missing)} to CHECK_CAUSES in core/alerts/causes.py"
    unknown = set(CHECK_CAUSES) - set(KINDS)
    assert not unknown, f"there is no check of kind {', '.join(unknown)}: remove it from CHECK_CAUSES in core/alerts/causes.py"
    assert all(text.endswith(".") for text in CHECK_CAUSES.values())


@pytest.mark.parametrize(
    ("name", "field", "causes"), [("alert", "cause", (*Reason, *TroubleCause)), ("event", "reason", Reason)]
)
def test_every_cause_is_in_the_schemas(name: str, field: str, causes: Iterable[str]) -> None:
    missing = {str(cause) for cause in causes} - set(schema(name)["properties"][field]["enum"])
    assert not missing, f'add {", ".join(missing)} to the enum of "{field}" in schemas/{name}.schema.json'


def test_every_cause_is_raised() -> None:
    sources = [path for path in (REPO / "shared/phasegate").rglob("*.py") if path.name != "causes.py"]
    used = set(re.findall(r"\b(?:Reason|TroubleCause)\.[A-Z_]+\b", "\n".join(path.read_text() for path in sources)))
    missing = {f"{type(cause).__name__}.{cause.name}" for cause in (*Reason, *TroubleCause)} - used
    where = "a TroubleCause by a Trouble, a Reason by a rule in core/gates/decide.py"
    assert not missing, f"nothing raises {', '.join(missing)}: {where} (docs/extending.md, An alert cause)"


def test_titles_tell_causes_apart() -> None:
    titles = [text.title for text in CAUSES.values()]
    assert len(set(titles)) == len(titles)
    assert cause_text("of_tomorrow").title == "of tomorrow", "an alert of a newer version is readable"


def failed(phase: str, placed: PlacedCheck) -> Mapping[str, Any]:
    """The alert of a gate whose one check fails, as it travels; a check that is only observed is enforced here."""
    result = CheckResult(
        placed.name,
        placed.check.kind,
        placed.context.source.table,
        placed.check.severity,
        Mode.ENFORCE,
        placed.check.weight,
        Outcome.FAILED,
        3,
        "at least 10",
        "3 rows, expected at least 10",
    )
    verdict = PhaseVerdict(phase, judge([result]), 50.0, (OutputVerdict(result.table, (result,), 3),))
    began = NOW - timedelta(minutes=5)
    reports = {name: Report(name, Status.DONE, NOW, started_at=began, finished_at=NOW) for name in FLIGHTS.producers(phase)}
    upstream = {
        name: Gate(RunKey("flights", name, DAY), state=GateState.OPEN, opened_at=began - timedelta(hours=1), generation=1)
        for name in FLIGHTS.inputs(phase, DAY)
    }
    gate = Gate(RunKey("flights", phase, DAY), reports=reports)
    decision = decide(Case(FLIGHTS, gate, {**upstream, phase: gate}, verdict, None, NOW))
    (alert,) = decision.alerts
    body: Mapping[str, Any] = json.loads(json.dumps(alert_message(alert).body))
    return body


def facts(body: Mapping[str, Any]) -> Mapping[str, str]:
    """What people read of an alert, by the names of the lines."""
    update = read_alert(body)
    (incident,) = fold(Board(pipeline=update.pipeline, subject=update.subject), update).incidents.values()
    notice = compose(incident, NotifyReason.FIRST, now=NOW, key="k")
    return {name: value for block in notice.blocks if isinstance(block, Facts) for name, value in block.pairs}


def test_the_demo_has_checks_with_names_of_their_own() -> None:
    """The name does not hold the kind, so the kind has to come with the alert."""
    assert len(CHECKS) >= 39
    named = {placed.name for _, placed in CHECKS if placed.check.name is not None}
    assert named == {
        "raw.flights.speed",
        "raw.flights.diverted",
        "raw.flights.cancelled",
        "clean.flights.flown_departed",
        "features.flights.no_delay_from_nothing",
    }


@pytest.mark.parametrize(("phase", "placed"), CHECKS, ids=[placed.name for _, placed in CHECKS])
def test_every_check_of_the_demo_has_a_probable_cause(phase: str, placed: PlacedCheck) -> None:
    body = failed(phase, placed)
    assert body["check_kinds"] == [placed.check.kind]
    assert facts(body)["Probable cause"] == CHECK_CAUSES[placed.check.kind]


def test_a_check_with_any_name_has_a_probable_cause() -> None:
    phase, placed = CHECKS[0]
    body = failed(phase, replace(placed, name="the_sky_is_blue"))
    assert body["about"] == ["the_sky_is_blue"]
    assert facts(body)["Probable cause"] == CHECK_CAUSES[placed.check.kind]


def test_an_alert_of_an_older_version_has_the_probable_cause_that_the_name_tells() -> None:
    body = {name: value for name, value in failed(*CHECKS[0]).items() if name != "check_kinds"}
    assert facts({**body, "about": ["raw.flights.not_null.dest"]})["Probable cause"] == CHECK_CAUSES["not_null"]
    assert "Probable cause" not in facts({**body, "about": ["the_sky_is_blue"]})


def test_producers_that_are_called_like_a_kind_of_check_are_none() -> None:
    body = failed(*CHECKS[0])
    quorum = {**body, "cause": "quorum", "gate": "open", "about": ["raw.schema"], "check_kinds": []}
    assert "Probable cause" not in facts(quorum)
