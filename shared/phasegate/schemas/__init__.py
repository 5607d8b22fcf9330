"""The contract of all messages: a JSON Schema (draft 2020-12) for each, for everyone who sends or receives them.

Messages are written by `messaging/bodies.py`, `core/gates/completion.py`, `infra/drift.py` and, for a notice to a webhook,
`adapters/channels/webhook.py`; tests check what they write against these files. `history.bigquery.json` is the table of
decisions, which Terraform reads, too.
"""

import json
from importlib.resources import files
from typing import Any

NAMES = ("completion", "go-signal", "retry-request", "alert", "event", "drift", "notice")
"""Every message that has a schema."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a message: `schema("go-signal")`.

    Raises:
        KeyError: No message has that name.
    """
    if name not in NAMES:
        raise KeyError(name)
    return _read(f"{name}.schema.json")


def history_table() -> dict[str, Any]:
    """The table of decisions in BigQuery: description, partition, clustering, and the columns in the form of BigQuery's API."""
    return _read("history.bigquery.json")


def _read(file: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files(__name__).joinpath(file).read_text("utf-8"))
    return document
