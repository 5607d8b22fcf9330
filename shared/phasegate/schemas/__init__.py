"""The messages as a contract: one JSON Schema (draft 2020-12) for each, to be read by whoever sends or takes them.

The writers are `messaging/bodies.py`, `core/gates/completion.py`, `infra/drift.py` and, for a notice to a webhook, the
adapter `channels/webhook.py`; tests hold what they write against these files. The table that events become rows of
stands in `history.bigquery.json`, which Terraform reads too.
"""

import json
from importlib.resources import files
from typing import Any

NAMES = ("completion", "go-signal", "retry-request", "alert", "event", "drift", "notice")
"""Every message that has a schema."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a message: `schema("go-signal")`.

    Raises:
        KeyError: There is no message of that name.
    """
    if name not in NAMES:
        raise KeyError(name)
    return _read(f"{name}.schema.json")


def history_table() -> dict[str, Any]:
    """The history's table in BigQuery: description, partition, clustering, and the columns as BigQuery's API writes them."""
    return _read("history.bigquery.json")


def _read(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(__name__).joinpath(file).read_text("utf-8"))
    return found
