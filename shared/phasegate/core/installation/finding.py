"""What an examination of an installation found."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How something is."""

    OK = "ok"
    WRONG = "wrong"
    NOT_CHECKED = "could not look"


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
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Why something could not be looked at."""

    reason: str
