"""Logs: one JSON object per line on standard output, with the field names that Cloud Logging reads."""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

MAX_VALUE_LENGTH = 2_000
"""Characters of one value that are logged; the rest is cut."""


class Log(Protocol):
    """Takes one line of a log.

    ERROR: work was not done and is tried again. WARNING: it was done, but something is not as it should be. CRITICAL: a person
    must act, because nothing tries again.
    """

    def __call__(self, event: str, *, severity: str = "INFO", **fields: object) -> None: ...  # noqa: D102


def silent(event: str, *, severity: str = "INFO", **fields: object) -> None:
    """Log nothing: a command prints what it did, and the state store has the rest."""


def log(event: str, *, severity: str = "INFO", **fields: object) -> None:
    """Write one line: an event and its fields. None is left out, and what JSON has no type for becomes text.

    A line that can't be written is lost: a full disk or a closed pipe must not stop the work that is logged.
    """
    line: dict[str, object] = {"severity": severity, "event": event, "time": datetime.now(UTC).isoformat()}
    line |= {name: _short(value) for name, value in fields.items() if value is not None}
    # Half of a surrogate pair, which foreign text may have, can't be encoded; as an escape it is JSON again.
    text = json.dumps(line, default=str, ensure_ascii=False).encode(errors="backslashreplace").decode()
    with suppress(OSError, ValueError):
        # One write for the line and its end, so that lines of several threads do not mix.
        sys.stdout.write(text + "\n")
        # Standard output of a container is buffered: unflushed lines come late, or never when the instance is killed.
        sys.stdout.flush()


def _short(value: object) -> object:
    return value[:MAX_VALUE_LENGTH] + "…" if isinstance(value, str) and len(value) > MAX_VALUE_LENGTH else value
