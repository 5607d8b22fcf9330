"""The messages as a contract: one JSON Schema (draft 2020-12) for each, to be read by whoever sends or takes them.

The writers are `outgoing.py` and `core/messages.py`; a test holds what they write against these files.
"""

import json
from importlib.resources import files
from typing import Any

NAMES = ("completion", "go-signal", "retry-request", "alert", "event")
"""Every message that has a schema."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a message: `schema("go-signal")`.

    Raises:
        KeyError: There is no message of that name.
    """
    if name not in NAMES:
        raise KeyError(name)
    found: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.schema.json").read_text("utf-8"))
    return found
