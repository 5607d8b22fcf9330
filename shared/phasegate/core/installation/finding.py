"""What an examination of an installation found."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How something is."""

    OK = "ok"
    WRONG = "wrong"
    UNSEEN = "could not look"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: What: `subscription phasegate-ticks`.
        said: What was found, and what it should be.
        mend: A command, or what else to do; empty when nothing need be done.
    """

    subject: str
    health: Health
    said: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Why something could not be looked at."""

    reason: str
