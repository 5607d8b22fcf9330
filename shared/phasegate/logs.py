"""Logs: one JSON object per line on standard output, as Cloud Logging reads them."""

import json
import sys
from datetime import UTC, datetime
from typing import Protocol

LONGEST = 2_000
"""Characters of one value that are logged."""


class Log(Protocol):
    """Takes one line of a log."""

    def __call__(self, event: str, *, severity: str = "INFO", **fields: object) -> None: ...  # noqa: D102


def silent(event: str, *, severity: str = "INFO", **fields: object) -> None:
    """Keep no log: a command tells a person what it has done, and the state store keeps the rest."""


def log(event: str, *, severity: str = "INFO", **fields: object) -> None:
    """Write one line: what happened, and its ids. Values that are no JSON are written as text."""
    line: dict[str, object] = {"severity": severity, "event": event, "time": datetime.now(UTC).isoformat()}
    line |= {name: _short(value) for name, value in fields.items() if value is not None}
    sys.stdout.write(json.dumps(line, default=str, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _short(value: object) -> object:
    return value[:LONGEST] + "…" if isinstance(value, str) and len(value) > LONGEST else value
