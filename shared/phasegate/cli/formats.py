"""A validation as JSON, JSON lines and CSV."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from phasegate.core.checks.base import CheckResult
from phasegate.core.gates.verdict import DateVerdict, Verdict
from phasegate.gates.backfill import Validation

_SUMMARY = ("pass", "acceptable", "fail", "unverified", "not_due", "off", "accepted")


def as_json(validation: Validation, seconds: float) -> Iterator[str]:
    """One object. Scripts rely on its keys."""
    summary = {str(verdict): count for verdict, count in validation.summary.items()}
    body = {
        "pipeline": validation.pipeline,
        "from": str(validation.span.first),
        "to": str(validation.span.last),
        "queries": validation.cost.queries,
        "bytes_billed": validation.cost.bytes_billed,
        "cost_usd": round(validation.cost.usd, 6),
        "seconds": round(seconds, 3),
        "summary": {name: summary[name] for name in _SUMMARY},
        "dates": [_date(day) for day in validation.dates],
    }
    yield json.dumps(body, ensure_ascii=False) + "\n"


def as_json_lines(validation: Validation, _: float) -> Iterator[str]:
    """One object per date."""
    for day in validation.dates:
        yield json.dumps({"pipeline": validation.pipeline, **_date(day)}, ensure_ascii=False) + "\n"


def as_csv(validation: Validation, _: float) -> Iterator[str]:
    """One row per check and date; a phase without results has one row without a check."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ("name", "kind", "table", "severity", "outcome", "measured", "expected", "message")
    writer.writerow(("pipeline", "date", "date_verdict", "date_score", "phase", "phase_verdict", "phase_score", *names))
    for day in validation.dates:
        for phase in day.phases:
            columns = (validation.pipeline, day.run_date, day.verdict, day.score, phase.phase, phase.verdict, phase.score)
            checks = [_check(result) for result in phase.results] or [dict.fromkeys(names)]
            writer.writerows((*columns, *(check[name] for name in names)) for check in checks)
    yield buffer.getvalue()


def _date(day: DateVerdict) -> Mapping[str, Any]:
    phases = [
        {
            "phase": phase.phase,
            "verdict": phase.verdict,
            "score": phase.score,
            # Only where no check carries it: the query that says whether a run is expected failed.
            **({"reason": phase.reason} if phase.verdict is Verdict.UNVERIFIED and phase.reason else {}),
            "checks": [_check(result) for result in phase.results],
        }
        for phase in day.phases
    ]
    return {"date": str(day.run_date), "verdict": day.verdict, "score": day.score, "phases": phases}


def _check(result: CheckResult) -> Mapping[str, Any]:
    return {
        "name": result.name,
        "kind": result.kind,
        "table": result.table,
        "severity": result.severity,
        "outcome": result.outcome,
        "measured": result.measured,
        "expected": result.expected,
        "message": result.message,
    }
