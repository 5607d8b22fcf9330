"""Reading stored gates: one that this version does not understand must not keep the others from being read."""

from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, unreadable
from phasegate.serialization import from_json


def read_gate(run: RunKey, version: int, body: str) -> Gate:
    """A stored gate; what stands for it when it cannot be read."""
    try:
        return from_json(Gate, body)
    except ValueError:  # of JSON, or of a value that a newer version has added
        return unreadable(run, version)
